from __future__ import annotations

import asyncio

import pytest

from sluicegate.lanes.http1 import clock
from sluicegate.lanes.http1.clock import Clock


class Watched:
    def __init__(self) -> None:
        self.ticks: list[float] = []
        self.ticked = asyncio.Event()

    def tick(self, now: float) -> None:
        self.ticks.append(now)
        self.ticked.set()


class Broken(Watched):
    def tick(self, now: float) -> None:
        super().tick(now)
        raise RuntimeError("a fault made for a test")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(clock, "TICK_S", 0.001)


async def test_it_ticks_for_all_and_one_that_fails_stops_no_other():
    made, watched = Clock(), [Broken(), Watched(), Broken()]
    for each in watched:
        made.watch(each)
    async with asyncio.timeout(2):
        for each in watched:
            await each.ticked.wait()
    assert made.now == watched[1].ticks[-1]


async def test_the_time_is_right_from_the_first_watched_on():
    made, watched = Clock(), Watched()
    before = asyncio.get_running_loop().time()
    made.watch(watched)
    assert made.now >= before
    assert watched.ticks == []


async def test_it_rests_while_nothing_is_watched_and_starts_again():
    made, first, second = Clock(), Watched(), Watched()
    made.watch(first)
    await asyncio.wait_for(first.ticked.wait(), 2)
    made.forget(first)
    while made._handle is not None:  # noqa: ASYNC110 - it says to nobody that it rests
        await asyncio.sleep(0)
    made.watch(second)
    await asyncio.wait_for(second.ticked.wait(), 2)
