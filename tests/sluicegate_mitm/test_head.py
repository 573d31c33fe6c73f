from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.exchange import RequestHead
from sluicegate.verdict import Reason
from sluicegate_mitm.head import BadHead, body_length, check_response_framing, looks_like_http, request, response


@pytest.mark.parametrize(
    "line", [b"GET / HTTP/1.1\r\n", b"PROPFIND http://a/ HTTP/1.0\r\n", b"\r\n\r\nPOST /x HTTP/1.1\n"]
)
def test_every_beginning_of_a_request_line_may_become_one(line: bytes):
    assert all(looks_like_http(line[:size]) for size in range(len(line) + 1))


@pytest.mark.parametrize(
    "opening",
    [
        pytest.param(b"\x16", id="TLS, one byte"),
        pytest.param(b"\x16\x03\x01", id="TLS"),
        pytest.param(b"\x00", id="binary"),
        pytest.param(b" GET / HTTP/1.1", id="a space first"),
        pytest.param(b"SSH-2.0-x\r", id="SSH, before its line ends"),
        pytest.param(b"GET /\r\n", id="HTTP/0.9"),
        pytest.param(b"GET\x0b/", id="vertical tab"),
        pytest.param(b"G" * 33, id="no method is that long"),
        pytest.param(b"HELO example.test\r\n", id="SMTP"),
    ],
)
def test_what_can_no_longer_become_a_request_line(opening: bytes):
    assert not looks_like_http(opening)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"GET /a?b HTTP/1.1", (b"GET", b"", b"", b"/a?b", "HTTP/1.1")),
        (b"OPTIONS * HTTP/1.1", (b"OPTIONS", b"", b"", b"*", "HTTP/1.1")),
        (b"GET http://a.test/x HTTP/1.1", (b"GET", b"http", b"a.test", b"/x", "HTTP/1.1")),
        (b"GET HTTP://a.test:81 HTTP/1.1", (b"GET", b"HTTP", b"a.test:81", b"/", "HTTP/1.1")),
        (b"GET http://a.test?q HTTP/1.1", (b"GET", b"http", b"a.test", b"/?q", "HTTP/1.1")),
        (b"GET http://u@a.test/ HTTP/1.1", (b"GET", b"http", b"u@a.test", b"/", "HTTP/1.1")),
        (b"CONNECT a.test:443 HTTP/1.1", (b"CONNECT", b"", b"a.test:443", b"a.test:443", "HTTP/1.1")),
        (b"GET /http://b.test/ HTTP/1.0", (b"GET", b"", b"", b"/http://b.test/", "HTTP/1.0")),
    ],
)
def test_request_lines(line: bytes, expected: tuple):
    assert request([line]) == RequestHead(*expected, ())


def test_fields_keep_order_case_and_repetition():
    head = request([b"GET / HTTP/1.1", b"Host: a", b"x-A:  1 \t", b"X-a: 2", b"Empty:"])
    assert head.headers == ((b"Host", b"a"), (b"x-A", b"1"), (b"X-a", b"2"), (b"Empty", b""))


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param([b"GET /  HTTP/1.1"], id="two spaces"),
        pytest.param([b"GET\t/ HTTP/1.1"], id="tab"),
        pytest.param([b"GET / http/1.1"], id="lower-case version"),
        pytest.param([b"GET / HTTP/1.1 "], id="trailing space"),
        pytest.param([b"GET http:/// HTTP/1.1"], id="no host"),
        pytest.param([b"GET / HTTP/1.1", b" folded: x"], id="folded first line"),
        pytest.param([b"GET / HTTP/1.1", b"a: b", b"\tc"], id="folded"),
        pytest.param([b"GET / HTTP/1.1", b"no colon"], id="no colon"),
        pytest.param([b"GET / HTTP/1.1", b": b"], id="no name"),
    ],
)
def test_what_is_no_request(lines: list[bytes]):
    with pytest.raises(BadHead) as bad:
        request(lines)
    assert bad.value.reason is Reason.BAD_REQUEST


@given(st.lists(st.binary(max_size=40).filter(lambda line: b"\n" not in line), min_size=1, max_size=4))
def test_no_bytes_raise_anything_else(lines: list[bytes]):
    for read in (request, response):
        with contextlib.suppress(BadHead):
            read(lines)


@pytest.mark.parametrize(
    ("fields", "length"),
    [([], None), ([b"Content-Length: 7"], 7), ([b"transfer-encoding: Chunked"], None)],
    ids=["to the end", "length", "chunked"],
)
def test_the_framing_of_a_response(fields: list[bytes], length: int | None):
    head = response([b"HTTP/1.1 200", *fields])
    check_response_framing(head)
    assert body_length(head) == length


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param([b"Content-Length: +7"], id="sign"),
        pytest.param([b"Content-Length: 7, 7"], id="list"),
        pytest.param([b"Content-Length: 7", b"Content-Length: 7"], id="twice"),
        pytest.param([b"Content-Length: \xb2"], id="a digit that is none"),
        pytest.param([b"Content-Length: " + b"9" * 30], id="beyond all numbers"),
        pytest.param([b"Transfer-Encoding: gzip, chunked"], id="two codings"),
        pytest.param([b"Transfer-Encoding: identity"], id="identity"),
        pytest.param([b"Transfer-Encoding: chunked", b"Content-Length: 7"], id="both"),
    ],
)
def test_a_framing_that_two_could_read_differently(fields: list[bytes]):
    with pytest.raises(BadHead):
        check_response_framing(response([b"HTTP/1.1 200 OK", *fields]))
