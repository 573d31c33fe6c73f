"""The HTTP layer of one client connection: which streams there are, which upstream connections, and who may go on."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import ClassVar

from mitmproxy.connection import Connection as Peer
from mitmproxy.connection import Server
from mitmproxy.proxy import layer
from mitmproxy.proxy.commands import CloseConnection, Command, OpenConnection, RequestWakeup
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.events import ConnectionClosed, ConnectionEvent, Event, Start, Wakeup
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.http import (
    GetHttpConnection,
    GetHttpConnectionCompleted,
    HttpLayer,
    HTTPMode,
    HttpStream,
    RegisterHttpConnection,
)
from mitmproxy.proxy.layers.http._events import RequestProtocolError
from mitmproxy.proxy.tunnel import LayerStack

from sluicegate_mitm.budget import Budget
from sluicegate_mitm.events import Drained, OpenUpstream, Settle, Stopped
from sluicegate_mitm.http1_client import Http1Client
from sluicegate_mitm.http1_server import Http1Server
from sluicegate_mitm.http2 import Http2ClientBounded, Http2ServerBounded
from sluicegate_mitm.pressure import HIGH, OWN
from sluicegate_mitm.session import Session
from sluicegate_mitm.stream import ExchangeStream
from sluicegate_mitm.tls_layers import UpstreamTls

MAX_DIALS = 100
"""Upstream connections that one client connection may have in the making."""
MAX_OPENED, OPENED_A_SECOND = 200, 20
"""Upstream connections that one client connection may open at once, and later. What is beyond waits for its turn."""
_TURN_S = 1 / OPENED_A_SECOND


class Sink:
    """Stands for connections that are gone: what is still said to them falls silent."""

    def handle_event(self, _event: Event) -> Iterator[Command]:
        return iter(())


class Connections(dict):  # type: ignore[type-arg]  # stands in for mitmproxy's plain dict of connections to layers
    """A connection that was dropped is answered for by a Sink."""

    sink: ClassVar[Sink] = Sink()

    def __missing__(self, _peer: Peer) -> Sink:
        return self.sink


class UpstreamLayer(layer.Layer):
    """Opens one upstream connection, and then is HTTP/1 or HTTP/2 by what was negotiated."""

    def __init__(self, context: Context, session: Session, http: StrictHttpLayer) -> None:
        super().__init__(context)
        self._session = session
        self._http = http

    def _handle_event(self, event: Event) -> CommandGenerator[None]:
        assert isinstance(event, Start)
        server = self.context.server
        error = yield OpenConnection(server)
        if error is None:
            child: Http1Client | Http2ClientBounded
            if server.alpn == b"h2":
                child = Http2ClientBounded(self.context, self._session, self._http)
            else:
                child = Http1Client(self.context, self._session, once=self.context.client.alpn == b"h2")
            self._http.upstreams[server] = child
            self._handle_event = child.handle_event  # type: ignore[method-assign]  # as mitmproxy's HttpClient does
            yield from child.handle_event(event)
        yield RegisterHttpConnection(server, error)


class StrictHttpLayer(HttpLayer):
    """mitmproxy's router between streams and connections, with our streams and our connections."""

    def __init__(self, context: Context, session: Session) -> None:
        super().__init__(context, HTTPMode.transparent)
        self.connections = Connections()
        self._session = session
        self.upstreams: dict[Server, Http1Client | Http2ClientBounded] = {}
        self._client: Http1Server | Http2ServerBounded | None = None
        self._budget = Budget(MAX_OPENED, OPENED_A_SECOND)
        self._later: deque[OpenUpstream] = deque()
        self._turn: RequestWakeup | None = None
        self._one_each = False
        """Whether the origin was seen to take one request at a time: waiting together for it would be waiting in line."""

    # -- events --------------------------------------------------------------------------------------------------

    def _handle_event(self, event: Event) -> CommandGenerator[None]:
        match event:
            case Start():
                client = self.context.client
                h2 = client.alpn == b"h2"
                fork = self.context.fork()
                self._client = Http2ServerBounded(fork, self._session, self) if h2 else Http1Server(fork, self._session)
                self.connections[client] = self._client
                yield from self.event_to_child(self._client, event)
            case Drained():
                pass
            case Wakeup() if event.command is self._turn:
                yield from self._take_turns()
            case Stopped():
                if event.stream_id in self.streams:
                    yield from self.event_to_child(self.streams[event.stream_id], event)
            case ConnectionEvent() if event.connection not in self.connections:
                pass  # late words of an upstream that was dropped
            case _:
                yield from super()._handle_event(event)
                if isinstance(event, ConnectionClosed) and isinstance(event.connection, Server):
                    self._gone(event.connection)
        yield from self._settle()

    def _settle(self) -> CommandGenerator[None]:
        for peer, side in ((self.context.client, self._client), *self.upstreams.items()):
            if isinstance(side, Http2ServerBounded | Http2ClientBounded) and side.unacknowledged:
                yield from self.event_to_child(self.connections[peer], Settle())

    def _gone(self, server: Server) -> None:
        if server not in self.waiting_for_establishment:  # else it failed, and register_connection hears of it yet
            self._forget(server)

    def _forget(self, server: Server) -> None:
        for table in (self.connections, self.upstreams, self._session.ways, self._session.refusals):
            table.pop(server, None)

    # -- upstream connections ------------------------------------------------------------------------------------

    def make_stream(self, stream_id: int) -> CommandGenerator[None]:
        stream = ExchangeStream(self.context.fork(), stream_id, self._session, self)
        self.streams[stream_id] = stream
        yield from self.event_to_child(stream, Start())

    def get_connection(self, event: GetHttpConnection, *, reuse: bool = True) -> CommandGenerator[None]:
        assert isinstance(event, OpenUpstream)
        server = self._pooled(event) if reuse and not event.fresh else None
        if server is None:
            yield from self._open(event)
        elif server in self.waiting_for_establishment:
            self.waiting_for_establishment[server].append(event)
        else:
            event.reused = True
            yield from self._reply(event, (server, None))

    def _pooled(self, wanted: OpenUpstream) -> Server | None:
        found = (server for server, way in self._session.ways.items() if wanted.same_way(way))
        return next((server for server in found if self._takes(server, wanted)), None)

    def _takes(self, server: Server, wanted: OpenUpstream) -> bool:
        if server in self.waiting_for_establishment:
            return not (self._one_each and self.waiting_for_establishment[server])
        return self._usable(server) and self._session.may_use(wanted, server)

    def _usable(self, server: Server) -> bool:
        side = self.upstreams.get(server)
        if side is None or not server.connected:
            return False
        return side.idle if isinstance(side, Http1Client) else side.usable

    def _drop_idle(self) -> CommandGenerator[None]:
        for server, side in tuple(self.upstreams.items()):
            if isinstance(side, Http1Client) and side.idle:
                yield CloseConnection(server)

    def _open(self, way: OpenUpstream) -> CommandGenerator[None]:
        if len(self.waiting_for_establishment) >= MAX_DIALS or not self._budget.take():
            yield from self._wait(way)
            return
        yield from self._drop_idle()
        server = Server(address=way.address)
        self._session.ways[server] = way
        context = self.context.fork()
        context.server = server
        stack = LayerStack()
        if way.tls:
            stack /= UpstreamTls(context, self._session)
        stack /= UpstreamLayer(context, self._session, self)
        self.connections[server] = stack[0]
        self.waiting_for_establishment[server].append(way)
        yield from self.event_to_child(stack[0], Start())

    def _wait(self, way: OpenUpstream) -> CommandGenerator[None]:
        self._later.append(way)
        if self._turn is None:
            self._turn = RequestWakeup(_TURN_S)
            yield self._turn

    def _take_turns(self) -> CommandGenerator[None]:
        waiting, self._later, self._turn = self._later, deque(), None
        for way in self._still(waiting):
            yield from self.get_connection(way)

    def register_connection(self, command: RegisterHttpConnection) -> CommandGenerator[None]:
        """Unlike mitmproxy's, what waited for a connection that takes one request at a time may get another's."""
        server = command.connection
        assert isinstance(server, Server)
        waiting = self.waiting_for_establishment.pop(server)
        if command.err is not None:
            yield from self._failed(server, command.err, waiting)
            return
        self._one_each = isinstance(self.upstreams[server], Http1Client) and self.context.client.alpn == b"h2"
        for way in self._still(waiting):
            if self._usable(server):
                yield from self._reply(way, (server, None))
            else:
                yield from self.get_connection(way)

    def _failed(self, server: Server, error: str, waiting: list[GetHttpConnection]) -> CommandGenerator[None]:
        deny = self._session.refusals.pop(server, None)
        self._forget(server)
        for way in self._still(waiting):
            assert isinstance(way, OpenUpstream)
            way.deny = deny
            yield from self._reply(way, (None, error))

    def _still(self, waiting: Iterable[GetHttpConnection]) -> Iterator[GetHttpConnection]:
        """Those that were not given up, as of the moment when their turn comes."""
        return (way for way in waiting if way in self.command_sources)

    def _reply(self, way: GetHttpConnection, reply: tuple[Server, None] | tuple[None, str]) -> CommandGenerator[None]:
        stream = self.command_sources.pop(way)
        yield from self.event_to_child(stream, GetHttpConnectionCompleted(way, reply))

    # -- requests taken back -------------------------------------------------------------------------------------

    def event_to_child(self, child: layer.Layer | HttpStream, event: Event) -> CommandGenerator[None]:
        """As mitmproxy's; who waits for an upstream connection hears at once that its client has left."""
        if isinstance(event, RequestProtocolError) and isinstance(child, ExchangeStream):
            return self._taken_back(child, event)
        return super().event_to_child(child, event)

    def _taken_back(self, stream: ExchangeStream, event: RequestProtocolError) -> CommandGenerator[None]:
        yield from super().event_to_child(stream, event)
        if stream.wanted is not None:
            yield from self._give_up(stream.wanted)

    def _give_up(self, way: OpenUpstream) -> CommandGenerator[None]:
        """The dial goes on: the next request takes the connection, or the next one finds it idle."""
        for waiting in self.waiting_for_establishment.values():
            if way in waiting:
                waiting.remove(way)
        if way in self.command_sources:
            yield from self._reply(way, (None, "the client left"))

    # -- pressure ------------------------------------------------------------------------------------------------

    def congested(self, peer: Peer, stream_id: int) -> bool:
        """See Pressure."""
        stream = self.streams.get(stream_id)
        if not isinstance(stream, ExchangeStream):
            return False
        if peer != self.context.client:
            return self._session.control.clogged(self.context.client) or self._to_client(stream_id) > HIGH
        if stream.opening or stream.upstream is None:
            return stream.opening
        side = self.upstreams.get(stream.upstream)
        waiting = side.backlog(stream_id) if isinstance(side, Http2ClientBounded) else 0
        return self._session.control.clogged(stream.upstream) or waiting > HIGH

    def busy(self) -> int:
        """See Pressure."""
        return len(self.streams)

    def held(self) -> int:
        """See Pressure."""
        return sum(stream.held for stream in self.streams.values() if isinstance(stream, ExchangeStream))

    def may_read(self, peer: Peer) -> bool:
        """Whether the handler may read more of this peer. HTTP/2 is always read: its windows are what holds it back."""
        if peer == self.context.client:
            if isinstance(self._client, Http1Server):
                return not self._client.full and not self.congested(peer, self._client.stream_id)
            return self._session.control.output(peer) < OWN
        side = self.upstreams.get(peer) if isinstance(peer, Server) else None
        if isinstance(side, Http2ClientBounded):
            return self._session.control.output(peer) < OWN
        if self._session.control.clogged(self.context.client):
            return False
        return not isinstance(side, Http1Client) or self._to_client(side.stream_id) <= HIGH

    def _to_client(self, stream_id: int) -> int:
        """Bytes of a stream that wait for the client's window."""
        return self._client.h2_conn.backlog(stream_id) if isinstance(self._client, Http2ServerBounded) else 0
