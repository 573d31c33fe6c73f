"""The chunked coding, strictly (RFC 9112, 7.1): hexadecimal sizes, CR LF, and little beside the data."""

from __future__ import annotations

import re

from sluicegate.exchange.heads import Headers
from sluicegate.lanes import strict
from sluicegate.lanes.http1.held import Held
from sluicegate.lanes.strict import Check, Refused
from sluicegate.verdict import Reason

OVERHEAD = 16 << 10
"""Bytes of chunk extensions in one message, and of its trailers."""

MALFORMED = Check("the body's chunks are malformed", "9112 7.1")
TOO_MUCH = Check(f"the body's chunk extensions are larger than {OVERHEAD} bytes", "9112 7.1.1", 413)
LONG_TRAILERS = Check(f"the trailers are larger than {OVERHEAD} bytes", "9112 7.1.2", 431, Reason.HEAD_TOO_LARGE)

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t -\x7e\x80-\xff])*"'
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})\r\n")
_OPENING = re.compile(rb"[0-9A-Fa-f]{1,16}(?:[;\r]|\Z)")
_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})((?:;" + _TOKEN + rb"(?:=(?:" + _TOKEN + rb"|" + _QUOTED + rb"))?)*)\r\n")
_DIGITS = 18  # a size and its CR LF

# RFC 9110, 6.5.1: what frames, routes, authenticates or says how to take the content has no place after it.
_NO_TRAILERS = frozenset({
    b"transfer-encoding", b"content-length", b"content-encoding", b"content-type", b"content-range", b"trailer",
    b"host", b"connection", b"keep-alive", b"upgrade", b"te", b"via", b"forwarded", b"max-forwards", b"expect",
    b"authorization", b"cookie", b"set-cookie", b"www-authenticate", b"authentication-info", b"range",
    b"cache-control", b"pragma", b"age", b"expires", b"date", b"location", b"retry-after", b"vary", b"alt-svc",
    b"http2-settings",
})  # fmt: skip
_NO_TRAILER_PREFIXES = (b"proxy-", b"if-", b"x-forwarded-", b"x-http-method", b"sec-")


class Chunks:
    """One chunked body. `done`: its last byte was read, and `trailers` holds what may pass of them."""

    __slots__ = ("_left", "_line_end", "_spent", "_trailing", "done", "trailers")

    def __init__(self) -> None:
        self._left = 0  # bytes that are to come of the chunk
        self._line_end = False  # the CR LF after a chunk is to come
        self._trailing = False
        self._spent = 0
        self.done = False
        self.trailers: Headers = ()

    def read(self, held: Held) -> bytes:
        """Takes all that can be read, and gives the data in it. Raises Refused, after the good data before it was given."""
        data, pieces, at = held.data, [], 0
        while not self.done:
            if self._left:
                piece = data[at : at + self._left]
                if not piece:
                    break
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                self._line_end = not self._left
                continue
            try:
                after = self._trailers(data, at) if self._trailing else self._size(data, at)
            except Refused:
                if not pieces:
                    raise
                break  # it is found again with the next call
            if after == at:
                break
            at = after
        if at:
            held.drop(at)
        return bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces)

    def _size(self, data: bytes | bytearray, at: int) -> int:
        """Where the chunk's data begins; `at` where that has not come yet."""
        start = at
        if self._line_end:
            if not b"\r\n".startswith(data[at : at + 2]):
                raise Refused(MALFORMED)
            start = at + 2
            if len(data) <= start:
                return at
        found = _SIZE.match(data, start) or self._extended(data, start)
        if found is None:
            return at
        self._line_end = False
        self._left = int(found[1], 16)
        self._trailing = not self._left
        return found.end()

    def _extended(self, data: bytes | bytearray, start: int) -> re.Match[bytes] | None:
        """A size line that has extensions, is not complete or not sound. Extensions are not passed on."""
        if start < len(data) and not _OPENING.match(data, start):
            raise Refused(MALFORMED)
        room = OVERHEAD - self._spent + _DIGITS
        end = data.find(b"\n", start, start + room)
        if end < 0:
            if len(data) - start >= room:
                raise Refused(TOO_MUCH)
            return None
        found = _LINE.match(data, start, end + 1)
        if found is None:
            raise Refused(MALFORMED)
        self._spent += len(found[2])
        if self._spent > OVERHEAD:
            raise Refused(TOO_MUCH)
        return found

    def _trailers(self, data: bytes | bytearray, at: int) -> int:
        """Where the message ends; `at` where that has not come yet."""
        if data.startswith(b"\r\n", at):
            self.done = True
            return at + 2
        end = data.find(b"\r\n\r\n", at, at + OVERHEAD)
        if end < 0:
            if len(data) - at >= OVERHEAD:
                raise Refused(LONG_TRAILERS)
            return at
        self.trailers = tuple(field for field in strict.trailers(bytes(data[at : end + 4])) if _may_trail(field[0]))
        self.done = True
        return end + 4


def _may_trail(name: bytes) -> bool:
    lower = name.lower()
    return lower not in _NO_TRAILERS and not lower.startswith(_NO_TRAILER_PREFIXES)
