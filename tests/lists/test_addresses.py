"""Which addresses a list holds."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from lists.conftest import Load
from sluicegate.lists.catalogue import Lists


def entries(lists: Lists, address: str) -> list[str]:
    return [hit.entry for hit in lists.address_hits(ip_address(address))]


NESTED = "10.0.0.0/8\n10.1.0.0/16\n10.1.2.3\n10.1.2.0/24\n192.0.2.7\n2001:db8::/32\n2001:db8::5\n2001:db8:0:1::/64\n"


@pytest.mark.parametrize(
    ("address", "held"),
    [
        pytest.param("10.1.2.3", ["10.1.2.3", "10.1.2.0/24", "10.1.0.0/16", "10.0.0.0/8"], id="four networks deep"),
        pytest.param("10.1.2.4", ["10.1.2.0/24", "10.1.0.0/16", "10.0.0.0/8"], id="beside a listed host"),
        pytest.param("10.0.0.0", ["10.0.0.0/8"], id="first address of a network"),
        pytest.param("10.255.255.255", ["10.0.0.0/8"], id="last address of a network"),
        pytest.param("9.255.255.255", [], id="one below"),
        pytest.param("11.0.0.0", [], id="one above"),
        pytest.param("192.0.2.7", ["192.0.2.7"], id="a single address"),
        pytest.param("192.0.2.8", [], id="beside a single address"),
        pytest.param("0.0.0.0", [], id="the lowest"),
        pytest.param("255.255.255.255", [], id="the highest"),
        pytest.param("2001:db8::5", ["2001:db8::5", "2001:db8::/32"], id="IPv6, two deep"),
        pytest.param("2001:db8:0:1:ffff::", ["2001:db8:0:1::/64", "2001:db8::/32"], id="IPv6, another upper half"),
        pytest.param("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", ["2001:db8::/32"], id="IPv6, last address"),
        pytest.param("2001:db9::", [], id="IPv6, one above"),
        pytest.param("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", [], id="IPv6, one below"),
        pytest.param("::ffff:192.0.2.7", ["192.0.2.7"], id="v4-mapped"),
        pytest.param("64:ff9b::192.0.2.7", ["192.0.2.7"], id="NAT64"),
        pytest.param("2002:c000:207::", ["192.0.2.7"], id="6to4"),
        pytest.param("::ffff:192.0.2.8", [], id="v4-mapped, beside"),
    ],
)
def test_networks_hold_their_addresses_the_narrowest_first(lists: Load, address: str, held: list[str]):
    assert entries(lists(net=NESTED), address) == held


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("192.0.2.7", id="plain"),
        pytest.param("192.0.2.7/32", id="with its length"),
        pytest.param("::ffff:192.0.2.7", id="v4-mapped"),
        pytest.param("::ffff:192.0.2.0/120", id="v4-mapped network"),
        pytest.param("192.0.2.0/255.255.255.0", id="with a mask"),
    ],
)
def test_an_ipv4_address_is_held_in_whatever_way_it_is_listed(lists: Load, line: str):
    assert entries(lists(net=f"{line}\n"), "192.0.2.7") == [line]


def test_an_ipv6_network_around_the_mapped_range_does_not_hold_ipv4(lists: Load):
    assert entries(lists(net="::/8\n"), "192.0.2.7") == []


@pytest.mark.parametrize(
    "line",
    ["192.0.2.7", "192.0.2.0/24", "0xC0000207", "192.0.2.7.", "0.0.0.0 192.0.2.7"],
)
def test_an_address_among_names_is_an_address_of_the_same_list(lists: Load, line: str):
    head = "# format: hosts\n0.0.0.0 a.test\n" if " " in line else "a.test\n"
    loaded = lists(mixed=f"{head}{line}\n")
    assert entries(loaded, "192.0.2.7") == [line.removeprefix("0.0.0.0 ")]
    assert (loaded.names, loaded.ranges) == (1, 1)


def test_a_hit_names_its_list_and_line_and_a_double_its_first(lists: Load, tmp_path: Path):
    loaded = lists(
        a="# drop list\n192.0.2.0/24 ; SBL1\n192.0.2.0/24\n198.51.100.1 # host\n",
        b="203.0.113.0/24\n192.0.2.0/24\n",
    )
    hits = loaded.address_hits(ip_address("192.0.2.1"))
    assert {(hit.list, hit.entry, hit.place) for hit in hits} == {
        ("a", "192.0.2.0/24", f"{tmp_path}/a.txt:2"),
        ("b", "192.0.2.0/24", f"{tmp_path}/b.txt:2"),
    }
    assert len(hits) == 2
    assert loaded.ranges == 4
