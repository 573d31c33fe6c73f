from __future__ import annotations

import pytest

from sluicegate.exchange.heads import Headers
from sluicegate.lanes.http1 import writing
from sluicegate.lanes.http1.writing import LineEndInHead, chunk, last_chunk

HOST = ((b"Host", b"a.test"),)
LIES = ((b"content-length", b"99"), (b"Transfer-Encoding", b"gzip, chunked"))


def request(headers: Headers = HOST, *, length: int | None = None, chunked: bool = False) -> bytes:
    return writing.request_head(b"PUT", b"/x?y", headers, length=length, chunked=chunked)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        pytest.param(request(), b"", id="no body"),
        pytest.param(request(length=0), b"Content-Length: 0\r\n", id="a body of nothing"),
        pytest.param(request(length=7), b"Content-Length: 7\r\n", id="a length"),
        pytest.param(request(chunked=True), b"Transfer-Encoding: chunked\r\n", id="chunks"),
        pytest.param(request(HOST + LIES, length=7), b"Content-Length: 7\r\n", id="framing of others is left out"),
        pytest.param(request(HOST + LIES), b"", id="even where there is no body"),
        pytest.param(request((*HOST, (b"X", b""))), b"X: \r\n", id="an empty value"),
    ],
)
def test_requests(made: bytes, expected: bytes):
    assert made == b"PUT /x?y HTTP/1.1\r\nHost: a.test\r\n" + expected + b"\r\n"


def response(
    status: int, headers: Headers = (), *, length: int | None = None, chunked: bool = False, keep_alive: bool = True
) -> bytes:
    return writing.response_head(status, headers, length=length, chunked=chunked, keep_alive=keep_alive)


UPGRADE = ((b"Connection", b"Upgrade"), (b"Upgrade", b"websocket"))


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        pytest.param(response(200, length=5), b"200 OK\r\nContent-Length: 5\r\n", id="a length"),
        pytest.param(response(200, chunked=True), b"200 OK\r\nTransfer-Encoding: chunked\r\n", id="chunks"),
        pytest.param(response(200, keep_alive=False), b"200 OK\r\nConnection: close\r\n", id="until the end"),
        pytest.param(response(200, LIES, length=5), b"200 OK\r\nContent-Length: 5\r\n", id="framing of others is left out"),
        pytest.param(response(200, ((b"connection", b"x"),), length=0), b"200 OK\r\nContent-Length: 0\r\n", id="and so is Connection"),
        pytest.param(response(304, length=5), b"304 Not Modified\r\nContent-Length: 5\r\n", id="304 tells a length"),
        pytest.param(response(204, length=0), b"204 No Content\r\n", id="204 tells none"),
        pytest.param(response(101, UPGRADE, keep_alive=False), b"101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n", id="101 keeps its Connection"),
        pytest.param(response(103, ((b"Link", b"x"),), keep_alive=False), b"103 Early Hints\r\nLink: x\r\n", id="an interim answer frames nothing"),
        pytest.param(response(999, length=0), b"999 \r\nContent-Length: 0\r\n", id="a status without a phrase"),
        pytest.param(response(200, ((b"Set-Cookie", b"a"), (b"Set-Cookie", b"b")), length=0), b"200 OK\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 0\r\n", id="fields stay apart and in order"),
    ],
)  # fmt: skip
def test_responses(made: bytes, expected: bytes):
    assert made == b"HTTP/1.1 " + expected + b"\r\n"


def test_chunks():
    assert chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"
    assert chunk(b"") == b""  # an empty chunk would end the body
    assert last_chunk(()) == b"0\r\n\r\n"
    assert last_chunk(((b"X-Sum", b"1"),)) == b"0\r\nX-Sum: 1\r\n\r\n"


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\r"])
def test_no_line_end_gets_into_a_head(end: bytes):
    evil = ((b"X", b"a" + end + b"Host: e.test"),)

    with pytest.raises(LineEndInHead):
        request(HOST + evil)
    with pytest.raises(LineEndInHead):
        request(((b"X" + end, b"a"),))
    with pytest.raises(LineEndInHead):
        writing.request_head(b"GET", b"/" + end, HOST, length=None, chunked=False)
    with pytest.raises(LineEndInHead):
        response(200, evil)
    with pytest.raises(LineEndInHead):
        last_chunk(evil)
