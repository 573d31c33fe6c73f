"""HTTP/1 heads from lines of bytes. Form only: what they mean is judged by Exchange, which is given every field as it came."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sluicegate.exchange import RequestHead, ResponseHead
from sluicegate.verdict import Reason

OPENING = 256
"""As many first bytes as looks_like_http needs to see."""

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb"{1,32}) ([^\x00-\x20\x7f]+) (HTTP/1\.\d)")
_METHOD = re.compile(_TOKEN + rb"{1,32}")
_ABSOLUTE = re.compile(rb"([A-Za-z][A-Za-z0-9+.\-]*)://([^/?#]*)(.*)", re.DOTALL)
_STATUS_LINE = re.compile(rb"(HTTP/1\.[01]) ([1-9]\d\d)(?: [^\x00-\x08\x0a-\x1f\x7f]*)?")


class BadHead(Exception):
    """Bytes that are no head, or too many of them. `detail` is one sentence and quotes nothing."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


def looks_like_http(opening: bytes) -> bool:
    """Whether these first bytes, all that came so far, may still become an HTTP/1 request line.

    A method is a token and ends with a space. That is decided by the first byte that contradicts it, never by a missing
    one: a client may send its request byte by byte.
    """
    line, newline, _ = opening.lstrip(b"\r\n").partition(b"\n")
    method, space, rest = line.partition(b" ")
    if not line:
        return True
    if not _METHOD.fullmatch(method):
        return False
    return not newline or (bool(space) and b" HTTP/" in rest)


def request(lines: Sequence[bytes | bytearray]) -> RequestHead:
    """The head of a request; `lines` without their ends. Raises BadHead."""
    found = _REQUEST_LINE.fullmatch(lines[0])
    if not found:
        raise BadHead(Reason.BAD_REQUEST, "the request line is not `method target version`, with single spaces")
    method, target, version = bytes(found[1]), bytes(found[2]), found[3].decode()
    scheme = authority = b""
    if method == b"CONNECT":
        authority = target
    elif absolute := _ABSOLUTE.fullmatch(target):
        scheme, authority, rest = absolute.groups()
        target = rest if rest.startswith(b"/") else b"/" + rest
        if not authority:
            raise BadHead(Reason.BAD_REQUEST, "the target has no host")
    return RequestHead(method, scheme, authority, target, version, _fields(lines[1:], Reason.BAD_REQUEST))


def response(lines: Sequence[bytes | bytearray]) -> ResponseHead:
    """The head of a response; folded lines are joined, as RFC 9112, 5.2 asks of a proxy. Raises BadHead."""
    found = _STATUS_LINE.fullmatch(lines[0])
    if not found:
        raise BadHead(Reason.UPSTREAM_BROKE, "the origin's status line is not one of HTTP/1")
    return ResponseHead(int(found[2]), _fields(_unfolded(lines[1:]), Reason.UPSTREAM_BROKE), found[1].decode())


def body_length(head: RequestHead | ResponseHead) -> int | None:
    """Bytes that the head announces; None: chunked, or not announced. For heads whose framing was checked."""
    if head.values(b"transfer-encoding"):
        return None
    lengths = head.values(b"content-length")
    return int(lengths[0]) if lengths else None


def check_response_framing(head: ResponseHead) -> None:
    """Before the body is read: exactly one way to frame it (RFC 9112, 6.3). Raises BadHead."""
    lengths, codings = head.values(b"content-length"), head.values(b"transfer-encoding")
    if len(lengths) > 1 or any(not (value.isdigit() and len(value) < 19) for value in lengths):
        raise BadHead(Reason.UPSTREAM_BROKE, "the origin's Content-Length is not one plain number")
    if codings and (lengths or len(codings) > 1 or codings[0].lower() != b"chunked" or head.version == "HTTP/1.0"):
        raise BadHead(
            Reason.UPSTREAM_BROKE, "the origin's Transfer-Encoding is not exactly `chunked`, alone, in HTTP/1.1"
        )


def _fields(lines: Sequence[bytes | bytearray], reason: Reason) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(_field(bytes(line), reason) for line in lines)


def _field(line: bytes, reason: Reason) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(b":")
    if not colon or not name or name[:1] in b" \t":
        raise BadHead(reason, "a field line is folded, or has no name and colon")
    return name, value.strip(b" \t")


def _unfolded(lines: Sequence[bytes | bytearray]) -> list[bytes]:
    out: list[bytes] = []
    for line in lines:
        if out and line.startswith((b" ", b"\t")):
            out[-1] += b" " + bytes(line).strip(b" \t")
        else:
            out.append(bytes(line))
    return out
