"""Time for all connections of a worker, looked at once a second: a timer for each request would cost more than the request."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

import structlog

TICK_S: Final = 1.0

_log = structlog.get_logger("sluicegate.http1")


class Watched(Protocol):
    """What has time limits of its own."""

    def tick(self, now: float) -> None:
        """Looks at them. now: seconds, of Clock.now."""


class Clock:
    """`now` is right to a second. Ticks while anything is watched."""

    __slots__ = ("_handle", "_loop", "_watched", "now")

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watched: set[Watched] = set()
        self._handle: asyncio.TimerHandle | None = None
        self.now = 0.0

    def watch(self, each: Watched) -> None:
        self._watched.add(each)
        if self._handle is None:
            self._loop = asyncio.get_running_loop()
            self.now = self._loop.time()
            self._handle = self._loop.call_later(TICK_S, self._tick)

    def forget(self, each: Watched) -> None:
        self._watched.discard(each)

    def _tick(self) -> None:
        assert self._loop is not None
        self.now = self._loop.time()
        for each in tuple(self._watched):
            try:
                each.tick(self.now)
            except Exception as error:  # noqa: BLE001 - the limits of the others hold all the same
                _log.error("tick failed", error=type(error).__name__)
        self._handle = self._loop.call_later(TICK_S, self._tick) if self._watched else None
