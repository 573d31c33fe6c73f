"""HTTP/1 towards the client: heads in, answers out, one request at a time (RFC 9112)."""

from __future__ import annotations

import enum

import h11
from h11._readers import ChunkedReader, ContentLengthReader
from h11._receivebuffer import ReceiveBuffer
from mitmproxy.http import Headers as MitmHeaders
from mitmproxy.proxy.commands import CloseConnection, CloseTcpConnection, SendData
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.events import ConnectionClosed, DataReceived, Event, Start
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.http._base import HttpConnection, HttpEvent, ReceiveHttp
from mitmproxy.proxy.layers.http._events import (
    ErrorCode,
    RequestData,
    RequestEndOfMessage,
    RequestProtocolError,
    RequestTrailers,
    ResponseData,
    ResponseEndOfMessage,
    ResponseProtocolError,
)

from sluicegate.exchange import RequestHead
from sluicegate.verdict import Reason
from sluicegate_mitm import head as heads
from sluicegate_mitm.events import Answer, Continue, RequestStarts, Reset
from sluicegate_mitm.http1_write import chunk, response_head
from sluicegate_mitm.session import Session

HEAD_S = 30.0
"""Seconds a head may take once its first byte is there."""
LINGER_S = 30.0
"""Seconds that a refused upload is read and thrown away, so that the client gets to see its answer."""
_BLANKS = 8  # empty lines before a request line that are forgiven


class State(enum.Enum):
    HEAD = enum.auto()
    BODY = enum.auto()
    WAIT = enum.auto()  # the request is complete, its answer is not
    PIPE = enum.auto()  # after 101
    DISCARD = enum.auto()  # answered before the upload was read
    OVER = enum.auto()


class Http1Server(HttpConnection):
    """Reads one request, waits until it is answered, reads the next. Pipelined requests wait in the buffer."""

    def __init__(self, context: Context, session: Session) -> None:
        super().__init__(context, context.client)
        self._session = session
        self._limit = session.gate.limits.head
        self._buf = ReceiveBuffer()
        self._opening = b""
        self._blanks = 0
        self._reading = False
        self._reader: ChunkedReader | ContentLengthReader
        self._head: RequestHead | None = None
        self._chunked = False
        self._keep = True
        self._answered = False
        self.state = State.HEAD
        self.stream_id = 1

    @property
    def full(self) -> bool:
        """More than one head is waiting for its turn."""
        return self.state in {State.WAIT, State.BODY} and len(self._buf) > self._limit

    def _handle_event(self, event: Event) -> CommandGenerator[None]:
        match event:
            case HttpEvent():
                yield from self._send(event)
            case DataReceived():
                yield from self._received(event.data)
            case ConnectionClosed():
                yield from self._closed()
            case Start():
                limits = self._session.gate.limits
                detail = f"no request came for {limits.hello_timeout_s:g} s"
                self._session.control.expect(limits.hello_timeout_s, Reason.HELLO_TIMEOUT, detail)
            case _:
                raise AssertionError(f"unexpected {type(event).__name__}")

    def _received(self, data: bytes) -> CommandGenerator[None]:
        if self.state is State.PIPE:
            yield ReceiveHttp(RequestData(self.stream_id, data))
        elif self.state not in {State.DISCARD, State.OVER}:
            if len(self._opening) < heads.OPENING:
                self._opening += data[: heads.OPENING]
            self._buf += data
            yield from self._read()

    def _read(self) -> CommandGenerator[None]:
        if self._reading:  # called from within: the loop below goes on with what changed
            return
        self._reading = True
        try:
            going = True
            while going:
                match self.state:
                    case State.HEAD:
                        going = yield from self._read_head()
                    case State.BODY:
                        going = yield from self._read_body()
                    case _:
                        going = False
        finally:
            self._reading = False

    def _read_head(self) -> CommandGenerator[bool]:
        try:
            lines = self._next_lines()
            if lines is None:
                return False
            if not lines:
                return True
            head: RequestHead | heads.BadHead = heads.request(lines)
        except heads.BadHead as bad:
            head = bad
        self._session.control.settled()
        self._answered = False
        if isinstance(head, heads.BadHead):
            self.state, self._keep = State.BODY, False
            self._reader = ContentLengthReader(0)
            yield ReceiveHttp(RequestStarts(self.stream_id, head, end_stream=False))
            return False
        yield from self._begin(head)
        return True

    def _next_lines(self) -> list[bytearray] | None:
        """The lines of a head; [] for an empty line before one; None: not complete. Raises BadHead."""
        before = len(self._buf)
        lines = self._buf.maybe_extract_lines()
        if before - (len(self._buf) if lines is not None else 0) > self._limit:
            raise heads.BadHead(Reason.HEAD_TOO_LARGE, f"the head is larger than {self._limit} bytes")
        if self.stream_id == 1 and not heads.looks_like_http(self._opening):
            raise heads.BadHead(Reason.NOT_HTTP, "what was sent is not an HTTP request")
        if lines is None and before:
            self._session.control.expect(HEAD_S, Reason.TIMEOUT, f"the head was not complete after {HEAD_S:g} s")
        elif lines is not None and not lines:
            self._blanks += 1
            if self._blanks > _BLANKS:
                raise heads.BadHead(Reason.BAD_REQUEST, "empty lines came instead of a request")
        return lines

    def _begin(self, head: RequestHead) -> CommandGenerator[None]:
        self._head, self.state = head, State.BODY
        self._keep = head.version == "HTTP/1.1" and b"close" not in _tokens(head, b"connection")
        chunked = bool(head.values(b"transfer-encoding"))
        lengths = head.values(b"content-length")
        end = not chunked and all(value.strip(b"0") == b"" for value in lengths)
        if end:
            stream_id, self.state = self.stream_id, State.WAIT
            yield ReceiveHttp(RequestStarts(stream_id, head, end_stream=True))
            yield ReceiveHttp(RequestEndOfMessage(stream_id))
            return
        self._reader = ChunkedReader() if chunked else ContentLengthReader(0)
        yield ReceiveHttp(RequestStarts(self.stream_id, head, end_stream=False))
        # Only a permitted head gets here in BODY, and then its framing is known to be sound.
        if self.state is State.BODY and not self._answered and not chunked and lengths:
            self._reader = ContentLengthReader(int(lengths[0]))

    def _read_body(self) -> CommandGenerator[bool]:
        try:
            event = self._reader(self._buf)
        except h11.ProtocolError:
            yield from self._broken("the body's chunks are malformed")
            return False
        match event:
            case h11.Data():
                yield ReceiveHttp(RequestData(self.stream_id, bytes(event.data)))
            case h11.EndOfMessage():
                self.state = State.WAIT
                if event.headers:
                    trailers = MitmHeaders([(bytes(name), bytes(value)) for name, value in event.headers])
                    yield ReceiveHttp(RequestTrailers(self.stream_id, trailers))
                yield ReceiveHttp(RequestEndOfMessage(self.stream_id))
            case None:
                if len(self._buf) > self._limit:  # a chunk's line or the trailers do not end
                    yield from self._broken("the body's chunks are malformed")
                return False
        return True

    def _broken(self, detail: str) -> CommandGenerator[None]:
        yield ReceiveHttp(RequestProtocolError(self.stream_id, detail, ErrorCode.GENERIC_CLIENT_ERROR))
        if self.state is State.BODY:
            yield from self._hang_up()

    def _hang_up(self) -> CommandGenerator[None]:
        self.state = State.OVER
        yield CloseConnection(self.conn)

    def _closed(self) -> CommandGenerator[None]:
        state, self.state = self.state, State.OVER
        if state is State.PIPE:
            yield ReceiveHttp(RequestEndOfMessage(self.stream_id))
        elif state in {State.BODY, State.WAIT}:
            yield ReceiveHttp(RequestProtocolError(self.stream_id, "the client left", ErrorCode.CLIENT_DISCONNECTED))
        yield CloseConnection(self.conn)

    def _send(self, event: HttpEvent) -> CommandGenerator[None]:
        if event.stream_id != self.stream_id or self.state is State.OVER:
            return
        match event:
            case Answer():
                yield from self._send_head(event)
            case ResponseData() if event.data:
                yield SendData(self.conn, chunk(event.data) if self._chunked else event.data)
            case ResponseEndOfMessage():
                yield from self._sent()
            case ResponseProtocolError():
                self.state = State.OVER
                yield Reset(self.conn)
            case Continue():
                yield SendData(self.conn, b"HTTP/1.1 100 Continue\r\n\r\n")

    def _send_head(self, answer: Answer) -> CommandGenerator[None]:
        self._answered = True
        if any(name.lower() == b"connection" and value.lower() == b"close" for name, value in answer.headers):
            self._keep = False
        # An answer before the end of the upload: nobody knows how much of it is still to come.
        self._keep = self._keep and self.state is State.WAIT
        written = response_head(answer, self._head, keep=self._keep)
        self._chunked, self._keep = written.chunked, written.keep
        yield SendData(self.conn, written.data)
        if answer.status == 101:
            yield from self._make_pipe()

    def _make_pipe(self) -> CommandGenerator[None]:
        self.state = State.PIPE
        early = self._buf.maybe_extract_at_most(len(self._buf))
        if early:
            yield ReceiveHttp(RequestData(self.stream_id, bytes(early)))

    def _sent(self) -> CommandGenerator[None]:
        if self.state is State.PIPE:
            yield from self._hang_up()
            return
        if self._chunked:
            yield SendData(self.conn, b"0\r\n\r\n")
        if self.state is State.BODY:
            yield from self._linger()
        elif not self._keep:
            yield from self._hang_up()
        else:
            self.state, self._chunked = State.HEAD, False
            self._head = None
            self.stream_id += 2
            yield from self._read()

    def _linger(self) -> CommandGenerator[None]:
        """Ends our side and goes on reading for a while: closing now would reset, and the answer would be lost in it."""
        self.state = State.DISCARD
        self._buf = ReceiveBuffer()
        self._session.control.expect(LINGER_S, None, "")
        yield CloseTcpConnection(self.conn, half_close=True)


def _tokens(head: RequestHead, name: bytes) -> set[bytes]:
    return {token.strip().lower() for value in head.values(name) for token in value.split(b",")}
