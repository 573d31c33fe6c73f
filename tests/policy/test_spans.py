from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.policy.spans import AddressIndex, AddressSet


def addresses(*texts: str) -> AddressSet:
    return AddressSet.of([ip_network(text) for text in texts])


@pytest.mark.parametrize(
    ("address", "held"),
    [
        ("9.255.255.255", False),
        ("10.0.0.0", True),
        ("10.255.255.255", True),
        ("11.0.0.0", False),
        ("192.0.2.7", True),
        ("192.0.2.8", False),
        ("2001:db8::ffff", True),
        ("2001:db9::", False),
        ("0.0.0.0", False),
        ("::a00:1", False),
    ],
)
def test_edges(address: str, held: bool):
    some = addresses("10.0.0.0/8", "10.1.0.0/16", "192.0.2.7", "2001:db8::/32")
    assert some.holds(ip_address(address)) is held


def test_an_empty_set_holds_nothing():
    assert not addresses().holds(ip_address("0.0.0.0"))
    assert not addresses().holds(ip_address("::"))


def test_it_shows_what_was_written():
    assert str(addresses("10.0.0.0/8")) == "10.0.0.0/8"
    assert (
        str(addresses("10.0.0.0/8", "1.0.0.0/8", "2.0.0.0/8", "::/1")) == "10.0.0.0/8, 1.0.0.0/8, 2.0.0.0/8 and 1 more"
    )


NETWORK = st.builds(
    lambda value, prefix: ip_network((value >> (32 - prefix) << (32 - prefix), prefix)),
    st.integers(0, 255).map(lambda low: 0x0A000000 + low),
    st.integers(24, 32),
)


@given(st.lists(st.lists(NETWORK, min_size=1, max_size=3), max_size=6), st.integers(0, 255))
def test_the_index_says_what_the_sets_say(rows: list[list], low: int):
    sets = [AddressSet.of(row) for row in rows]
    address = ip_address(0x0A000000 + low)
    expected = [index for index, some in enumerate(sets) if some.holds(address)]

    assert expected == [index for index, row in enumerate(rows) if any(address in network for network in row)]
    assert sorted(AddressIndex(list(zip(sets, range(len(sets)), strict=True))).find(address)) == expected


def test_the_index_of_all_addresses():
    index = AddressIndex([(addresses("0.0.0.0/0", "::/0"), "all"), (addresses("255.255.255.255"), "last")])

    assert index.find(ip_address("0.0.0.0")) == ("all",)
    assert set(index.find(ip_address("255.255.255.255"))) == {"all", "last"}
    assert index.find(ip_address("ffff::")) == ("all",)
