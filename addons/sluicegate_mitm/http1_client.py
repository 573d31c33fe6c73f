"""HTTP/1 towards the origin: our own heads out, its answers in."""

from __future__ import annotations

import enum

import h11
from h11._readers import ChunkedReader, ContentLengthReader, Http10Reader
from h11._receivebuffer import ReceiveBuffer
from mitmproxy.http import Headers as MitmHeaders
from mitmproxy.proxy.commands import CloseConnection, SendData
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.events import ConnectionClosed, DataReceived, Event, Start
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.http._base import HttpConnection, HttpEvent, ReceiveHttp
from mitmproxy.proxy.layers.http._events import (
    ErrorCode,
    RequestData,
    RequestEndOfMessage,
    RequestProtocolError,
    ResponseData,
    ResponseEndOfMessage,
    ResponseProtocolError,
    ResponseTrailers,
)

from sluicegate.exchange import ResponseHead
from sluicegate.verdict import Reason
from sluicegate_mitm import head as heads
from sluicegate_mitm.events import Forward, Reset, ResponseStarts
from sluicegate_mitm.http1_write import chunk, has_no_body, request_head
from sluicegate_mitm.session import Session

_INTERIM = 16  # 1xx heads that one answer may have before it


class State(enum.Enum):
    IDLE = enum.auto()
    HEAD = enum.auto()
    BODY = enum.auto()
    PIPE = enum.auto()
    OVER = enum.auto()


class Http1Client(HttpConnection):
    """One request at a time. `idle`: may take another."""

    def __init__(self, context: Context, session: Session, *, once: bool) -> None:
        """once: for one request only, because several streams of a client could not tell their answers apart."""
        super().__init__(context, context.server)
        self._limit = session.gate.limits.head
        self._once = once
        self._buf = ReceiveBuffer()
        self._reader: ChunkedReader | ContentLengthReader | Http10Reader
        self._chunked = False
        self._request_done = False
        self._interim = 0
        self._keep = True
        self._forward: Forward | None = None
        self._state = State.IDLE
        self.stream_id = 0

    @property
    def idle(self) -> bool:
        return self._state is State.IDLE

    def _handle_event(self, event: Event) -> CommandGenerator[None]:
        match event:
            case HttpEvent():
                yield from self._send(event)
            case DataReceived():
                yield from self._received(event.data)
            case ConnectionClosed():
                yield from self._closed()
            case Start():
                pass
            case _:
                raise AssertionError(f"unexpected {type(event).__name__}")

    def _send(self, event: HttpEvent) -> CommandGenerator[None]:
        if self._state is State.OVER:
            return
        match event:
            case Forward():
                assert self._state is State.IDLE
                self.stream_id, self._forward = event.stream_id, event
                self._state, self._request_done, self._interim, self._keep = State.HEAD, False, 0, True
                written = request_head(event)
                self._chunked = written.chunked
                yield SendData(self.conn, written.data)
            case RequestData() if event.data:
                yield SendData(self.conn, chunk(event.data) if self._chunked else event.data)
            case RequestEndOfMessage():
                self._request_done = True
                if self._chunked:
                    yield SendData(self.conn, b"0\r\n\r\n")
            case RequestProtocolError():
                self._state = State.OVER
                yield Reset(self.conn)

    def _received(self, data: bytes) -> CommandGenerator[None]:
        if self._state is State.PIPE:
            yield ReceiveHttp(ResponseData(self.stream_id, data))
            return
        if self._state is State.IDLE:  # nobody asked
            self._state = State.OVER
            yield Reset(self.conn)
            return
        self._buf += data
        going = True
        while going:
            match self._state:
                case State.HEAD:
                    going = yield from self._read_head()
                case State.BODY:
                    going = yield from self._read_body()
                case _:
                    going = False

    def _read_head(self) -> CommandGenerator[bool]:
        try:
            head = self._next_head()
            if head is None:
                return False
            if head.status < 200 and head.status != 101:
                # 100 was answered by us, and of the others nothing is lost (RFC 9110, 15.2).
                return True
            heads.check_response_framing(head)
        except heads.BadHead as bad:
            yield from self._fail(bad.detail)
            return False
        yield from self._begin(head)
        return True

    def _next_head(self) -> ResponseHead | None:
        before = len(self._buf)
        lines = self._buf.maybe_extract_lines()
        if before - (len(self._buf) if lines is not None else 0) > self._limit:
            raise heads.BadHead(Reason.UPSTREAM_BROKE, f"the origin's head is larger than {self._limit} bytes")
        if lines is None:
            return None
        self._interim += 1
        if not lines or self._interim > _INTERIM:
            raise heads.BadHead(Reason.UPSTREAM_BROKE, "the origin did not answer with a head")
        return heads.response(lines)

    def _begin(self, head: ResponseHead) -> CommandGenerator[None]:
        assert self._forward is not None
        if head.status == 101:
            self._state = State.PIPE
            early = self._buf.maybe_extract_at_most(len(self._buf))
            yield ReceiveHttp(ResponseStarts(self.stream_id, head, end_stream=False))
            if early and self._state is State.PIPE:
                yield ReceiveHttp(ResponseData(self.stream_id, bytes(early)))
            return
        self._state = State.BODY
        empty = has_no_body(self._forward.head.method, head.status)
        length = 0 if empty else heads.body_length(head)
        if length is not None:
            self._reader = ContentLengthReader(length)
        elif head.values(b"transfer-encoding"):
            self._reader = ChunkedReader()
        else:
            self._reader = Http10Reader()
            self._keep = False
        connection = {token.strip().lower() for value in head.values(b"connection") for token in value.split(b",")}
        self._keep = self._keep and not self._once and head.version == "HTTP/1.1" and b"close" not in connection
        yield ReceiveHttp(ResponseStarts(self.stream_id, head, end_stream=length == 0))

    def _read_body(self) -> CommandGenerator[bool]:
        try:
            event = self._reader(self._buf)
        except h11.ProtocolError:
            yield from self._fail("the origin's chunks are malformed")
            return False
        match event:
            case h11.Data():
                yield ReceiveHttp(ResponseData(self.stream_id, bytes(event.data)))
                return True
            case h11.EndOfMessage():
                yield from self._complete(event)
            case None:
                if len(self._buf) > self._limit:
                    yield from self._fail("the origin's chunks are malformed")
        return False

    def _complete(self, end: h11.EndOfMessage) -> CommandGenerator[None]:
        """The answer is whole. What comes after it, or an unfinished request, makes the connection useless for another."""
        stream_id = self.stream_id
        trailers = MitmHeaders([(bytes(name), bytes(value)) for name, value in end.headers])
        if self._keep and self._request_done and not self._buf:
            self._state = State.IDLE
        elif self._request_done:
            self._state = State.OVER
            yield CloseConnection(self.conn)
        else:
            self._state = State.OVER
            yield Reset(self.conn)
        if trailers:
            yield ReceiveHttp(ResponseTrailers(stream_id, trailers))
        yield ReceiveHttp(ResponseEndOfMessage(stream_id))

    def _closed(self) -> CommandGenerator[None]:
        state, self._state = self._state, State.OVER
        yield CloseConnection(self.conn)
        match state:
            case State.HEAD:
                yield from self._report("the origin closed the connection instead of answering")
            case State.PIPE:
                yield ReceiveHttp(ResponseEndOfMessage(self.stream_id))
            case State.BODY if isinstance(self._reader, Http10Reader) and not self.conn.error:
                yield ReceiveHttp(ResponseEndOfMessage(self.stream_id))
            case State.BODY:
                yield from self._report("the origin closed the connection in the middle of its answer")
            case _:
                pass

    def _fail(self, detail: str) -> CommandGenerator[None]:
        self._state = State.OVER
        yield Reset(self.conn)
        yield from self._report(detail)

    def _report(self, detail: str) -> CommandGenerator[None]:
        yield ReceiveHttp(ResponseProtocolError(self.stream_id, detail, ErrorCode.GENERIC_SERVER_ERROR))
