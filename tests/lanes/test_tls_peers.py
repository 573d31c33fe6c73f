"""TLS channels and peers of other hands: curl, s_client, s_server. And sessions to resume."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lanes.talking import NAME, Talk, dialled, echo, served
from sluicegate.lanes.tls import TlsChannel, accept_tls, dial_tls
from sluicegate.lanes.tls_fault import TlsFault
from sluicegate.lanes.tls_sessions import TlsSessions

MB = 1 << 20
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


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
