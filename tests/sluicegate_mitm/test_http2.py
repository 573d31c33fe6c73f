from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import hyperframe.frame
import pytest

from sluicegate_mitm import http2

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


class Client:
    """An HTTP/2 client that offers nothing else."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
        self.reader, self.writer, self.port = reader, writer, port
        config = h2.config.H2Configuration(header_encoding="utf-8", validate_outbound_headers=False)
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.seen: dict[int, list[Any]] = {}
        self.ended: set[int] = set()
        self.flush()

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())

    def request(
        self, *more: tuple[str, str], method: str = "GET", path: str = "/", host: str = "origin.test", end: bool = True
    ):
        stream = self.h2.get_next_available_stream_id()
        head = [
            (":method", method),
            (":scheme", "https"),
            (":authority", f"{host}:{self.port}"),
            (":path", path),
            *more,
        ]
        self.h2.send_headers(stream, head, end_stream=end)
        self.flush()
        return stream

    async def send(self, stream: int, data: bytes, *, end: bool = False) -> None:
        """Sends within the windows; waits for them."""
        while data:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            if not room:
                await self.read()
                continue
            self.h2.send_data(stream, data[:room])
            data = data[room:]
            self.flush()
            await self.writer.drain()
        if end:
            self.h2.end_stream(stream)
            self.flush()

    async def read(self, *, acknowledge: bool = True) -> bool:
        data = await self.reader.read(65536)
        for event in self.h2.receive_data(data):
            stream = getattr(event, "stream_id", 0) or 0
            self.seen.setdefault(stream, []).append(event)
            if isinstance(event, h2.events.DataReceived) and acknowledge:
                self.h2.acknowledge_received_data(event.flow_controlled_length, stream)
            if isinstance(event, h2.events.StreamEnded | h2.events.StreamReset):
                self.ended.add(stream)
        self.flush()
        return bool(data)

    async def answer(self, stream: int):
        """(status, headers, body) of a stream that ends; the body is None where it was reset."""
        async with asyncio.timeout(5):
            while stream not in self.ended and await self.read():
                pass
        events = self.seen.get(stream, [])
        head = next((dict(e.headers) for e in events if isinstance(e, h2.events.ResponseReceived)), {})
        body = b"".join(e.data for e in events if isinstance(e, h2.events.DataReceived))
        ended = any(isinstance(e, h2.events.StreamEnded) for e in events)
        return head.get(":status"), head, body if ended else None


@contextlib.asynccontextmanager
async def client(bed: Any, door: int, port: int):
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", door, ssl=bed.client_context(("h2",)), server_hostname="origin.test"
    )
    try:
        yield Client(reader, writer, port)
    finally:
        writer.transport.abort()
        await bed.settle()


class Server:
    """An HTTP/2 origin; `on` gets each event."""

    def __init__(self, on: Any) -> None:
        self.on = on
        self.heads: list[dict[str, str]] = []
        self.body = bytearray()

    async def __call__(self, reader: Any, writer: Any) -> None:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        connection.initiate_connection()
        writer.write(connection.data_to_send())
        while data := await reader.read(65536):
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    self.heads.append(dict(event.headers))
                if isinstance(event, h2.events.DataReceived):
                    self.body += event.data
                await self.on(connection, event, writer)
            writer.write(connection.data_to_send())
            await writer.drain()


async def hello1(reader: Any, writer: Any):
    while True:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await writer.drain()


async def hello2(connection: Any, event: Any, _writer: Any):
    if isinstance(event, h2.events.DataReceived):
        connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
    if isinstance(event, h2.events.StreamEnded):
        connection.send_headers(event.stream_id, [(":status", "200"), ("x-origin", "yes")])
        connection.send_data(event.stream_id, b"hello", end_stream=True)


async def test_http2_to_an_http2_origin(bed: Any):
    server = Server(hello2)
    async with (
        bed.origin(server, tls=True, alpn=("h2",)) as origin,
        bed.door(origin.port) as port,
        client(bed, port, origin.port) as web,
    ):
        status, head, body = await web.answer(web.request(("x-a", "b"), path="/p?q"))
    assert (status, body, head["x-origin"]) == ("200", b"hello", "yes")
    assert server.heads == [
        {":method": "GET", ":scheme": "https", ":authority": f"origin.test:{origin.port}", ":path": "/p?q", "x-a": "b"}
    ]
    assert bed.record()["status"] == 200


async def test_http2_to_an_http1_origin(bed: Any):
    async with (
        bed.origin(hello1, tls=True) as origin,
        bed.door(origin.port) as port,
        client(bed, port, origin.port) as web,
    ):
        streams = [web.request(("cookie", "a=1"), ("cookie", "b=2"), path=f"/{n}") for n in range(8)]
        answers = [await web.answer(stream) for stream in streams]
    assert [(status, body) for status, _, body in answers] == [("200", b"hello")] * 8
    assert b"Cookie: a=1; b=2\r\n" in origin.received
    bed.records(8)


async def test_streams_are_refused_one_by_one(bed: Any):
    server = Server(hello2)
    async with (
        bed.origin(server, tls=True, alpn=("h2",)) as origin,
        bed.door(origin.port) as port,
        client(bed, port, origin.port) as web,
    ):
        good, bad = web.request(path="/good"), web.request(host="other.test", path="/bad")
        secret = web.request(("x-note", f"{bed.secret}"), path="/secret")
        statuses = [(await web.answer(stream))[0] for stream in (good, bad, secret)]
    assert statuses == ["200", "421", "403"]
    assert [head[":path"] for head in server.heads] == ["/good"]
    assert sorted(record["reason"] for record in bed.records(3)) == ["names-disagree", "rule", "sensitive-data"]


async def test_a_refused_upload_is_asked_to_stop(bed: Any):
    server = Server(hello2)
    async with (
        bed.origin(server, tls=True, alpn=("h2",)) as origin,
        bed.door(origin.port) as port,
        client(bed, port, origin.port) as web,
    ):
        stream = web.request(method="POST", end=False)
        await web.send(stream, f"key {bed.secret} ".encode())
        web.h2.send_data(stream, b" more", end_stream=False)
        web.flush()
        other = web.request(path="/other")
        assert (await web.answer(other))[0] == "200"
        web.h2.end_stream(stream)
        web.flush()
        assert (await web.answer(stream))[0] == "403"
    assert [head[":path"] for head in server.heads] == ["/other"]


async def test_a_large_upload_arrives_whole(bed: Any):
    server = Server(hello2)
    async with (
        bed.origin(server, tls=True, alpn=("h2",)) as origin,
        bed.door(origin.port) as port,
        client(bed, port, origin.port) as web,
    ):
        stream = web.request(method="POST", end=False)
        await web.send(stream, b"0123456789" * 500_000, end=True)
        status, _, _ = await web.answer(stream)
    assert status == "200"
    assert len(server.body) == 5_000_000
    assert bed.record()["bytes"]["up"] == 5_000_000


async def test_a_large_upload_to_an_http1_origin_arrives_whole(bed: Any):
    async def talk(reader: Any, writer: Any):
        await reader.readuntil(b"\r\n\r\n")
        size = 0
        while count := int(await reader.readline(), 16):
            await reader.readexactly(count + 2)
            size += count
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n%d" % size)

    async with (
        bed.origin(talk, tls=True) as origin,
        bed.door(origin.port) as port,
        client(bed, port, origin.port) as web,
    ):
        stream = web.request(method="POST", end=False)
        await web.send(stream, b"a" * 3_000_000, end=True)
        assert (await web.answer(stream))[2] == b"3000000"


async def test_a_stalled_origin_stalls_the_client(bed: Any):
    """Stock mitmproxy takes all that the client has, and keeps it in memory."""

    async def never(connection: Any, event: Any, _writer: Any):
        pass  # no acknowledgement: the windows stay shut

    server = Server(never)
    async with (
        bed.origin(server, tls=True, alpn=("h2",)) as origin,
        bed.door(origin.port) as port,
        client(bed, port, origin.port) as web,
    ):
        stream = web.request(method="POST", end=False)
        sent = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.8):
                for _ in range(100):
                    await web.send(stream, b"a" * 100_000)
                    sent += 100_000
    assert sent < 4_000_000
    assert len(server.body) <= 65_535


async def test_a_stalled_client_stalls_the_origin(bed: Any):
    sent = 0

    async def flood(reader: Any, writer: Any):
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        for _ in range(1000):
            writer.write(b"a" * 100_000)
            await writer.drain()
            sent += 100_000

    async with (
        bed.origin(flood, tls=True) as origin,
        bed.door(origin.port) as port,
        client(bed, port, origin.port) as web,
    ):
        web.request()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.8):
                while await web.read(acknowledge=False):
                    pass
    assert sent < 20_000_000  # what the kernel's buffers take, and a little of ours


async def test_an_origin_that_breaks_off_is_seen_to_break_off(bed: Any):
    async def cut(reader: Any, writer: Any):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhal")
        await writer.drain()

    async with (
        bed.origin(cut, tls=True) as origin,
        bed.door(origin.port) as port,
        client(bed, port, origin.port) as web,
    ):
        status, _, body = await web.answer(web.request())
    assert (status, body) == ("200", None)
    assert bed.record()["reason"] == "upstream-broke"


async def test_an_origin_that_leaves_finishes_what_it_took(bed: Any):
    """nginx sends GOAWAY after a thousand requests, and answers those that are on their way."""

    async def leaving(connection: Any, event: Any, writer: Any):
        if isinstance(event, h2.events.StreamEnded):
            away = hyperframe.frame.GoAwayFrame(0, last_stream_id=event.stream_id)
            writer.write(connection.data_to_send() + away.serialize())
            connection.ping(b"12345678")
            connection.send_headers(event.stream_id, [(":status", "200")])
            connection.send_data(event.stream_id, b"still", end_stream=True)

    server = Server(leaving)
    async with (
        bed.origin(server, tls=True, alpn=("h2",)) as origin,
        bed.door(origin.port) as port,
        client(bed, port, origin.port) as web,
    ):
        for _ in range(3):
            assert (await web.answer(web.request()))[::2] == ("200", b"still")
    assert origin.connections == 3


async def test_a_long_lived_connection_keeps_nothing(bed: Any, monkeypatch: pytest.MonkeyPatch):
    made: list[http2.Http2ClientBounded] = []
    begun = http2.Http2ClientBounded.__init__

    def noted(self: Any, *args: Any) -> None:
        made.append(self)
        begun(self, *args)

    monkeypatch.setattr(http2, "_NUMBERS", 20)
    monkeypatch.setattr(http2.Http2ClientBounded, "__init__", noted)
    server = Server(hello2)
    async with (
        bed.origin(server, tls=True, alpn=("h2",)) as origin,
        bed.door(origin.port) as port,
        client(bed, port, origin.port) as web,
    ):
        for _ in range(100):
            assert (await web.answer(web.request()))[0] == "200"
    (upstream,) = made
    assert len(upstream.their_stream_id) <= 21
    assert len(upstream.our_stream_id) <= 21
    assert len(upstream.streams) <= 1


async def test_a_stream_that_the_client_resets_ends_upstream(bed: Any):
    resets: list[int] = []
    asked, done = asyncio.Event(), asyncio.Event()

    async def on(_connection: Any, event: Any, _writer: Any):
        if isinstance(event, h2.events.RequestReceived):
            asked.set()
        if isinstance(event, h2.events.StreamReset):
            resets.append(event.stream_id)
            done.set()

    server = Server(on)
    async with (
        bed.origin(server, tls=True, alpn=("h2",)) as origin,
        bed.door(origin.port) as port,
        client(bed, port, origin.port) as web,
    ):
        stream = web.request()
        await asked.wait()
        web.h2.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
        web.flush()
        async with asyncio.timeout(2):
            await done.wait()
    assert resets == [1]
    assert bed.record()["status"] is None


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([(":authority", "origin.test"), (":authority", "other.test")], id="two authorities"),
        pytest.param([(":authority", "{h}"), ("host", "other.test"), ("host", "{h}")], id="hosts, the last one agrees"),
        pytest.param([(":authority", "{h}"), ("host", "other.test")], id="another host"),
        pytest.param([(":authority", "{h}"), (":protocol", "websocket")], id="extended CONNECT"),
        pytest.param([(":authority", "{h}"), ("transfer-encoding", "chunked")], id="transfer-encoding"),
        pytest.param([(":authority", "{h}"), ("x", "a\r\nhost: other.test")], id="a line end in a value"),
        pytest.param([(":authority", "{h}"), ("X-Upper", "a")], id="upper case"),
    ],
)
async def test_malformed_heads_never_go_upstream(bed: Any, fields: Any):
    server = Server(hello2)
    async with (
        bed.origin(server, tls=True, alpn=("h2",)) as origin,
        bed.door(origin.port) as port,
        client(bed, port, origin.port) as web,
    ):
        head = [(":method", "GET"), (":scheme", "https"), (":path", "/")]
        head += [(name, value.replace("{h}", f"origin.test:{origin.port}")) for name, value in fields]
        web.h2.config.normalize_outbound_headers = False
        web.h2.send_headers(1, head, end_stream=True)
        web.flush()
        with contextlib.suppress(Exception):
            status, _, _ = await web.answer(1)
            assert status is None or status.startswith("4")
    assert server.heads == []
    assert bed.record()["verdict"] == "deny"


async def ends(web: Client) -> bool:
    """Whether the gateway closes the connection."""
    try:
        async with asyncio.timeout(3):
            while await web.read():
                pass
    except (ConnectionError, ssl.SSLError, h2.exceptions.ProtocolError):
        pass
    return True


async def test_rapid_reset_ends_the_connection(bed: Any):
    async def never(_connection: Any, _event: Any, _writer: Any):
        pass

    server = Server(never)
    async with (
        bed.origin(server, tls=True, alpn=("h2",)) as origin,
        bed.door(origin.port) as port,
        client(bed, port, origin.port) as web,
    ):
        with contextlib.suppress(ConnectionError):
            for _ in range(400):
                web.h2.reset_stream(web.request(), h2.errors.ErrorCodes.CANCEL)
                web.flush()
                await web.writer.drain()
        assert await ends(web)
    assert len(server.heads) <= 200


async def test_a_continuation_flood_ends_the_connection(bed: Any):
    async with (
        bed.origin(hello1, tls=True) as origin,
        bed.door(origin.port) as port,
        client(bed, port, origin.port) as web,
    ):
        head = hyperframe.frame.HeadersFrame(1, data=b"")
        web.writer.write(head.serialize())
        with contextlib.suppress(ConnectionError):
            for _ in range(200):
                more = hyperframe.frame.ContinuationFrame(1, data=b"\x00" * 16_000)
                web.writer.write(more.serialize())
                await web.writer.drain()
        assert await ends(web)
    assert origin.connections == 0
    assert bed.record()["reason"] == "bad-request"


async def test_a_large_header_list_ends_the_connection(bed: Any):
    async with (
        bed.origin(hello1, tls=True) as origin,
        bed.door(origin.port) as port,
        client(bed, port, origin.port) as web,
    ):
        web.request(*((f"x-{n}", "a" * 1000) for n in range(80)))
        assert await ends(web)
    assert origin.connections == 0
    assert bed.record()["verdict"] == "deny"


async def test_what_is_not_http2_after_all_is_reset(bed: Any):
    async with bed.origin(hello1, tls=True) as origin, bed.door(origin.port) as port:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=bed.client_context(("h2",)), server_hostname="origin.test"
        )
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            async with asyncio.timeout(2):
                while await reader.read(65536):
                    pass
        writer.transport.abort()
        await bed.settle()
    assert bed.record()["reason"] == "not-http"
