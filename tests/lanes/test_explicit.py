from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import pytest

from lanes.conftest import Run
from sluicegate.lanes.explicit import BadConnect, Tunnel, is_connect, read_connect
from sluicegate.names import HostName

type Pair = tuple[socket.socket, socket.socket]

HEAD = b"CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\nUser-Agent: x\r\n\r\n"
AFTER = b"\x16\x03\x01 the tunnel's first bytes"


def read(run: Run, pair: Pair, sent: bytes, *, limit: int = 4096, timeout_s: float = 5.0) -> Tunnel:
    client, accepted = pair
    client.sendall(sent)
    return run(read_connect(accepted, limit, timeout_s))


def left(accepted: socket.socket) -> bytes:
    try:
        return accepted.recv(65536)
    except BlockingIOError:
        return b""


@pytest.mark.parametrize(
    ("head", "name", "port"),
    [
        pytest.param(HEAD, "a.test", 443, id="as clients send it"),
        pytest.param(
            b"CONNECT A.Test.:8443 HTTP/1.0\r\n\r\n", "a.test", 8443, id="no Host, HTTP/1.0, another spelling"
        ),
        pytest.param(b"CONNECT [2001:db8::1]:443 HTTP/1.1\r\n\r\n", "2001:db8::1", 443, id="IPv6"),
        pytest.param(b"CONNECT 0x7f.1:443 HTTP/1.1\r\n\r\n", "127.0.0.1", 443, id="an address in costume"),
        pytest.param(b"CONNECT a.test:443 HTTP/1.1\r\nhost:A.TEST\r\n\r\n", "a.test", 443, id="Host without a port"),
    ],
)
def test_a_connect_is_read(run: Run, pair: Pair, head: bytes, name: str, port: int):
    assert read(run, pair, head + AFTER) == Tunnel(HostName(name), port)
    assert left(pair[1]) == AFTER


@pytest.mark.parametrize("cut", range(1, len(HEAD) + 1))
def test_in_two_pieces_and_with_what_follows_left_alone(run: Run, pair: Pair, cut: int):
    client, accepted = pair
    client.sendall(HEAD[:cut])

    async def main() -> Tunnel:
        task = read_connect(accepted, 4096, 5.0)
        later = threading.Timer(0.0, client.sendall, [HEAD[cut:] + AFTER])
        later.start()
        try:
            return await task
        finally:
            later.join()

    assert run(main()).port == 443
    client.shutdown(socket.SHUT_WR)
    accepted.setblocking(True)
    assert accepted.makefile("rb").read() == AFTER


def test_byte_by_byte(run: Run, pair: Pair):
    client, accepted = pair

    def send() -> None:
        for byte in HEAD:
            client.send(bytes([byte]))

    sender = threading.Thread(target=send)
    sender.start()
    assert run(read_connect(accepted, 4096, 5.0)) == Tunnel(HostName("a.test"), 443)
    sender.join()
    assert left(accepted) == b""


@pytest.mark.parametrize(
    ("head", "why"),
    [
        pytest.param(b"CONNECT a.test HTTP/1.1\r\n\r\n", "the port is missing", id="no port"),
        pytest.param(b"CONNECT a.test:0 HTTP/1.1\r\n\r\n", "is no port", id="port 0"),
        pytest.param(b"CONNECT a.test:99999 HTTP/1.1\r\n\r\n", "is no port", id="port above 65535"),
        pytest.param(b"CONNECT a_%00:443 HTTP/1.1\r\n\r\n", "the host is not valid", id="no host"),
        pytest.param(b"CONNECT u@a.test:443 HTTP/1.1\r\n\r\n", "the host is not valid", id="user information"),
        pytest.param(b"CONNECT a.test:443 HTTP/2.0\r\n\r\n", "the request line is not", id="another version"),
        pytest.param(b"CONNECT  a.test:443 HTTP/1.1\r\n\r\n", "the request line is not", id="two spaces"),
        pytest.param(b"CONNECT a.test:443 HTTP/1.1 x\r\n\r\n", "the request line is not", id="a word too many"),
        pytest.param(b"CONNECT a.test:443 HTTP/1.1\nHost: b\r\n\r\n", "the request line is not", id="a bare line feed"),
        pytest.param(b"CONNECT " + b"a" * 1100 + b":443 HTTP/1.1\r\n\r\n", "the request line is not", id="a long name"),
        pytest.param(HEAD.replace(b"Host: a", b"Host: b"), "Host names another host", id="Host disagrees"),
        pytest.param(HEAD[:-2] + b"Host: b.test\r\n\r\n", "Host names another host", id="the second Host disagrees"),
        pytest.param(HEAD.replace(b"Host: a.test", b"Host: a b"), "Host is not valid", id="Host is none"),
        pytest.param(HEAD.replace(b"User", b"X" * 5000), "the head is larger than 4096 bytes", id="too large"),
        pytest.param(b"CONNECT " * 1000, "the head is larger than 4096 bytes", id="too large, without an end"),
        pytest.param(HEAD[:-2] + b"X: " + b"y" * 4030 + b"\r\n\r\n", "the head is larger than", id="just too large"),
    ],
)
def test_what_is_none_is_refused(run: Run, pair: Pair, head: bytes, why: str):
    with pytest.raises(BadConnect, match=why):
        read(run, pair, head)


def test_a_head_of_exactly_the_limit_is_read(run: Run, pair: Pair):
    head = HEAD[:-2] + b"X: "
    head += b"y" * (4096 - len(head) - 4) + b"\r\n\r\n"

    assert read(run, pair, head + AFTER).port == 443


def test_a_client_that_leaves_is_refused(run: Run, pair: Pair):
    client, accepted = pair
    client.sendall(HEAD[:-1])
    client.close()

    with pytest.raises(BadConnect, match="the client closed the connection"):
        run(read_connect(accepted, 4096, 5.0))


def test_a_client_that_dawdles_is_not_waited_for(run: Run, pair: Pair):
    with pytest.raises(TimeoutError):
        read(run, pair, HEAD[:-1], timeout_s=0.05)


@pytest.mark.parametrize(
    ("first", "so"),
    [(b"CONNECT a", True), (b"CONNECTa", False), (b"connect a", False), (b"GET / HTTP/1.1", False), (b"", False)],
)
def test_is_connect(first: bytes, so: bool):
    assert is_connect(first) is so


def test_pairs_are_of_tcp(pairs: Callable[[], Pair]):
    """What is peeked and then read must be so on a socket as the kernel hands it to us."""
    assert pairs()[1].family is socket.AF_INET
