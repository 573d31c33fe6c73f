"""The compiled form of all addresses and networks."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator

from sluicegate.lists.text import OFFSET_BITS, Text

_OFFSET_MASK = (1 << OFFSET_BITS) - 1
_LOW = (1 << 64) - 1


class RangesBuilder:
    """Collects networks of one IP version; `width` is 32 or 128."""

    def __init__(self, text: Text, width: int) -> None:
        self._text = text
        self._width = width
        self._packed: list[int] = []  # start (left-aligned in 128 bits), prefix length, offset: one integer sorts fast

    def add(self, network: int, bits: int, offset: int) -> None:
        self._packed.append(((network << 128 - self._width) << 8 | bits) << OFFSET_BITS | offset)

    def build(self) -> Ranges:
        ranges = Ranges(self._width)
        self._packed.sort()
        for network, offset in self._distinct():
            ranges.append(network >> 8, network & 0xFF, offset)
        self._packed.clear()
        return ranges

    def _distinct(self) -> Iterator[tuple[int, int]]:
        last: tuple[int, int] | None = None
        for packed in self._packed:
            network, offset = packed >> OFFSET_BITS, packed & _OFFSET_MASK
            this = network, self._text.list_of(offset)
            if this != last:
                yield network, offset
            last = this


class Ranges:
    """Networks of one IP version, sorted by start and then by length, each with the one that encloses it.

    CIDR networks nest or are disjoint. So what holds an address is the last network that starts at or before it, or
    one that encloses that: one bisection, then a walk outwards.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._high, self._low = array("Q"), array("Q")
        self._bits = array("B")
        self._parents = array("q")
        self._offsets = array("Q")

    def __len__(self) -> int:
        return len(self._offsets)

    def append(self, start: int, bits: int, offset: int) -> None:
        """Only in order. start: left-aligned in 128 bits."""
        parent = len(self) - 1
        while parent >= 0 and not self._holds(parent, start):
            parent = self._parents[parent]
        self._parents.append(parent)
        self._high.append(start >> 64)
        self._low.append(start & _LOW)
        self._bits.append(bits)
        self._offsets.append(offset)

    def find(self, address: int) -> list[int]:
        """Offsets of all networks that hold the address, the narrowest first."""
        wanted = address << 128 - self._width
        found = []
        at = self._last_from(wanted)
        while at >= 0:
            if self._holds(at, wanted):
                found.append(self._offsets[at])
            at = self._parents[at]
        return found

    def _holds(self, at: int, wanted: int) -> bool:
        start = self._high[at] << 64 | self._low[at]
        return not (start ^ wanted) >> 128 - self._bits[at]

    def _last_from(self, wanted: int) -> int:
        """Index of the last network whose start is not above `wanted`, or -1."""
        high = wanted >> 64
        below = bisect_right(self._high, high - 1) if high else 0
        upto = bisect_right(self._high, high, lo=below)
        return bisect_right(self._low, wanted & _LOW, lo=below, hi=upto) - 1
