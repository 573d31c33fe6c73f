from __future__ import annotations

import pytest

from lanes.http1.conversations import LIMIT, brief, cuts, requested
from sluicegate.exchange.heads import RequestHead
from sluicegate.lanes import strict
from sluicegate.lanes.http1 import chunks
from sluicegate.lanes.http1.events import Data, End, Fault
from sluicegate.lanes.http1.requests import Head, RequestReader
from sluicegate.lanes.strict import Check
from sluicegate.verdict import Reason

GET = b"GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n"
CHUNKED = b"POST /a HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n"


def post(*fields: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join((b"POST /a HTTP/1.1", b"Host: a.test", *fields)) + b"\r\n\r\n" + body


def refused(check: Check) -> tuple[int, str]:
    return check.status, check.detail


CONVERSATIONS = [
    pytest.param(GET, [b"GET"], id="one request"),
    pytest.param(GET + GET, [b"GET", b"GET"], id="two of them in a row"),
    pytest.param(post(b"Content-Length: 5", body=b"hello") + GET, [b"POST", b"hello", {}, b"GET"], id="a body, and one more"),
    pytest.param(post(b"Content-Length: 0") + GET, [b"POST", b"GET"], id="a body of no bytes is none"),
    pytest.param(GET[:-2] + b"Content-Length: 3\r\n\r\nabc" + GET, [b"GET", b"abc", {}, b"GET"], id="GET with a body"),
    pytest.param(CHUNKED + b"5\r\nhello\r\n0\r\n\r\n" + GET, [b"POST", b"hello", {}, b"GET"], id="chunks, and one more"),
    pytest.param(CHUNKED + b"3\r\nabc\r\n0002\r\nde\r\n00\r\n\r\n", [b"POST", b"abcde", {}], id="zeros before a size"),
    pytest.param(CHUNKED + b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", [b"POST", b"0123456789" * 2, {}], id="hexadecimal in both cases"),
    pytest.param(CHUNKED + b"0\r\n\r\n" + GET, [b"POST", {}, b"GET"], id="no chunks"),
    pytest.param(CHUNKED + b'1;a;b=c;d="e;\\"f"\r\nx\r\n0;g=h\r\n\r\n', [b"POST", b"x", {}], id="extensions are not passed on"),
    pytest.param(CHUNKED + b"1\r\nx\r\n0\r\nX-Sum: 1\r\nHost: e.test\r\n\r\n" + GET, [b"POST", b"x", {b"X-Sum": b"1"}, b"GET"], id="trailers that may pass"),
    pytest.param(b"\r\n\r\n" + GET + b"\r\n" + GET, [b"GET", b"GET"], id="empty lines before a request"),
    pytest.param(b"\r\n" * 8 + GET, [b"GET"], id="eight of them"),
    pytest.param(b"\r\n" * 9 + GET, [refused(strict.BLANKS)], id="nine of them"),
    pytest.param(post(b"Connection: upgrade", b"Upgrade: websocket", b"Content-Length: 2", body=b"ab") + GET, [b"POST", b"ab", {}, b"GET"], id="POST with an upgrade keeps its body"),
    pytest.param(post(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk", b"Content-Length: 2", body=b"ab") + GET, [b"POST", b"ab", {}, b"GET"], id="an offer of h2c, as Java sends it, with a body"),
    pytest.param(GET[:-2] + b"Connection: Upgrade\r\nUpgrade: connect-udp\r\n\r\n" + GET, [b"GET", b"GET"], id="an unknown upgrade"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01", [(400, strict.NOT_HTTP.detail)], id="TLS"),
    pytest.param(b"EHLO a.test\r\n", [(400, strict.NOT_HTTP.detail)], id="SMTP"),
    pytest.param(b"GET /\r\n", [(400, strict.NOT_HTTP.detail)], id="HTTP/0.9"),
    pytest.param(GET + b"GET /\r\n\r\n", [b"GET", refused(strict.LINE)], id="HTTP/0.9 as the second"),
    pytest.param(b"\nGET / HTTP/1.1\r\n\r\n", [refused(strict.LINE_ENDS)], id="a bare LF before a request"),
    pytest.param(b"GET / HTTP/1.1\nHost: a.test\n\n", [refused(strict.LINE_ENDS)], id="bare LF all through, not waited out"),
    pytest.param(b"GET / HTTP/1.1\r\nA: \0\r\nB: c\nD: e\r\n\r\n", [refused(strict.LINE_ENDS)], id="a bare LF behind another fault"),
    pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [refused(strict.VERSION)], id="HTTP/2 without asking"),
]  # fmt: skip

# 38-45, 51, 54, 55, 62 of the catalogue of smuggling tricks: the first request, and nothing of the second.
SMUGGLED = b"GET /admin HTTP/1.1\r\nHost: e.test\r\n\r\n"
SMUGGLING = [
    pytest.param(
        post(b"Content-Length: 6", b"Transfer-Encoding: chunked", body=b"0\r\n\r\nG"), strict.BOTH, id="CL.TE"
    ),
    pytest.param(post(b"Transfer-Encoding: chunked", b"Content-Length: 4", body=b"5c\r\n"), strict.BOTH, id="TE.CL"),
    pytest.param(post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: x"), strict.NOT_CHUNKED, id="TE.TE"),
    pytest.param(post(b"Transfer-Encoding : chunked"), strict.FIELD_NAME, id="TE with a space before its colon"),
    pytest.param(post(b"Transfer-Encoding:\x0bchunked"), strict.CONTROLS, id="TE behind a vertical tab"),
    pytest.param(post(b" Transfer-Encoding: chunked"), strict.FOLDED, id="TE behind a space"),
    pytest.param(post(b"X: y", b"\tTransfer-Encoding: chunked"), strict.FOLDED, id="TE in a folded line"),
    pytest.param(post(b"X: y\nTransfer-Encoding: chunked"), strict.LINE_ENDS, id="TE behind a bare LF"),
    pytest.param(post(b"X: y\rTransfer-Encoding: chunked"), strict.LINE_ENDS, id="TE behind a bare CR"),
    pytest.param(post(b"Transfer-Encoding: chunked\0"), strict.CONTROLS, id="TE with NUL"),
    pytest.param(post(b"Transfer-Encoding:"), strict.NOT_CHUNKED, id="an empty TE"),
    pytest.param(post(b"Transfer-Encoding: gzip, chunked"), strict.CODING, id="gzip, chunked"),
    pytest.param(post(b"Content-Length: 5", b"Content-Length: 6"), strict.LENGTH, id="two lengths"),
    pytest.param(post(b"Content-Length: 5,6"), strict.LENGTH, id="a list of lengths"),
    pytest.param(post(b"Content-Length: +5"), strict.LENGTH, id="a length with a plus"),
    pytest.param(b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", strict.OLD_CODING, id="chunks in HTTP/1.0"),
    pytest.param(b"GET / HTTP/1.2\r\n\r\n", strict.VERSION, id="HTTP/1.2"),
    pytest.param(b"get / HTTP/1.1\r\n\r\n", strict.METHOD, id="get"),
]
CHUNK_TRICKS = [
    pytest.param(b"0x5\r\nhello", chunks.MALFORMED, id="0x"),
    pytest.param(b"+5\r\nhello", chunks.MALFORMED, id="a plus"),
    pytest.param(b"-5\r\nhello", chunks.MALFORMED, id="a minus"),
    pytest.param(b" 5\r\nhello", chunks.MALFORMED, id="a space before"),
    pytest.param(b"5 \r\nhello", chunks.MALFORMED, id="a space behind"),
    pytest.param(b"5 ;a\r\nhello", chunks.MALFORMED, id="a space before an extension"),
    pytest.param(b"5_0\r\nhello", chunks.MALFORMED, id="Python's own digits"),
    pytest.param(b"5\nhello", chunks.MALFORMED, id="a bare LF"),
    pytest.param(b"5\rhello", chunks.MALFORMED, id="a bare CR"),
    pytest.param(b"5;a\nb\r\nhello", chunks.MALFORMED, id="a bare LF in an extension"),
    pytest.param(b"5;a\rb\r\nhello", chunks.MALFORMED, id="a bare CR in an extension"),
    pytest.param(b"5;a b\r\nhello", chunks.MALFORMED, id="a space in an extension"),
    pytest.param(b'5;a="b\r\nhello', chunks.MALFORMED, id="a quote that is not closed"),
    pytest.param(b"5;\r\nhello", chunks.MALFORMED, id="an empty extension"),
    pytest.param(b";a\r\n", chunks.MALFORMED, id="no size"),
    pytest.param(b"\r\n", chunks.MALFORMED, id="an empty line"),
    pytest.param(b"g\r\n", chunks.MALFORMED, id="no hexadecimal"),
    pytest.param(b"\xef\xbc\x95\r\nhello", chunks.MALFORMED, id="a wide digit"),
    pytest.param(b"0" * 17 + b"\r\n\r\n", chunks.MALFORMED, id="17 digits"),
    pytest.param(b"5\r\nhelloX\r\n", chunks.MALFORMED, id="a chunk longer than it says"),
    pytest.param(b"5\r\nhello\n0\r\n\r\n", chunks.MALFORMED, id="a bare LF after a chunk"),
    pytest.param(b"5\r\nhello0\r\n\r\n", chunks.MALFORMED, id="no line end after a chunk"),
    pytest.param(b"0\r\nA: b\nC: d\r\n\r\n", strict.LINE_ENDS, id="a bare LF in a trailer"),
    pytest.param(b"0\r\nA: b\0\r\n\r\n", strict.CONTROLS, id="NUL in a trailer"),
    pytest.param(b"0\r\nA: b\r\n c\r\n\r\n", strict.FOLDED, id="a folded trailer"),
    pytest.param(b"0\r\nGET / HTTP/1.1\r\n\r\n", strict.FIELD_NAME, id="a request for a trailer"),
    pytest.param(b"0\r\n" + b"A: b\r\n" * 201 + b"\r\n", strict.MANY_FIELDS, id="201 trailers"),
]


@pytest.mark.parametrize(("data", "expected"), CONVERSATIONS)
def test_a_conversation_is_the_same_however_it_is_cut(data: bytes, expected: list[object]):
    whole = requested([data])

    assert brief(whole) == expected
    for pieces in cuts(data):
        assert requested(pieces) == whole, pieces


@pytest.mark.parametrize(("data", "check"), SMUGGLING)
def test_smuggling_ends_the_connection(data: bytes, check: Check):
    expected = [Fault(check.reason, check.detail, check.status)]

    for pieces in cuts(data + SMUGGLED):
        assert requested(pieces) == expected, pieces


@pytest.mark.parametrize(("data", "check"), CHUNK_TRICKS)
def test_chunks_are_read_strictly(data: bytes, check: Check):
    for pieces in ([CHUNKED + data + b"\r\n" * 3 + SMUGGLED], [bytes([byte]) for byte in CHUNKED + data + b"\r\n" * 3]):
        head, *body, fault = requested(pieces)

        assert isinstance(head, Head)
        assert fault == Fault(check.reason, check.detail, check.status)
        assert all(event == Data(b"hello") for event in body)


def first(data: bytes) -> Head:
    event = requested([data])[0]
    assert isinstance(event, Head)
    return event


def test_a_head_says_all_that_was_sent():
    head = first(b"GET http://A.test/x?y HTTP/1.0\r\nHost: a.test\r\nHost:\r\nX:  z \r\n\r\n")

    fields = ((b"Host", b"a.test"), (b"Host", b""), (b"X", b"z"))
    assert head.head == RequestHead(b"GET", b"http", b"A.test", b"/x?y", "HTTP/1.0", fields)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(GET, (0, False, True, True), id="no body"),
        pytest.param(post(b"Content-Length: 5"), (5, False, True, False), id="a length"),
        pytest.param(CHUNKED, (None, False, True, False), id="chunks"),
        pytest.param(post(b"Content-Length: 5", b"Expect: 100-continue"), (5, True, True, False), id="waits for 100"),
        pytest.param(post(b"Expect: 100-continue"), (0, False, True, True), id="waits with nothing to send"),
        pytest.param(post(b"Connection: close"), (0, False, False, True), id="the last one"),
        pytest.param(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", (0, False, False, True), id="HTTP/1.0 never stays"),
        pytest.param(b"POST / HTTP/1.0\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n", (1, False, False, False), id="HTTP/1.0 knows no 100"),
    ],
)  # fmt: skip
def test_what_a_head_means_for_the_connection(data: bytes, expected: tuple[int | None, bool, bool, bool]):
    head = first(data)

    assert (head.length, head.expect_continue, head.keep_alive, head.end) == expected


def sized(size: int) -> bytes:
    """A head of exactly `size` bytes."""
    return GET[:-2] + b"X: " + b"x" * (size - len(GET) - 5) + b"\r\n\r\n"


@pytest.mark.parametrize("step", [1, 4096, LIMIT * 2], ids=["byte by byte", "in segments", "at once"])
@pytest.mark.parametrize(("size", "passes"), [(LIMIT, True), (LIMIT + 1, False)], ids=["at the limit", "above it"])
def test_a_head_has_a_size(step: int, size: int, passes: bool):
    data = sized(size)
    assert len(data) == size

    told = requested(data[at : at + step] for at in range(0, size, step))

    assert brief(told) == ([b"GET"] if passes else [refused(strict.TOO_LARGE)])


def test_a_head_without_end_is_not_kept():
    reader = RequestReader(tls=True, head_limit=LIMIT)
    reader.feed(b"GET / HTTP/1.1\r\nA: " + b"x" * LIMIT)

    assert reader.next() == Fault(Reason.HEAD_TOO_LARGE, strict.TOO_LARGE.detail, 431)
    assert reader.pending == 0
    reader.feed(b"more")
    assert (reader.next(), reader.pending) == (None, 0)


def test_5000_fields_are_refused_before_the_tokenizer_sees_them():
    assert brief(requested([GET[:-2] + b"A: b\r\n" * 5000 + b"\r\n"])) == [refused(strict.MANY_FIELDS)]


@pytest.mark.parametrize(("size", "passes"), [(chunks.OVERHEAD, True), (chunks.OVERHEAD + 1, False)])
@pytest.mark.parametrize("parts", [1, 64])
@pytest.mark.parametrize("step", [1000, 10**6])
def test_extensions_of_a_message_have_a_size(size: int, passes: bool, parts: int, step: int):
    first_part = size - (parts - 1) * 200
    lines = [b"1;" + b"a" * (part - 1) + b"\r\nx\r\n" for part in [first_part, *[200] * (parts - 1)]]
    data = CHUNKED + b"".join(lines) + b"0\r\n\r\n"

    told = requested(data[at : at + step] for at in range(0, len(data), step))

    assert brief(told)[-1] == ({} if passes else refused(chunks.TOO_MUCH))


@pytest.mark.parametrize(("size", "passes"), [(chunks.OVERHEAD, True), (chunks.OVERHEAD + 1, False)])
@pytest.mark.parametrize("step", [1000, 10**6])
def test_trailers_have_a_size(size: int, passes: bool, step: int):
    data = CHUNKED + b"0\r\nA: " + b"x" * (size - 7) + b"\r\n\r\n"

    told = requested(data[at : at + step] for at in range(0, len(data), step))

    assert isinstance(told[-1], End) is passes
    assert passes or brief(told)[-1] == refused(chunks.LONG_TRAILERS)


def test_an_extension_without_end_is_not_kept():
    told = requested([CHUNKED, b"1;", *[b"a" * 1000] * 17])

    assert brief(told)[1:] == [refused(chunks.TOO_MUCH)]


def test_many_small_chunks_are_no_overhead_and_one_event():
    reader = RequestReader(tls=True, head_limit=LIMIT)
    reader.feed(CHUNKED + b"1\r\nx\r\n" * 20_000)

    assert isinstance(reader.next(), Head)
    assert reader.next() == Data(b"x" * 20_000)
    assert (reader.next(), reader.pending) == (None, 2)  # the last line end is looked for with what comes after it


@pytest.mark.parametrize(
    "name",
    [b"Transfer-Encoding", b"content-length", b"HOST", b"Authorization", b"Cookie", b"Set-Cookie", b"Connection", b"TE",
     b"Proxy-Authorization", b"If-None-Match", b"X-Forwarded-For", b"Content-Encoding", b"Trailer"],
)  # fmt: skip
def test_trailers_that_frame_route_or_authenticate_do_not_pass(name: bytes):
    told = requested([CHUNKED + b"0\r\n" + name + b": 1\r\nX-Checksum: 2\r\nGrpc-Status: 0\r\n\r\n"])

    assert told[-1] == End(((b"X-Checksum", b"2"), (b"Grpc-Status", b"0")))


def test_what_is_pipelined_waits_for_its_turn():
    reader = RequestReader(tls=True, head_limit=LIMIT)
    reader.feed(GET + SMUGGLED)

    assert isinstance(reader.next(), Head)
    assert reader.next() is None
    assert reader.pending == len(SMUGGLED)
    reader.proceed()
    second = reader.next()
    assert isinstance(second, Head)
    assert second.head.values(b"host") == [b"e.test"]  # each request is asked about by its own name


def test_a_body_in_one_piece_is_not_copied():
    reader = RequestReader(tls=True, head_limit=LIMIT)
    reader.feed(post(b"Content-Length: 20000"))
    assert isinstance(reader.next(), Head)
    piece = b"x" * 10_000

    reader.feed(piece)
    event = reader.next()

    assert isinstance(event, Data)
    assert event.data is piece


def test_bytes_are_held_apart_from_the_buffer_they_came_in():
    buffer = bytearray(GET)
    reader = RequestReader(tls=True, head_limit=LIMIT)
    reader.feed(memoryview(buffer)[:10])
    buffer[:10] = b"x" * 10
    reader.feed(memoryview(buffer)[10:])

    event = reader.next()

    assert isinstance(event, Head)
    assert event.head.target == b"/a"


def test_what_comes_after_a_switch_of_protocols_is_released():
    reader = RequestReader(tls=True, head_limit=LIMIT)
    reader.feed(GET + b"\x81\x80")
    assert reader.next() is not None

    assert reader.release() == b"\x81\x80"
    assert reader.next() is None


def test_states_that_the_lane_asks_for():
    reader = RequestReader(tls=True, head_limit=LIMIT)
    assert (reader.idle, reader.started) == (True, False)
    reader.feed(GET[:5])
    assert reader.next() is None
    assert (reader.idle, reader.started) == (False, True)
    reader.feed(GET[5:])
    assert reader.next() is not None
    assert (reader.idle, reader.started) == (False, False)
    reader.proceed()
    assert (reader.idle, reader.started) == (True, False)
