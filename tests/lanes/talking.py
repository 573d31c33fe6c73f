"""Conversations for the tests of channels."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any


class Talk:
    """Notes what it is told. `on` may hold what to do when: on["heard"] = lambda talk, data: ..."""

    def __init__(self, **on: Callable[..., Any]) -> None:
        self.on = on
        self.told: list[str] = []
        self.data = bytearray()
        self.channel: Any = None
        self.error: Any = None
        self.news = asyncio.Event()

    def opened(self, channel: Any) -> None:
        self.channel = channel
        self._note("opened")

    def heard(self, data: bytes | memoryview) -> None:
        assert len(data)
        self.data += data
        self._note("heard", data)

    def ended(self) -> None:
        self._note("ended")

    def lost(self, error: Exception | None) -> None:
        self.error = error
        self._note("lost")

    def hold(self) -> None:
        self._note("hold")

    def go_on(self) -> None:
        self._note("go_on")

    def _note(self, what: str, *arguments: Any) -> None:
        if what != "heard" or self.told[-1:] != ["heard"]:
            self.told.append(what)
        self.news.set()
        if what in self.on:
            self.on[what](self, *arguments)

    async def until(self, what: str | Callable[[], bool]) -> None:
        met = what if callable(what) else lambda: what in self.told
        while not met():
            self.news.clear()
            await self.news.wait()


def echo() -> Talk:
    """Sends all back, holds when told to, ends when the peer ends."""
    return Talk(
        heard=lambda talk, data: talk.channel.write(data),
        ended=lambda talk: talk.channel.end(),
        hold=lambda talk: talk.channel.pause(),
        go_on=lambda talk: talk.channel.resume(),
    )


async def receive(sock: socket.socket, count: int | None = None) -> bytes:
    """So many bytes, or all until the end; of a non-blocking socket."""
    loop, got = asyncio.get_running_loop(), bytearray()
    while count is None or len(got) < count:
        data = await loop.sock_recv(sock, 1 << 16)
        if not data:
            break
        got += data
    return bytes(got)
