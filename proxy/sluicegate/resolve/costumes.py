"""Addresses inside of addresses: the forms in which IPv6 carries an IPv4 address that packets end up at."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address

from sluicegate.facts import Address

_LOW = 0xFFFFFFFF


def faces(address: Address) -> tuple[Address, ...]:
    """The address, then every IPv4 address embedded in it.

    IPv4-mapped, -compatible and -translated, NAT64 (64:ff9b::/96, and 64:ff9b:1::/48 in each prefix length of RFC 6052
    that fits), 6to4, Teredo (its server and its client) and ISATAP. A NAT64 prefix of an operator's own cannot be
    recognised: whoever runs one names it as a cluster range.
    """
    if isinstance(address, IPv4Address):
        return (address,)
    inside = embedded(int(address))
    return (address, *(IPv4Address(value) for value in dict.fromkeys(inside)))


def embedded(value: int) -> tuple[int, ...]:
    """The embedded IPv4 addresses of an IPv6 address, all as integers; empty for nearly all of the Internet."""
    found: tuple[int, ...] = ()
    if (reader := _BY_TOP_16.get(value >> 112)) is not None:
        found = reader(value)
    # ISATAP (RFC 5214, 6.1): interface identifier 0000:5efe or 0200:5efe (the "universal" bit), then the address.
    if (value >> 32) & 0xFDFFFFFF == 0x5EFE:
        found = (*found, value & _LOW)
    return found


def _top_0000(value: int) -> tuple[int, ...]:
    """::a.b.c.d (but not :: and ::1), ::ffff:a.b.c.d (RFC 4291, 2.5.5), ::ffff:0:a.b.c.d (RFC 2765)."""
    prefix = value >> 32
    if prefix == 0xFFFF or prefix == 0xFFFF0000 or (prefix == 0 and value > 1):  # noqa: PLR1714  # prefixes, as written
        return (value & _LOW,)
    return ()


def _nat64(value: int) -> tuple[int, ...]:
    if value >> 32 == 0x64FF9B << 64:
        return (value & _LOW,)
    return _local_nat64(value) if value >> 80 == 0x64FF9B0001 else ()


def _local_nat64(value: int) -> tuple[int, ...]:
    """All readings of an address in 64:ff9b:1::/48, whose prefix length only the operator knows (RFC 6052, 2.2).

    Bits 64 to 71 are skipped by the prefixes shorter than 96. A wrong reading mostly gives 0.x.y.z, where nobody is;
    these are left out unless nothing else is left.
    """
    readings = (
        (value >> 64 & 0xFFFF) << 16 | value >> 40 & 0xFFFF,  # /48
        (value >> 64 & 0xFF) << 24 | value >> 32 & 0xFFFFFF,  # /56
        value >> 24 & _LOW,  # /64
        value & _LOW,  # /96
    )
    return tuple(reading for reading in readings if reading >> 24) or (0,)


def _six_to_four(value: int) -> tuple[int, ...]:
    """2002:aabb:ccdd::/48 (RFC 3056)."""
    return (value >> 80 & _LOW,)


def _teredo(value: int) -> tuple[int, ...]:
    """2001:0:server:flags:port:~client (RFC 4380, 4): packets go to either."""
    return (value >> 64 & _LOW, value & _LOW ^ _LOW) if value >> 96 == 0x20010000 else ()


_BY_TOP_16: dict[int, Callable[[int], tuple[int, ...]]] = {
    0x0000: _top_0000,
    0x0064: _nat64,
    0x2001: _teredo,
    0x2002: _six_to_four,
}
