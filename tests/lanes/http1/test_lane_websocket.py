from __future__ import annotations

import asyncio
import base64
import contextlib
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed, InvalidStatus

from sluicegate.verdict import Deny, Reason, built_in

HANDSHAKE = (
    "GET /ws HTTP/1.1\r\nHost: origin.test:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Echo:
    """A WebSocket server of another hand."""

    def __init__(self) -> None:
        self.seen: list[str | bytes] = []
        self.extensions: str | None = None
        self.closed = asyncio.Event()

    async def __call__(self, socket: Any) -> None:
        self.extensions = socket.request.headers.get("Sec-WebSocket-Extensions")
        try:
            async for message in socket:
                self.seen.append(message)
                await socket.send(message)
        except ConnectionClosed:
            pass
        finally:
            self.closed.set()


@contextlib.asynccontextmanager
async def between(bed: Any):
    """(echo, a function that connects a client to it through the lane)."""
    echo = Echo()
    async with serve(echo, "127.0.0.1", 0, ssl=bed.origin_context(), max_size=None) as server:
        origin = server.sockets[0].getsockname()[1]
        async with bed.door(origin) as port:

            def opened(**more: Any):
                uri = f"wss://origin.test:{origin}/ws"
                ssl = bed.client_context()
                return connect(uri, host="127.0.0.1", port=port, ssl=ssl, proxy=None, max_size=None, **more)

            yield echo, opened
            await bed.settle()


async def test_messages_pass_both_ways_and_leave_one_record(bed: Any):
    async with between(bed) as (echo, opened):
        async with opened() as client:
            for message in ("grüße", b"\x00\xff" * 1000, "", "a" * 500_000):
                await client.send(message)
                assert await client.recv() == message
            pong = await client.ping(b"are you there")
            await asyncio.wait_for(pong, 2)
        assert client.close_code == 1000
    assert echo.extensions is None  # nobody compresses
    record = bed.record()
    assert (record["status"], record["verdict"]) == (101, "allow")
    assert record["bytes"]["up"] >= 500_000


async def test_a_fragmented_message_is_one(bed: Any):
    async with between(bed) as (echo, opened), opened() as client:
        await client.send(iter(["one ", "two ", "three"]))
        assert await client.recv() == "one two three"
    assert echo.seen == ["one two three"]


async def test_a_secret_closes_with_1008_before_it_has_left(bed: Any):
    async with between(bed) as (echo, opened):
        async with opened() as client:
            await client.send("harmless")
            assert await client.recv() == "harmless"
            half = len(bed.secret) // 2
            await client.send(iter([f"key={bed.secret[:half]}", bed.secret[half:] + " ."]))
            with pytest.raises(ConnectionClosed) as closed:
                await asyncio.wait_for(client.recv(), 2)
        assert closed.value.rcvd.code == 1008
        assert "sensitive-data" in closed.value.rcvd.reason
        await asyncio.wait_for(echo.closed.wait(), 2)
    assert echo.seen == ["harmless"]
    assert bed.record()["reason"] == "sensitive-data"


@pytest.mark.parametrize("where", ["ping", "close"])
async def test_control_frames_carry_no_secret(bed: Any, where: str):
    async with between(bed) as (echo, opened), opened() as client:
        if where == "ping":
            await client.ping(f"x {bed.secret} .".encode())
        else:
            await client.close(1000, f"x {bed.secret} .")
        await asyncio.wait_for(echo.closed.wait(), 2)
    assert bed.record()["reason"] == "sensitive-data"


async def test_a_message_above_the_limit_closes(bed: Any):
    async with between(bed) as (echo, opened), opened() as client:
        with contextlib.suppress(ConnectionClosed):
            await client.send(b"a" * (bed.gate.limits.message + 1))
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(client.recv(), 2)
    assert echo.seen == []
    assert bed.record()["reason"] == "message-too-large"


async def test_the_origin_closing_is_passed_on(bed: Any):
    async def bye(socket: Any):
        await socket.close(4000, "so long")

    async with serve(bye, "127.0.0.1", 0, ssl=bed.origin_context()) as server:
        origin = server.sockets[0].getsockname()[1]
        async with bed.door(origin) as port:
            uri, ssl = f"wss://origin.test:{origin}/ws", bed.client_context()
            async with connect(uri, host="127.0.0.1", port=port, ssl=ssl, proxy=None) as client:
                with pytest.raises(ConnectionClosed) as closed:
                    await asyncio.wait_for(client.recv(), 2)
            await bed.settle()
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4000, "so long")


async def test_a_handshake_that_the_origin_declines_is_an_ordinary_answer(bed: Any):
    async def no(reader: Any, writer: Any):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno")
        await reader.read()

    async with bed.origin(no, tls=True) as origin, bed.door(origin.port) as port:
        uri, ssl = f"wss://origin.test:{origin.port}/ws", bed.client_context()
        with pytest.raises(InvalidStatus):
            await connect(uri, host="127.0.0.1", port=port, ssl=ssl, proxy=None)
        await bed.settle()
    assert bed.record()["status"] == 404


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param("Upgrade: websocket\r\nConnection: Upgrade\r\n", id="no accept"),
        pytest.param("Upgrade: websocket\r\nSec-WebSocket-Accept: AAAA\r\n", id="a wrong accept"),
        pytest.param("Upgrade: h2c\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n", id="another protocol"),
        pytest.param(
            "Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
            "Sec-WebSocket-Extensions: permessage-deflate\r\n",
            id="compression that nobody offered",
        ),
    ],
)
async def test_a_101_that_is_no_websocket_is_502(bed: Any, fields: str):
    async def talk(reader: Any, writer: Any):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 101 Switching Protocols\r\n{fields}\r\ntunnel!".encode())
        await reader.read()

    async with bed.origin(talk) as origin, bed.door(origin.port) as port:
        answer = await bed.ask(port, HANDSHAKE.format(port=origin.port).encode())
        await bed.settle()
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert b"tunnel!" not in answer
    assert bed.record()["reason"] == "upstream-broke"


async def test_bytes_that_are_no_frames_end_it(bed: Any):
    echo = Echo()
    async with serve(echo, "127.0.0.1", 0) as server:
        origin = server.sockets[0].getsockname()[1]
        async with bed.door(origin) as port:
            garbage = base64.b64decode("/////w==") * 10
            answer = await bed.raw(port, HANDSHAKE.format(port=origin).encode() + garbage)
            await bed.settle()
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert echo.seen == []
    assert bed.record()["reason"] == "bad-request"


async def test_a_reload_that_refuses_closes_with_1008(bed: Any):
    async with between(bed) as (_, opened):
        async with opened() as client:
            await client.send("hello")
            assert await client.recv() == "hello"
            (exchange,) = bed.gate.live
            refusing = _Refusing(bed.gate.snapshot)
            exchange.recheck(refusing)
            with pytest.raises(ConnectionClosed) as closed:
                await asyncio.wait_for(client.recv(), 2)
        assert closed.value.rcvd.code == 1008
    assert bed.record()["reason"] == "reloaded"


class _Refusing:
    def __init__(self, snapshot: Any) -> None:
        self._snapshot = snapshot

    def decide(self, ask: Any, aliases: Any = ()):  # as Snapshot's
        return Deny(Reason.RULE_DENY, built_in("test"), "no more")
