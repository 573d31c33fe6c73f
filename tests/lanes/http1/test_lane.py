from __future__ import annotations

import asyncio
import contextlib
import re
from typing import Any

import pytest

from sluicegate.facts import Hello, Wire
from sluicegate.lanes.http1 import client, clock

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Origin: yes\r\n\r\nhello"


def answering(*answers: bytes):
    """An origin that gives these answers, one per head that it reads, and then waits."""

    async def talk(reader: Any, writer: Any):
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        await reader.read()

    return talk


def get(port: int, path: str = "/", host: str = "origin.test", more: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n{more}\r\n".encode()


def post(port: int, body: bytes, more: str = "", path: str = "/up") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: origin.test:{port}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


CLOSE = "Connection: close\r\n"


async def echo_length(reader: Any, writer: Any):
    """Answers each request with the length of its body, whatever its framing."""
    with contextlib.suppress(asyncio.IncompleteReadError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            size = 0
            if b"transfer-encoding: chunked" in head:
                while count := int(await reader.readline(), 16):
                    await reader.readexactly(count + 2)
                    size += count
                await reader.readline()
            elif b"content-length: " in head:
                size = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
                await reader.readexactly(size)
            body = b"%d" % size
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            await writer.drain()


async def test_a_plain_request_goes_through_and_leaves_one_record(bed: Any):
    async with bed.origin(answering(OK)) as origin, bed.door(origin.port) as port:
        answer = await bed.raw(port, get(origin.port, "/a?b=c", more=CLOSE))
        await bed.settle()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\nhello")
    assert bytes(origin.received) == f"GET /a?b=c HTTP/1.1\r\nHost: origin.test:{origin.port}\r\n\r\n".encode()
    record = bed.record()
    assert (record["verdict"], record["host"], record["status"]) == ("allow", "origin.test", 200)


async def test_a_denied_name_is_answered_and_nothing_goes_upstream(bed: Any):
    async with bed.origin(answering(OK)) as origin, bed.door(origin.port) as port:
        answer = await bed.raw(port, get(origin.port, host="denied.test", more=CLOSE))
        await bed.settle()
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert origin.connections == 0
    assert bed.record()["reason"] == "rule-deny"


async def test_requests_of_one_connection_share_an_upstream_one(bed: Any):
    async with bed.origin(answering(OK, OK, OK)) as origin, bed.door(origin.port) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for path in ("/1", "/2", "/3"):
            writer.write(get(origin.port, path))
            assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200 ")
        writer.close()
        await bed.settle()
    assert origin.connections == 1
    assert [record["path"] for record in bed.records(3)] == ["/1", "/2", "/3"]


async def test_pipelined_requests_are_answered_in_order_and_each_decided(bed: Any):
    async with bed.origin(answering(OK, OK)) as origin, bed.door(origin.port) as port:
        requests = get(origin.port, "/1") + get(origin.port, "/2", "denied.test") + get(origin.port, "/3", more=CLOSE)
        answer = await bed.raw(port, requests)
        await bed.settle()
    assert re.findall(rb"HTTP/1.1 (\d+) ", answer) == [b"200", b"403", b"200"]
    assert b"/2" not in origin.received
    assert [record["verdict"] for record in bed.records(3)] == ["allow", "deny", "allow"]


async def test_a_refused_get_keeps_the_connection(bed: Any):
    async with bed.origin(answering(OK)) as origin, bed.door(origin.port) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get(origin.port, host="denied.test"))
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
        writer.write(get(origin.port))
        assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200 ")
        writer.close()
        await bed.settle()


@pytest.mark.parametrize(
    ("request_", "status", "reason"),
    [
        pytest.param("GET / HTTP/1.1\r\n\r\n", 400, "bad-request", id="no host"),
        pytest.param("GET / HTTP/1.1\r\nHost: {h}\r\nHost: {h}\r\n\r\n", 400, "bad-request", id="two hosts"),
        pytest.param("GET / HTTP/1.1\r\nHost: {h}\r\n folded\r\n\r\n", 400, "bad-request", id="folded field"),
        pytest.param("GET / HTTP/1.1\r\nHost: {h}\r\nX: a\rb\r\n\r\n", 400, "bad-request", id="bare CR in a value"),
        pytest.param("GET / HTTP/1.1\r\nHost: {h}\r\nX : a\r\n\r\n", 400, "bad-request", id="space before the colon"),
        pytest.param("GET / HTTP/1.2\r\nHost: {h}\r\n\r\n", 505, "bad-request", id="HTTP/1.2"),
        pytest.param("GET  / HTTP/1.1\r\nHost: {h}\r\n\r\n", 400, "bad-request", id="two spaces"),
        pytest.param("GET http://other.test/ HTTP/1.1\r\nHost: {h}\r\n\r\n", 400, "bad-request", id="absolute form elsewhere"),
        pytest.param("CONNECT {h} HTTP/1.1\r\nHost: {h}\r\n\r\n", 400, "bad-request", id="CONNECT"),
        pytest.param(
            "POST / HTTP/1.1\r\nHost: {h}\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400, "bad-request", id="two framings",
        ),
        pytest.param(
            "POST / HTTP/1.1\r\nHost: {h}\r\nTransfer-Encoding: chunked\r\n\r\nxx\r\n", 400, "bad-request", id="bad chunk"
        ),
        pytest.param("GET / HTTP/1.1\r\nHost: {h}\r\nX: " + "a" * 70_000, 431, "head-too-large", id="one long field"),
        pytest.param("GET / HTTP/1.1\r\nHost: {h}\r\n" + "a:\r\n" * 20_000, 431, "head-too-large", id="many tiny fields"),
        pytest.param("GET /" + "a" * 70_000 + " HTTP/1.1\r\nHost: {h}\r\n\r\n", 431, "head-too-large", id="long target"),
        pytest.param(
            "GET / HTTP/1.1\r\nHost: {h}\r\n" + "a: b\r\n" * 201 + "\r\n", 431, "head-too-large", id="201 fields"
        ),
    ],
)  # fmt: skip
async def test_what_is_malformed_is_answered_and_recorded(bed: Any, request_: str, status: int, reason: str):
    async with bed.origin(answering(OK)) as origin, bed.door(origin.port) as port:
        text = request_.replace("{h}", f"origin.test:{origin.port}")
        answer = await bed.raw(port, text.encode())
        await bed.settle()
    assert answer.startswith(b"HTTP/1.1 %d " % status), answer[:200]
    assert origin.connections == 0
    assert bed.record()["reason"] == reason


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"SSH-2.0-OpenSSH_9.2p1\r\n", id="another protocol"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00", id="TLS"),
        pytest.param(b"\x00\x01secret", id="binary"),
        pytest.param(b"GET\x0b/x\x0cHTTP/1.1\n\n", id="other white space"),
        pytest.param(b"GET /\r\n", id="HTTP/0.9"),
        pytest.param(b"* OK IMAP4 ready\r\n", id="a greeting"),
    ],
)
async def test_what_is_not_http_is_reset(bed: Any, data: bytes):
    async with bed.origin(answering(OK)) as origin, bed.door(origin.port, hello=Hello(Wire.HTTP1)) as port:
        assert await bed.raw(port, data) == b""
        await bed.settle()
    assert origin.connections == 0
    assert bed.record()["reason"] == "not-http"


async def test_a_request_may_come_byte_by_byte(bed: Any):
    async with bed.origin(answering(OK)) as origin, bed.door(origin.port) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for byte in get(origin.port, more=CLOSE):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        assert b"hello" in await reader.read()
        writer.close()
        await bed.settle()


@pytest.mark.parametrize("size", [0, 1, 65_536, 1 << 20, (1 << 20) + 1, 5_000_000])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
async def test_bodies_arrive_whole(bed: Any, size: int, chunked: bool):
    async with bed.origin(echo_length) as origin, bed.door(origin.port) as port:
        body = b"a" * size
        if chunked:
            framed = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in _parts(body)) + b"0\r\n\r\n"
            head = f"POST / HTTP/1.1\r\nHost: origin.test:{origin.port}\r\nTransfer-Encoding: chunked\r\n{CLOSE}\r\n"
            answer = await bed.raw(port, head.encode() + framed)
        else:
            answer = await bed.raw(port, post(origin.port, body, CLOSE))
        await bed.settle()
    assert answer.endswith(b"\r\n\r\n%d" % size)
    assert bed.record()["bytes"]["up"] == size


def _parts(body: bytes):
    return [body[at : at + 100_000] for at in range(0, len(body), 100_000)]


async def test_a_secret_in_a_held_body_stops_it_before_a_byte_has_left(bed: Any):
    async with bed.origin(echo_length) as origin, bed.door(origin.port) as port:
        answer = await bed.raw(port, post(origin.port, f"token={bed.secret}".encode(), CLOSE))
        await bed.settle()
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert origin.connections == 0
    assert bed.record()["reason"] == "sensitive-data"


async def test_a_secret_late_in_a_large_body_resets_upstream_before_its_end(bed: Any):
    body = b"a " * 1_000_000 + bed.secret.encode() + b" " + b"b" * 10
    async with bed.origin(echo_length) as origin, bed.door(origin.port) as port:
        answer = await bed.raw(port, post(origin.port, body, CLOSE))
        await bed.settle()
        await origin.ended.wait()
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert origin.errors
    assert bed.secret.encode() not in origin.received
    assert bed.record()["reason"] == "sensitive-data"


async def test_a_denied_upload_is_answered_before_it_is_read(bed: Any):
    async with bed.origin(echo_length) as origin, bed.door(origin.port) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST / HTTP/1.1\r\nHost: denied.test:{origin.port}\r\nContent-Length: 1000000000\r\n\r\n"
        writer.write(head.encode() + b"a" * 1000)
        async with asyncio.timeout(1):
            answer = await reader.readuntil(b"\r\n\r\n")
            await reader.read()  # the gateway's side is closed in order, and the answer can be read
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"Connection: close" in answer
        writer.write(b"a" * 100_000)
        await writer.drain()
        writer.close()
        await bed.settle()
    assert origin.connections == 0


@pytest.mark.parametrize(
    ("host", "first"),
    [("origin.test", b"HTTP/1.1 100 Continue\r\n\r\n"), ("denied.test", b"HTTP/1.1 403 Forbidden\r\n")],
    ids=["permitted", "denied"],
)
async def test_100_continue_comes_after_a_permit_only(bed: Any, host: str, first: bytes):
    async with bed.origin(echo_length) as origin, bed.door(origin.port) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST / HTTP/1.1\r\nHost: {host}:{origin.port}\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n"
        writer.write(head.encode())
        async with asyncio.timeout(1):
            assert await reader.readexactly(len(first)) == first
        if host == "origin.test":
            writer.write(b"abc")
            assert (await reader.readuntil(b"\r\n\r\n3")).startswith(b"HTTP/1.1 200 ")
        writer.close()
        await bed.settle()
    assert b"100-continue" not in origin.received


@pytest.mark.parametrize(
    ("method", "answer", "expected"),
    [
        pytest.param("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n", b"Content-Length: 50\r\n\r\n", id="HEAD"),
        pytest.param("GET", b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n", id="204"),
        pytest.param("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", b"Content-Length: 9\r\n\r\n", id="304"),
        pytest.param(
            "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: t\r\n\r\n",
            b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: t\r\n\r\n", id="chunks lose extensions, not trailers",
        ),
        pytest.param("GET", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"Content-Length: 0\r\n\r\n", id="empty"),
        pytest.param(
            "GET", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + OK, b"\r\n\r\nhello",
            id="interim answers are left out",
        ),
        pytest.param(
            "GET", b'HTTP/1.1 200 OK\r\nAlt-Svc: h3=":443"\r\nContent-Length: 2\r\n\r\nok',
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", id="Alt-Svc is dropped",
        ),
    ],
)  # fmt: skip
async def test_answers_keep_their_framing_and_the_connection(bed: Any, method: str, answer: bytes, expected: bytes):
    async with bed.origin(answering(answer, OK)) as origin, bed.door(origin.port) as port:
        first = get(origin.port).replace(b"GET", method.encode())
        seen = await bed.raw(port, first + get(origin.port, "/next", more=CLOSE))
        await bed.settle()
    assert expected in seen
    assert seen.endswith(b"hello")
    assert origin.connections == 1
    bed.records(2)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhal", id="length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhal\r\n", id="chunked"),
    ],
)
async def test_an_answer_that_breaks_off_is_seen_to_break_off(bed: Any, answer: bytes):
    async def talk(reader: Any, writer: Any):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    async with bed.origin(talk) as origin, bed.door(origin.port) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get(origin.port))
        with pytest.raises(ConnectionResetError):  # noqa: PT012 - one of the reads raises
            while await reader.read(65536):
                pass
        writer.close()
        await bed.settle()
    assert bed.record()["reason"] == "upstream-broke"


async def test_an_answer_that_ends_with_the_connection_becomes_chunked(bed: Any):
    async def talk(reader: Any, writer: Any):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nto the end")

    async with bed.origin(talk) as origin, bed.door(origin.port) as port:
        seen = await bed.raw(port, get(origin.port, more=CLOSE))
        await bed.settle()
    assert seen.endswith(b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\na\r\nto the end\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"220 smtp ready\r\n\r\n", id="not HTTP"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000, id="endless head"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok", id="folded field"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na", id="two lengths"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\na", id="two framings"),
        pytest.param(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nhello", id="101 unasked"),
        pytest.param(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 40, id="only interim answers"),
    ],
)
async def test_an_origin_that_makes_no_sense_is_502(bed: Any, answer: bytes):
    async def talk(reader: Any, writer: Any):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    async with bed.origin(talk) as origin, bed.door(origin.port) as port:
        seen = await bed.raw(port, get(origin.port, more=CLOSE))
        await bed.settle()
    assert seen.startswith(b"HTTP/1.1 502 ")
    assert bed.record()["reason"] == "upstream-broke"


async def test_a_kept_upstream_connection_that_was_just_closed_is_replaced_for_a_get(bed: Any):
    async def once(reader: Any, writer: Any):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await writer.drain()
        await reader.readuntil(b"\r\n\r\n")  # and closes without an answer

    async with bed.origin(once) as origin, bed.door(origin.port) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(get(origin.port))
            assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200 ")
        writer.close()
        await bed.settle()
    assert origin.connections == 2
    assert [record["verdict"] for record in bed.records(2)] == ["allow", "allow"]


async def test_a_client_that_leaves_ends_the_upstream_connection(bed: Any):
    asked = asyncio.Event()

    async def talk(reader: Any, _writer: Any):
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await reader.read()

    async with bed.origin(talk) as origin, bed.door(origin.port) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get(origin.port))
        await asked.wait()
        writer.close()
        async with asyncio.timeout(1):
            await origin.ended.wait()
        await bed.settle()
    assert (bed.record()["verdict"], bed.record()["status"]) == ("allow", None)


async def test_an_early_answer_ends_the_upload(bed: Any):
    async def talk(reader: Any, writer: Any):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")
        await writer.drain()
        await reader.read()

    async with bed.origin(talk) as origin, bed.door(origin.port) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"POST / HTTP/1.1\r\nHost: origin.test:{origin.port}\r\nContent-Length: 100000000\r\n\r\n"
        writer.write(head.encode() + b"a" * 2_000_000)
        async with asyncio.timeout(2):
            answer = await reader.readuntil(b"\r\n\r\nno")
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"Connection: close" in answer
        writer.close()
        await bed.settle()
    assert bed.record()["status"] == 413


async def test_request_trailers_are_scanned_and_passed_on(bed: Any):
    async with bed.origin(echo_length) as origin, bed.door(origin.port) as port:
        head = f"POST / HTTP/1.1\r\nHost: origin.test:{origin.port}\r\nTransfer-Encoding: chunked\r\n{CLOSE}\r\n"
        answer = await bed.raw(port, head.encode() + b"3\r\nabc\r\n0\r\nX-Late: thing\r\n\r\n")
        await bed.settle()
    assert answer.endswith(b"\r\n\r\n3")
    assert origin.received.endswith(b"0\r\nX-Late: thing\r\n")


async def test_absolute_form_on_an_explicit_proxy_goes_to_each_host_named(bed: Any):
    async with (
        bed.origin(answering(OK)) as one,
        bed.origin(answering(OK)) as two,
        bed.door(80, explicit=True, destination=None) as port,
    ):
        requests = b"".join(
            f"GET http://{host}:{at}/x HTTP/1.1\r\nHost: {host}:{at}\r\nProxy-Connection: keep-alive\r\n{more}\r\n".encode()
            for host, at, more in (("origin.test", one.port, ""), ("other.test", two.port, CLOSE))
        )
        answer = await bed.raw(port, requests)
        await bed.settle()
    assert answer.count(b"hello") == 2
    assert bytes(one.received).startswith(b"GET /x HTTP/1.1\r\nHost: origin.test:")
    assert b"Proxy-Connection" not in one.received
    assert bytes(two.received).startswith(b"GET /x HTTP/1.1\r\nHost: other.test:")


async def test_http_1_0_is_answered_and_closed(bed: Any):
    async def talk(reader: Any, writer: Any):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        await reader.read()

    async with bed.origin(talk) as origin, bed.door(origin.port) as port:
        answer = await bed.raw(port, f"GET / HTTP/1.0\r\nHost: origin.test:{origin.port}\r\n\r\n".encode())
        await bed.settle()
    assert b"chunked" not in answer
    assert answer.endswith(b"\r\n\r\nabc")


async def test_a_name_without_an_address_is_502_and_says_so(bed: Any):
    async with bed.origin(answering(OK)) as origin, bed.door(origin.port) as port:
        answer = await bed.raw(port, get(origin.port, host="gone.test", more=CLOSE))
        await bed.settle()
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert bed.record()["reason"] == "resolve-failed"


async def test_cancelling_resets_both_sides_and_records(bed: Any):
    asked = asyncio.Event()

    async def talk(reader: Any, _writer: Any):
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await reader.read()

    async with bed.origin(talk) as origin, bed.door(origin.port) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get(origin.port))
        await asked.wait()
        for task in bed.tasks:
            task.cancel()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        await origin.ended.wait()
        assert origin.errors == ["ConnectionResetError"]
        writer.close()
        await bed.settle()
    assert bed.record()["reason"] == "draining"


async def test_a_head_that_is_never_complete_is_answered_and_ends(bed: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(client, "HEAD_S", 0.02)
    monkeypatch.setattr(clock, "TICK_S", 0.01)
    async with bed.origin(answering(OK)) as origin, bed.door(origin.port) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(get(origin.port))
        assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200 ")
        writer.write(b"GET / HTTP/1.1\r\nHost: ")
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
        writer.close()
        await bed.settle()
    assert origin.connections == 1
    assert [record["reason"] for record in bed.records(2)] == ["rule", "timeout"]


async def test_while_draining_a_connection_ends_with_its_answer(bed: Any):
    bed.gate.draining = True
    async with bed.origin(answering(OK)) as origin, bed.door(origin.port) as port:
        answer = await bed.raw(port, get(origin.port))
        await bed.settle()
    assert b"Connection: close\r\n" in answer
    assert answer.endswith(b"hello")
