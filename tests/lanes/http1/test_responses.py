from __future__ import annotations

import pytest

from lanes.http1.conversations import LIMIT, brief, cuts, responded
from sluicegate.exchange.heads import ResponseHead
from sluicegate.lanes import strict
from sluicegate.lanes.http1 import chunks
from sluicegate.lanes.http1.events import Data, End, Fault
from sluicegate.lanes.http1.responses import CUT_SHORT, NO_ANSWER, Head, ResponseReader
from sluicegate.verdict import Reason

OK = b"HTTP/1.1 200 OK\r\n"


def answer(*fields: bytes, line: bytes = OK[:-2], body: bytes = b"") -> bytes:
    return b"\r\n".join((line, *fields)) + b"\r\n\r\n" + body


SIZED = answer(b"Content-Length: 5", body=b"hello")
CHUNKED = answer(
    b"Transfer-Encoding: chunked", body=b"3;a=b\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 1\r\nSet-Cookie: a\r\n\r\n"
)
OPEN = answer(b"Server: x", body=b"hello")
EARLY = answer(b"Link: x", line=b"HTTP/1.1 103 Early Hints")
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

CONVERSATIONS = [
    pytest.param(b"GET", SIZED, False, [200, b"hello", {}], id="a length"),
    pytest.param(b"GET", answer(b"Content-Length: 0"), False, [200], id="a length of nothing"),
    pytest.param(b"GET", CHUNKED, False, [200, b"abcde", {b"X-Sum": b"1"}], id="chunks, and trailers that may pass"),
    pytest.param(b"GET", OPEN, True, [200, b"hello", {}], id="until the end"),
    pytest.param(b"GET", OPEN, False, [200, b"hello"], id="until the end, which has not come"),
    pytest.param(b"GET", answer(), True, [200, {}], id="until the end, which comes at once"),
    pytest.param(b"GET", answer(body=b"x", line=b"HTTP/1.0 200 OK"), True, [200, b"x", {}], id="HTTP/1.0"),
    pytest.param(b"HEAD", answer(b"Content-Length: 5"), False, [200], id="HEAD with a length"),
    pytest.param(b"HEAD", answer(b"Transfer-Encoding: chunked"), False, [200], id="HEAD with chunks"),
    pytest.param(b"HEAD", answer(), False, [200], id="HEAD without either"),
    pytest.param(b"GET", answer(b"Content-Length: 5", line=b"HTTP/1.1 304 Not Modified"), False, [304], id="304 with a length"),
    pytest.param(b"GET", answer(line=b"HTTP/1.1 204 No Content"), False, [204], id="204"),
    pytest.param(b"GET", answer(b"Content-Length: 5", line=b"HTTP/1.1 204 x", body=b"hello"), False, [204, b"hello"], id="204 with bytes behind"),
    pytest.param(b"GET", SIZED + OK, False, [200, b"hello", {}, OK], id="bytes after the answer"),
    pytest.param(b"GET", CHUNKED + b"x", True, [200, b"abcde", {b"X-Sum": b"1"}, b"x"], id="a byte after the chunks"),
    pytest.param(b"GET", CONTINUE + EARLY + SIZED, False, [100, 103, 200, b"hello", {}], id="interim answers"),
    pytest.param(b"GET", answer(b"Upgrade: h2", b"Connection: Upgrade", b"Content-Length: 2", body=b"ok"), False, [200, b"ok", {}], id="an upgrade that is only offered"),
    pytest.param(b"GET", answer(b"Upgrade: websocket", b"Connection: Upgrade", line=b"HTTP/1.1 101 Switching Protocols", body=b"\x81\x00"), False, [101, b"\x81\x00"], id="101, and what comes after it"),
    pytest.param(b"GET", answer(line=b"HTTP/1.1 200", body=b""), False, [200], id="no phrase and no space"),
    pytest.param(b"GET", answer(b"Content-Length: 0", line=b"HTTP/1.1 999 \xc3\xa4"), False, [999], id="an odd status and phrase"),
]  # fmt: skip


def bad(detail: str) -> list[object]:
    return [(502, detail)]


def unsound(check: strict.Check) -> list[object]:
    return bad(f"the origin's answer is not sound: {check.detail}")


FAULTS = [
    pytest.param(b"", bad(NO_ANSWER), id="nothing"),
    pytest.param(OK[:5], bad(NO_ANSWER), id="a piece of a head"),
    pytest.param(CONTINUE, [100, *bad(NO_ANSWER)], id="an interim answer only"),
    pytest.param(SIZED[:-1], [200, b"hell", *bad(CUT_SHORT)], id="a length that is not kept"),
    pytest.param(CHUNKED[:-2], [200, b"abcde", *bad(CUT_SHORT)], id="chunks without their end"),
    pytest.param(CONTINUE * 17, [*[100] * 16, *bad("the origin sends interim answers only")], id="17 interim answers"),
    pytest.param(b"HTTP/2.0 200 OK\r\n\r\n", bad(strict.STATUS_LINE.detail), id="HTTP/2.0"),
    pytest.param(b"HTTP/1.2 200 OK\r\n\r\n", bad(strict.STATUS_LINE.detail), id="HTTP/1.2"),
    pytest.param(b"ICY 200 OK\r\n\r\n", bad(strict.STATUS_LINE.detail), id="another protocol"),
    pytest.param(b"HTTP/1.1  200 OK\r\n\r\n", bad(strict.STATUS_LINE.detail), id="two spaces"),
    pytest.param(b"HTTP/1.1 20 OK\r\n\r\n", bad(strict.STATUS_LINE.detail), id="two digits"),
    pytest.param(b"HTTP/1.1 2000 OK\r\n\r\n", bad(strict.STATUS_LINE.detail), id="four digits"),
    pytest.param(b"HTTP/1.1 099 OK\r\n\r\n", bad(strict.STATUS_LINE.detail), id="a status below 100"),
    pytest.param(b"\r\nHTTP/1.1 200 OK\r\n\r\n", bad(strict.STATUS_LINE.detail), id="an empty line before it"),
    pytest.param(b"HTTP/1.1 200 O\0K\r\n\r\n", unsound(strict.CONTROLS), id="NUL in the phrase"),
    pytest.param(answer(b"Upgrade: websocket", line=b"HTTP/1.1 101 x"), unsound(strict.TOKENIZER), id="101 to nothing that Connection names"),
    pytest.param(answer(b"A: b\rc"), unsound(strict.LINE_ENDS), id="a bare CR"),
    pytest.param(answer(b"A: b\nSet-Cookie: c"), unsound(strict.LINE_ENDS), id="a bare LF"),
    pytest.param(answer(b"A: b", b" c"), unsound(strict.FOLDED), id="a folded line"),
    pytest.param(answer(b"A : b"), unsound(strict.FIELD_NAME), id="a space before the colon"),
    pytest.param(answer(*[b"A: b"] * 201), unsound(strict.MANY_FIELDS), id="201 fields"),
    pytest.param(answer(b"A: " + b"x" * LIMIT), unsound(strict.TOO_LARGE), id="a large head"),
    pytest.param(answer(b"Content-Length: 5", b"Content-Length: 5"), unsound(strict.LENGTH), id="two lengths"),
    pytest.param(answer(b"Content-Length: 5, 5"), unsound(strict.LENGTH), id="a list of lengths"),
    pytest.param(answer(b"Content-Length: 5", b"Transfer-Encoding: chunked"), unsound(strict.BOTH), id="CL and TE"),
    pytest.param(answer(b"Transfer-Encoding: gzip, chunked"), unsound(strict.CODING), id="gzip, chunked"),
    pytest.param(answer(b"Transfer-Encoding: identity"), unsound(strict.NOT_CHUNKED), id="identity"),
    pytest.param(answer(b"Transfer-Encoding: chunked", line=b"HTTP/1.0 200 OK"), unsound(strict.OLD_CODING), id="chunks in HTTP/1.0"),
    pytest.param(answer(b"Transfer-Encoding: chunked", body=b"0x1\r\n"), [200, *unsound(chunks.MALFORMED)], id="a chunk that is none"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "data", "eof", "expected"), CONVERSATIONS)
def test_an_answer_is_the_same_however_it_is_cut(method: bytes, data: bytes, eof: bool, expected: list[object]):
    whole = responded([data], method=method, eof=eof)

    assert brief(whole) == expected
    for pieces in cuts(data):
        assert responded(pieces, method=method, eof=eof) == whole, pieces


@pytest.mark.parametrize(("data", "expected"), FAULTS)
def test_what_is_not_sound_is_a_fault(data: bytes, expected: list[object]):
    assert brief(responded([data], eof=True)) == expected
    if len(data) < 1000:
        assert brief(responded([bytes([byte]) for byte in data], eof=True)) == expected


@pytest.mark.parametrize(
    ("method", "data", "expected"),
    [
        pytest.param(b"GET", SIZED, (5, False, False, True, False), id="a length"),
        pytest.param(b"GET", CHUNKED, (None, True, False, True, False), id="chunks"),
        pytest.param(b"GET", OPEN, (None, False, True, False, False), id="until the end"),
        pytest.param(b"HEAD", SIZED, (5, False, False, True, True), id="HEAD tells a length"),
        pytest.param(b"HEAD", CHUNKED, (None, False, False, True, True), id="HEAD of chunks tells none"),
        pytest.param(b"GET", answer(b"Connection: close", b"Content-Length: 0"), (0, False, False, False, True), id="close"),
        pytest.param(b"GET", answer(b"Content-Length: 1", line=b"HTTP/1.0 200 OK"), (1, False, False, False, False), id="HTTP/1.0"),
        pytest.param(b"GET", answer(b"Upgrade: x", b"Connection: upgrade", line=b"HTTP/1.1 101 x"), (None, False, False, False, True), id="101"),
        pytest.param(b"GET", answer(line=b"HTTP/1.1 304 x"), (None, False, False, True, True), id="304"),
    ],
)  # fmt: skip
def test_what_a_head_means_for_the_connection(method: bytes, data: bytes, expected: tuple[object, ...]):
    head = responded([data], method=method)[0]

    assert isinstance(head, Head)
    assert (head.length, head.chunked, head.until_close, head.keep_alive, head.end) == expected


def test_a_head_says_all_that_was_sent():
    head = responded([answer(b"Server: \tx ", b"set-cookie: a", b"set-cookie: b", b"X:", line=b"HTTP/1.0 418 x y")])[0]

    fields = ((b"Server", b"x"), (b"set-cookie", b"a"), (b"set-cookie", b"b"), (b"X", b""))
    assert isinstance(head, Head)
    assert head.head == ResponseHead(418, fields, "HTTP/1.0")


def test_the_end_is_told_once():
    reader = ResponseReader(b"GET", head_limit=LIMIT)
    assert not reader.began
    reader.feed(OPEN)
    assert isinstance(reader.next(), Head)
    assert reader.next() == Data(b"hello")
    assert reader.eof() is None
    assert reader.next() == End()
    assert (reader.next(), reader.eof(), reader.complete, reader.began) == (None, None, True, True)


def test_a_fault_is_the_last_word():
    reader = ResponseReader(b"GET", head_limit=LIMIT)
    reader.feed(b"HTTP/1.1 200 OK\n\n")

    assert isinstance(reader.next(), Fault)
    assert (reader.next(), reader.eof(), reader.complete, reader.leftover) == (None, None, True, 0)


def test_a_fault_names_the_origin_as_the_cause():
    fault = responded([answer(b"A\0: b")])[0]

    assert isinstance(fault, Fault)
    assert fault.reason is Reason.UPSTREAM_BROKE
