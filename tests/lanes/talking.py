"""Conversations and peers for the tests of channels."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any

from sluicegate.lanes.tls import TlsChannel, accept_tls, dial_tls

NAME = "example.test"
type Pair = tuple[socket.socket, socket.socket]


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


class Peer:
    """Python's ssl over a non-blocking socket, one step at a time, so that a test can stop anywhere."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, *, server: bool = False, **options: Any) -> None:
        self.sock = sock
        self.into, self.out = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = None if server else NAME
        self.tls = context.wrap_bio(self.into, self.out, server_side=server, server_hostname=name, **options)

    async def run(self, step: Callable[[], Any]) -> Any:
        loop = asyncio.get_running_loop()
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                await self.flush()
                data = await loop.sock_recv(self.sock, 1 << 16)
                if data:
                    self.into.write(data)
                else:
                    self.into.write_eof()
                continue
            await self.flush()
            return result

    async def flush(self):
        if self.out.pending:
            await asyncio.get_running_loop().sock_sendall(self.sock, self.out.read())

    async def shake(self):
        await self.run(self.tls.do_handshake)

    async def ask(self, data: bytes) -> bytes:
        await self.run(lambda: self.tls.write(data))
        got = b""
        while len(got) < len(data):
            got += await self.run(lambda: self.tls.read(1 << 16))
        return got


async def served(ends: Pair, context: ssl.SSLContext, talk: Talk, handshake_s: float = 10) -> TlsChannel:
    return await accept_tls(ends[1], context, talk, handshake_s=handshake_s)


async def dialled(
    ends: Pair, context: ssl.SSLContext, talk: Talk, handshake_s: float = 10, **options: Any
) -> TlsChannel:
    return await dial_tls(ends[0], context, options.pop("name", NAME), talk, handshake_s=handshake_s, **options)
