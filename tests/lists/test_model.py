"""The compiled form agrees with loops that anybody can read."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.facts import Address
from sluicegate.lists import index
from sluicegate.lists.lines import CANONICAL
from sluicegate.lists.load import load
from sluicegate.names import BadName, HostName
from sluicegate.verdict import Network

LABELS = st.sampled_from(["a", "b", "ab", "example", "evilexample", "x-y", "com"])
NAMES = st.lists(LABELS, min_size=2, max_size=4).map(".".join)
ENTRIES = st.builds("".join, st.tuples(st.sampled_from(["", "", "*.", "."]), NAMES))
LISTS = st.lists(st.tuples(st.booleans(), st.lists(ENTRIES, min_size=1, max_size=12)), min_size=1, max_size=4)


def holds(entry: str, name: str, *, exact: bool) -> bool:
    key = entry.removeprefix("*").removeprefix(".")
    return name == key or ((entry != key or not exact) and name.endswith("." + key))


@given(LISTS, st.lists(NAMES, min_size=1, max_size=20))
def test_names(tmp_path_factory: pytest.TempPathFactory, lists: list[tuple[bool, list[str]]], names: list[str]):
    folder = tmp_path_factory.mktemp("lists")
    for number, (exact, entries) in enumerate(lists):
        head = "# match: exact\n" if exact else ""
        (folder / f"l{number}.txt").write_text(head + "\n".join(entries))
    loaded = load([folder], [])
    for name in names:
        expected = {
            (f"l{number}", entry.removeprefix("*").removeprefix("."))
            for number, (exact, entries) in enumerate(lists)
            for entry in entries
            if holds(entry, name, exact=exact)
        }
        hits = loaded.name_hits(HostName(name))
        assert {(hit.list, hit.entry.removeprefix("*").removeprefix(".")) for hit in hits} == expected
        for hit in hits:
            file, _, line = hit.place.rpartition(":")
            assert Path(file).read_text(encoding="utf-8").split("\n")[int(line) - 1] == hit.entry


def test_names_with_one_hash_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(index, "hash", lambda _: 7, raising=False)
    (tmp_path / "l.txt").write_text("".join(f"n{i}.test\nN{i}.test\n" for i in range(50)))
    loaded = load([tmp_path], [])
    assert loaded.names == 50
    assert [hit.entry for hit in loaded.name_hits(HostName("x.n31.test"))] == ["n31.test"]
    assert not loaded.name_hits(HostName("n50.test"))
    assert not loaded.name_hits(HostName("n3.tes"))


V4 = st.integers(0, 2**32 - 1) | st.integers(0x0A000000, 0x0A0000FF)
V6 = st.integers(0, 2**128 - 1) | st.integers(0x20010DB8 << 96, (0x20010DB8 << 96) + 255)
NETWORKS = st.lists(
    st.builds(lambda value, bits: ip_network((value, bits), strict=False), V4.map(IPv4Address), st.integers(1, 32))
    | st.builds(lambda value, bits: ip_network((value, bits), strict=False), V6.map(IPv6Address), st.integers(1, 128)),
    min_size=1,
    max_size=30,
)


@given(NETWORKS, st.lists(V4.map(IPv4Address) | V6.map(IPv6Address), max_size=20))
def test_networks(tmp_path_factory: pytest.TempPathFactory, networks: list[Network], addresses: list[Address]):
    folder = tmp_path_factory.mktemp("lists")
    (folder / "l.txt").write_text("\n".join(map(str, networks)))
    loaded = load([folder], [])
    borders = [network[at] for network in networks for at in (0, -1)]
    for address in (*addresses, *borders):
        if address.version == 6 and address < ip_address("2001::") + (1 << 113):
            continue  # costumes of IPv4 addresses are asked twice: test_addresses.py
        expected = {str(network) for network in networks if address in network}
        hits = loaded.address_hits(address)
        assert {str(ip_network(hit.entry)) for hit in hits} == expected
        lengths = [ip_network(hit.entry).prefixlen for hit in hits]
        assert lengths == sorted(lengths, reverse=True)


ODD = st.text(st.sampled_from("aZ09-_.x*n é"), max_size=20) | st.lists(
    st.sampled_from(["xn--", "a", "1", "0x1", "-a", "a-", "a--b", "ab--c", "a" * 63, "a" * 64, ""]), max_size=6
).map(".".join)


@given(ODD)
def test_the_fast_way_accepts_only_what_parse_returns_unchanged(raw: str):
    if found := CANONICAL["domains"].fullmatch(raw.encode()):
        key = found[1].decode()
        assert HostName.parse(key) == HostName(key)
    else:
        try:
            HostName.parse(raw)
        except BadName:
            return
