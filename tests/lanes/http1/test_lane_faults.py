"""Every step fails once: nothing reaches the origin, the client gets an answer or a reset within a second, a record says why."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from sluicegate.exchange import Exchange
from sluicegate.exchange.content import Content
from sluicegate.lanes.http1 import opening, writing
from sluicegate.lanes.http1.client import Client
from sluicegate.lanes.http1.passage import Passage
from sluicegate.lanes.http1.pool import Pool
from sluicegate.lanes.http1.requests import RequestReader
from sluicegate.lanes.http1.responses import ResponseReader
from sluicegate.lanes.http1.upstream import Upstream
from sluicegate.lanes.http1.written import Written

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


BEFORE = ["head", "data", "end", "take", "dialled"]
AFTER = ["response", "response_data", "response_end"]


@pytest.mark.parametrize("step", [*BEFORE, *AFTER])
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


NOTHING_SENT = [
    pytest.param(Client, "opened", id="taking up a connection"),
    pytest.param(RequestReader, "feed", id="reading"),
    pytest.param(RequestReader, "next", id="reading a head"),
    pytest.param(Client, "_begin", id="beginning a request"),
    pytest.param(Client, "place", id="naming the place"),
    pytest.param(Passage, "begin", id="judging a head"),
    pytest.param(Passage, "data", id="judging a body"),
    pytest.param(Passage, "end", id="judging its end"),
    pytest.param(Passage, "_open", id="asking for upstream"),
    pytest.param(Pool, "take", id="choosing a connection"),
    pytest.param(opening, "_address", id="looking at the socket"),
    pytest.param(Upstream, "opened", id="taking up an upstream connection"),
    pytest.param(Passage, "_attach", id="beginning upstream"),
    pytest.param(Upstream, "begin", id="expecting an answer"),
    pytest.param(writing, "request_head", id="writing a head"),
]
ALL_SENT = [
    pytest.param(ResponseReader, "feed", id="reading an answer"),
    pytest.param(ResponseReader, "next", id="reading an answer's head"),
    pytest.param(Passage, "response", id="passing on an answer's head"),
    pytest.param(Written, "response", id="writing an answer's head"),
    pytest.param(Passage, "response_data", id="passing on an answer"),
    pytest.param(Passage, "response_end", id="ending an answer"),
    pytest.param(Passage, "_let_go", id="letting upstream go"),
]


@pytest.mark.parametrize(("owner", "name"), NOTHING_SENT)
async def test_a_part_raises_before_anything_is_sent(bed: Any, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str):
    bed.may_crash = True
    monkeypatch.setattr(owner, name, fails)
    async with bed.origin(sink) as origin, bed.door(origin.port) as port:
        assert await post(bed, port, origin.port) == b""
        await bed.settle()
    assert not origin.received
    assert bed.record()["verdict"] == "deny"


@pytest.mark.parametrize(("owner", "name"), ALL_SENT)
async def test_a_part_raises_while_it_is_answered(bed: Any, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str):
    bed.may_crash = True
    monkeypatch.setattr(owner, name, fails)
    async with bed.origin(sink) as origin, bed.door(origin.port) as port:
        answer = await post(bed, port, origin.port)
        await bed.settle()
    assert not answer.endswith(b"0\r\n\r\n")
    assert BODY in origin.received
    assert bed.record()["reason"] == "crash"


@pytest.mark.parametrize("name", ["heard", "ended", "hold", "go_on"])
@pytest.mark.parametrize("owner", [Client, Upstream])
async def test_a_callback_itself_raises(bed: Any, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str):
    """The channel's last guard: both sides end, whatever it was."""
    bed.may_crash = True
    monkeypatch.setattr(owner, name, fails)
    async with bed.origin(sink) as origin, bed.door(origin.port) as port:
        answer = await post(bed, port, origin.port)
        await bed.settle()
    assert (name == "heard") is not answer.endswith(b"0\r\n\r\n")
    bed.record()


async def test_a_tick_that_raises_stops_no_other(bed: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Client, "tick", fails)
    async with bed.origin(sink) as origin, bed.door(origin.port) as port:
        assert b" 200 " in await post(bed, port, origin.port)
        await bed.settle()
    assert bed.record()["verdict"] == "allow"


async def test_the_dial_raises_what_it_should_not(bed: Any):
    bed.may_crash = True

    async def dial(_permit: Any):
        raise ZeroDivisionError

    bed.gate.dial = dial
    async with bed.origin(sink) as origin, bed.door(origin.port) as port:
        assert await post(bed, port, origin.port) == b""
        await bed.settle()
    assert bed.record()["reason"] == "crash"


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
