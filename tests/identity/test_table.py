"""The longest prefix says who speaks, and an address that nobody knows is Unknown."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.errors import ConfigError
from sluicegate.facts import Address, Unknown, Workload
from sluicegate.identity import static
from sluicegate.identity.table import Table
from sluicegate.settings import StaticIdentity


def entry(cidr: str, pod: str = "") -> StaticIdentity:
    return StaticIdentity(ip_network(cidr), Workload("shop", pod or cidr))


def who(table: Table, address: str) -> str | None:
    found = table.lookup(ip_address(address))
    return None if isinstance(found, Unknown) else found.pod


CIDRS = ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "::ffff:172.16.0.0/108", "2001:db8::/32", "2001:db8::5/128"]
TABLE = Table.of([entry(cidr) for cidr in CIDRS])


@pytest.mark.parametrize(
    ("address", "cidr"),
    [
        pytest.param("10.1.2.3", "10.1.2.3/32", id="the address itself before its networks"),
        pytest.param("10.1.2.4", "10.1.0.0/16", id="the narrower network"),
        pytest.param("10.2.0.0", "10.0.0.0/8", id="the wider network"),
        pytest.param("10.255.255.255", "10.0.0.0/8", id="last address"),
        pytest.param("11.0.0.0", None, id="one above"),
        pytest.param("9.255.255.255", None, id="one below"),
        pytest.param("::ffff:10.1.2.3", "10.1.2.3/32", id="v4-mapped peer"),
        pytest.param("172.16.0.1", "::ffff:172.16.0.0/108", id="v4-mapped entry"),
        pytest.param("172.32.0.0", None, id="one above a v4-mapped entry"),
        pytest.param("2001:db8::5", "2001:db8::5/128", id="IPv6 address"),
        pytest.param("2001:db8::6", "2001:db8::/32", id="IPv6 network"),
        pytest.param("2001:db8::5%eth0", "2001:db8::5/128", id="a zone id does not matter"),
        pytest.param("2001:db9::", None, id="IPv6, one above"),
        pytest.param("::10.1.2.3", None, id="v4-compatible is no IPv4 peer"),
        pytest.param("::a01:203", None, id="an IPv6 address with the same number"),
    ],
)
def test_the_longest_prefix_wins(address: str, cidr: str | None):
    assert who(TABLE, address) == cidr
    assert who(TABLE, address) == cidr  # the second answer comes from the cache


@pytest.mark.parametrize(
    ("address", "looked_for"),
    [("192.0.2.1", "192.0.2.1"), ("::ffff:192.0.2.1", "192.0.2.1"), ("2001:db9::1", "2001:db9::1")],
)
def test_unknown_says_what_was_looked_for(address: str, looked_for: str):
    assert TABLE.lookup(ip_address(address)) == Unknown(f"no workload is known for {looked_for}")


def test_the_order_of_entries_does_not_matter():
    table = Table.of([entry(cidr) for cidr in reversed(CIDRS)])
    assert who(table, "10.1.2.3") == "10.1.2.3/32"


def test_everything_can_be_one_workload():
    table = Table.of([entry("0.0.0.0/0", "v4"), entry("::/0", "v6"), entry("10.0.0.0/8", "ten")])
    assert [who(table, address) for address in ("192.0.2.1", "2001:db8::1", "10.0.0.1")] == ["v4", "v6", "ten"]


def test_an_empty_table_knows_nobody():
    assert who(Table.of([]), "127.0.0.1") is None


@pytest.mark.parametrize("again", ["10.0.0.0/8", "::ffff:10.0.0.0/104"])
def test_one_network_cannot_be_two_workloads(again: str):
    with pytest.raises(ConfigError, match=r"^identity.static: `.*/.*`: is shop/a already and cannot be shop/b too"):
        Table.of([entry("10.0.0.0/8", "a"), entry(again, "b")])


def test_one_network_may_say_the_same_twice():
    assert who(Table.of([entry("10.0.0.0/8", "a"), entry("10.0.0.0/8", "a")]), "10.0.0.1") == "a"


def test_the_cache_does_not_grow_without_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(static, "_CACHED", 8)
    source = static.StaticSource([entry("10.0.0.0/24", "a")])
    for value in range(1000):
        address = ip_address(0x0A000000 + value)
        assert (source.find(address) is not None) is (value < 256)
        assert len(source._cache) <= 8


class _Pods:
    """Another source: it knows one address, for as long as it does."""

    def __init__(self) -> None:
        self.known: dict[Address, Workload] = {}

    def find(self, address: Address) -> Workload | None:
        return self.known.get(address)


def test_sources_are_asked_in_order_and_each_time():
    pods = _Pods()
    table = Table(pods, static.StaticSource([entry("10.0.0.0/8", "static")]))
    assert who(table, "10.0.0.1") == "static"
    pods.known[ip_address("10.0.0.1")] = Workload("shop", "pod")
    assert who(table, "::ffff:10.0.0.1") == "pod"
    pods.known.clear()
    assert who(table, "10.0.0.1") == "static"


NETWORKS = st.lists(
    st.tuples(st.integers(0, 255), st.integers(20, 32)).map(
        lambda pair: ip_network((0x0A000000 + pair[0], pair[1]), strict=False)
    ),
    max_size=12,
    unique=True,
)


@given(NETWORKS, st.lists(st.integers(0x0A000000, 0x0A001000), max_size=20))
def test_the_table_agrees_with_a_loop(networks: list[static.Network], values: list[int]):
    table = Table.of([entry(str(network)) for network in networks])
    for address in map(ip_address, values):
        holding = [network for network in networks if address in network]
        longest = max(holding, key=lambda network: network.prefixlen, default=None)
        assert who(table, str(address)) == (None if longest is None else str(longest))
