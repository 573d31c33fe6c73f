"""Streams that a client takes back: how many, what becomes of their dials, and who else must not suffer (CVE-2023-44487)."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import pytest

from sluicegate_mitm import http2, layer

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class Web:
    """An HTTP/2 client that can say several things in one write."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        self.reader, self.writer, self._host = reader, writer, f"origin.test:{port}"
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.statuses: dict[int, str] = {}
        self.ended: set[int] = set()
        self.gone: int | None = None
        self.pinged = False

    def ask(self, method: str = "GET", *, end: bool = True) -> int:
        """Not sent before flush()."""
        stream = self.h2.get_next_available_stream_id()
        head = [(":method", method), (":scheme", "https"), (":authority", self._host), (":path", "/")]
        self.h2.send_headers(stream, head, end_stream=end)
        return stream

    def take_back(self, stream: int) -> None:
        self.h2.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)

    async def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())
        await self.writer.drain()

    async def read(self) -> bool:
        data = await self.reader.read(65536)
        for event in self.h2.receive_data(data):
            match event:
                case h2.events.ResponseReceived():
                    self.statuses[event.stream_id] = dict(event.headers)[":status"]
                case h2.events.DataReceived():
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                case h2.events.StreamEnded() | h2.events.StreamReset():
                    self.ended.add(event.stream_id)
                case h2.events.PingAckReceived():
                    self.pinged = True
                case h2.events.ConnectionTerminated():
                    self.gone = event.error_code
        if self.gone is None:
            await self.flush()
        return bool(data)

    async def heard(self) -> None:
        """Until the other side has read all that was sent."""
        self.h2.ping(b"8 octets")
        await self.flush()
        while not self.pinged:
            await self.read()

    async def answers(self, *streams: int) -> list[str | None]:
        async with asyncio.timeout(5):
            while not self.ended.issuperset(streams) and await self.read():
                pass
        return [self.statuses.get(stream) for stream in streams]

    async def end(self) -> int | None:
        """The error code of the GOAWAY it ends with."""
        with contextlib.suppress(ConnectionError, ssl.SSLError, h2.exceptions.ProtocolError):
            async with asyncio.timeout(5):
                while await self.read():
                    pass
        return self.gone


@contextlib.asynccontextmanager
async def client(bed: Any, door: int, port: int) -> AsyncIterator[Web]:
    context = bed.client_context(("h2",))
    reader, writer = await asyncio.open_connection("127.0.0.1", door, ssl=context, server_hostname="origin.test")
    try:
        yield Web(reader, writer, port)
    finally:
        writer.transport.abort()
        await bed.settle()


@contextlib.asynccontextmanager
async def between(bed: Any, talk: Any) -> AsyncIterator[tuple[Web, Any]]:
    """A client, and an origin that speaks HTTP/1."""
    async with (
        bed.origin(talk, tls=True) as origin,
        bed.door(origin.port) as port,
        client(bed, port, origin.port) as web,
    ):
        yield web, origin


async def hello(reader: Any, writer: Any):
    while True:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await writer.drain()


async def silent(reader: Any, _writer: Any):
    while await reader.read(65536):
        pass


@pytest.mark.parametrize("at_once", [1, 7, 100])
@pytest.mark.parametrize("talk", [pytest.param(hello, id="quick origin"), pytest.param(silent, id="slow origin")])
async def test_head_and_reset_in_one_write_are_counted(bed: Any, talk: Any, at_once: int):
    """hyper-h2 reports both, when the stream is closed already; the answer that came all the same once made up for it."""
    async with between(bed, talk) as (web, origin):
        with contextlib.suppress(ConnectionError):
            for _ in range(2000 // at_once):
                for _ in range(at_once):
                    web.take_back(web.ask())
                await web.flush()
        assert await web.end() == h2.errors.ErrorCodes.ENHANCE_YOUR_CALM
    assert origin.connections <= 2  # one dial is enough for all of them


async def test_a_reset_after_the_request_went_upstream_is_counted(bed: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http2, "MAX_RESETS", 5)
    monkeypatch.setattr(http2, "RESETS_A_SECOND", 0)
    arrived = asyncio.Queue[None]()

    async def talk(reader: Any, _writer: Any):
        await reader.readuntil(b"\r\n\r\n")
        arrived.put_nowait(None)
        await reader.read(1)

    async with between(bed, talk) as (web, origin):
        for _ in range(6):
            stream = web.ask()
            await web.flush()
            await arrived.get()
            web.take_back(stream)
        await web.flush()
        assert await web.end() == h2.errors.ErrorCodes.ENHANCE_YOUR_CALM
    assert origin.connections == 6


async def test_an_answer_that_waits_for_a_window_does_not_make_up_for_a_reset(
    bed: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(http2, "MAX_RESETS", 3)
    monkeypatch.setattr(http2, "RESETS_A_SECOND", 0)
    async with between(bed, hello) as (web, _):
        web.h2.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 0})
        await web.flush()
        while web.h2.local_settings.initial_window_size:  # until it is acknowledged
            await web.read()
        for _ in range(4):
            stream = web.ask()
            await web.flush()
            while stream not in web.statuses:
                await web.read()
            web.take_back(stream)
            await web.flush()
        assert await web.end() == h2.errors.ErrorCodes.ENHANCE_YOUR_CALM


async def test_who_lets_requests_finish_may_take_others_back(bed: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(http2, "MAX_RESETS", 3)
    monkeypatch.setattr(http2, "RESETS_A_SECOND", 0)
    async with between(bed, hello) as (web, _):
        for _ in range(12):
            web.take_back(web.ask())
            await web.flush()
            stream = web.ask()
            await web.flush()
            assert await web.answers(stream) == ["200"]


async def test_a_request_taken_back_ends_while_its_dial_goes_on(bed: Any, monkeypatch: pytest.MonkeyPatch):
    """It is recorded at once, and whoever asks next gets the connection."""
    going, asked = asyncio.Event(), asyncio.Event()
    dial = bed.gate.dial

    async def slow(permit: Any):
        asked.set()
        await going.wait()
        return await dial(permit)

    monkeypatch.setattr(bed.gate, "dial", slow)
    async with between(bed, hello) as (web, origin):
        first = web.ask()
        await web.flush()
        await asked.wait()
        web.take_back(first)
        await web.flush()
        await web.heard()
        bed.records(1)
        second = web.ask("POST", end=False)
        web.h2.send_data(second, b"some body")
        web.take_back(second)
        third = web.ask()
        await web.flush()
        going.set()
        assert await web.answers(third) == ["200"]
    assert origin.connections == 1
    assert origin.received.count(b" / HTTP/1.1\r\n") == 1
    records = bed.records(3)
    assert [record["status"] for record in records] == [None, None, 200]


@pytest.mark.parametrize("name", ["MAX_DIALS", "MAX_OPENED"])
async def test_what_is_beyond_the_budget_waits_and_is_answered(bed: Any, monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setattr(layer, name, 2)
    monkeypatch.setattr(layer, "OPENED_A_SECOND", 100)
    dial, now, most = bed.gate.dial, 0, 0

    async def counted(permit: Any):
        nonlocal now, most
        now += 1
        most = max(most, now)
        try:
            return await dial(permit)
        finally:
            now -= 1

    monkeypatch.setattr(bed.gate, "dial", counted)
    async with between(bed, hello) as (web, origin):
        streams = [web.ask() for _ in range(20)]
        await web.flush()
        for stream in streams[10:15]:
            web.take_back(stream)
        await web.flush()
        left = streams[:10] + streams[15:]
        assert await web.answers(*left) == ["200"] * 15
    assert origin.connections <= 20
    assert most <= 2 or name != "MAX_DIALS"
    bed.records(20)


async def test_streams_to_an_origin_of_http1_do_not_wait_in_line(bed: Any):
    """Once it is known to take one request at a time, each stream dials for itself."""
    together = asyncio.Barrier(8)

    async def talk(reader: Any, writer: Any):
        await reader.readuntil(b"\r\n\r\n")
        await together.wait()
        writer.write(OK)
        await writer.drain()

    async with between(bed, talk) as (web, origin):
        streams = [web.ask() for _ in range(8)]
        await web.flush()
        assert await web.answers(*streams) == ["200"] * 8
    assert origin.connections == 8


async def test_an_origin_that_cannot_be_reached_refuses_those_that_are_left(bed: Any):
    async with bed.door(1) as port, client(bed, port, 1) as web:
        streams = [web.ask() for _ in range(6)]
        for stream in streams[::2]:
            web.take_back(stream)
        await web.flush()
        assert await web.answers(*streams[1::2]) == ["502"] * 3
    assert sorted(record["verdict"] for record in bed.records(6)) == ["allow"] * 3 + ["deny"] * 3
