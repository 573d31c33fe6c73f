"""TLS channels on both loops: with each other, with Python's ssl, and with peers of other hands."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import resource
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lanes.talking import Talk, echo, receive
from sluicegate.lanes import channel, tls, tls_fault
from sluicegate.lanes.channel import HIGH, RECEIVE, Aborted
from sluicegate.lanes.tls import TlsChannel, accept_tls, dial_tls
from sluicegate.lanes.tls_fault import TlsFault
from sluicegate.lanes.tls_sessions import TlsSessions

NAME = "example.test"
MB = 1 << 20
type Pair = tuple[socket.socket, socket.socket]
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture(autouse=True)
def nothing_stays():
    """Of no connection, however it ended, a byte is left in what all share."""
    yield
    memory = tls._MEMORY
    assert (memory.incoming.pending, memory.outgoing.pending) == (0, 0)
    assert not channel.HERE.turn.active
    assert not channel.HERE.turn.written


@pytest.fixture
def ends(pair: Pair) -> Pair:
    pair[0].setblocking(False)
    return pair


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


class TestEnds:
    def test_half_close(self, run: Any, ends: Pair, server_context: Any, client_context: Any):
        """The peer says close_notify and goes on to read: what is written then arrives."""

        async def go():
            talk = Talk(ended=lambda talk: (talk.channel.write(b"answer"), talk.channel.end()))
            await served(ends, server_context, talk)
            peer = Peer(ends[0], client_context)
            await peer.shake()
            peer.tls.write(b"question")
            with pytest.raises(ssl.SSLWantReadError):
                peer.tls.unwrap()
            await peer.flush()
            assert await peer.run(lambda: peer.tls.read(100)) == b"answer"
            await talk.until("lost")
            assert (bytes(talk.data), talk.error, talk.channel.truncated) == (b"question", None, False)
            with pytest.raises(ssl.SSLZeroReturnError):
                await peer.run(lambda: peer.tls.read(100))

        run(go())

    def test_ours_first_and_theirs_goes_on(self, run: Any, ends: Pair, server_context: Any, client_context: Any):
        async def go():
            talk = Talk(opened=lambda talk: talk.channel.end())
            await served(ends, server_context, talk)
            peer = Peer(ends[0], client_context)
            await peer.shake()
            assert await peer.run(lambda: peer.tls.read(100)) == b""
            await peer.run(lambda: peer.tls.write(b"late"))
            await talk.until("heard")
            ends[0].shutdown(socket.SHUT_WR)
            await talk.until("lost")
            assert (bytes(talk.data), talk.error) == (b"late", None)

        run(go())

    def test_a_fin_without_close_notify_is_seen(self, run: Any, ends: Pair, server_context: Any, client_context: Any):
        async def go():
            talk = echo()
            await served(ends, server_context, talk)
            peer = Peer(ends[0], client_context)
            await peer.shake()
            assert await peer.ask(b"x") == b"x"
            ends[0].shutdown(socket.SHUT_WR)
            await talk.until("lost")
            assert talk.channel.truncated
            assert talk.told == ["opened", "heard", "ended", "lost"]

        run(go())

    @pytest.mark.parametrize("stage", ["before", "hello", "opened", "heard"])
    def test_abort_at_each_stage(self, run: Any, ends: Pair, server_context: Any, client_context: Any, stage: str):
        async def go():
            abort = {stage: lambda talk, *_data: talk.channel.abort()} if stage in {"opened", "heard"} else {}
            talk = Talk(**abort)
            made = await served(ends, server_context, talk)
            peer = Peer(ends[0], client_context)
            if stage == "before":
                made.abort()
            elif stage == "hello":
                with pytest.raises(ssl.SSLWantReadError):
                    peer.tls.do_handshake()
                await peer.flush()
                assert await asyncio.get_running_loop().sock_recv(ends[0], 1)
                made.abort()
            with pytest.raises(ConnectionResetError):
                await (receive(ends[0]) if stage == "hello" else _to_the_end(peer))
            await talk.until("lost")
            assert isinstance(talk.error, Aborted)
            assert talk.told.count("lost") == 1

        run(go())

    def test_a_reset_while_bytes_wait(self, run: Any, ends: Pair, server_context: Any, client_context: Any):
        async def go():
            talk = Talk(opened=lambda talk: talk.channel.write(bytes(8 * MB)))
            await served(ends, server_context, talk)
            peer = Peer(ends[0], client_context)
            await peer.shake()
            channel.reset.reset(ends[0])
            await talk.until("lost")
            assert isinstance(talk.error, OSError)

        run(go())

    def test_a_conversation_that_crashes(self, run: Any, ends: Pair, server_context: Any, client_context: Any):
        async def go():
            talk = Talk(heard=lambda *_arguments: 1 / 0)
            await served(ends, server_context, talk)
            peer = Peer(ends[0], client_context)
            await peer.shake()
            await peer.run(lambda: peer.tls.write(b"x"))
            await talk.until("lost")
            assert isinstance(talk.error, ZeroDivisionError)

        run(go())


async def _to_the_end(peer: Peer):
    await peer.shake()
    await peer.run(lambda: peer.tls.write(b"x"))
    while await peer.run(lambda: peer.tls.read(100)):
        pass


class TestFaults:
    def test_a_client_that_does_not_trust_our_ca(self, run: Any, ends: Pair, server_context: Any):
        async def go():
            theirs, ours = Talk(), Talk()
            await served(ends, server_context, theirs)
            await dialled(ends, ssl.create_default_context(), ours)
            await theirs.until("lost")
            await ours.until("lost")
            assert (theirs.error.alert, theirs.error.reason) == (
                "unknown ca",
                "the peer does not trust the CA that signed our certificate",
            )
            assert ours.told == ["lost"]
            assert isinstance(ours.error.cause, ssl.SSLCertVerificationError)
            assert ours.error.reason == "the peer's certificate was refused: self-signed certificate"

        run(go())

    def test_another_name(self, run: Any, ends: Pair, server_context: Any, client_context: Any):
        async def go():
            ours = Talk()
            await served(ends, server_context, Talk())
            await dialled(ends, client_context, ours, name="other.test")
            await ours.until("lost")
            assert "Hostname mismatch" in ours.error.reason

        run(go())

    @pytest.mark.parametrize("name", ["", ".example.test", "a\0b"])
    def test_a_name_that_no_certificate_can_hold(self, run: Any, ends: Pair, client_context: Any, name: str):
        with pytest.raises(ValueError):
            run(dialled(ends, client_context, Talk(), name=name))

    def test_without_a_name_nothing_is_verified_by_mistake(self, run: Any, ends: Pair, client_context: Any):
        with pytest.raises(ValueError, match="needs one"):
            run(dial_tls(ends[0], client_context, None, Talk(), handshake_s=1))

    @pytest.mark.parametrize(
        ("sent", "reason"),
        [
            pytest.param(b"GET / HTTP/1.1\r\n\r\n", "the peer speaks HTTP in clear text", id="http"),
            pytest.param(b"SSH-2.0-OpenSSH_9.9\r\n", "the peer does not speak TLS", id="ssh"),
            pytest.param(b"\x16\x03\x01\x00\x04\x01\x00\x00\x00", "length", id="an empty hello"),
        ],
    )
    def test_what_is_no_tls(self, run: Any, ends: Pair, server_context: Any, sent: bytes, reason: str):
        async def go():
            talk = Talk()
            await served(ends, server_context, talk)
            await asyncio.get_running_loop().sock_sendall(ends[0], sent)
            await talk.until("lost")
            assert talk.told == ["lost"]
            assert isinstance(talk.error, TlsFault)
            assert reason in talk.error.reason

        run(go())

    def test_a_forged_record_ends_the_connection_and_hurts_no_other(
        self, run: Any, pairs: Any, server_context: Any, client_context: Any
    ):
        async def go():
            (one, two), (talk, other) = (pairs(), pairs()), (Talk(), echo())
            for ends in (one, two):
                ends[0].setblocking(False)
            await served(one, server_context, talk)
            await served(two, server_context, other)
            peer, good = Peer(one[0], client_context), Peer(two[0], client_context)
            await peer.shake()
            await good.shake()
            await asyncio.get_running_loop().sock_sendall(one[0], b"\x17\x03\x03\x00\x20" + bytes(0x20) + b"rest" * 99)
            await talk.until("lost")
            assert talk.error.reason == "decryption failed or bad record mac"
            assert await good.ask(b"still here") == b"still here"
            other.channel.abort()
            await other.until("lost")

        run(go())

    def test_the_handshake_has_a_time(self, run: Any, ends: Pair, server_context: Any):
        async def go():
            talk = Talk()
            await served(ends, server_context, talk, handshake_s=0.01)
            await talk.until("lost")
            assert talk.error.reason == "the handshake was not complete within 0.01 s"
            with pytest.raises(ConnectionResetError):
                await receive(ends[0])

        run(go())

    def test_a_server_that_says_nothing(self, run: Any, ends: Pair, client_context: Any):
        async def go():
            talk = Talk()
            await dialled(ends, client_context, talk, handshake_s=0.01)
            await talk.until("lost")
            assert isinstance(talk.error, TlsFault)

        run(go())

    def test_the_time_of_the_handshake_is_not_that_of_the_connection(
        self, run: Any, ends: Pair, server_context: Any, client_context: Any
    ):
        async def go():
            talk = echo()
            made = await served(ends, server_context, talk)
            peer = Peer(ends[0], client_context)
            await peer.shake()
            await talk.until("opened")
            assert made._timer is None
            made.abort()
            await talk.until("lost")

        run(go())

    @pytest.mark.parametrize("what", ["nothing", "half a hello"])
    def test_a_peer_that_ends_in_the_handshake(self, run: Any, ends: Pair, server_context: Any, what: str):
        async def go():
            talk = Talk()
            await served(ends, server_context, talk)
            if what != "nothing":
                await asyncio.get_running_loop().sock_sendall(ends[0], b"\x16\x03\x01\x02\x00\x01")
            ends[0].shutdown(socket.SHUT_WR)
            await talk.until("lost")
            assert talk.error.reason == "the peer ended the connection during the handshake"

        run(go())

    @pytest.mark.parametrize(
        ("code", "alert", "reason"),
        [
            ("SSLV3_ALERT_CERTIFICATE_UNKNOWN", "certificate unknown", "the peer refuses our certificate"),
            ("TLSV1_ALERT_DECODE_ERROR", "decode error", "the peer sent an alert: decode error"),
            ("NO_SHARED_CIPHER", None, "no cipher suite is shared"),
            ("SOME_NEW_THING", None, "some new thing"),
            ("", None, "TLS failed"),
        ],
    )
    def test_words(self, code: str, alert: str | None, reason: str):
        error = ssl.SSLError(1, code)
        error.reason = code
        found = tls_fault.fault(error)
        assert (found.alert, found.reason, str(found), found.cause) == (alert, reason, reason, error)


class TestSessions:
    @pytest.mark.parametrize("version", VERSIONS, ids=str)
    def test_a_second_connection_resumes(
        self, run: Any, pairs: Any, server_context: Any, client_context: Any, version: Any
    ):
        client_context.maximum_version = version
        sessions = TlsSessions()

        async def once() -> bool:
            ends = pairs()
            ends[0].setblocking(False)
            ours = Talk(opened=lambda talk: talk.channel.write(b"x"))
            await served(ends, server_context, echo())
            made = await dialled(ends, client_context, ours, session=sessions.get("key"))
            await ours.until("heard")
            sessions.learn("key", made)
            made.end()
            await ours.until("lost")
            return made.reused

        async def go():
            assert [await once() for _ in range(3)] == [False, True, True]
            assert sessions.get("another") is None

        run(go())

    def test_a_session_from_before_a_reload_is_not_used(
        self, run: Any, pairs: Any, server_context: Any, client_context: Any, leaf: Path
    ):
        async def once(context: ssl.SSLContext, session: Any) -> TlsChannel:
            ends = pairs()
            ends[0].setblocking(False)
            ours = Talk(opened=lambda talk: talk.channel.write(b"x"))
            await served(ends, server_context, echo())
            made = await dialled(ends, context, ours, session=session)
            await ours.until("heard")
            return made

        async def go():
            first = await once(client_context, None)
            second = await once(ssl.create_default_context(cafile=leaf), first.session)
            assert not second.reused
            for made in (first, second):
                made.abort()
                await made._conversation.until("lost")

        run(go())

    def test_bounded_and_forgotten_in_time(self):
        now = 0.0
        sessions = TlsSessions(capacity=2, clock=lambda: now)

        class Done:
            reused = False

            class session:  # noqa: N801 - as the channel has it
                has_ticket, ticket_lifetime_hint, timeout = True, 100, 7200

        for key in "abc":
            sessions.learn(key, Done())
        assert (sessions.get("a"), len(sessions)) == (None, 2)
        now = 99.0
        assert sessions.get("b") is not None
        now = 100.0
        assert sessions.get("b") is None
        sessions.forget("c")
        sessions.clear()
        assert len(sessions) == 0


class TestOtherHands:
    async def _listening(self, context: ssl.SSLContext, make: Callable[[], Talk]):
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        talks: list[Talk] = []

        async def accepting():
            while True:
                sock, _ = await asyncio.get_running_loop().sock_accept(listener)
                talks.append(make())
                await accept_tls(sock, context, talks[-1], handshake_s=10)

        return listener, talks, asyncio.ensure_future(accepting())

    @pytest.mark.parametrize("options", [["--tlsv1.3"], ["--tls-max", "1.2"]], ids=["1.3", "1.2"])
    def test_curl_uploads_and_downloads(self, run: Any, leaf: Path, server_context: Any, options: list[str]):
        body = os.urandom(MB)

        def heard(talk: Talk, _data: Any):
            head, found, rest = bytes(talk.data).partition(b"\r\n\r\n")
            if found and b"100-continue" in head and not rest:
                talk.channel.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if found and len(rest) == MB:
                talk.channel.writelines([b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % MB, rest])

        async def go():
            make = lambda: Talk(heard=heard, ended=lambda talk: talk.channel.end())  # noqa: E731
            listener, talks, task = await self._listening(server_context, make)
            port = listener.getsockname()[1]
            curl = await asyncio.create_subprocess_exec(
                "curl", "-sS", "--cacert", leaf, "--resolve", f"{NAME}:{port}:127.0.0.1", *options, "--data-binary",
                "@-", f"https://{NAME}:{port}/", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
            said, _ = await curl.communicate(body)
            assert said == body
            await talks[0].until("lost")
            assert talks[0].error is None
            task.cancel()
            listener.close()

        run(go())

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            pytest.param(["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"], "the peer does not speak TLS 1.2 or 1.3", id="1.1"),
            pytest.param(["-tls1_2", "-cipher", "AES128-SHA"], None, id="no forward secrecy goes as the context says"),
        ],
    )
    def test_s_client_with_old_versions(self, run: Any, server_context: Any, options: list[str], reason: str | None):
        server_context.minimum_version = ssl.TLSVersion.TLSv1_2

        async def go():
            listener, talks, task = await self._listening(server_context, echo)
            port = listener.getsockname()[1]
            program = await asyncio.create_subprocess_exec(
                "openssl", "s_client", "-connect", f"127.0.0.1:{port}", *options, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            await program.wait()
            await talks[0].until("lost")
            assert isinstance(talks[0].error, TlsFault)
            assert reason is None or talks[0].error.reason == reason
            task.cancel()
            listener.close()

        run(go())

    @pytest.mark.parametrize(
        ("version", "command", "answer"),
        [
            pytest.param("-tls1_2", b"R\n", b"no renegotiation", id="renegotiation is refused"),
            pytest.param("-tls1_3", b"K\n", b"KEYUPDATE", id="a key update is followed, and answered"),
        ],
    )
    def test_s_client_commands(  # noqa: PLR0917 - fixtures and parameters
        self, run: Any, leaf: Path, server_context: Any, version: str, command: bytes, answer: bytes
    ):
        server_context.options |= ssl.OP_NO_RENEGOTIATION

        async def go():
            listener, talks, task = await self._listening(server_context, echo)
            port = listener.getsockname()[1]
            program = await asyncio.create_subprocess_exec(
                "openssl", "s_client", "-connect", f"127.0.0.1:{port}", version, "-CAfile", leaf,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            assert program.stdin
            assert program.stdout
            program.stdin.write(b"before\n")
            said = bytearray()
            while b"\nbefore\n" not in said:
                said += await program.stdout.read(1 << 16)
            program.stdin.write(command)
            while answer not in said:
                more = await program.stdout.read(1 << 16)
                assert more, said
                said += more
            if command == b"K\n":
                program.stdin.write(b"after\n")
                while b"\nafter\n" not in said:
                    said += await program.stdout.read(1 << 16)
            program.stdin.close()
            await program.wait()
            await talks[0].until("lost")
            task.cancel()
            listener.close()

        run(go())

    @pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
    def test_s_server(self, run: Any, leaf: Path, client_context: Any, version: str):
        async def go():
            program = await asyncio.create_subprocess_exec(
                "openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", leaf, "-key", leaf, "-rev", version,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            assert program.stdout
            while not (line := await program.stdout.readline()).startswith(b"ACCEPT"):
                assert line
            sock = socket.create_connection(("127.0.0.1", int(line.rpartition(b":")[2])))
            sock.setblocking(False)
            talk = Talk(opened=lambda talk: talk.channel.write(b"stressed\n"))
            made = await dial_tls(sock, client_context, NAME, talk, handshake_s=10)
            await talk.until(lambda: b"desserts" in talk.data)
            made.end()
            await talk.until("lost")
            program.terminate()
            await program.communicate()

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
