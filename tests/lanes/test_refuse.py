from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lanes.conftest import Pair, Run
from lanes.hellos import openssl_hello
from sluicegate.facts import Hello, Wire
from sluicegate.lanes.peek import peek
from sluicegate.lanes.refuse import Refused, answer, refuse
from sluicegate.names import HostName
from sluicegate.verdict import Deny, Reason, Source

DENY = Deny(
    Reason.NO_RULE, Source("EgressPolicy/shop/shop", "", "shop@example.test", ""), "no rule allows example.test"
)
NAME = HostName.parse("example.test")
REQUEST = b"GET /a?b=c HTTP/1.1\r\nHost: example.test\r\n\r\n"
MIB = 1 << 20

type Leaf = Callable[[], Awaitable[ssl.SSLContext]]


@pytest.fixture
def minted(server_context: ssl.SSLContext) -> Leaf:
    async def mint() -> ssl.SSLContext:
        await asyncio.sleep(0)
        return server_context

    return mint


def while_refused(run: Run, sock: socket.socket, tls: Leaf | None, client: Callable[[], Any], **options: Any) -> Any:
    """What the client saw, talking in a thread, and what refuse() says."""

    async def conversation() -> Any:
        talking = asyncio.get_running_loop().run_in_executor(None, client)
        hello = await peek(sock, limit=1 << 16, timeout_s=5)
        refused = await refuse(sock, hello, DENY, incident="01J9", tls=tls, **options)
        return await talking, refused

    return run(conversation())


def read_all(sock: socket.socket) -> bytes:
    data = b""
    while more := sock.recv(65536):
        data += more
    return data


def ask(client: socket.socket, request: bytes = REQUEST) -> bytes:
    with client:
        client.sendall(request)
        return read_all(client)


def ask_tls(client: socket.socket, context: ssl.SSLContext, request: bytes = REQUEST) -> bytes:
    with context.wrap_socket(client, server_hostname="example.test", suppress_ragged_eofs=False) as tls:
        return ask(tls, request)


class TestClearText:
    def test_the_reason_is_told(self, run: Run, pair: Pair):
        client, sock = pair
        told, refused = while_refused(run, sock, None, lambda: ask(client))
        head, _, body = told.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\n")
        assert json.loads(body)["reason"] == "no-rule"
        assert json.loads(body)["host"] == "example.test"
        assert refused == Refused(403, "GET", NAME, "/a")

    def test_a_browser_gets_a_page(self, run: Run, pair: Pair):
        client, sock = pair
        request = b"GET / HTTP/1.1\r\nHost: example.test\r\nAccept: text/html\r\n\r\n"
        told, _ = while_refused(run, sock, None, lambda: ask(client, request))
        assert b"<h1>Refused by the egress gateway</h1>" in told

    def test_head_gets_no_body(self, run: Run, pair: Pair):
        client, sock = pair
        told, refused = while_refused(run, sock, None, lambda: ask(client, REQUEST.replace(b"GET", b"HEAD")))
        assert told.endswith(b"\r\n\r\n")
        assert b"Content-Length: " in told
        assert refused.method == "HEAD"

    def test_a_head_above_the_limit_is_answered_all_the_same(self, run: Run, pair: Pair):
        client, sock = pair
        request = REQUEST[:-2] + b"X: " + b"x" * 100_000 + b"\r\n\r\n"
        told, refused = while_refused(run, sock, None, lambda: ask(client, request))
        assert told.startswith(b"HTTP/1.1 403 ")
        assert refused.host == NAME

    def test_a_head_byte_by_byte(self, run: Run, pair: Pair):
        client, sock = pair

        def drip() -> bytes:
            for byte in REQUEST:
                client.sendall(bytes([byte]))
            with client:
                return read_all(client)

        told, refused = while_refused(run, sock, None, drip)
        assert told.startswith(b"HTTP/1.1 403 ")
        assert refused.path == "/a"

    def test_a_malformed_head_is_refused_for_the_same_reason(self, run: Run, pair: Pair):
        client, sock = pair
        told, refused = while_refused(run, sock, None, lambda: ask(client, b"GET / FTP/9\r\n\r\n"))
        assert told.startswith(b"HTTP/1.1 403 ")
        assert refused == Refused(403)

    def test_a_head_that_does_not_end_is_reset(self, run: Run, pair: Pair):
        client, sock = pair

        def half() -> None:
            client.sendall(REQUEST[:-2])
            with pytest.raises(ConnectionResetError):
                client.recv(1)

        _, refused = while_refused(run, sock, None, half, timeout_s=0.1)
        assert refused == Refused(note="the client sent no whole request in time")


class TestUploads:
    @pytest.mark.parametrize("size", [MIB, 30 * MIB])
    def test_who_sends_all_before_reading_still_reads_the_answer(self, run: Run, pair: Pair, size: int):
        client, sock = pair
        request = b"POST / HTTP/1.1\r\nHost: example.test\r\nContent-Length: %d\r\n\r\n" % size
        told, refused = while_refused(run, sock, None, lambda: ask(client, request + bytes(size)))
        assert told.startswith(b"HTTP/1.1 403 ")
        assert refused.status == 403

    def test_in_tls_too(self, run: Run, pair: Pair, minted: Leaf, client_context: ssl.SSLContext):
        client, sock = pair
        request = b"POST / HTTP/1.1\r\nHost: example.test\r\nContent-Length: %d\r\n\r\n" % (8 * MIB)
        talk = lambda: ask_tls(client, client_context, request + bytes(8 * MIB))  # noqa: E731 - one line says it
        told, _ = while_refused(run, sock, minted, talk)
        assert told.startswith(b"HTTP/1.1 403 ")

    def test_an_upload_without_end_is_cut_off(self, run: Run, pair: Pair):
        client, sock = pair

        def push() -> int:
            client.sendall(b"POST / HTTP/1.1\r\nHost: example.test\r\nTransfer-Encoding: chunked\r\n\r\n")
            sent = 0
            with contextlib.suppress(ConnectionError):
                while sent < 200 * MIB:
                    sent += client.send(bytes(MIB))
            return sent

        sent, refused = while_refused(run, sock, None, push)
        assert 64 * MIB <= sent < 100 * MIB
        assert refused.status == 403


class TestTls:
    @pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    def test_the_reason_is_told(
        self, run: Run, pair: Pair, minted: Leaf, client_context: ssl.SSLContext, newest: ssl.TLSVersion
    ):
        client, sock = pair
        client_context.maximum_version = newest
        told, refused = while_refused(run, sock, minted, lambda: ask_tls(client, client_context))
        assert told.startswith(b"HTTP/1.1 403 Forbidden\r\n")
        assert b'"incident": "01J9"' in told
        assert refused == Refused(403, "GET", NAME, "/a")

    def test_without_alpn(self, run: Run, pair: Pair, minted: Leaf, leaf: Path):
        client, sock = pair
        context = ssl.create_default_context(cafile=leaf)
        told, _ = while_refused(run, sock, minted, lambda: ask_tls(client, context))
        assert told.startswith(b"HTTP/1.1 403 ")

    def test_a_client_that_does_not_trust_us(self, run: Run, pair: Pair, minted: Leaf):
        client, sock = pair

        def distrust() -> None:
            with pytest.raises(ssl.SSLCertVerificationError):
                ask_tls(client, ssl.create_default_context())
            client.close()

        _, refused = while_refused(run, sock, minted, distrust)
        assert refused == Refused(note="tls: tlsv1 alert unknown ca")

    def test_what_is_not_http_inside_tls_is_reset(
        self, run: Run, pair: Pair, minted: Leaf, client_context: ssl.SSLContext
    ):
        client, sock = pair

        def talk() -> float:
            begun = time.monotonic()
            with pytest.raises((ConnectionResetError, ssl.SSLError)):
                ask_tls(client, client_context, b"\0\1secret")
            return time.monotonic() - begun

        took, refused = while_refused(run, sock, minted, talk)
        assert took < 1
        assert refused.status is None

    def test_only_http_2_is_not_for_this_lane(self, run: Run, pair: Pair, minted: Leaf, client_context: ssl.SSLContext):
        client, sock = pair
        client_context.set_alpn_protocols(["h2"])

        def talk() -> None:
            with pytest.raises((ConnectionResetError, ssl.SSLError)):
                ask_tls(client, client_context)

        _, refused = while_refused(run, sock, minted, talk)
        assert refused.status is None

    @pytest.mark.parametrize("fault", [RuntimeError("no leaf"), OSError("no key")])
    def test_a_leaf_that_cannot_be_made_is_a_reset(self, run: Run, pair: Pair, fault: Exception):
        client, sock = pair

        async def mint() -> ssl.SSLContext:
            raise fault

        def talk() -> None:
            client.sendall(openssl_hello())
            with pytest.raises(ConnectionResetError):
                client.recv(1)

        _, refused = while_refused(run, sock, mint, talk)
        assert refused.status is None
        assert refused.note

    def test_a_handshake_that_stops_is_reset(self, run: Run, pair: Pair, minted: Leaf):
        client, sock = pair

        def talk() -> None:
            client.sendall(openssl_hello())
            with pytest.raises(ConnectionResetError):
                read_all(client)

        _, refused = while_refused(run, sock, minted, talk, timeout_s=0.1)
        assert refused == Refused(note="the client sent no whole request in time")


class TestNeither:
    @pytest.mark.parametrize("wire", [Wire.SSH, Wire.OTHER, Wire.HTTP2])
    def test_reset_at_once(self, run: Run, pair: Pair, minted: Leaf, wire: Wire):
        client, sock = pair
        client.sendall(b"whatever")
        begun = time.monotonic()
        refused = run(refuse(sock, Hello(wire), DENY, incident="01J9", tls=minted))
        with pytest.raises(ConnectionResetError):
            client.recv(1)
        assert time.monotonic() - begun < 1
        assert refused.status is None

    def test_tls_without_a_name(self, run: Run, pair: Pair):
        client, sock = pair
        run(refuse(sock, Hello(Wire.TLS), DENY, incident="01J9", tls=None))
        with pytest.raises(ConnectionResetError):
            client.recv(1)

    def test_a_client_that_is_gone(self, run: Run, pair: Pair):
        client, sock = pair
        client.close()
        assert run(refuse(sock, Hello(Wire.HTTP1), DENY, incident="01J9", tls=None)).status is None

    def test_cancelled_it_resets(self, run: Run, pair: Pair):
        client, sock = pair

        async def drain() -> None:
            refusing = asyncio.ensure_future(refuse(sock, Hello(Wire.HTTP1), DENY, incident="01J9", tls=None))
            await asyncio.sleep(0.01)
            refusing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await refusing

        run(drain())
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_answer_to_a_head_that_was_read(run: Run, pair: Pair):
    client, sock = pair
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read_all, client)
        assert run(answer(sock, DENY, "01J9", accept="text/html")) == 403
        client.close()
    assert reading.result().startswith(b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/html")


CLIENTS = {
    "curl": ["curl", "-sS", "-i", "--max-time", "5", "--cacert", "{leaf}", "--resolve", "example.test:{port}:127.0.0.1",
             "https://example.test:{port}/a"],
    "curl with an upload": ["curl", "-sS", "-i", "--max-time", "5", "--cacert", "{leaf}", "--data-binary", "@{leaf}",
                            "--resolve", "example.test:{port}:127.0.0.1", "https://example.test:{port}/a"],
    "curl in clear text": ["curl", "-sS", "-i", "--max-time", "5", "--resolve", "example.test:{port}:127.0.0.1",
                           "http://example.test:{port}/a"],
    "openssl": ["openssl", "s_client", "-quiet", "-verify_return_error", "-CAfile", "{leaf}", "-connect",
                "127.0.0.1:{port}", "-servername", "example.test"],
    "openssl by address": ["openssl", "s_client", "-quiet", "-verify_return_error", "-CAfile", "{leaf}", "-connect",
                           "127.0.0.1:{port}", "-noservername"],
}  # fmt: skip


@pytest.mark.skipif(not shutil.which("curl") or not shutil.which("openssl"), reason="needs curl and openssl")
@pytest.mark.parametrize("client", CLIENTS)
def test_clients_of_other_hands(run: Run, minted: Leaf, leaf: Path, client: str):
    async def conversation(listener: socket.socket, command: list[str]) -> tuple[str, Refused]:
        loop = asyncio.get_running_loop()
        talk = partial(subprocess.run, command, input=REQUEST, capture_output=True, timeout=10, check=False)
        talking = loop.run_in_executor(None, talk)
        sock, _ = await loop.sock_accept(listener)
        hello = await peek(sock, limit=1 << 16, timeout_s=5)
        refused = await refuse(sock, hello, DENY, incident="01J9", tls=minted)
        done = await talking
        assert done.stdout, done.stderr
        return done.stdout.decode(), refused

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        command = [part.format(port=listener.getsockname()[1], leaf=leaf) for part in CLIENTS[client]]
        told, refused = run(conversation(listener, command))
    assert told.startswith("HTTP/1.1 403 Forbidden")
    assert '"reason": "no-rule"' in told
    assert refused.status == 403
    assert refused.path == "/a"
