"""HTTP/1 heads and chunks as they are written: always anew, with framing of our own (RFC 9112, 6)."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from sluicegate.exchange import RequestHead
from sluicegate_mitm.events import Answer, Forward, Headers

FRAMING = frozenset({b"content-length", b"transfer-encoding"})
_NO_BODY = frozenset({204, 304})


@dataclass(frozen=True, slots=True)
class Written:
    """data: the head. chunked: the body is to be sent in chunks. keep: the connection may be used again."""

    data: bytes
    chunked: bool
    keep: bool


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def response_head(answer: Answer, request: RequestHead | None, *, keep: bool) -> Written:
    """The head of an answer. Without a length and without chunks (HTTP/1.0) the end of the connection is the end."""
    headers = [(name, value) for name, value in answer.headers if name.lower() not in FRAMING]
    chunked = False
    if answer.status != 101:
        headers = [(name, value) for name, value in headers if name.lower() != b"connection"]
        empty = has_no_body(request.method if request else b"", answer.status)
        if answer.length is not None and answer.status != 204:
            headers.append((b"Content-Length", b"%d" % answer.length))
        elif not empty and request is not None and request.version == "HTTP/1.1":
            headers.append((b"Transfer-Encoding", b"chunked"))
            chunked = True
        elif not empty:
            keep = False
        if not keep:
            headers.append((b"Connection", b"close"))
    return Written(_head(b"HTTP/1.1 %d %s" % (answer.status, _phrase(answer.status)), tuple(headers)), chunked, keep)


def request_head(forward: Forward) -> Written:
    """The head of a request, as the exchange has written it."""
    headers = _one_cookie([each for each in forward.head.headers if each[0].lower() not in FRAMING])
    chunked = not forward.end_stream and forward.length is None
    if chunked:
        headers.append((b"Transfer-Encoding", b"chunked"))
    elif forward.length is not None:
        headers.append((b"Content-Length", b"%d" % forward.length))
    return Written(
        _head(b"%s %s HTTP/1.1" % (forward.head.method, forward.head.target), tuple(headers)), chunked, keep=True
    )


def _one_cookie(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """HTTP/2 may send cookies apart, HTTP/1 may not (RFC 9113, 8.2.3)."""
    cookies = [value for name, value in headers if name.lower() == b"cookie"]
    if len(cookies) < 2:
        return headers
    return [each for each in headers if each[0].lower() != b"cookie"] + [(b"Cookie", b"; ".join(cookies))]


def has_no_body(method: bytes, status: int) -> bool:
    return method == b"HEAD" or status < 200 or status in _NO_BODY


def _head(line: bytes, headers: Headers) -> bytes:
    out = b"\r\n".join((line, *(b"%s: %s" % field for field in headers))) + b"\r\n\r\n"
    # What was parsed cannot hold a line end; if it does all the same, no second request may come of it.
    if out.count(b"\n") != len(headers) + 2 or out.count(b"\r") != len(headers) + 2:
        raise AssertionError("a line end in a head")
    return out


def _phrase(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b""
