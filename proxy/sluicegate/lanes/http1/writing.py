"""HTTP/1 heads and chunks as they are written: always anew, with framing of our own (RFC 9112, 6)."""

from __future__ import annotations

from http import HTTPStatus

from sluicegate.exchange.heads import Headers

# What is written here and nowhere else. `Connection` of a 101 is the exchange's.
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})
_ANSWER_FRAMING = _FRAMING | {b"connection"}
_PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}
_NO_LENGTH = frozenset({204})  # RFC 9110, 8.6; of 304 it tells what a 200 would have had

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class LineEndInHead(Exception):
    """What was parsed cannot hold a line end; if it does all the same, no second message may come of it."""


def request_head(method: bytes, target: bytes, headers: Headers, *, length: int | None, chunked: bool) -> bytes:
    """A request as the exchange has written it. No body: neither length nor chunked. Raises LineEndInHead."""
    lines = [b"%s %s HTTP/1.1" % (method, target)]
    lines += [b"%s: %s" % field for field in headers if field[0].lower() not in _FRAMING]
    if chunked:
        lines.append(b"Transfer-Encoding: chunked")
    elif length is not None:
        lines.append(b"Content-Length: %d" % length)
    return _joined(lines)


def response_head(status: int, headers: Headers, *, length: int | None, chunked: bool, keep_alive: bool) -> bytes:
    """An answer as the exchange has written it. Neither length nor chunked: no body, or as much as comes until the end.

    length is what the origin announced, also where no body follows (HEAD, 304). Raises LineEndInHead.
    """
    drops = _FRAMING if status == 101 else _ANSWER_FRAMING
    lines = [b"HTTP/1.1 %d %s" % (status, _PHRASES.get(status, b""))]
    lines += [b"%s: %s" % field for field in headers if field[0].lower() not in drops]
    if status >= 200:
        if chunked:
            lines.append(b"Transfer-Encoding: chunked")
        elif length is not None and status not in _NO_LENGTH:
            lines.append(b"Content-Length: %d" % length)
        if not keep_alive:
            lines.append(b"Connection: close")
    return _joined(lines)


def chunk(data: bytes) -> bytes:
    """One chunk; nothing for nothing, because an empty chunk would be the last one."""
    return b"%x\r\n%s\r\n" % (len(data), data) if data else b""


def last_chunk(trailers: Headers) -> bytes:
    """The end of a chunked body. Raises LineEndInHead."""
    return _joined([b"0", *(b"%s: %s" % field for field in trailers)])


def _joined(lines: list[bytes]) -> bytes:
    out = b"\r\n".join(lines) + b"\r\n\r\n"
    expected = len(lines) + 1
    if out.count(b"\n") != expected or out.count(b"\r") != expected:
        raise LineEndInHead
    return out
