"""Tunnels through HTTP/1: offers to switch protocols, WebSockets, and answers that two clients read differently."""

from __future__ import annotations

import base64
import hashlib

import pytest

from net.attacker import Attacker, head, refused

pytestmark = pytest.mark.net

GET = b"GET /x HTTP/1.1\r\nHost: good.test\r\n\r\n"
EVIL = b"GET /stolen HTTP/1.1\r\nHost: evil.test\r\n\r\n"
SECRET = b"AKIA" + b"Z7VR5SNQ2LKX4WTD"

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
WEBSOCKET = (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: " + KEY)


@pytest.mark.parametrize("offer", [b"h2c", b"connect-udp", b"connect-ip", b"TLS/1.2", b"websocket, h2c", b"foo"])
def test_offers_of_another_protocol_are_not_passed_on(attacker: Attacker, offer: bytes) -> None:
    fields = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: " + offer, b"HTTP2-Settings: AAMAAABkAAQAAP__")
    line, answer = attacker.ask(head(b"GET /x HTTP/1.1", b"Host: good.test", *fields))
    assert answer.status == 200
    assert attacker.origin.data == GET
    line.send(EVIL)
    assert line.answers()[0].status == 421


@pytest.mark.parametrize("offer", [b"websocket", b"h2c", b"connect-udp"])
def test_a_switch_of_protocols_that_was_not_agreed_on_is_not_passed_on(attacker: Attacker, offer: bytes) -> None:
    attacker.origin.answer = lambda _h, _b: (
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\ntunnel" % offer
    )
    fields = WEBSOCKET if offer == b"websocket" else (b"Connection: Upgrade", b"Upgrade: " + offer)
    line, answer = attacker.ask(head(b"GET /x HTTP/1.1", b"Host: good.test", *fields))
    line.send(b"secret through the tunnel")
    assert (answer.status, attacker.reason(line)) == (502, "upstream-broke")
    assert b"tunnel" not in answer.body
    assert b"through" not in attacker.origin.data


def test_a_websocket_needs_the_permit_of_its_path(attacker: Attacker) -> None:
    refused(attacker, head(b"GET /ws HTTP/1.1", b"Host: narrow.test", *WEBSOCKET), 403, "no-rule", sni="narrow.test")


def test_a_websocket_carries_frames_and_nothing_else(attacker: Attacker) -> None:
    accept = base64.b64encode(hashlib.sha1(KEY + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    attacker.origin.answer = lambda _h, _b: (
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept
    )
    line = attacker.tls()
    line.send(head(b"GET /x HTTP/1.1", b"Host: good.test", *WEBSOCKET))
    assert line.read(lambda data: b"\r\n\r\n" in data).startswith(b"HTTP/1.1 101 ")
    before = attacker.origin.data
    line.send(b"SSH-2.0-OpenSSH_9.6\r\n" + SECRET)
    line.read()
    assert line.end != "open"
    assert attacker.reason(line) in {"bad-request", "sensitive-data"}
    assert attacker.origin.data.removeprefix(before) == b"" or SECRET not in attacker.origin.data


def test_alt_svc_does_not_move_the_client(attacker: Attacker) -> None:
    attacker.origin.answer = lambda _h, _b: (
        b'HTTP/1.1 200 OK\r\nAlt-Svc: h3=":443"; ma=86400\r\nContent-Length: 2\r\n\r\nok'
    )
    _line, answer = attacker.ask(GET)
    assert b"alt-svc" not in answer.head.lower()


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk", id="two lengths"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="both"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", id="gzip"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b\r\nContent-Length: 0\r\n\r\n", id="a bare CR"),
        pytest.param(b"220 mail.test ESMTP\r\n\r\n", id="SMTP"),
        pytest.param(b"HTTP/3.0 200 OK\r\n\r\n", id="another version"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", id="a head of 70 KB"),
    ],
)
def test_an_answer_that_two_clients_read_differently_is_not_passed_on(attacker: Attacker, said: bytes) -> None:
    attacker.origin.answer = lambda _head, _body: said
    line, answer = attacker.ask(GET)
    assert (answer.status, attacker.reason(line)) == (502, "upstream-broke")
