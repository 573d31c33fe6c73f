"""Bytes from socket to socket inside the kernel: none of them is ever in Python."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from sluicegate.lanes.reset import arm
from sluicegate.lanes.waiting import readable, writable
from sluicegate.verdict import Reason

_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK
_SIOCATMARK = 0x8905  # linux/sockios.h
_CHUNK = 1 << 20  # asked for at once; the pipe holds less
_ROUNDS = 16  # pipefuls before other connections have their turn


class SpliceBroke(Exception):
    """It did not end cleanly. reason: TIMEOUT (idle), CLIENT_GONE or UPSTREAM_BROKE (reset)."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class Moved:
    """Bytes handed on so far: `up` from the client, `down` to it."""

    up: int = 0
    down: int = 0


async def splice(
    client: socket.socket, upstream: socket.socket, *, idle_s: float, moved: Moved | None = None
) -> tuple[int, int]:
    """Moves bytes both ways until both sides have ended; returns how many went up and down. Raises SpliceBroke.

    The end of one side is passed on as such (half-close), and the other direction goes on. `idle_s` without a byte in
    either direction is a break. After anything but a clean end, a cancellation too, both sockets are armed so that the
    caller's close() resets them. `moved` is kept up to date, for who must know the count after a break.
    """
    moved = Moved() if moved is None else moved
    near, far = _End(client, Reason.CLIENT_GONE), _End(upstream, Reason.UPSTREAM_BROKE)
    try:
        for end in (near, far):
            _without_delay(end)
        await _both(_Flow(near, far, moved, "up"), _Flow(far, near, moved, "down"), idle_s)
    except BaseException:
        arm(client)
        arm(upstream)
        raise
    return moved.up, moved.down


@dataclass(frozen=True, slots=True)
class _End:
    sock: socket.socket
    broke: Reason  # when this end fails


def _without_delay(end: _End) -> None:
    try:
        end.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:
        raise SpliceBroke(end.broke) from None


class _Flow:
    """One direction."""

    def __init__(self, source: _End, sink: _End, moved: Moved, way: str) -> None:
        self._source = source
        self._sink = sink
        self._moved = moved
        self._way = way
        self.last = asyncio.get_running_loop().time()
        """When a byte was moved last, by the loop's clock."""

    async def run(self) -> None:
        ended = False
        while not ended:
            await readable(self._source.sock)
            with _pipe() as (inlet, outlet):
                ended = await self._burst(inlet, outlet)
        with contextlib.suppress(OSError):  # the sink is gone already; the other direction tells why
            self._sink.sock.shutdown(socket.SHUT_WR)

    async def _burst(self, inlet: int, outlet: int) -> bool:
        """Moves what is there and leaves the pipe empty. True at the end of the source."""
        rounds = 0
        while (taken := self._take(inlet)) is not None:
            if not taken:
                return True
            await self._give(outlet, taken)
            rounds += 1
            if rounds % _ROUNDS == 0:
                await asyncio.sleep(0)
        if not rounds and self._at_urgent_mark():
            raise SpliceBroke(self._source.broke)
        return False

    def _at_urgent_mark(self) -> bool:
        """Urgent data stops splice(2) for good while the socket stays readable: it is not carried, nor waited for."""
        return bool(struct.unpack("i", fcntl.ioctl(self._source.sock, _SIOCATMARK, bytes(4)))[0])

    def _take(self, inlet: int) -> int | None:
        """Bytes that are in the pipe now; 0 at the end of the source, None where it has nothing now."""
        try:
            return os.splice(self._source.sock.fileno(), inlet, _CHUNK, flags=_FLAGS)
        except BlockingIOError:
            return None
        except OSError:
            raise SpliceBroke(self._source.broke) from None

    async def _give(self, outlet: int, left: int) -> None:
        while left:
            try:
                given = os.splice(outlet, self._sink.sock.fileno(), left, flags=_FLAGS)
            except BlockingIOError:
                await writable(self._sink.sock)
                continue
            except OSError:
                raise SpliceBroke(self._sink.broke) from None
            left -= given
            setattr(self._moved, self._way, getattr(self._moved, self._way) + given)
            self.last = asyncio.get_running_loop().time()


async def _both(up: _Flow, down: _Flow, idle_s: float) -> None:
    loop = asyncio.get_running_loop()
    flows = [loop.create_task(flow.run()) for flow in (up, down)]
    running = set(flows)
    try:
        while running:
            left = max(up.last, down.last) + idle_s - loop.time()
            if left <= 0:
                raise SpliceBroke(Reason.TIMEOUT)
            done, running = await asyncio.wait(running, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            for flow in done:
                flow.result()
    finally:
        for flow in flows:
            flow.cancel()
        await asyncio.gather(*flows, return_exceptions=True)  # the first failure is the one that is told


@contextlib.contextmanager
def _pipe() -> Iterator[tuple[int, int]]:
    """Inlet and outlet. Held while bytes are in it only: pipes are counted by user, and most connections are idle."""
    outlet, inlet = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        yield inlet, outlet
    finally:
        os.close(inlet)
        os.close(outlet)
