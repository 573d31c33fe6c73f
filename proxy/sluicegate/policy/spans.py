"""Sets of addresses that answer in one bisection, however many ranges they were written as."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, collapse_addresses

from sluicegate.facts import Address
from sluicegate.verdict import Network


@dataclass(frozen=True, slots=True)
class _Spans:
    starts: tuple[int, ...]
    ends: tuple[int, ...]

    def hold(self, value: int) -> bool:
        index = bisect_right(self.starts, value) - 1
        return index >= 0 and value <= self.ends[index]


@dataclass(frozen=True, slots=True)
class AddressSet:
    """`networks` as they were written, and the same as sorted spans for each IP version."""

    networks: tuple[Network, ...]
    v4: _Spans
    v6: _Spans

    @classmethod
    def of(cls, networks: Iterable[Network]) -> AddressSet:
        written = tuple(networks)
        return cls(
            written,
            _spans(list(collapse_addresses(each for each in written if each.version == 4))),
            _spans(list(collapse_addresses(each for each in written if each.version == 6))),
        )

    def holds(self, address: Address) -> bool:
        return (self.v4 if isinstance(address, IPv4Address) else self.v6).hold(int(address))

    def __str__(self) -> str:
        shown = ", ".join(str(network) for network in self.networks[:3])
        return shown if len(self.networks) <= 3 else f"{shown} and {len(self.networks) - 3} more"


def _spans(networks: list[Network]) -> _Spans:
    return _Spans(
        tuple(int(network.network_address) for network in networks),
        tuple(int(network.broadcast_address) for network in networks),
    )
