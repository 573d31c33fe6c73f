"""A cache with an end for every entry and a bound on their number."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from sluicegate.names import HostName


class Cache[Value]:
    """Values by name; the one used longest ago makes room. Times are on the clock given."""

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self._most = most
        self._clock = clock
        self._entries: OrderedDict[HostName, tuple[float, Value]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, name: HostName) -> Value | None:
        if (entry := self._entries.get(name)) is None:
            return None
        expires, value = entry
        if expires <= self._clock():
            del self._entries[name]
            return None
        self._entries.move_to_end(name)
        return value

    def put(self, name: HostName, value: Value, expires: float) -> None:
        self._entries[name] = (expires, value)
        self._entries.move_to_end(name)
        if len(self._entries) > self._most:
            self._entries.popitem(last=False)
