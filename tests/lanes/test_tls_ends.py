"""Every way for a TLS channel to end, and the words for those that are faults."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

import pytest

from lanes.talking import Pair, Peer, Talk, dialled, echo, receive, served
from sluicegate.lanes import channel, tls_fault
from sluicegate.lanes.channel import Aborted
from sluicegate.lanes.tls import dial_tls
from sluicegate.lanes.tls_fault import TlsFault

MB = 1 << 20


async def _to_the_end(peer: Peer):
    await peer.shake()
    await peer.run(lambda: peer.tls.write(b"x"))
    while await peer.run(lambda: peer.tls.read(100)):
        pass


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
