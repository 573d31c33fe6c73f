"""The first bytes of a connection, understood and left where they are: nothing is consumed.

Whoever carries the connection then reads them from the socket itself, so no lane can be given other bytes than those
that were decided on.
"""

from __future__ import annotations

import asyncio
import select
import socket

from sluicegate.facts import Hello, Wire
from sluicegate.lanes.client_hello import ClientHello
from sluicegate.lanes.first_bytes import wire
from sluicegate.lanes.hello_errors import BadHello, HelloError, HelloTimeout, HelloTooLarge, PeerGone
from sluicegate.lanes.ja4 import ja4
from sluicegate.lanes.tls_records import NeedMore, Reassembly
from sluicegate.lanes.waiting import readable

__all__ = ["BadHello", "HelloError", "HelloTimeout", "HelloTooLarge", "PeerGone", "peek"]

_FIRST = 4096  # bytes looked at first: most hellos are 300 to 1,800
_BACK_OFF_S = 0.02


async def peek(sock: socket.socket, *, limit: int, timeout_s: float) -> Hello:
    """What the client says first. `timeout_s` is for the whole of it. Raises the HelloErrors.

    sock: accepted and non-blocking, in no transport.
    """
    reading = _Reading(sock, limit)
    try:
        async with asyncio.timeout(timeout_s):
            return await reading.run()
    except TimeoutError:
        raise HelloTimeout from None
    except OSError:
        raise PeerGone from None


class _Reading:
    def __init__(self, sock: socket.socket, limit: int) -> None:
        self._sock = sock
        self._limit = limit
        self._records = Reassembly(limit)
        self._seen = 0

    async def run(self) -> Hello:
        need = 1
        try:
            while True:
                data = self._peek(need)
                if len(data) >= need:
                    understood = self._understand(data)
                    if isinstance(understood, Hello):
                        return understood
                    need = understood
                await self._more(len(data), need)
        finally:
            self._wake_at(1)

    def _peek(self, need: int) -> bytes:
        try:
            data = self._sock.recv(max(_FIRST, need), socket.MSG_PEEK)
        except BlockingIOError:
            return b""
        if not data:
            raise PeerGone
        return data

    def _understand(self, data: bytes) -> Hello | int:
        """The hello, or how many bytes it takes to say more."""
        kind = wire(data)
        if kind is None:
            return len(data) + 1
        if kind is not Wire.TLS:
            return Hello(kind)
        found = self._records.read(data)
        return max(found.total, len(data) + 1) if isinstance(found, NeedMore) else _hello(found)

    async def _more(self, have: int, need: int) -> None:
        """Waits for `need` bytes. The kernel may wake us before, at an end or when it is short of memory."""
        if have == self._seen and have:
            if _ended(self._sock):
                raise PeerGone
            await asyncio.sleep(_BACK_OFF_S)  # woken for nothing: readable() would return at once, again and again
        self._seen = have
        self._wake_at(need)
        await readable(self._sock)

    def _wake_at(self, count: int) -> None:
        """Without it a partial hello would keep the socket readable and the loop spinning."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, count)


def _ended(sock: socket.socket) -> bool:
    """Whether the client has closed its side: then what is missing will never come."""
    poll = select.poll()
    poll.register(sock, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))


def _hello(found: ClientHello) -> Hello:
    return Hello(
        wire=Wire.TLS,
        sni=found.sni,
        alpn=tuple(name.decode("latin-1") for name in found.alpn),
        versions=found.versions,
        ech=found.ech,
        ja4=ja4(found),
    )
