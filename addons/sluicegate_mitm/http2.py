"""HTTP/2 with bounded windows, on both sides: what is received is acknowledged when the other side has taken it.

mitmproxy's own connections announce windows of 2 GiB and acknowledge at once, so that a stalled origin fills our memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import h2.stream
from hyperframe.frame import Frame, GoAwayFrame
from mitmproxy.proxy.commands import CloseConnection, SendData
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.events import DataReceived, Event, Start
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.http._base import HttpEvent, ReceiveHttp
from mitmproxy.proxy.layers.http._events import (
    ErrorCode,
    RequestProtocolError,
    ResponseEndOfMessage,
    ResponseProtocolError,
)
from mitmproxy.proxy.layers.http._http2 import Http2Client, Http2Connection, Http2Server, StreamState
from mitmproxy.proxy.layers.http._http_h2 import BufferedH2Connection

from sluicegate.exchange import RequestHead, ResponseHead
from sluicegate.verdict import Reason
from sluicegate_mitm.budget import Budget
from sluicegate_mitm.events import Answer, Continue, Forward, Headers, RequestStarts, Reset, ResponseStarts, Settle
from sluicegate_mitm.head import BadHead
from sluicegate_mitm.http1_write import FRAMING
from sluicegate_mitm.pressure import Pressure
from sluicegate_mitm.session import Session

CLIENT_WINDOW, ORIGIN_WINDOW = 256 << 10, 1 << 20
"""Of one stream. Origins are far, and a window is what can be on the way; of clients sixteen may stall before all do."""
CONNECTION_WINDOW = 4 << 20
MAX_STREAMS = 100
MAX_RESETS, RESETS_A_SECOND = 200, 10
"""Streams that a client may take back at once beyond those it let finish, and later (CVE-2023-44487)."""
_NUMBERS = 1000  # pairs of stream numbers kept, before those of finished streams are forgotten
_FRAME = 1 << 14
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_REQUEST_PSEUDO = {b":method", b":scheme", b":authority", b":path"}


class GoAway(h2.events.Event):
    """The peer takes no stream after `last`; those up to it go on (RFC 9113, 6.8)."""

    def __init__(self, last: int) -> None:
        self.last = last


class Windows(BufferedH2Connection):
    """hyper-h2 with our windows. At most 64 CONTINUATION frames of 16 KiB can come to one head (hyper-h2 counts them)."""

    def __init__(self, parent: BufferedH2Connection, head: int) -> None:
        super().__init__(parent.config)
        self.local_settings.initial_window_size = ORIGIN_WINDOW if self.config.client_side else CLIENT_WINDOW
        self.local_settings.max_frame_size = _FRAME
        self.local_settings.max_header_list_size = head
        self.local_settings.max_concurrent_streams = MAX_STREAMS
        if self.config.client_side:
            self.local_settings.enable_push = 0
        self.local_settings.acknowledge()  # or they would be announced and not kept
        self.max_inbound_frame_size = _FRAME
        self.decoder.max_header_list_size = head

    def initiate_connection(self) -> None:
        h2.connection.H2Connection.initiate_connection(self)  # the parent's would open the window to 2 GiB
        self.increment_flow_control_window(CONNECTION_WINDOW - self.inbound_flow_control_window)

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Frame], list[h2.events.Event]]:
        # hyper-h2 would call the connection closed, and every answer that is still on its way an error.
        return [], [GoAway(frame.last_stream_id)]

    def backlog(self, stream_id: int) -> int:
        """Bytes that wait for the peer's window."""
        return sum(len(each.data) for each in self.stream_buffers.get(stream_id, ()))


class Streams(dict[int, StreamState]):
    """As mitmproxy's plain dict, but a stream may have ended itself while mitmproxy was about to end it."""

    def pop(self, stream_id: int, default: StreamState | None = None) -> StreamState | None:  # type: ignore[override]  # no KeyError
        return super().pop(stream_id, default)


class _Bounded(Http2Connection):
    """What both sides have in common."""

    h2_conn: Windows

    def _bound(self, session: Session, pressure: Pressure) -> None:
        self._session = session
        self._pressure = pressure
        self.h2_conn = Windows(self.h2_conn, session.gate.limits.head)
        self.unacknowledged: dict[int, int] = {}
        self.streams = Streams()
        self.leaving = False

    def _outer(self, stream_id: int) -> int:
        """The number of a stream as the rest of this lane knows it."""
        return stream_id

    def _given_up(self, event: Event) -> None:
        """Mitmproxy keeps streams that were reset from our side; a connection of a day's length would keep them all."""
        if isinstance(event, RequestProtocolError | ResponseProtocolError):
            self.streams.pop(event.stream_id, None)

    def _settle(self) -> CommandGenerator[None]:
        for stream_id, size in tuple(self.unacknowledged.items()):
            if not self._pressure.congested(self.conn, self._outer(stream_id)):
                del self.unacknowledged[stream_id]
                self.h2_conn.acknowledge_received_data(size, stream_id)
        if data := self.h2_conn.data_to_send():
            yield SendData(self.conn, data)

    def _data(self, event: h2.events.DataReceived) -> CommandGenerator[bool]:
        size = event.flow_controlled_length or 0
        assert event.stream_id is not None
        if self.streams.get(event.stream_id) is StreamState.EXPECTING_HEADERS:
            yield from self.protocol_error("data before a head")
            return True
        # An empty frame without an end is nothing; a flood of them costs the sender as much as us.
        if event.data and event.stream_id in self.streams:
            yield ReceiveHttp(self.ReceiveData(event.stream_id, event.data))
        if size:
            self.unacknowledged[event.stream_id] = self.unacknowledged.get(event.stream_id, 0) + size
        return False

    def close_connection(self, msg: str) -> CommandGenerator[None]:
        """As mitmproxy's, but streams may end themselves while they are told."""
        streams, self.streams = tuple(self.streams), Streams()
        self.unacknowledged.clear()
        self._handle_event = self.done  # type: ignore[method-assign]  # as mitmproxy's own layers change state
        yield CloseConnection(self.conn)
        for stream_id in streams:
            yield ReceiveHttp(self.ReceiveProtocolError(stream_id, msg, self.ReceiveProtocolError.code))

    def handle_h2_event(self, event: h2.events.Event) -> CommandGenerator[bool]:
        match event:
            case h2.events.DataReceived():
                return (yield from self._data(event))
            case GoAway():
                yield from self._peer_leaves(event)
            case _ if (yield from super().handle_h2_event(event)):
                return True
        if self.leaving and not self.streams:
            yield from self.close_connection("the peer left")
            return True
        return False

    def _peer_leaves(self, event: GoAway) -> CommandGenerator[None]:
        self.leaving = True
        ours = 1 if self.h2_conn.config.client_side else 0
        for stream_id in [each for each in self.streams if each % 2 == ours and each > event.last]:
            del self.streams[stream_id]
            error = self.ReceiveProtocolError(
                stream_id, "the peer took no more requests", ErrorCode.GENERIC_SERVER_ERROR
            )
            yield ReceiveHttp(error)


class Http2ServerBounded(_Bounded, Http2Server):
    """HTTP/2 towards the client."""

    def __init__(self, context: Context, session: Session, pressure: Pressure) -> None:
        super().__init__(context)
        self._bound(session, pressure)
        self._opening = b""
        self._resets = Budget(MAX_RESETS, RESETS_A_SECOND)

    def _handle_event(self, event: Event) -> CommandGenerator[None]:
        match event:
            case Settle():
                yield from self._settle()
            case Answer():
                yield from self._answer(event)
            case Continue():
                yield from self._headers(event.stream_id, [(b":status", b"100")])
            case ResponseEndOfMessage():
                yield from super()._handle_event(event)
                yield from self._hush(event.stream_id)
            case DataReceived() if len(self._opening) < len(_PREFACE):
                yield from self._open(event)
            case Start():
                limits = self._session.gate.limits
                detail = f"no request came for {limits.hello_timeout_s:g} s"
                self._session.control.expect(limits.hello_timeout_s, Reason.HELLO_TIMEOUT, detail)
                yield from super()._handle_event(event)
            case _:
                yield from super()._handle_event(event)
                self._given_up(event)

    def _open(self, event: DataReceived) -> CommandGenerator[None]:
        self._opening += event.data[: len(_PREFACE) - len(self._opening)]
        if not _PREFACE.startswith(self._opening):
            self._session.end(Reason.NOT_HTTP, "what was sent is not HTTP/2, although the client asked for it")
            self._handle_event = self.done  # type: ignore[method-assign]  # as mitmproxy's own layers change state
            yield Reset(self.conn)
            return
        yield from super()._handle_event(event)

    def _answer(self, answer: Answer) -> CommandGenerator[None]:
        fields = [(b":status", b"%d" % answer.status)]
        fields += [(n.lower(), v) for n, v in answer.headers if n.lower() not in FRAMING and n.lower() != b"connection"]
        if answer.length is not None and answer.status != 204:
            fields.append((b"content-length", b"%d" % answer.length))
        # On the head itself, where the origin had it so: that is how gRPC tells an answer that is only a status.
        yield from self._headers(answer.stream_id, fields, end_stream=answer.end_stream)

    def _headers(
        self, stream_id: int, fields: list[tuple[bytes, bytes]], *, end_stream: bool = False
    ) -> CommandGenerator[None]:
        if self.is_open_for_us(stream_id):
            self.h2_conn.send_headers(stream_id, fields, end_stream=end_stream)
            yield SendData(self.conn, self.h2_conn.data_to_send())

    def _hush(self, stream_id: int) -> CommandGenerator[None]:
        """The answer is complete, the upload is not: asks the client to stop (RFC 9113, 8.1)."""
        stream = self.h2_conn.streams.get(stream_id)
        machine = stream.state_machine if stream is not None else None
        early = machine is not None and machine.state is h2.stream.StreamState.HALF_CLOSED_LOCAL
        if early or (machine is not None and machine.stream_closed_by is h2.stream.StreamClosedBy.SEND_END_STREAM):
            self._resets.give()  # all of it was sent: nothing of it waits for a window
        if early:
            self.h2_conn.reset_stream(stream_id, h2.errors.ErrorCodes.NO_ERROR)
            yield SendData(self.conn, self.h2_conn.data_to_send())
        if self.is_closed(stream_id):
            self.streams.pop(stream_id, None)

    def handle_h2_event(self, event: h2.events.Event) -> CommandGenerator[bool]:
        match event:
            case h2.events.RequestReceived():
                return (yield from self._request(event))
            case h2.events.StreamReset():
                if not self._resets.take():
                    return (yield from self._enough())
                # Where head and reset came in one read, mitmproxy has forgotten the stream at its end already.
                assert event.stream_id is not None
                self.streams.setdefault(event.stream_id, StreamState.HEADERS_RECEIVED)
        return (yield from super().handle_h2_event(event))

    def _enough(self) -> CommandGenerator[bool]:
        yield from self.protocol_error("too many streams are reset", h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)
        return True

    def _request(self, event: h2.events.RequestReceived) -> CommandGenerator[bool]:
        self._session.control.settled()
        assert event.stream_id is not None
        if self._pressure.busy() > MAX_STREAMS:
            if not self._resets.take():
                return (yield from self._enough())
            if not self.is_closed(event.stream_id):
                self.h2_conn.reset_stream(event.stream_id, h2.errors.ErrorCodes.REFUSED_STREAM)
            return False
        self.streams[event.stream_id] = StreamState.HEADERS_RECEIVED
        yield ReceiveHttp(
            RequestStarts(event.stream_id, _request_head(event.headers), end_stream=bool(event.stream_ended))
        )
        return False

    def protocol_error(
        self,
        message: str,  # noqa: ARG002 - see below
        error_code: int = h2.errors.ErrorCodes.PROTOCOL_ERROR,
    ) -> CommandGenerator[None]:
        if not self._session.requests:
            self._session.end(Reason.BAD_REQUEST, "what was sent is not valid HTTP/2")
        # No text of hyper-h2's goes into the frame: it may quote what was sent.
        yield from super().protocol_error("protocol error", error_code)


class Http2ClientBounded(_Bounded, Http2Client):
    """HTTP/2 towards the origin. Stream numbers are its own; mitmproxy's class maps them."""

    def __init__(self, context: Context, session: Session, pressure: Pressure) -> None:
        super().__init__(context)
        self._bound(session, pressure)

    @property
    def usable(self) -> bool:
        """Whether it takes another stream."""
        closed = self.h2_conn.state_machine.state is h2.connection.ConnectionState.CLOSED
        return not closed and not self.leaving and self._handle_event != self.done

    def backlog(self, stream_id: int) -> int:
        """Bytes of a stream (of the client's number) that wait for the origin."""
        queued = sum(len(getattr(event, "data", b"")) for event in self.stream_queue.get(stream_id, ()))
        ours = self.our_stream_id.get(stream_id)
        return queued + (0 if ours is None else self.h2_conn.backlog(ours))

    def _outer(self, stream_id: int) -> int:
        return self.their_stream_id[stream_id]

    def close_connection(self, msg: str) -> CommandGenerator[None]:
        yield from super().close_connection(msg)
        # Those that still wait for a free stream have none on this connection; mitmproxy forgets them.
        for waiting in tuple(self.stream_queue):
            self.their_stream_id[-waiting] = waiting
            yield ReceiveHttp(ResponseProtocolError(-waiting, msg, ErrorCode.GENERIC_SERVER_ERROR))
        self.stream_queue.clear()

    def _handle_event(self, event: Event) -> CommandGenerator[None]:
        if isinstance(event, HttpEvent) and event.stream_id in self.stream_queue:
            # It waits for a free stream: what follows must wait behind it, and nothing is opened for one given up.
            if isinstance(event, RequestProtocolError):
                del self.stream_queue[event.stream_id]
            else:
                self.stream_queue[event.stream_id].append(event)
            return
        yield from super()._handle_event(event)
        self._tidy()

    def _tidy(self) -> None:
        """Mitmproxy keeps the numbers of all streams there ever were."""
        if len(self.their_stream_id) > _NUMBERS:
            kept = self.streams.keys() | self.unacknowledged.keys()
            self.their_stream_id = {ours: theirs for ours, theirs in self.their_stream_id.items() if ours in kept}
            self.our_stream_id = {theirs: ours for ours, theirs in self.their_stream_id.items()}

    def _handle_event2(self, event: Event) -> CommandGenerator[None]:
        match event:
            case Settle():
                yield from self._settle()
            case Forward():
                yield from self._forward(event)
            case _:
                yield from super()._handle_event2(event)
                self._given_up(event)

    def _forward(self, forward: Forward) -> CommandGenerator[None]:
        self.streams[forward.stream_id] = StreamState.EXPECTING_HEADERS
        self.h2_conn.send_headers(forward.stream_id, _forward_fields(forward), end_stream=forward.end_stream)
        yield SendData(self.conn, self.h2_conn.data_to_send())

    def handle_h2_event(self, event: h2.events.Event) -> CommandGenerator[bool]:
        match event:
            case h2.events.ResponseReceived():
                return (yield from self._response(event))
            case h2.events.InformationalResponseReceived():
                return False  # see http1_client: nothing of it is passed on
        return (yield from super().handle_h2_event(event))

    def _response(self, event: h2.events.ResponseReceived) -> CommandGenerator[bool]:
        assert event.stream_id is not None
        if self.streams.get(event.stream_id) is not StreamState.EXPECTING_HEADERS:
            yield from self.protocol_error("an answer that nobody waits for")
            return True
        fields = _plain(event.headers)
        status = dict(fields).get(b":status", b"")
        if not (status.isdigit() and len(status) == 3 and status >= b"200"):
            yield ReceiveHttp(
                ResponseProtocolError(event.stream_id, "the origin's status is invalid", ErrorCode.GENERIC_SERVER_ERROR)
            )
            return False
        self.streams[event.stream_id] = StreamState.HEADERS_RECEIVED
        head = ResponseHead(int(status), tuple(each for each in fields if not each[0].startswith(b":")), "HTTP/2.0")
        yield ReceiveHttp(ResponseStarts(event.stream_id, head, end_stream=bool(event.stream_ended)))
        return False


def _plain(headers: Sequence[tuple[bytes, bytes]] | None) -> Headers:
    # hyper-h2 marks fields by subclasses of tuple
    return tuple((bytes(name), bytes(value)) for name, value in headers or ())


def _request_head(headers: Sequence[tuple[bytes, bytes]] | None) -> RequestHead | BadHead:
    fields = _plain(headers)
    pseudo = [each for each in fields if each[0].startswith(b":")]
    found = dict(pseudo)
    if len(found) != len(pseudo) or not found.keys() <= _REQUEST_PSEUDO:
        return BadHead(Reason.BAD_REQUEST, "a pseudo-field is there twice, or unknown")
    if not found.keys() >= {b":method", b":scheme", b":path"}:
        return BadHead(Reason.BAD_REQUEST, "method, scheme or path is missing")
    rest = tuple(each for each in fields if not each[0].startswith(b":"))
    return RequestHead(
        found[b":method"], found[b":scheme"], found.get(b":authority", b""), found[b":path"], "HTTP/2.0", rest
    )


def _forward_fields(forward: Forward) -> list[tuple[bytes, bytes]]:
    head = forward.head
    fields = [
        (b":method", head.method),
        (b":scheme", head.scheme),
        (b":authority", head.authority),
        (b":path", head.target),
    ]
    skipped = FRAMING | {b"host", b"connection", b"upgrade"}
    fields += [(name.lower(), value) for name, value in head.headers if name.lower() not in skipped]
    if forward.length is not None and not forward.end_stream:
        fields.append((b"content-length", b"%d" % forward.length))
    return fields
