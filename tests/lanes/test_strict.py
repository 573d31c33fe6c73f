from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.exchange.heads import MAX_FIELDS
from sluicegate.lanes import strict
from sluicegate.lanes.http1 import llhttp
from sluicegate.lanes.strict import Check, Refused


def head(line: bytes = b"GET / HTTP/1.1", *fields: bytes) -> bytes:
    return b"\r\n".join((line, *fields)) + b"\r\n\r\n"


def field(line: bytes) -> bytes:
    return head(b"GET / HTTP/1.1", line)


PASSING = [
    pytest.param(head(), id="no fields at all: Host is for Exchange"),
    pytest.param(head(b"GET / HTTP/1.1", b"Host: a.test", b"Host: b.test"), id="two Hosts, for Exchange to refuse"),
    pytest.param(head(b"GET / HTTP/1.0"), id="HTTP/1.0"),
    pytest.param(head(b"LIST /v1/secret HTTP/1.1"), id="a method of one product"),
    pytest.param(head(b"M-SEARCH * HTTP/1.1"), id="a method with a dash"),
    pytest.param(head(b"A" * 32 + b" / HTTP/1.1"), id="a method of 32 characters"),
    pytest.param(head(b"OPTIONS * HTTP/1.1"), id="asterisk form"),
    pytest.param(head(b"CONNECT a.test:443 HTTP/1.1"), id="authority form in CONNECT"),
    pytest.param(head(b"GET http://a.test HTTP/1.1"), id="absolute form without a path"),
    pytest.param(head(b"GET //a.test/x HTTP/1.1"), id="two slashes"),
    pytest.param(head(b'GET /"<>\\^`{|} HTTP/1.1'), id="visible characters that ought to be escaped"),
    pytest.param(head(b"GET /\xc3\xa4 HTTP/1.1"), id="UTF-8 in the target"),
    pytest.param(field(b"A:"), id="an empty value"),
    pytest.param(field(b"A:b"), id="no space after the colon"),
    pytest.param(field(b"A: b\tc"), id="a tab inside a value"),
    pytest.param(field(b"A: \xff"), id="a byte beyond ASCII in a value"),
    pytest.param(field(b"A: b: c"), id="a colon in a value"),
    pytest.param(head(b"GET / HTTP/1.1", *[b"A: b"] * MAX_FIELDS), id="as many fields as are allowed"),
]
REFUSED = [
    pytest.param(head(b"GET  / HTTP/1.1"), strict.LINE, id="two spaces before the target"),
    pytest.param(head(b"GET /  HTTP/1.1"), strict.LINE, id="two spaces after the target"),
    pytest.param(head(b" GET / HTTP/1.1"), strict.LINE, id="a space before the method"),
    pytest.param(head(b"GET / HTTP/1.1 "), strict.LINE, id="a space after the version"),
    pytest.param(head(b"GET\t/\tHTTP/1.1"), strict.LINE, id="tabs for spaces"),
    pytest.param(head(b"GET / a HTTP/1.1"), strict.LINE, id="a space in the target"),
    pytest.param(head(b"GET /"), strict.LINE, id="HTTP/0.9"),
    pytest.param(head(b"GET / RTSP/1.0"), strict.LINE, id="another protocol"),
    pytest.param(head(b"GET / http/1.1"), strict.LINE, id="version in lower case"),
    pytest.param(head(b"GET / HTTP/1.10"), strict.LINE, id="a longer version"),
    pytest.param(head(b"GET / HTTP/11"), strict.LINE, id="a version without a dot"),
    pytest.param(head(b"GET / HTTP/1.2"), strict.VERSION, id="HTTP/1.2"),
    pytest.param(head(b"GET / HTTP/0.9"), strict.VERSION, id="HTTP/0.9 by name"),
    pytest.param(head(b"GET / HTTP/2.0"), strict.VERSION, id="HTTP/2.0 in a request line"),
    pytest.param(head(b"PRI * HTTP/2.0"), strict.VERSION, id="the preface of HTTP/2"),
    pytest.param(head(b"PRI / HTTP/1.1"), strict.VERSION, id="the preface's method in HTTP/1.1"),
    pytest.param(head(b"get / HTTP/1.1"), strict.METHOD, id="a method in lower case"),
    pytest.param(head(b"Get / HTTP/1.1"), strict.METHOD, id="a method in mixed case"),
    pytest.param(head(b"G(T / HTTP/1.1"), strict.METHOD, id="a method that is no token"),
    pytest.param(head(b"A" * 33 + b" / HTTP/1.1"), strict.METHOD, id="a method of 33 characters"),
    pytest.param(head(b"GET /#a HTTP/1.1"), strict.FRAGMENT, id="a fragment"),
    pytest.param(head(b"GET http://a.test#b HTTP/1.1"), strict.FRAGMENT, id="a fragment behind a host"),
    pytest.param(head(b"GET a.test:443 HTTP/1.1"), strict.TARGET, id="authority form outside CONNECT"),
    pytest.param(head(b"GET a.test HTTP/1.1"), strict.TARGET, id="a bare name"),
    pytest.param(head(b"GET ?a HTTP/1.1"), strict.TARGET, id="a bare query"),
    pytest.param(head(b"GET ** HTTP/1.1"), strict.TARGET, id="two asterisks"),
    pytest.param(head(b"GET http:/a.test HTTP/1.1"), strict.TARGET, id="absolute form with one slash"),
    pytest.param(head(b"GET http:///x HTTP/1.1"), strict.NO_AUTHORITY, id="absolute form without a host"),
    pytest.param(field(b"A: b\0c"), strict.CONTROLS, id="NUL in a value"),
    pytest.param(field(b"A: b\x01"), strict.CONTROLS, id="a control character in a value"),
    pytest.param(field(b"A: b\x7f"), strict.CONTROLS, id="DEL in a value"),
    pytest.param(field(b"A\0: b"), strict.CONTROLS, id="NUL in a name"),
    pytest.param(head(b"GET /\0 HTTP/1.1"), strict.CONTROLS, id="NUL in the target"),
    pytest.param(head(b"GET /\x0b HTTP/1.1"), strict.CONTROLS, id="a vertical tab in the target"),
    pytest.param(field(b"A: b\rTransfer-Encoding: chunked"), strict.LINE_ENDS, id="a bare CR in a value"),
    pytest.param(field(b"A: b\nC: d"), strict.LINE_ENDS, id="a bare LF between fields"),
    pytest.param(field(b"A: b\r\r\nC: d"), strict.LINE_ENDS, id="two CR before LF"),
    pytest.param(field(b"A\rB\n: c"), strict.LINE_ENDS, id="CR and LF apart, in a name"),
    pytest.param(head(b"GET / HTTP/1.1\nA: b"), strict.LINE_ENDS, id="a bare LF after the line"),
    pytest.param(head(b"GET /\r HTTP/1.1"), strict.LINE_ENDS, id="a bare CR in the target"),
    pytest.param(head(b"GET / HTTP/1.1", b"A: b", b" c"), strict.FOLDED, id="a folded line"),
    pytest.param(
        head(b"GET / HTTP/1.1", b"A: b", b"\tc: d"), strict.FOLDED, id="a folded line that looks like a field"
    ),
    pytest.param(head(b"GET / HTTP/1.1", b" A: b"), strict.FOLDED, id="a space before the first field"),
    pytest.param(field(b"A : b"), strict.FIELD_NAME, id="a space before the colon"),
    pytest.param(field(b"A\t: b"), strict.FIELD_NAME, id="a tab before the colon"),
    pytest.param(field(b"A B: c"), strict.FIELD_NAME, id="a space in a name"),
    pytest.param(field(b": b"), strict.FIELD_NAME, id="no name"),
    pytest.param(field(b"::b: c"), strict.FIELD_NAME, id="colons for a name"),
    pytest.param(field(b"A"), strict.FIELD_NAME, id="no colon"),
    pytest.param(head(b"GET / HTTP/1.1", b"A", b"B: c"), strict.FIELD_NAME, id="no colon, and a field behind"),
    pytest.param(field(b"\xc3\xa4: b"), strict.FIELD_NAME, id="a name beyond ASCII"),
    pytest.param(field(b"A(b): c"), strict.FIELD_NAME, id="a name with parentheses"),
    pytest.param(head(b"GET / HTTP/1.1", *[b"A: b"] * (MAX_FIELDS + 1)), strict.MANY_FIELDS, id="one field too many"),
    pytest.param(head(b"GET / HTTP/1.1", *[b"A: b"] * 5000), strict.MANY_FIELDS, id="5,000 fields"),
]


def why(raw: bytes) -> Check | None:
    """What the reader makes of a head."""
    try:
        _, _, _, count = strict.request(raw)
    except Refused as refused:
        return refused.check
    fields = llhttp.request_fields(raw)
    return None if fields is not None and len(fields) == count else strict.why_not_request(raw)


@pytest.mark.parametrize("raw", PASSING)
def test_what_is_sound_passes(raw: bytes):
    assert why(raw) is None


@pytest.mark.parametrize(("raw", "check"), REFUSED)
def test_what_is_not_is_refused_by_its_row(raw: bytes, check: Check):
    assert why(raw) is check


def test_the_fields_are_as_they_were_sent():
    raw = head(b"GET / HTTP/1.1", b"Host:  a.test \t", b"A:", b"host: b.test", b"X:\t \t", b"C: d  e")

    fields = llhttp.request_fields(raw)

    assert fields == ((b"Host", b"a.test"), (b"A", b""), (b"host", b"b.test"), (b"X", b""), (b"C", b"d  e"))


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        pytest.param(b"/x?y", (b"", b"", b"/x?y"), id="origin form"),
        pytest.param(b"http://a.test/x", (b"http", b"a.test", b"/x"), id="absolute form"),
        pytest.param(b"HTTPS://A.test:8443?q", (b"HTTPS", b"A.test:8443", b"/?q"), id="a query and no path"),
        pytest.param(b"http://a.test", (b"http", b"a.test", b"/"), id="neither"),
        pytest.param(b"http://u@[::1]:80/", (b"http", b"u@[::1]:80", b"/"), id="userinfo and an address"),
        pytest.param(b"*", (b"", b"", b"*"), id="asterisk"),
        pytest.param(b"//a.test/x", (b"", b"", b"//a.test/x"), id="two slashes are a path"),
    ],
)
def test_targets_are_taken_apart(target: bytes, parts: tuple[bytes, bytes, bytes]):
    assert strict.parts(b"GET", target) == parts


def framing(*fields: tuple[bytes, bytes], modern: bool = True) -> strict.Framing | Check:
    try:
        return strict.framing(fields, modern=modern)
    except Refused as refused:
        return refused.check


CL, TE = b"Content-Length", b"Transfer-Encoding"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param([], strict.Framing(), id="nothing"),
        pytest.param([(CL, b"5")], strict.Framing(5), id="a length"),
        pytest.param([(b"CONTENT-length", b"5")], strict.Framing(5), id="in any case"),
        pytest.param([(CL, b"0")], strict.Framing(0), id="a length of nothing"),
        pytest.param([(CL, b"007")], strict.Framing(7), id="leading zeros"),
        pytest.param([(CL, b"9" * 18)], strict.Framing(10**18 - 1), id="18 digits"),
        pytest.param([(CL, b"9" * 19)], strict.LENGTH, id="19 digits"),
        pytest.param([(CL, b"")], strict.LENGTH, id="an empty length"),
        pytest.param([(CL, b"+5")], strict.LENGTH, id="a plus"),
        pytest.param([(CL, b"-5")], strict.LENGTH, id="a minus"),
        pytest.param([(CL, b"0_5")], strict.LENGTH, id="Python's own digits"),
        pytest.param([(CL, b"0x5")], strict.LENGTH, id="hexadecimal"),
        pytest.param([(CL, b"5 5")], strict.LENGTH, id="a space inside"),
        pytest.param([(CL, b"5, 5")], strict.LENGTH, id="a list of equal lengths"),
        pytest.param([(CL, b"5"), (CL, b"5")], strict.LENGTH, id="two equal lengths"),
        pytest.param([(CL, b"5"), (b"content-length", b"6")], strict.LENGTH, id="two lengths in two spellings"),
        pytest.param([(TE, b"chunked")], strict.Framing(chunked=True), id="chunked"),
        pytest.param([(TE, b"Chunked")], strict.Framing(chunked=True), id="chunked in any case"),
        pytest.param([(TE, b"chunked"), (CL, b"5")], strict.BOTH, id="TE then CL"),
        pytest.param([(CL, b"5"), (TE, b"chunked")], strict.BOTH, id="CL then TE"),
        pytest.param([(CL, b"0"), (TE, b"chunked")], strict.BOTH, id="CL of nothing, and TE"),
        pytest.param([(TE, b"gzip, chunked")], strict.CODING, id="gzip inside chunked"),
        pytest.param([(TE, b"gzip"), (TE, b"chunked")], strict.CODING, id="the same in two fields"),
        pytest.param([(TE, b"chunked"), (TE, b"chunked")], strict.NOT_CHUNKED, id="chunked twice"),
        pytest.param([(TE, b"chunked, chunked")], strict.NOT_CHUNKED, id="chunked twice in one"),
        pytest.param([(TE, b"chunked, gzip")], strict.NOT_CHUNKED, id="gzip outside chunked"),
        pytest.param([(TE, b"chunked"), (TE, b"identity")], strict.NOT_CHUNKED, id="chunked and identity"),
        pytest.param([(TE, b"identity")], strict.NOT_CHUNKED, id="identity"),
        pytest.param([(TE, b"xchunked")], strict.NOT_CHUNKED, id="xchunked"),
        pytest.param([(TE, b"chunkedx")], strict.NOT_CHUNKED, id="chunkedx"),
        pytest.param([(TE, b'"chunked"')], strict.NOT_CHUNKED, id="in quotes"),
        pytest.param([(TE, b"chunked;a=b")], strict.NOT_CHUNKED, id="with a parameter"),
        pytest.param([(TE, b"")], strict.NOT_CHUNKED, id="an empty coding"),
        pytest.param([(TE, b",chunked")], strict.CODING, id="an empty element"),
        pytest.param([(b"Expect", b"100-Continue")], strict.Framing(expect=True), id="100-continue"),
        pytest.param([(b"Expect", b"100-continue, x")], strict.EXPECT, id="more than 100-continue"),
        pytest.param([(b"Expect", b"")], strict.EXPECT, id="nothing expected"),
        pytest.param([(b"Connection", b"close")], strict.Framing(close=True), id="close"),
        pytest.param([(b"Connection", b"x ,\tClose")], strict.Framing(close=True), id="close in a list"),
        pytest.param([(b"Connection", b"x"), (b"connection", b"close")], strict.Framing(close=True), id="in a second field"),
        pytest.param([(b"Connection", b"closed")], strict.Framing(), id="closed is not close"),
        pytest.param([(b"X-Content-Length", b"5"), (b"Transfer-Encodin", b"chunked")], strict.Framing(), id="names alike"),
    ],
)  # fmt: skip
def test_framing(fields: list[tuple[bytes, bytes]], expected: object):
    assert framing(*fields) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param([(TE, b"chunked")], strict.OLD_CODING, id="chunks in HTTP/1.0"),
        pytest.param([(b"Expect", b"100-continue")], strict.Framing(), id="an expectation that means nothing there"),
        pytest.param([(CL, b"5")], strict.Framing(5), id="a length"),
    ],
)
def test_framing_of_http_1_0(fields: list[tuple[bytes, bytes]], expected: object):
    assert framing(*fields, modern=False) == expected


@pytest.mark.parametrize(
    ("check", "status"),
    [
        (strict.VERSION, 505),
        (strict.MANY_FIELDS, 431),
        (strict.TOO_LARGE, 431),
        (strict.CODING, 501),
        (strict.EXPECT, 417),
        (strict.BOTH, 400),
    ],
)
def test_statuses(check: Check, status: int):
    assert check.status == status


@pytest.mark.parametrize(
    ("opening", "http"),
    [
        (b"", True),
        (b"G", True),
        (b"GET", True),
        (b"GET /", True),
        (b"\r\n\r\nGET / HTTP/1.1\r\n", True),
        (b"get / HTTP/1.1\r\n", True),
        (b"GET / HTTP/9.9\r\n", True),
        (b"GET /\r\n", False),
        (b"EHLO a.test\r\n", False),
        (b"SSH-2.0-OpenSSH_9.6\r\n", False),
        (b"\x16\x03\x01", False),
        (b'{"a": 1}\n', False),
        (b"A" * 33, False),
    ],
)  # fmt: skip
def test_what_may_still_become_http(opening: bytes, http: bool):
    assert strict.looks_like_http(opening) is http


PIECES = st.sampled_from([
    b"GET", b"get", b"PRI", b" ", b"  ", b"\t", b"/", b"/a#", b"*", b"a.test:1", b"http://a.test/", b"http:///", b"HTTP/1.1",
    b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.", b"\r\n", b"\r", b"\n", b"\0", b"\x7f", b"A", b":", b": ", b"b", b"\xff", b"A: b\r\n",
    b"GET / HTTP/1.1\r\n",
])  # fmt: skip


@given(st.lists(PIECES, max_size=14).map(b"".join))
def test_the_quick_way_and_the_table_say_the_same(junk: bytes):
    """A head passes exactly where no row of the table refuses it."""
    raw = junk.replace(b"\r\n\r\n", b"\r\n").removesuffix(b"\r\n") + b"\r\n\r\n"

    row = next((check for refuses, check in strict.REQUEST_TABLE if refuses(raw)), None)

    assert why(raw) is row


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(head(b"GET / HTTP/1.1", b"A" * 65_000), id="a long name without a colon"),
        pytest.param(head(b"GET / HTTP/1.1", b"A: " + b" " * 65_000 + b"\rb"), id="a long space, and a bare CR"),
        pytest.param(head(b"GET / HTTP/1.1", b"A: b" + b" \t" * 32_000 + b"\0"), id="a long space, and NUL"),
        pytest.param(head(b"GET http" + b":" * 65_000 + b" HTTP/1.1"), id="colons for a target"),
        pytest.param(head(b"GET " + b"a" * 65_000 + b" HTTP/1.1"), id="letters for a target"),
        pytest.param(head(b"GET / HTTP/1.1", b"Connection: " + b"close," * 10_000), id="a long list"),
    ],
)
def test_no_head_takes_long(raw: bytes):
    started = time.thread_time()
    why(raw)

    assert time.thread_time() - started < 0.2  # what is quadratic takes seconds
