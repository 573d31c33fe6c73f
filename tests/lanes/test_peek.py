from __future__ import annotations

import asyncio
import os
import socket
import struct
import threading
import time
from typing import Any

import pytest

from lanes.conftest import Pair, Run
from lanes.hellos import alpn, extension, hello, message, openssl_hello, records, sni
from sluicegate.facts import Hello, Wire
from sluicegate.lanes.peek import BadHello, HelloTimeout, HelloTooLarge, PeerGone, peek
from sluicegate.names import HostName
from sluicegate.verdict import Reason

LIMIT = 64 << 10


def look(sock: socket.socket, timeout_s: float = 5.0, limit: int = LIMIT):
    return peek(sock, limit=limit, timeout_s=timeout_s)


class CountingSocket(socket.socket):
    """Counts how often it was read."""

    reads = 0

    def recv(self, *args: int) -> bytes:
        self.reads += 1
        return super().recv(*args)


def counting(sock: socket.socket) -> CountingSocket:
    twin = CountingSocket(fileno=os.dup(sock.fileno()))
    twin.setblocking(False)
    return twin


async def fed(sock: socket.socket, client: socket.socket, pieces: list[bytes], **options: Any) -> Hello:
    """Peeks while a thread sends piece after piece, each as soon as the one before was taken by the kernel."""

    def feed() -> None:
        for piece in pieces:
            client.sendall(piece)
            time.sleep(0)

    feeding = asyncio.get_running_loop().run_in_executor(None, feed)
    try:
        return await look(sock, **options)
    finally:
        await feeding


class TestWhatIsSeen:
    @pytest.mark.parametrize(
        ("data", "wire"),
        [
            (b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", Wire.HTTP1),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Wire.HTTP2),
            (b"SSH-2.0-OpenSSH_9.2\r\n", Wire.SSH),
            (b"\0\0\0\x08\x04\xd2\x16\x2f", Wire.OTHER),
        ],
    )
    def test_other_than_tls(self, run: Run, pair: Pair, data: bytes, wire: Wire):
        client, sock = pair
        client.sendall(data)
        assert run(look(sock)) == Hello(wire)
        assert sock.recv(1000) == data

    def test_tls(self, run: Run, pair: Pair):
        client, sock = pair
        data = openssl_hello()
        client.sendall(data)
        found = run(look(sock))
        assert found.wire is Wire.TLS
        assert found.sni == HostName.parse("example.test")
        assert found.alpn == ("h2", "http/1.1")
        assert found.versions == (0x0304, 0x0303)
        assert found.ja4.startswith("t13d")
        assert not found.ech
        assert sock.recv(10_000) == data

    def test_ech_and_an_odd_alpn(self, run: Run, pair: Pair):
        client, sock = pair
        client.sendall(hello(sni(b"example.test"), extension(0xFE0D, b"x"), alpn(b"\xfa\xfa")))
        found = run(look(sock))
        assert found.ech
        assert found.alpn == ("\xfa\xfa",)

    def test_a_client_that_ends_after_its_request(self, run: Run, pair: Pair):
        client, sock = pair
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        assert run(look(sock)).wire is Wire.HTTP1


class TestHoweverItIsCut:
    @pytest.mark.parametrize("first", [1, 2, 3, 5, 6, 60])
    def test_a_first_segment_of(self, run: Run, pair: Pair, first: int):
        data = openssl_hello()
        client, sock = pair
        assert run(fed(sock, client, [data[:first], data[first:]])).sni == HostName.parse("example.test")
        assert sock.recv(10_000) == data

    def test_one_byte_is_waited_with(self, run: Run, pair: Pair):
        client, sock = pair

        async def conversation() -> Hello:
            peeking = asyncio.ensure_future(look(sock))
            for byte in b"GET ":
                client.sendall(bytes([byte]))
                await asyncio.sleep(0.01)
                assert not peeking.done()
            client.sendall(b"/")
            return await peeking

        assert run(conversation()).wire is Wire.HTTP1

    @pytest.mark.parametrize("size", [1, 20, 16384])
    def test_a_hello_byte_by_byte(self, run: Run, pair: Pair, size: int):
        data = records(openssl_hello()[5:], size)
        client, sock = pair
        pieces = [data[at : at + 1] for at in range(len(data))]
        assert run(fed(sock, client, pieces)).sni == HostName.parse("example.test")
        assert sock.recv(20_000) == data

    @pytest.mark.parametrize("size", [20, 16384])
    def test_the_largest(self, run: Run, pair: Pair, size: int):
        data = records(message(sni(b"example.test"), extension(21, bytes(48_000))), size)
        client, sock = pair
        assert run(fed(sock, client, [data])).sni == HostName.parse("example.test")
        assert len(sock.recv(LIMIT, socket.MSG_PEEK)) == len(data)

    def test_what_follows_is_left_alone(self, run: Run, pair: Pair):
        client, sock = pair
        client.sendall(openssl_hello() + b"\x14\x03\x03\x00\x01\x01")
        assert run(look(sock)).wire is Wire.TLS


class TestCost:
    def test_a_partial_hello_does_not_spin(self, run: Run, pair: Pair):
        client, sock = pair
        with counting(sock) as twin:
            client.sendall(openssl_hello()[:200])
            with pytest.raises(HelloTimeout):
                run(look(twin, timeout_s=0.3))
            assert twin.reads <= 4

    def test_a_byte_at_a_time_wakes_us_a_few_times(self, run: Run, pair: Pair):
        client, sock = pair
        data = openssl_hello()
        with counting(sock) as twin:
            run(fed(twin, client, [data[at : at + 1] for at in range(len(data))]))
            assert twin.reads <= 20

    def test_an_end_that_keeps_the_socket_readable_does_not_spin(self, run: Run, pair: Pair):
        client, sock = pair
        with counting(sock) as twin:
            client.sendall(openssl_hello()[:200])
            client.shutdown(socket.SHUT_WR)
            with pytest.raises(PeerGone):
                run(look(twin))
            assert twin.reads <= 4

    @pytest.mark.parametrize(
        "data", [openssl_hello(), b"GET / HTTP/1.1\r\n", b"GE", b""], ids=["TLS", "HTTP", "half", "none"]
    )
    def test_the_low_water_mark_is_put_back(self, run: Run, pair: Pair, data: bytes):
        client, sock = pair
        client.sendall(data)
        try:
            run(look(sock, timeout_s=0.05))
        except HelloTimeout:
            assert data in {b"GE", b""}
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        "data", [b"", b"\x16", b"\x16\x03", b"GET", openssl_hello()[:-1]], ids=["0", "1", "2", "3", "all but 1"]
    )
    def test_silence(self, run: Run, pair: Pair, data: bytes):
        client, sock = pair
        client.sendall(data)
        with pytest.raises(HelloTimeout) as caught:
            run(look(sock, timeout_s=0.05))
        assert caught.value.reason is Reason.HELLO_TIMEOUT

    def test_the_deadline_is_one_for_all_bytes(self, run: Run, pair: Pair):
        client, sock = pair
        stop = threading.Event()

        def drip() -> None:
            for byte in openssl_hello():
                if stop.wait(0.01):
                    return
                client.sendall(bytes([byte]))

        async def conversation() -> None:
            dripping = asyncio.get_running_loop().run_in_executor(None, drip)
            try:
                await look(sock, timeout_s=0.2)
            finally:
                stop.set()
                await dripping

        with pytest.raises(HelloTimeout):
            run(conversation())

    @pytest.mark.parametrize(
        ("limit", "fits"), [pytest.param(516, False, id="one byte too small"), pytest.param(517, True, id="it fits")]
    )
    def test_the_limit(self, run: Run, pair: Pair, limit: int, fits: bool):
        client, sock = pair
        data = hello(sni(b"example.test"), extension(21, bytes(517 - len(hello(sni(b"example.test"))) - 4)))
        assert len(data) == 517
        client.sendall(data)
        if fits:
            assert run(look(sock, limit=limit)).wire is Wire.TLS
        else:
            with pytest.raises(HelloTooLarge) as caught:
                run(look(sock, limit=limit))
            assert caught.value.reason is Reason.HELLO_TOO_LARGE

    def test_a_hello_of_64_kib_is_refused_before_it_has_come(self, run: Run, pair: Pair):
        client, sock = pair
        client.sendall(b"\x16\x03\x01\x00\x04\x01\x01\x00\x00")
        with pytest.raises(HelloTooLarge):
            run(look(sock))

    def test_nonsense_is_named(self, run: Run, pair: Pair):
        client, sock = pair
        client.sendall(hello(sni(b"192.0.2.1")))
        with pytest.raises(BadHello) as caught:
            run(look(sock))
        assert caught.value.why == "server_name is an address"

    @pytest.mark.parametrize("data", [b"", b"GE", openssl_hello()[:100]], ids=["0", "2", "100"])
    def test_a_client_that_closes(self, run: Run, pair: Pair, data: bytes):
        client, sock = pair
        client.sendall(data)
        client.close()
        with pytest.raises(PeerGone) as caught:
            run(look(sock))
        assert caught.value.reason is Reason.CLIENT_GONE

    def test_a_client_that_resets(self, run: Run, pair: Pair):
        client, sock = pair

        async def conversation() -> None:
            peeking = asyncio.ensure_future(look(sock))
            client.sendall(b"\x16\x03")
            await asyncio.sleep(0.02)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            await peeking

        with pytest.raises(PeerGone):
            run(conversation())


def test_the_socket_can_go_into_a_transport_afterwards(run: Run, pair: Pair):
    client, sock = pair

    async def conversation() -> bytes:
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        await look(sock)
        reader, writer = await asyncio.open_connection(sock=sock)
        data = await reader.readexactly(18)
        writer.close()
        await writer.wait_closed()
        return data

    assert run(conversation()) == b"GET / HTTP/1.1\r\n\r\n"
