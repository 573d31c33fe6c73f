"""TLS channels on both loops: with each other and with Python's ssl, in pieces, under pressure."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import resource
import socket
import ssl
from typing import Any

import pytest

from lanes.talking import Pair, Peer, Talk, dialled, echo, served
from sluicegate.lanes import channel, tls
from sluicegate.lanes.channel import HIGH, RECEIVE

MB = 1 << 20
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


class TestTogether:
    """Both ends are ours: they share buffers, and must not notice."""

    @pytest.mark.parametrize("version", VERSIONS, ids=str)
    def test_there_and_back(self, run: Any, ends: Pair, server_context: Any, client_context: Any, version: Any):
        client_context.maximum_version = version

        async def go():
            ours, theirs = Talk(opened=lambda talk: talk.channel.write(b"ping")), echo()
            await served(ends, server_context, theirs)
            made = await dialled(ends, client_context, ours)
            await ours.until(lambda: ours.data == b"ping")
            assert (made.tls, made.alpn, made.truncated, made.reused) == (True, "http/1.1", False, False)
            assert made.version == {"2": "TLSv1.2", "3": "TLSv1.3"}[version.name[-1]]
            assert ssl.DER_cert_to_PEM_cert(made.certificate() or b"").startswith("-----BEGIN CERT")
            made.end()
            await ours.until("lost")
            await theirs.until("lost")
            assert (ours.error, theirs.error, theirs.channel.truncated) == (None, None, False)
            assert theirs.told == ["opened", "heard", "ended", "lost"]

        run(go())

    @pytest.mark.parametrize(
        "size", [1, channel.SMALL - 1, 16383, 16384, 16385, HIGH - 1, HIGH + 1, RECEIVE - 1, RECEIVE + 1, 3 * MB]
    )
    def test_sizes(self, run: Any, ends: Pair, server_context: Any, client_context: Any, size: int):
        sent = os.urandom(size)

        async def go():
            ours, theirs = Talk(opened=lambda talk: talk.channel.write(sent)), echo()
            await served(ends, server_context, theirs)
            made = await dialled(ends, client_context, ours)
            await ours.until(lambda: len(ours.data) == size)
            assert ours.data == sent
            made.abort()
            await theirs.until("lost")

        run(go())

    def test_many_at_once_keep_apart(self, run: Any, pairs: Any, server_context: Any, client_context: Any):
        async def go():
            talks = []
            for number in range(20):
                ends = pairs()
                ends[0].setblocking(False)
                sent = bytes([number]) * 300_000
                talk = Talk(opened=lambda talk, sent=sent: talk.channel.write(sent))
                await served(ends, server_context, echo())
                await dialled(ends, client_context, talk)
                talks.append((talk, sent))
            for talk, sent in talks:
                await talk.until(lambda talk=talk, sent=sent: len(talk.data) >= len(sent))
                assert talk.data == sent
            for talk, _ in talks:
                talk.channel.end()
                await talk.until("lost")

        run(go())

    def test_what_is_written_in_one_callback_is_one_record(
        self, run: Any, ends: Pair, server_context: Any, client_context: Any
    ):
        def answer(talk: Talk, _data: Any):
            for part in (b"HTTP/1.1 200 OK\r\n", b"\r\n", b"body"):
                talk.channel.write(part)

        heard: list[bytes] = []

        async def go():
            await served(ends, server_context, Talk(heard=answer))
            ours = Talk(
                opened=lambda talk: talk.channel.write(b"x"), heard=lambda _talk, data: heard.append(bytes(data))
            )
            made = await dialled(ends, client_context, ours)
            await ours.until("heard")
            assert heard == [b"HTTP/1.1 200 OK\r\n\r\nbody"]
            made.abort()
            await ours.until("lost")

        run(go())


@pytest.mark.parametrize("version", VERSIONS, ids=str)
@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 100, 1000])
def test_the_handshake_in_pieces(  # noqa: PLR0917 - fixtures and parameters
    run: Any, ends: Pair, server_context: Any, client_context: Any, version: Any, step: int
):
    """Each piece is fed by itself, as if it were all that came."""
    client_context.maximum_version = version

    async def go():
        talk = echo()
        made = await served(ends, server_context, talk)
        peer = Peer(ends[0], client_context)

        async def flush():
            data = peer.out.read()
            for at in range(0, len(data), step):
                piece = data[at : at + step]
                made.get_buffer(-1)[: len(piece)] = piece
                made.buffer_updated(len(piece))

        peer.flush = flush  # type: ignore[method-assign]  # instead of the socket
        await peer.shake()
        assert await peer.ask(b"hello") == b"hello"
        assert await peer.ask(bytes(5000)) == bytes(5000)
        assert talk.told == ["opened", "heard"]
        made.abort()
        await talk.until("lost")

    run(go())


def test_a_request_that_comes_with_the_end_of_the_handshake(
    run: Any, ends: Pair, server_context: Any, client_context: Any
):
    async def go():
        talk = echo()
        await served(ends, server_context, talk)
        peer, flush = Peer(ends[0], client_context), None
        with pytest.raises(ssl.SSLWantReadError):
            peer.tls.do_handshake()
        await peer.flush()
        peer.into.write(await asyncio.get_running_loop().sock_recv(ends[0], 1 << 16))
        peer.tls.do_handshake()
        peer.tls.write(b"early")  # in the same segment as Finished
        peer.tls.write(b" bird")
        await peer.flush()
        assert flush is None
        await talk.until(lambda: talk.data == b"early bird")
        talk.channel.abort()
        await talk.until("lost")

    run(go())


class TestBackPressure:
    SIZE = 64 * MB

    def test_a_slow_reader_costs_no_memory(self, run: Any, ends: Pair, server_context: Any, client_context: Any):
        """64 MiB down. The conversation writes until it is told to hold; the peer reads in small steps."""
        block = os.urandom(HIGH)
        most = 0

        def pump(talk: Talk):
            nonlocal most
            while talk.left and talk.told[-1] != "hold":
                talk.left -= len(block)
                talk.channel.write(block)
                most = max(most, talk.channel.buffered)
            if not talk.left and talk.told[-1] != "hold":
                talk.channel.end()

        async def go():
            talk = Talk(heard=lambda talk, _data: pump(talk), go_on=pump)
            talk.left = self.SIZE
            await served(ends, server_context, talk)
            peer = Peer(ends[0], client_context)
            await peer.shake()
            await peer.run(lambda: peer.tls.write(b"go"))
            await talk.until("hold")
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            left = self.SIZE
            while left:
                left -= len(await peer.run(lambda: peer.tls.read(20_000)))
            assert most < 4 * HIGH
            assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 << 10  # KiB
            ends[0].shutdown(socket.SHUT_WR)
            await talk.until("lost")

        run(go())

    def test_a_slow_conversation_costs_no_memory(self, run: Any, ends: Pair, server_context: Any, client_context: Any):
        """64 MiB up. The conversation pauses after each piece, and goes on in a later round of the loop."""
        most = 0

        def slow(talk: Talk, data: Any):
            nonlocal most
            most = max(most, len(data))
            talk.got += len(data)
            talk.digest.update(data)
            talk.data.clear()
            talk.channel.pause()
            talk.paused = True
            asyncio.get_running_loop().call_soon(again, talk)

        def again(talk: Talk):
            talk.paused = False
            talk.channel.resume()

        async def go():
            talk = Talk(heard=slow)
            talk.got, talk.digest, block = 0, hashlib.sha1(), os.urandom(MB)
            await served(ends, server_context, talk)
            peer = Peer(ends[0], client_context)
            await peer.shake()
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            for _ in range(self.SIZE // MB):
                view = memoryview(block)
                while view:
                    view = view[await peer.run(lambda view=view: peer.tls.write(view[:16384])) :]
            await talk.until(lambda: talk.got == self.SIZE)
            wanted = hashlib.sha1()
            for _ in range(self.SIZE // MB):
                wanted.update(block)
            assert talk.digest.digest() == wanted.digest()
            assert most <= RECEIVE + 2 * tls.RECORD
            assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 << 10
            talk.channel.abort()
            await talk.until("lost")

        run(go())

    def test_paused_means_no_end_either(self, run: Any, ends: Pair, server_context: Any, client_context: Any):
        """A request and its close_notify in one segment, to a conversation that pauses at the request."""

        async def go():
            talk = Talk(heard=lambda talk, _data: talk.channel.pause())
            made = await served(ends, server_context, talk)
            peer = Peer(ends[0], client_context)
            await peer.shake()
            peer.tls.write(b"last")
            with pytest.raises(ssl.SSLWantReadError):
                peer.tls.unwrap()
            await peer.flush()
            await talk.until("heard")
            await asyncio.sleep(0)
            assert talk.told == ["opened", "heard"]
            made.resume()
            await talk.until("ended")
            made.end()
            await talk.until("lost")
            assert (talk.error, made.truncated) == (None, False)

        run(go())


def test_nothing_is_left_of_a_connection(run: Any, pairs: Any, server_context: Any, client_context: Any):
    async def once():
        ends = pairs()
        ends[0].setblocking(False)
        ours = Talk(opened=lambda talk: talk.channel.write(b"x"))
        await served(ends, server_context, echo())
        made = await dialled(ends, client_context, ours)
        await ours.until("heard")
        made.end()
        await ours.until("lost")

    async def go():
        await once()
        gc.collect()
        gc.disable()
        try:
            before = sum(isinstance(each, ssl.SSLObject) for each in gc.get_objects())
            for _ in range(5):
                await once()
            await asyncio.sleep(0)
            after = sum(isinstance(each, ssl.SSLObject) for each in gc.get_objects())
        finally:
            gc.enable()
        assert after - before <= 10  # conversations and channels point at each other; the collector ends that
        gc.collect()
        assert sum(isinstance(each, ssl.SSLObject) for each in gc.get_objects()) <= before + 2

    run(go())
