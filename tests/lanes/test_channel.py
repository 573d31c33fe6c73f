"""Plain channels on both loops: what is told when, back-pressure, and every way to end."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from lanes.talking import Talk, echo, receive
from sluicegate.lanes import channel
from sluicegate.lanes.channel import HERE, HIGH, accept_plain, dial_plain

type Pair = tuple[socket.socket, socket.socket]


def test_what_was_peeked_is_heard_and_answered(run: Any, ends: Pair):
    peer, sock = ends

    async def go():
        await asyncio.get_running_loop().sock_sendall(peer, b"hello")
        while sock.recv(16, socket.MSG_PEEK) != b"hello":
            pass
        talk = echo()
        made = await accept_plain(sock, talk)
        assert await receive(peer, 5) == b"hello"
        peer.shutdown(socket.SHUT_WR)
        assert await receive(peer) == b""
        await talk.until("lost")
        assert (made.tls, made.alpn, made.truncated, talk.error) == (False, None, False, None)
        assert talk.told == ["opened", "heard", "ended", "lost"]

    run(go())


def test_dialled_and_accepted_talk(run: Any, ends: Pair):
    async def go():
        ours, theirs = Talk(opened=lambda talk: talk.channel.write(b"ping")), echo()
        await accept_plain(ends[1], theirs)
        made = await dial_plain(ends[0], ours)
        await ours.until(lambda: ours.data == b"ping")
        made.end()
        await ours.until("lost")
        await theirs.until("lost")
        assert (ours.error, theirs.error) == (None, None)

    run(go())


def test_what_is_written_in_one_callback_is_sent_once_and_in_order(run: Any, ends: Pair):
    def answer(talk: Talk, _data: Any):
        talk.channel.write(b"head ")
        talk.channel.writelines([b"body ", memoryview(b"and ")])
        talk.channel.write(b"tail")
        assert talk.channel.buffered == 18
        seen.append(HERE.turn.active)

    seen: list[bool] = []

    async def go():
        talk = Talk(heard=answer)
        await accept_plain(ends[1], talk)
        await asyncio.get_running_loop().sock_sendall(ends[0], b"x")
        assert await asyncio.get_running_loop().sock_recv(ends[0], 100) == b"head body and tail"
        assert seen == [True]
        assert not HERE.turn.active
        talk.channel.abort()
        await talk.until("lost")

    run(go())


def test_a_view_that_waits_to_be_sent_keeps_its_bytes(run: Any, ends: Pair):
    async def go():
        talk = echo()
        made = await accept_plain(ends[1], talk)
        sent = b"".join(bytes([n]) * (64 << 10) for n in range(128))
        sending = asyncio.ensure_future(asyncio.get_running_loop().sock_sendall(ends[0], sent))
        await talk.until("hold")
        assert await receive(ends[0], len(sent)) == sent
        await sending
        made.abort()
        await made._conversation.until("lost")

    run(go())


def test_a_writer_is_told_to_hold_and_to_go_on(run: Any, ends: Pair):
    def pump(talk: Talk):
        while talk.told[-1] != "hold":
            talk.channel.write(bytes(16 << 10))

    async def go():
        talk = Talk(heard=lambda talk, _data: pump(talk))
        made = await accept_plain(ends[1], talk)
        await asyncio.get_running_loop().sock_sendall(ends[0], b"x")
        await talk.until("hold")
        assert HIGH <= made.buffered <= 3 * HIGH
        reading = asyncio.ensure_future(receive(ends[0]))
        await talk.until("go_on")
        made.end()
        assert not any(await reading)  # all zeros, and ended by a FIN
        ends[0].shutdown(socket.SHUT_WR)
        await talk.until("lost")

    run(go())


def test_paused_means_no_bytes_and_no_end(run: Any, ends: Pair):
    async def go():
        loop = asyncio.get_running_loop()
        talk = Talk(opened=lambda talk: talk.channel.pause())
        made = await accept_plain(ends[1], talk)
        await loop.sock_sendall(ends[0], b"x")
        ends[0].shutdown(socket.SHUT_WR)
        other = socket.socketpair()
        for _ in range(20):  # rounds of the loop in which it could have been heard
            other[0].setblocking(False)
            other[1].send(b"y")
            await loop.sock_recv(other[0], 1)
        assert talk.told == ["opened"]
        made.resume()
        await talk.until("ended")
        assert talk.data == b"x"
        made.end()
        await talk.until("lost")
        for each in other:
            each.close()

    run(go())


def test_abort_is_a_reset_and_tells_once_from_the_loop(run: Any, ends: Pair):
    async def go():
        talk = Talk()
        made = await accept_plain(ends[1], talk)
        made.write(b"x" * 100)
        made.abort()
        made.abort()
        made.end()
        made.write(b"nothing")
        assert "lost" not in talk.told
        await talk.until("lost")
        assert isinstance(talk.error, channel.Aborted)
        with pytest.raises(ConnectionResetError):
            await receive(ends[0])
        assert talk.told == ["opened", "lost"]

    run(go())


def test_a_reset_by_the_peer_is_an_error(run: Any, ends: Pair):
    async def go():
        talk = Talk()
        await accept_plain(ends[1], talk)
        channel.reset.reset(ends[0])
        await talk.until("lost")
        assert isinstance(talk.error, OSError)

    run(go())


@pytest.mark.parametrize("where", ["opened", "heard", "ended"])
def test_a_conversation_that_crashes_is_reset(run: Any, ends: Pair, where: str):
    def crash(*_arguments: Any):
        raise ZeroDivisionError

    async def go():
        talk = Talk(**{where: crash})
        await asyncio.get_running_loop().sock_sendall(ends[0], b"x")
        if where == "ended":
            ends[0].shutdown(socket.SHUT_WR)
        await accept_plain(ends[1], talk)
        await talk.until("lost")
        assert isinstance(talk.error, ZeroDivisionError)
        assert not HERE.turn.active
        with pytest.raises(ConnectionResetError):
            await receive(ends[0])

    run(go())


def test_a_crash_in_lost_hurts_nobody(run: Any, ends: Pair):
    def crash(_talk: Talk):
        raise ZeroDivisionError

    async def go():
        talk = Talk(lost=crash)
        (await accept_plain(ends[1], talk)).abort()
        await talk.until("lost")

    run(go())


class TestEnd:
    def test_what_the_peer_still_sends_is_heard(self, run: Any, ends: Pair):
        async def go():
            talk = Talk()
            made = await accept_plain(ends[1], talk)
            made.write(b"bye")
            made.end()
            assert await receive(ends[0]) == b"bye"
            await asyncio.get_running_loop().sock_sendall(ends[0], b"late")
            ends[0].shutdown(socket.SHUT_WR)
            await talk.until("lost")
            assert (bytes(talk.data), talk.error, talk.told) == (b"late", None, ["opened", "heard", "ended", "lost"])

        run(go())

    def test_and_thrown_away_where_reading_is_paused(self, run: Any, ends: Pair):
        async def go():
            talk = Talk()
            made = await accept_plain(ends[1], talk)
            made.pause()
            made.end()
            await asyncio.get_running_loop().sock_sendall(ends[0], b"late")
            ends[0].shutdown(socket.SHUT_WR)
            await talk.until("lost")
            assert (talk.told, talk.error) == (["opened", "lost"], None)

        run(go())

    def test_a_peer_that_never_ends_is_left(self, run: Any, ends: Pair, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(channel, "LINGER_S", 0.01)

        async def go():
            talk = Talk()
            (await accept_plain(ends[1], talk)).end()
            await talk.until("lost")
            assert talk.error is None

        run(go())

    def test_a_peer_that_takes_nothing_is_reset(self, run: Any, ends: Pair, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(channel, "LINGER_S", 0.01)

        async def go():
            talk = Talk()
            made = await accept_plain(ends[1], talk)
            made.write(bytes(16 << 20))
            made.end()
            await talk.until("lost")
            assert isinstance(talk.error, TimeoutError)

        run(go())

    def test_a_slow_peer_gets_all(self, run: Any, ends: Pair, monkeypatch: pytest.MonkeyPatch):
        async def go():
            talk = Talk()
            made = await accept_plain(ends[1], talk)
            made.write(bytes(16 << 20))
            monkeypatch.setattr(channel, "LINGER_S", 0.2)
            ends[0].shutdown(socket.SHUT_WR)
            await talk.until("ended")
            made.end()
            assert len(await receive(ends[0])) == 16 << 20
            await talk.until("lost")
            assert talk.error is None

        run(go())


def test_nodelay_is_set(run: Any, ends: Pair, pairs: Callable[[], Pair]):
    async def go():
        made = await accept_plain(ends[1], Talk())
        assert ends[1].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        made.abort()
        await made._conversation.until("lost")

    run(go())
