"""What an origin sends for one request, as events. How long its body is, we decide, and nobody else (RFC 9112, 6.3)."""

from __future__ import annotations

import enum

import msgspec

from sluicegate.exchange.heads import ResponseHead
from sluicegate.lanes import strict
from sluicegate.lanes.http1 import llhttp
from sluicegate.lanes.http1.chunks import Chunks
from sluicegate.lanes.http1.events import Data, End, Fault
from sluicegate.lanes.http1.held import Held
from sluicegate.lanes.strict import Check, Refused
from sluicegate.verdict import Reason

_INTERIM = 16  # 1xx heads that one answer may have before it
_BAD_GATEWAY = 502

NO_ANSWER = "the origin closed the connection instead of answering"
CUT_SHORT = "the origin closed the connection in the middle of its answer"
_MANY_INTERIM = Check("the origin sends interim answers only", "9110 15.2")


class Interim(msgspec.Struct, frozen=True):
    """A 1xx head other than 101. 100 was answered by us, and of the others nothing is lost if they are dropped."""

    head: ResponseHead


class Head(msgspec.Struct, frozen=True):
    """The head of the answer.

    length       what Content-Length says, also where no body follows (HEAD, 304); None: nothing
    until_close  the body ends where the connection does
    keep_alive   the origin will take another request, after the End
    end          there is no body, and no End follows; after 101 what comes is of another protocol: `release`
    """

    head: ResponseHead
    length: int | None
    chunked: bool
    until_close: bool
    keep_alive: bool
    end: bool


type Event = Interim | Head | Data | End | Fault


class _State(enum.Enum):
    HEAD = enum.auto()
    LENGTH = enum.auto()
    CHUNKED = enum.auto()
    UNTIL_CLOSE = enum.auto()
    CLOSED = enum.auto()  # the end of file is the end of the body
    OVER = enum.auto()
    BROKEN = enum.auto()  # after a Fault nothing is kept


class Before:
    """The head that was read last on a connection, and its bytes. An origin's heads differ by their date, once a second."""

    __slots__ = ("made", "raw")

    def __init__(self) -> None:
        self.raw = b""
        self.made: tuple[ResponseHead, strict.Framing] | None = None


class ResponseReader:
    """Bytes of an origin in, events out, for one request: Interim..., Head, Data..., End.

    feed and eof raise nothing; eof counts after all events of what was fed are taken.
    before: what was made of the head that came last on this connection; the same bytes are not read twice.
    """

    __slots__ = (
        "_before",
        "_chunks",
        "_held",
        "_interim",
        "_is_head",
        "_left",
        "_limit",
        "_scanned",
        "_state",
        "began",
    )

    def __init__(self, request_method: bytes, *, head_limit: int, before: Before | None = None) -> None:
        self._is_head = request_method == b"HEAD"
        self._limit = head_limit
        self._before = before
        self._held = Held()
        self._scanned = 0
        self._interim = 0
        self._left = 0
        self._chunks: Chunks | None = None
        self._state = _State.HEAD
        self.began = False
        """A byte of an answer came: the request must not be sent again."""

    @property
    def complete(self) -> bool:
        """The whole answer was read, or there was a Fault."""
        return self._state in {_State.OVER, _State.BROKEN}

    @property
    def leftover(self) -> int:
        """Bytes held; after the end they are an answer to nothing, and the connection is not to be used again."""
        return len(self._held)

    def feed(self, data: bytes | memoryview) -> None:
        self.began = True
        if self._state is not _State.BROKEN:
            self._held.add(data)

    def release(self) -> bytes:
        """Ends reading, and gives what came after the head: it is of the protocol that was switched to."""
        self._state = _State.OVER
        return self._held.all()

    def eof(self) -> Fault | None:
        """The origin closed its side. None: that is the end of the body, which `next` now tells, or all was read before."""
        match self._state:
            case _State.UNTIL_CLOSE:
                self._state = _State.CLOSED
                return None
            case _State.OVER | _State.CLOSED | _State.BROKEN:
                return None
            case state:
                return self._fault(NO_ANSWER if state is _State.HEAD else CUT_SHORT)

    def next(self) -> Event | None:
        """The next event; None: more bytes are needed, or all was read."""
        try:
            state = self._state
            if state is _State.HEAD:
                return self._head()
            if state is _State.LENGTH:
                return self._sized()
            if state is _State.CHUNKED:
                return self._chunked()
            if state is _State.UNTIL_CLOSE:
                return Data(self._held.all()) if self._held.data else None
            if state is _State.CLOSED:
                return self._last()
            return None
        except Refused as refused:
            return self._fault(_of_origin(refused.check))

    def _fault(self, detail: str) -> Fault:
        self.release()
        self._state = _State.BROKEN
        return Fault(Reason.UPSTREAM_BROKE, detail, _BAD_GATEWAY)

    def _head(self) -> Interim | Head | None:
        held = self._held
        end = held.data.find(b"\r\n\r\n", max(0, self._scanned - 3))
        if end < 0 or end + 4 > self._limit:
            self._refuse_early()
            return None
        self._scanned = 0
        head, framing = self._made(held.take(end + 4))
        if head.status < 200 and head.status != 101:
            return self._passing(head)
        return self._begin(head, framing, keep=head.version == "HTTP/1.1" and not framing.close)

    def _made(self, raw: bytes) -> tuple[ResponseHead, strict.Framing]:
        before = self._before
        if before is None:
            return _judged(raw)
        if before.made is None or before.raw != raw:
            before.made = None  # of no bytes, while these are judged
            before.made, before.raw = _judged(raw), raw
        return before.made

    def _refuse_early(self) -> None:
        """Does not wait for the rest of what is lost already."""
        data = bytes(self._held.data[: self._limit])
        strict.check_opening(data, first=False, since=self._scanned)
        if len(data) >= self._limit:
            raise Refused(strict.TOO_LARGE)
        self._scanned = len(data)

    def _passing(self, head: ResponseHead) -> Interim:
        self._interim += 1
        if self._interim > _INTERIM:
            raise Refused(_MANY_INTERIM)
        return Interim(head)

    def _begin(self, head: ResponseHead, framing: strict.Framing, *, keep: bool) -> Head:
        status, length, chunked = head.status, framing.length, framing.chunked
        if self._is_head or status in {101, 204, 304} or length == 0:
            self._state = _State.OVER
            return Head(head, length, chunked=False, until_close=False, keep_alive=keep and status != 101, end=True)
        if chunked:
            self._state, self._chunks = _State.CHUNKED, Chunks()
        elif length is not None:
            self._state, self._left = _State.LENGTH, length
        else:
            self._state = _State.UNTIL_CLOSE
            return Head(head, None, chunked=False, until_close=True, keep_alive=False, end=False)
        return Head(head, length, chunked, until_close=False, keep_alive=keep, end=False)

    def _sized(self) -> Data | End | None:
        if not self._left:
            self._state = _State.OVER
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
        self._state = _State.OVER
        return End(chunks.trailers)

    def _last(self) -> Data | End:
        if self._held.data:
            return Data(self._held.all())
        self._state = _State.OVER
        return End()


def _judged(raw: bytes) -> tuple[ResponseHead, strict.Framing]:
    """A head from its bytes. Raises Refused."""
    status, modern, count = strict.response(raw)
    fields = llhttp.response_fields(raw)
    if fields is None or len(fields) != count:
        raise Refused(strict.why_not_fields(raw))
    framing = strict.framing(fields, modern=modern, request=False)
    return ResponseHead(status, fields, "HTTP/1.1" if modern else "HTTP/1.0"), framing


def _of_origin(check: Check) -> str:
    return check.detail if "origin" in check.detail else f"the origin's answer is not sound: {check.detail}"
