"""Sets of addresses, and maps from ranges, that answer in one bisection however many ranges there are."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
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


class AddressIndex[T]:
    """Which of many values hold an address: each value with its AddressSet, overlapping as they may."""

    def __init__(self, rows: Sequence[tuple[AddressSet, T]]) -> None:
        self._v4 = _Steps([(row.v4, value) for row, value in rows])
        self._v6 = _Steps([(row.v6, value) for row, value in rows])

    def find(self, address: Address) -> Sequence[T]:
        return (self._v4 if isinstance(address, IPv4Address) else self._v6).find(int(address))


class _Steps[T]:
    """Ranges laid out as one row of steps: where each begins, and all values that hold from there to the next."""

    def __init__(self, rows: Sequence[tuple[_Spans, T]]) -> None:
        changes: dict[int, tuple[list[int], list[int]]] = {}
        for index, (spans, _) in enumerate(rows):
            for start, end in zip(spans.starts, spans.ends, strict=True):
                changes.setdefault(start, ([], []))[0].append(index)
                changes.setdefault(end + 1, ([], []))[1].append(index)
        self._starts = sorted(changes)
        self._values: list[tuple[T, ...]] = []
        current: dict[int, T] = {}
        for start in self._starts:
            begins, ends = changes[start]
            for index in ends:
                del current[index]
            current.update((index, rows[index][1]) for index in begins)
            self._values.append(tuple(current.values()))

    def find(self, value: int) -> Sequence[T]:
        at = bisect_right(self._starts, value) - 1
        return self._values[at] if at >= 0 else ()
