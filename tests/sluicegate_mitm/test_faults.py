"""Every step fails once: nothing reaches the origin, the client gets an answer or a reset within a second, a record says why."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from mitmproxy import version
from mitmproxy.connection import Server
from mitmproxy.proxy.commands import OpenConnection

from sluicegate.exchange import Exchange
from sluicegate.exchange.content import Content
from sluicegate_mitm import handler as handlers
from sluicegate_mitm import layer, selfcheck, streams
from sluicegate_mitm.http1_client import Http1Client
from sluicegate_mitm.http1_server import Http1Server
from sluicegate_mitm.stream import ExchangeStream

BODY = b"a" * 3000


def fails(*_args: Any, **_more: Any):
    raise RuntimeError("a fault made for a test")


async def sink(reader: Any, writer: Any):
    await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(len(BODY))
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")
    await reader.read()


async def post(bed: Any, port: int, origin: int) -> bytes:
    head = f"POST / HTTP/1.1\r\nHost: origin.test:{origin}\r\nContent-Length: {len(BODY)}\r\nConnection: close\r\n\r\n"
    async with asyncio.timeout(1):
        return await bed.raw(port, head.encode() + BODY)


BEFORE = ["head", "data", "end", "take"]
AFTER = ["response", "response_data", "response_end"]


@pytest.mark.parametrize("step", [*BEFORE, *AFTER, "dialled"])
async def test_a_step_of_the_exchange_raises(bed: Any, monkeypatch: pytest.MonkeyPatch, step: str):
    """Exchange promises not to; the lane does not rely on it."""
    bed.may_crash = True
    monkeypatch.setattr(Exchange, step, fails)
    async with bed.origin(sink) as origin, bed.door(origin.port) as port:
        answer = await post(bed, port, origin.port)
        await bed.settle()
    assert not answer.endswith(b"0\r\n\r\n")
    assert BODY not in origin.received or step in AFTER
    assert bed.record()["reason"] == "crash"


@pytest.mark.parametrize("step", ["head", "feed", "finish"])
async def test_a_step_inside_the_exchange_raises(bed: Any, monkeypatch: pytest.MonkeyPatch, step: str):
    monkeypatch.setattr(Content, step, fails)
    async with bed.origin(sink) as origin, bed.door(origin.port) as port:
        answer = await post(bed, port, origin.port)
        await bed.settle()
    assert answer.startswith(b"HTTP/1.1 5")
    assert origin.connections == 0
    assert bed.record()["reason"] == "crash"


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        pytest.param(Http1Server, "_begin", id="reading a head"),
        pytest.param(Http1Server, "_read_body", id="reading a body"),
        pytest.param(ExchangeStream, "_begin", id="beginning a stream"),
        pytest.param(ExchangeStream, "_open", id="asking for upstream"),
        pytest.param(layer.StrictHttpLayer, "get_connection", id="choosing a connection"),
        pytest.param(layer.StrictHttpLayer, "register_connection", id="registering it"),
        pytest.param(handlers.StrictHandler, "_dial", id="dialling"),
        pytest.param(streams, "connected", id="wrapping the socket"),
        pytest.param(Http1Client, "_begin", id="reading an answer's head"),
        pytest.param(Http1Server, "_send_head", id="writing an answer's head"),
        pytest.param(Http1Server, "_sent", id="ending an answer"),
    ],
)
async def test_a_part_of_the_lane_raises(bed: Any, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str):
    bed.may_crash = True
    monkeypatch.setattr(owner, name, fails)
    after = name in {"_send_head", "_sent"} or owner is Http1Client
    async with bed.origin(sink) as origin, bed.door(origin.port) as port:
        answer = await post(bed, port, origin.port)
        await bed.settle()
    assert not answer.endswith(b"0\r\n\r\n")
    assert (BODY in origin.received) is after
    assert bed.record()["reason"] == "crash" or name == "_sent"


async def test_the_dial_raises_what_it_should_not(bed: Any):
    bed.may_crash = True

    async def dial(_permit: Any):
        raise ZeroDivisionError

    bed.gate.dial = dial
    async with bed.origin(sink) as origin, bed.door(origin.port) as port:
        assert await post(bed, port, origin.port) == b""
        await bed.settle()
    assert bed.record()["reason"] == "crash"


async def test_a_connection_without_a_permit_is_not_opened(bed: Any, monkeypatch: pytest.MonkeyPatch):
    """The second lock: a layer that asks for a connection of its own accord gets none."""
    begin = ExchangeStream._begin

    def sneaky(self: Any, event: Any):
        server = Server(address=("127.0.0.1", self._request_port(event)))
        yield OpenConnection(server)
        yield from begin(self, event)

    def request_port(_self: Any, event: Any):
        return int(dict(event.head.headers)[b"Host"].partition(b":")[2])

    monkeypatch.setattr(ExchangeStream, "_begin", sneaky)
    monkeypatch.setattr(ExchangeStream, "_request_port", request_port, raising=False)
    dialled = []
    dial = bed.gate.dial

    async def noted(permit: Any):
        dialled.append(permit)
        return await dial(permit)

    bed.gate.dial = noted
    async with bed.origin(sink) as origin, bed.door(origin.port) as port:
        assert b" 200 " in await post(bed, port, origin.port)
        await bed.settle()
    assert len(dialled) == origin.connections == 1


async def test_a_crash_says_nothing_of_what_was_sent(
    bed: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
):
    bed.may_crash = True

    def leaky(_self: Any, chunk: Any):
        raise ValueError(chunk)

    monkeypatch.setattr(Exchange, "data", leaky)
    async with bed.origin(sink) as origin, bed.door(origin.port) as port:
        await post(bed, port, origin.port)
        await bed.settle()
    said = "".join(capsys.readouterr()) + caplog.text  # whichever way another test has set up the log
    assert "lane crashed" in said
    assert "aaaa" not in said


async def test_no_socket_is_left_behind(bed: Any, monkeypatch: pytest.MonkeyPatch):
    """mitmproxy forgets the client's socket when a connection is ended while its handler waits."""
    bed.may_crash = True
    monkeypatch.setattr(Exchange, "data", fails)
    async with bed.origin(sink) as origin, bed.door(origin.port) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST / HTTP/1.1\r\nHost: origin.test:{origin.port}\r\nContent-Length: 100000000\r\n\r\n"
        with contextlib.suppress(ConnectionError):
            writer.write(head.encode())
            for _ in range(100):
                writer.write(b"a" * 100_000)
                await writer.drain()
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(1):
                await reader.read()
        writer.transport.abort()
        await bed.settle()


def test_the_mitmproxy_installed_is_the_one_this_was_written_for():
    selfcheck.check()


def test_another_mitmproxy_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(version, "VERSION", "12.3.0")
    with pytest.raises(
        selfcheck.WrongMitmproxy, match=r"mitmproxy 12\.3\.0 is installed: the mitm lane needs 12\.2\.3"
    ):
        selfcheck.check()


def test_a_missing_part_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr("mitmproxy.proxy.layers.http.HttpLayer.register_connection")
    with pytest.raises(
        selfcheck.WrongMitmproxy, match=r"lacks mitmproxy\.proxy\.layers\.http\.HttpLayer\.register_conn"
    ):
        selfcheck.check()
