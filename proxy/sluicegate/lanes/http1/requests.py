"""What a client sends, as events: one request at a time, however its bytes are cut."""

from __future__ import annotations

import enum

import msgspec

from sluicegate.exchange.heads import RequestHead
from sluicegate.lanes import strict
from sluicegate.lanes.http1 import llhttp
from sluicegate.lanes.http1.chunks import Chunks
from sluicegate.lanes.http1.events import Data, End, Fault
from sluicegate.lanes.http1.held import Held
from sluicegate.lanes.strict import Check, Refused

_BLANKS = 8  # empty lines before a request line that are forgiven (RFC 9112, 2.2)


class Head(msgspec.Struct, frozen=True):
    """A sound head; what it asks for is judged by Exchange.

    length           bytes of the body; None: chunked
    expect_continue  the client waits for a 100 before it sends the body
    keep_alive       the client may send another request after this one
    end              there is no body, and no End follows
    """

    head: RequestHead
    length: int | None
    expect_continue: bool
    keep_alive: bool
    end: bool


type Event = Head | Data | End | Fault


class _State(enum.Enum):
    HEAD = enum.auto()
    LENGTH = enum.auto()
    CHUNKED = enum.auto()
    WAIT = enum.auto()
    OVER = enum.auto()


class RequestReader:
    """Bytes of one client connection in, events out: Head, Data..., End, and no more until `proceed`.

    feed raises nothing. What comes after the end of a request waits; whoever feeds looks at `pending` and stops reading.
    """

    __slots__ = (
        "_blanks",
        "_chunks",
        "_first",
        "_framing",
        "_held",
        "_last",
        "_left",
        "_limit",
        "_raw",
        "_scanned",
        "_state",
        "_tls",
    )

    def __init__(self, *, tls: bool, head_limit: int) -> None:
        self._tls = tls
        self._limit = head_limit
        self._held = Held()
        self._raw = b""
        self._last: Head | None = None  # what was made of `raw`, the head before this one
        self._framing = strict.Framing()
        self._blanks = 0  # before the head that is to come
        self._scanned = 0  # bytes of an unfinished head that hold no end of it
        self._left = 0
        self._chunks: Chunks | None = None
        self._first = True
        self._state = _State.HEAD

    @property
    def pending(self) -> int:
        """Bytes held unread."""
        return len(self._held)

    @property
    def started(self) -> bool:
        """Whether a head has begun and is not complete: from then on its time is counted."""
        return self._state is _State.HEAD and len(self._held) > 0

    @property
    def idle(self) -> bool:
        """Between two requests, with nothing of the next one there."""
        return self._state is _State.HEAD and not self._held

    def feed(self, data: bytes | memoryview) -> None:
        if self._state is not _State.OVER:
            self._held.add(data)

    def next(self) -> Event | None:
        """The next event; None: more bytes are needed, or `proceed`, or there was a Fault."""
        try:
            state = self._state
            if state is _State.HEAD:
                return self._head()
            if state is _State.LENGTH:
                return self._sized()
            if state is _State.CHUNKED:
                return self._chunked()
            return None
        except Refused as refused:
            return self._fault(refused.check)

    def proceed(self) -> None:
        """The answer to this request is complete: the next one may be read."""
        assert self._state is _State.WAIT, "the request is not complete"
        self._state = _State.HEAD
        self._scanned = self._blanks = 0

    def release(self) -> bytes:
        """Ends reading, and gives what came after the request: it is of the protocol that was switched to."""
        self._state = _State.OVER
        return self._held.all()

    def _fault(self, check: Check) -> Fault:
        self.release()
        return Fault(check.reason, check.detail, check.status)

    def _head(self) -> Head | None:
        held = self._held
        if not held.data:
            return None
        if held.data[0] == 0x0D:
            self._skip_blanks()
        end = held.data.find(b"\r\n\r\n", max(0, self._scanned - 3))
        if end < 0 or end + 4 > self._limit:
            self._refuse_early()
            self._scanned = len(held)
            return None
        head = self._begin(held.take(end + 4))
        self._first = False
        return head

    def _skip_blanks(self) -> None:
        while self._held.data.startswith(b"\r\n"):
            self._held.take(2)
            self._scanned = 0
            self._blanks += 1
            if self._blanks > _BLANKS:
                raise Refused(strict.BLANKS)

    def _refuse_early(self) -> None:
        """Does not wait for the rest of what is lost already."""
        data = bytes(self._held.data[: self._limit])
        strict.check_opening(data, first=self._first, since=self._scanned)
        if len(data) >= self._limit:
            raise Refused(strict.TOO_LARGE)

    def _begin(self, raw: bytes) -> Head:
        if raw == self._raw and self._last is not None:
            self._expect_body(self._framing)  # clients repeat themselves: the same bytes are not judged twice
            return self._last
        made = self._judged(raw)
        self._raw, self._last = raw, made
        return made

    def _judged(self, raw: bytes) -> Head:
        try:
            method, target, modern, count = strict.request(raw)
        except Refused:
            strict.check_opening(raw, first=self._first)
            raise
        fields = llhttp.request_fields(raw)
        if fields is None or len(fields) != count:
            raise Refused(strict.why_not_request(raw))
        framing = strict.framing(fields, modern=modern)
        scheme = authority = b""
        if target[0] != 0x2F:
            scheme, authority, target = strict.parts(method, target)
        head = RequestHead(method, scheme, authority, target, "HTTP/1.1" if modern else "HTTP/1.0", fields)
        end = self._expect_body(framing)
        self._framing = framing
        length = None if framing.chunked else framing.length or 0
        return Head(head, length, framing.expect and not end, modern and not framing.close, end)

    def _expect_body(self, framing: strict.Framing) -> bool:
        """Whether there is none."""
        if framing.chunked:
            self._state, self._chunks = _State.CHUNKED, Chunks()
            return False
        if framing.length:
            self._state, self._left = _State.LENGTH, framing.length
            return False
        self._state = _State.WAIT
        return True

    def _sized(self) -> Data | End | None:
        if not self._left:
            self._state = _State.WAIT
            return End()
        data = self._held.take(self._left)
        self._left -= len(data)
        return Data(data) if data else None

    def _chunked(self) -> Data | End | None:
        chunks = self._chunks
        assert chunks is not None
        data = b"" if chunks.done else chunks.read(self._held)
        if data:
            return Data(data)
        if not chunks.done:
            return None
        self._state = _State.WAIT
        return End(chunks.trailers)
