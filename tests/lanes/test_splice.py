from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from lanes.conftest import Pair, Run
from sluicegate.lanes.splice import Moved, SpliceBroke, splice
from sluicegate.verdict import Reason

MIB = 1 << 20

type Carried = tuple[socket.socket, socket.socket, socket.socket, socket.socket]


@pytest.fixture
def carried(pairs: Callable[[], Pair]):
    """(client, its accepted socket, the dialled socket, upstream): the two in the middle are spliced."""
    client, near = pairs()
    upstream, far = pairs()
    return client, near, far, upstream


@pytest.fixture
def threads():
    with ThreadPoolExecutor(4) as pool:
        yield pool


def send(sock: socket.socket, size: int, *, end: bool = True) -> int:
    block, left = os.urandom(64) * (MIB // 64), size
    while left:
        left -= sock.send(block[:left])
    if end:
        sock.shutdown(socket.SHUT_WR)
    return size


def receive(sock: socket.socket) -> int:
    total, scrap = 0, bytearray(MIB)
    while count := sock.recv_into(scrap):
        total += count
    return total


def resets(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def pipes() -> int:
    """Pipes this process has open."""
    kinds = []
    for name in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            kinds.append(str(name.readlink()))
    return sum(kind.startswith("pipe:") for kind in kinds)


def test_200_mib_go_through_both_ways(run: Run, carried: Carried, threads: ThreadPoolExecutor):
    client, near, far, upstream = carried
    size = 100 * MIB
    sent = [threads.submit(send, sock, size) for sock in (client, upstream)]
    got = [threads.submit(receive, sock) for sock in (client, upstream)]
    assert run(splice(near, far, idle_s=5)) == (size, size)
    assert [future.result() for future in (*sent, *got)] == [size] * 4


def test_the_bytes_are_the_same(run: Run, carried: Carried):
    client, near, far, upstream = carried
    client.sendall(b"ping" * 1000)
    client.shutdown(socket.SHUT_WR)
    upstream.sendall(b"pong")
    upstream.shutdown(socket.SHUT_WR)
    assert run(splice(near, far, idle_s=5)) == (4000, 4)
    assert upstream.recv(5000, socket.MSG_WAITALL) == b"ping" * 1000
    assert client.recv(10) == b"pong"
    assert client.recv(10) == b""


def test_what_was_peeked_goes_too(run: Run, carried: Carried):
    client, near, far, upstream = carried
    client.sendall(b"hello")
    client.shutdown(socket.SHUT_WR)
    upstream.shutdown(socket.SHUT_WR)
    near.setblocking(True)
    assert near.recv(10, socket.MSG_PEEK) == b"hello"
    near.setblocking(False)
    assert run(splice(near, far, idle_s=5)) == (5, 0)


@pytest.mark.parametrize("first", ["client", "upstream"])
def test_half_close_is_kept(run: Run, carried: Carried, threads: ThreadPoolExecutor, first: str):
    client, near, far, upstream = carried
    early, late = (client, upstream) if first == "client" else (upstream, client)

    def conversation() -> bytes:
        early.sendall(b"question")
        early.shutdown(socket.SHUT_WR)
        assert late.recv(100, socket.MSG_WAITALL) == b"question"  # it ends, and the other way is still open
        late.sendall(b"answer")
        late.shutdown(socket.SHUT_WR)
        return early.recv(100, socket.MSG_WAITALL)

    talking = threads.submit(conversation)
    assert sum(run(splice(near, far, idle_s=5))) == len(b"questionanswer")
    assert talking.result() == b"answer"


@pytest.mark.parametrize(("who", "reason"), [("client", Reason.CLIENT_GONE), ("upstream", Reason.UPSTREAM_BROKE)])
def test_a_reset_is_passed_on(run: Run, carried: Carried, who: str, reason: Reason):
    client, near, far, upstream = carried
    gone, left = (client, upstream) if who == "client" else (upstream, client)

    async def conversation() -> None:
        running = asyncio.ensure_future(splice(near, far, idle_s=5))
        gone.sendall(b"x")
        await asyncio.to_thread(left.recv, 1)
        resets(gone)
        await running

    with pytest.raises(SpliceBroke) as caught:
        run(conversation())
    assert caught.value.reason is reason
    near.close()
    far.close()
    with pytest.raises(ConnectionResetError):
        left.recv(1)


def test_idle_is_a_break_of_both(run: Run, carried: Carried):
    client, near, far, upstream = carried
    client.sendall(b"x")
    moved = Moved()
    with pytest.raises(SpliceBroke) as caught:
        run(splice(near, far, idle_s=0.1, moved=moved))
    assert caught.value.reason is Reason.TIMEOUT
    assert moved == Moved(up=1)
    near.close()
    far.close()
    assert upstream.recv(1) == b"x"
    for sock in (client, upstream):
        with pytest.raises(ConnectionResetError):
            sock.recv(1)


def test_either_direction_keeps_it_from_being_idle(run: Run, carried: Carried):
    _, near, far, upstream = carried

    async def conversation() -> tuple[int, int]:
        running = asyncio.ensure_future(splice(near, far, idle_s=0.4))
        for _ in range(10):
            upstream.sendall(b"x")
            await asyncio.sleep(0.08)
            assert not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    run(conversation())


def test_a_sink_that_takes_nothing_is_idle_and_holds_the_source_back(
    run: Run, carried: Carried, threads: ThreadPoolExecutor
):
    client, near, far, _ = carried
    client.settimeout(0.5)

    def push() -> int:
        sent = 0
        with contextlib.suppress(TimeoutError, ConnectionError):
            while sent < 200 * MIB:
                sent += client.send(bytes(MIB))
        return sent

    pushing: Future[int] = threads.submit(push)
    moved = Moved()
    with pytest.raises(SpliceBroke):
        run(splice(near, far, idle_s=1, moved=moved))
    assert pushing.result() < 40 * MIB  # kernel buffers, and nothing of ours


def test_cancelled_both_are_reset(run: Run, carried: Carried):
    client, near, far, upstream = carried
    moved = Moved()

    async def reload() -> None:
        running = asyncio.ensure_future(splice(near, far, idle_s=5, moved=moved))
        client.sendall(b"abc")
        assert await asyncio.to_thread(upstream.recv, 3) == b"abc"
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    run(reload())
    assert moved == Moved(up=3)
    near.close()
    far.close()
    for sock in (client, upstream):
        with pytest.raises(ConnectionResetError):
            sock.recv(1)


def test_an_idle_connection_holds_no_pipe(run: Run, carried: Carried):
    client, near, far, upstream = carried

    async def conversation() -> tuple[int, int]:
        before = pipes()
        running = asyncio.ensure_future(splice(near, far, idle_s=5))
        client.sendall(b"abc")
        assert await asyncio.to_thread(upstream.recv, 3) == b"abc"
        await asyncio.sleep(0.01)
        during = pipes()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return before, during

    before, during = run(conversation())
    assert during == before


def test_a_peer_that_is_gone_before_it_begins(run: Run, carried: Carried):
    _, near, far, upstream = carried
    far.close()
    with pytest.raises((SpliceBroke, OSError, ValueError)):
        run(splice(near, far, idle_s=5))
    assert upstream.recv(1) == b""


def test_an_urgent_byte_ends_it_instead_of_making_the_loop_spin(run: Run, carried: Carried):
    client, near, far, upstream = carried

    async def conversation() -> None:
        running = asyncio.ensure_future(splice(near, far, idle_s=5))
        client.sendall(b"abc")
        assert await asyncio.to_thread(upstream.recv, 3) == b"abc"
        client.send(b"!", socket.MSG_OOB)
        client.sendall(b"def")
        async with asyncio.timeout(2):
            await running

    with pytest.raises(SpliceBroke) as caught:
        run(conversation())
    assert caught.value.reason is Reason.CLIENT_GONE
