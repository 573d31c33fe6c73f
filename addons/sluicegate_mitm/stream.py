"""One request and its answer: mitmproxy's events in, the exchange asked, mitmproxy's commands out.

The order is fixed here: no upstream connection before `Exchange.ready`, no upstream byte that `Exchange.take` did not
give, no byte to the client that the exchange has not seen. A Deny at any point ends both directions.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address

from mitmproxy.connection import Server
from mitmproxy.http import Headers as MitmHeaders
from mitmproxy.proxy.commands import Command
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.events import Event, Start
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.http import DropStream, HttpStream, SendHttp
from mitmproxy.proxy.layers.http._base import HttpEvent
from mitmproxy.proxy.layers.http._events import (
    ErrorCode,
    RequestData,
    RequestEndOfMessage,
    RequestProtocolError,
    RequestTrailers,
    ResponseData,
    ResponseEndOfMessage,
    ResponseProtocolError,
    ResponseTrailers,
)

from sluicegate.exchange import RequestHead, ResponseHead
from sluicegate.verdict import Deny, Permit, Reason
from sluicegate_mitm.events import (
    Answer,
    Continue,
    Forward,
    Headers,
    OpenUpstream,
    RequestStarts,
    ResponseStarts,
    Stopped,
)
from sluicegate_mitm.head import BadHead, body_length
from sluicegate_mitm.http1_write import has_no_body
from sluicegate_mitm.pressure import Pressure
from sluicegate_mitm.relay import Closed, Relay, Write, accepted
from sluicegate_mitm.session import Session

HELD = 32 << 20
"""Bytes of request bodies that one connection may have held for scanning, over all its streams."""
_RETRIED = frozenset({b"GET", b"HEAD", b"OPTIONS"})
_SILENT = frozenset({Reason.NOT_HTTP, Reason.CLIENT_GONE, Reason.CLIENT_TLS})
"""Refusals that are not answered: there is nobody who would understand."""
_LAST = frozenset({Reason.BAD_REQUEST, Reason.BAD_NAME, Reason.HEAD_TOO_LARGE, Reason.CRASH})
"""Refusals after which nothing more is read: where a malformed request ends is anybody's guess."""


class ExchangeStream(HttpStream):
    """Replaces mitmproxy's state machine and keeps its place in the tree of layers."""

    def __init__(self, context: Context, stream_id: int, session: Session, pressure: Pressure) -> None:
        super().__init__(context, stream_id)
        self._session = session
        self._pressure = pressure
        self._exchange = session.begin(stream_id)
        self._request: RequestHead | None = None
        self._relay: Relay | None = None
        self._way: OpenUpstream | None = None
        self._trailers: Headers = ()
        self._response_trailers: Headers = ()
        self._received = self._sent = 0
        self._request_ended = False
        self._forwarded = False
        self._answered = False
        self._over = False
        self.upstream: Server | None = None
        self.opening = False
        """While an upstream connection is being opened all events wait, and the client is not read."""

    def _handle_event(self, event: Event) -> CommandGenerator[None]:
        if self._over:
            return
        match event:
            case Start():
                pass
            case RequestStarts():
                yield from self._begin(event)
            case RequestData():
                yield from self._data(event.data)
            case RequestTrailers():
                self._trailers = tuple(event.trailers.fields)
            case RequestEndOfMessage():
                yield from self._end()
            case RequestProtocolError():
                yield from self._client_gone(event)
            case ResponseStarts():
                yield from self._response(event)
            case ResponseData():
                yield from self._response_data(event.data)
            case ResponseTrailers():
                self._response_trailers = tuple(event.trailers.fields)
            case ResponseEndOfMessage():
                yield from self._response_end()
            case ResponseProtocolError():
                yield from self._upstream_broke(event.message)
            case Stopped():
                yield from self._stopped()
            case _:
                raise AssertionError(f"unexpected {type(event).__name__}")

    @property
    def wanted(self) -> OpenUpstream | None:
        """What it waits for."""
        return self._way if self.opening else None

    @property
    def held(self) -> int:
        """Bytes of the body that came and have not gone upstream."""
        return self._received - self._sent

    # -- the request ---------------------------------------------------------------------------------------------

    def _begin(self, event: RequestStarts) -> CommandGenerator[None]:
        head = event.head
        if isinstance(head, BadHead):
            yield from self._refuse(self._exchange.fail(head.reason, head.detail))
            return
        self._request = head
        verdict = self._exchange.head(head, end=event.end_stream)
        if isinstance(verdict, Deny):
            yield from self._refuse(verdict)
            return
        if not event.end_stream and head.values(b"expect") and head.version != "HTTP/1.0":
            yield self._to_client(Continue(self.stream_id))
        self._request_ended = event.end_stream
        if event.end_stream or self._exchange.ready:
            yield from self._forward()

    def _data(self, data: bytes) -> CommandGenerator[None]:
        if self._relay is not None:
            yield from self._relayed(self._relay.feed(data, from_client=True))
            return
        self._received += len(data)
        verdict = self._exchange.data(data)
        if isinstance(verdict, Permit) and self._pressure.held() > HELD:
            verdict = self._exchange.fail(
                Reason.MESSAGE_TOO_LARGE, f"more than {HELD} bytes are held on this connection"
            )
        if isinstance(verdict, Deny):
            yield from self._refuse(verdict)
        elif self._exchange.ready:
            yield from self._forward()

    def _end(self) -> CommandGenerator[None]:
        if self._relay is not None:
            yield from self._hung_up()
            return
        if self._request_ended:  # the head was the end already
            return
        verdict = self._exchange.end(self._trailers)
        if isinstance(verdict, Deny):
            yield from self._refuse(verdict)
            return
        self._request_ended = True
        yield from self._forward()

    def _forward(self) -> CommandGenerator[None]:
        """Opens upstream if need be, and sends what the exchange has released."""
        if not self._forwarded:
            if self._left():
                return
            if not (yield from self._open(fresh=False)):
                return
            self._forwarded = True
        assert self.upstream is not None
        if data := self._exchange.take():
            self._sent += len(data)
            yield self._to_upstream(RequestData(self.stream_id, data))
        if self._request_ended:
            yield self._to_upstream(RequestEndOfMessage(self.stream_id))

    def _open(self, *, fresh: bool) -> CommandGenerator[bool]:
        """Gets an upstream connection and writes the head to it. False: the request has ended in a refusal."""
        permit = self._exchange.verdict
        assert isinstance(permit, Permit)
        assert permit.ask.name is not None
        address = (permit.ask.name.ascii, permit.ask.port)
        way = OpenUpstream(
            address, self._session.connection.tls, None, permit=permit, name=permit.ask.name, fresh=fresh
        )
        self._way, self.opening = way, True
        server, error = yield way
        self.opening = False
        if self._left():
            return False
        if error is not None:
            deny = (
                self._exchange.refuse(way.deny)
                if way.deny is not None
                else self._exchange.fail(Reason.UPSTREAM_TLS, error)
            )
            yield from self._refuse(deny)
            return False
        assert isinstance(server, Server)
        # A reload may have refused it while we waited.
        if isinstance(self._exchange.verdict, Deny):
            yield from self._refuse(self._exchange.verdict)
            return False
        # It was dialled for another request, perhaps: what this one may reach is decided anew.
        verdict = self._session.decide(permit, server)
        if isinstance(verdict, Deny):
            yield from self._refuse(self._exchange.refuse(verdict))
            return False
        self.upstream = self.context.server = server
        assert server.peername is not None
        self._exchange.dialled(ip_address(server.peername[0].partition("%")[0]))
        yield self._to_upstream(self._head_to_send())
        return True

    def _left(self) -> bool:
        """Whether the client has taken the request back: the event is still to come, and nothing is worth opening."""
        return any(isinstance(waiting, RequestProtocolError) for waiting in self._paused_event_queue)

    def _head_to_send(self) -> Forward:
        request = self._request
        assert request is not None
        headers = self._exchange.upstream_headers
        authority = next(value for name, value in headers if name.lower() == b"host")
        scheme = b"https" if self._session.connection.tls else b"http"
        head = RequestHead(request.method, scheme, authority, self._exchange.upstream_target, "HTTP/1.1", headers)
        empty = self._request_ended and not self._received
        upgrade = any(name.lower() == b"upgrade" for name, _ in headers)
        return Forward(self.stream_id, head, length=body_length(request), end_stream=empty, upgrade=upgrade)

    def _client_gone(self, event: RequestProtocolError) -> CommandGenerator[None]:
        malformed = event.code is ErrorCode.GENERIC_CLIENT_ERROR and self.context.client.alpn != b"h2"
        if malformed and not self._answered:
            yield from self._refuse(self._exchange.fail(Reason.BAD_REQUEST, event.message))
            return
        self._exchange.fail(Reason.CLIENT_GONE, "the client left before its answer was complete")
        yield from self._over_and_out()

    # -- the answer ----------------------------------------------------------------------------------------------

    def _response(self, event: ResponseStarts) -> CommandGenerator[None]:
        head = event.head
        verdict = self._exchange.response(head)
        if isinstance(verdict, Permit) and head.status == 101 and not accepted(self._known_request(), head):
            verdict = self._exchange.fail(
                Reason.UPSTREAM_BROKE, "the origin's 101 does not answer the WebSocket handshake"
            )
        if isinstance(verdict, Deny):
            yield from self._refuse(verdict)
            return
        self._answered = True
        if head.status == 101:
            self._relay = Relay(self._exchange, self._session.gate.limits.message)
        headers = self._exchange.response_headers
        length = self._length(head, ended=event.end_stream)
        yield self._to_client(Answer(self.stream_id, head.status, headers, length, end_stream=event.end_stream))

    def _length(self, head: ResponseHead, *, ended: bool) -> int | None:
        announced = body_length(head)
        if announced is None and ended and not has_no_body(self._known_request().method, head.status):
            return 0
        return announced

    def _known_request(self) -> RequestHead:
        assert self._request is not None
        return self._request

    def _response_data(self, data: bytes) -> CommandGenerator[None]:
        if self._relay is not None:
            yield from self._relayed(self._relay.feed(data, from_client=False))
            return
        verdict = self._exchange.response_data(data)
        if isinstance(verdict, Deny):
            yield from self._refuse(verdict)
            return
        yield self._to_client(ResponseData(self.stream_id, data))

    def _response_end(self) -> CommandGenerator[None]:
        if self._relay is not None:
            yield from self._hung_up()
            return
        verdict = self._exchange.response_end(self._response_trailers)
        if isinstance(verdict, Deny):
            yield from self._refuse(verdict)
            return
        self._over = True
        if not self._request_ended and self.upstream is not None:  # nobody waits for the rest of the upload
            yield self._to_upstream(RequestProtocolError(self.stream_id, "answered", ErrorCode.CANCEL))
        yield from self._complete(self._response_trailers)

    def _upstream_broke(self, detail: str) -> CommandGenerator[None]:
        if self._may_retry():
            if (yield from self._open(fresh=True)):
                yield self._to_upstream(RequestEndOfMessage(self.stream_id))
            return
        if self._relay is not None:
            yield from self._hung_up()
            return
        deny = self._session.refusals.get(self.upstream) if self.upstream is not None else None
        self.upstream = None
        refused = (
            self._exchange.refuse(deny) if deny is not None else self._exchange.fail(Reason.UPSTREAM_BROKE, detail)
        )
        yield from self._refuse(refused)

    def _may_retry(self) -> bool:
        """A kept connection may be closed by the origin just as it is used again (RFC 9110, 9.2.2 and RFC 9112, 9.3.1)."""
        return (
            self._way is not None
            and self._way.reused
            and isinstance(self._exchange.verdict, Permit)
            and not self._answered
            and self._request_ended
            and not self._received
            and self._known_request().method in _RETRIED
        )

    # -- WebSocket -----------------------------------------------------------------------------------------------

    def _relayed(self, outs: Iterable[Write | Closed]) -> CommandGenerator[None]:
        for out in outs:
            match out:
                case Write(to_client=True):
                    yield self._to_client(ResponseData(self.stream_id, out.data))
                case Write():
                    yield self._to_upstream(RequestData(self.stream_id, out.data))
                case Closed():
                    yield from self._hung_up()

    def _hung_up(self) -> CommandGenerator[None]:
        """One end of a WebSocket is done: so is the other."""
        self._over = True
        yield self._to_upstream(RequestProtocolError(self.stream_id, "closed", ErrorCode.CANCEL))
        yield from self._complete(())

    # -- ends ----------------------------------------------------------------------------------------------------

    def _stopped(self) -> CommandGenerator[None]:
        verdict = self._exchange.verdict
        if isinstance(verdict, Deny):
            if self._relay is not None:
                yield from self._relayed(self._relay.refuse(verdict))
            else:
                yield from self._refuse(verdict)

    def _refuse(self, deny: Deny) -> CommandGenerator[None]:
        """Says no: to upstream by a reset, to the client by an answer, or by a reset where one has begun."""
        if self._relay is not None:
            yield from self._relayed(self._relay.refuse(deny))
            return
        if self._answered or deny.reason in _SILENT:
            yield from self._over_and_out()
            return
        self._over = True
        yield from self._cancel_upstream()
        status, headers, body = self._exchange.refusal()
        fields = tuple((name.encode(), value.encode()) for name, value in headers if name != "Connection")
        if deny.reason in _LAST:
            fields += ((b"Connection", b"close"),)
        yield self._to_client(Answer(self.stream_id, status, fields, len(body), end_stream=not body))
        if body and (self._request is None or self._request.method != b"HEAD"):
            yield self._to_client(ResponseData(self.stream_id, body))
        yield from self._complete(())

    def _over_and_out(self) -> CommandGenerator[None]:
        """Ends both sides without another word. A client sees an answer that broke off, never a clean end of it."""
        self._over = True
        yield from self._cancel_upstream()
        self._session.finish(self._exchange)
        yield DropStream(self.stream_id)
        yield self._to_client(ResponseProtocolError(self.stream_id, "", ErrorCode.KILL))

    def _cancel_upstream(self) -> CommandGenerator[None]:
        if self.upstream is not None:
            yield self._to_upstream(RequestProtocolError(self.stream_id, "refused", ErrorCode.CANCEL))

    def _complete(self, trailers: Headers) -> CommandGenerator[None]:
        # The record first: with the end of the answer the next request begins.
        self._session.finish(self._exchange)
        yield DropStream(self.stream_id)
        if trailers and self.context.client.alpn == b"h2":  # HTTP/1 clients seldom read them
            yield self._to_client(ResponseTrailers(self.stream_id, MitmHeaders(trailers)))
        yield self._to_client(ResponseEndOfMessage(self.stream_id))

    def _to_client(self, event: HttpEvent) -> Command:
        return SendHttp(event, self.context.client)

    def _to_upstream(self, event: HttpEvent) -> Command:
        assert self.upstream is not None
        return SendHttp(event, self.upstream)
