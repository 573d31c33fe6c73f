"""The way of a connection, from an accepted socket to its lane. Each step adds one fact; every way out is recorded."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace

import structlog

from sluicegate.exchange import Connection, Gate
from sluicegate.exchange.note import Note
from sluicegate.facts import Ask, Endpoint, Hello, Lane, Protocol, Unknown, Wire
from sluicegate.identity.table import Table
from sluicegate.lanes import explicit, reset
from sluicegate.lanes.alpn import NO_APPLICATION_PROTOCOL, no_common_protocol, only_http2
from sluicegate.lanes.original import DirectConnection, endpoint, original_destination
from sluicegate.lanes.peek import BadHello, HelloTimeout, HelloTooLarge, PeerGone, peek
from sluicegate.lanes.refuse import refuse
from sluicegate.lanes.spliced import Spliced
from sluicegate.names import HostName
from sluicegate.records.ids import new_id
from sluicegate.verdict import Deny, Inspect, Permit, Reason, built_in

_log = structlog.get_logger("sluicegate.connection")

MAY_BE = {
    Wire.TLS: frozenset({Protocol.HTTPS, Protocol.TLS, Protocol.TCP}),
    Wire.HTTP1: frozenset({Protocol.HTTP, Protocol.TCP}),
    Wire.HTTP2: frozenset({Protocol.HTTP, Protocol.TCP}),
    Wire.SSH: frozenset({Protocol.SSH, Protocol.TCP}),
    Wire.OTHER: frozenset({Protocol.TCP}),
}
"""What a connection may still turn out to be, by its first bytes."""

_UNDECRYPTED = {Wire.TLS: Protocol.TLS, Wire.SSH: Protocol.SSH}
"""What a connection is when it is spliced; anything else is TCP."""

_NO_HELLO = Hello(Wire.OTHER)
_CONNECT_PROTOCOLS = frozenset(Protocol)


@dataclass(frozen=True, slots=True)
class Lanes:
    """What carries a connection once it is decided. http1: HTTP/1 in TLS or plain; None where the policy engine is mitm's."""

    mitm: Callable[[socket.socket, Connection], Awaitable[None]]
    http1: Callable[[socket.socket, Connection], Awaitable[None]] | None
    leaf: Callable[[HostName], Awaitable[ssl.SSLContext]]


_NOT_OURS = "the client offers neither http/1.1 nor h2 (ALPN), and the policy wants this inspected"
_HTTP_WIRES = frozenset({Wire.TLS, Wire.HTTP1})
_WHATEVER_IS_ASKED = frozenset({Reason.HARD_ADDRESS, Reason.METADATA, Reason.UNKNOWN_IDENTITY, Reason.LISTED})
"""Refusals of a nameless connection that no request on it could lift."""


class Refused(Exception):
    """A connection ends before a lane has it; `connection` is what was known of it by then."""

    def __init__(self, reason: Reason, detail: str, connection: Connection) -> None:
        super().__init__(reason, detail)
        self.deny = Deny(reason, built_in("connection"), detail)
        self.connection = connection


class Reception:
    """Receives connections. One per worker."""

    def __init__(self, gate: Gate, identities: Table, lanes: Lanes, own: frozenset[Endpoint]) -> None:
        self._gate = gate
        self._identities = identities
        self._lanes = lanes
        self._own = own
        self._open: Counter[str] = Counter()

    async def transparent(self, sock: socket.socket) -> None:
        """A connection that was redirected here."""
        await self._receive(sock, self._transparent)

    async def explicit(self, sock: socket.socket) -> None:
        """A connection of a client that knows it speaks to a proxy."""
        await self._receive(sock, self._explicit)

    async def _receive(self, sock: socket.socket, way: Callable[[socket.socket, Connection], Awaitable[None]]) -> None:
        with sock:
            try:
                source = endpoint(sock.getpeername())
            except OSError:
                return  # gone before it was looked at
            connection = _unidentified(source)
            try:
                connection = replace(connection, identity=self._identities.lookup(source.address))
                with self._counted(connection):
                    await way(sock, connection)
            except Refused as refused:
                self._reset(sock, refused.connection, refused.deny)
            except ConnectionError:
                deny = Deny(Reason.CLIENT_GONE, built_in("connection"), "the client left while it was looked at")
                self._reset(sock, connection, deny)
            except Exception as error:  # noqa: BLE001 - whatever it is, nothing may pass
                _log.exception("connection failed", error=type(error).__name__)
                self._reset(sock, connection, Deny(Reason.CRASH, built_in("connection"), "the gateway failed"))

    @contextlib.contextmanager
    def _counted(self, connection: Connection) -> Iterator[None]:
        """One of the workload's open connections, if it may have another. Those of unknown ones count by address."""
        identity = connection.identity
        key = str(connection.source.address) if isinstance(identity, Unknown) else str(identity)
        if self._open[key] >= self._gate.limits.connections_per_workload:
            raise Refused(Reason.TOO_MANY_CONNECTIONS, "this workload has too many connections open", connection)
        self._open[key] += 1
        try:
            yield
        finally:
            self._open[key] -= 1
            if not self._open[key]:
                del self._open[key]

    async def _transparent(self, sock: socket.socket, connection: Connection) -> None:
        try:
            destination = original_destination(sock)
        except DirectConnection:
            raise Refused(Reason.HARD_ADDRESS, "the connection was made to the gateway itself", connection) from None
        if destination in self._own:
            raise Refused(Reason.HARD_ADDRESS, "the connection was made to the gateway itself", connection)
        connection = replace(connection, destination=destination, port=destination.port)
        hello = await self._hello(sock, connection)
        name = hello.sni
        if name is None and hello.wire is Wire.TLS:
            name = HostName(str(destination.address), destination.address)
        await self._decided(sock, replace(connection, hello=hello, name=name, tls=hello.wire is Wire.TLS))

    async def _explicit(self, sock: socket.socket, connection: Connection) -> None:
        connection = replace(connection, explicit=True)
        hello = await self._hello(sock, connection)
        if hello.wire is not Wire.HTTP1:
            raise Refused(
                Reason.NOT_HTTP, "an HTTP proxy speaks HTTP: send CONNECT or an absolute-form request", connection
            )
        if not explicit.is_connect(sock.recv(16, socket.MSG_PEEK)):
            await self._http(sock, replace(connection, hello=hello, port=80))
            return
        await self._tunnel(sock, connection)

    async def _tunnel(self, sock: socket.socket, connection: Connection) -> None:
        limits = self._gate.limits
        try:
            tunnel = await explicit.read_connect(sock, limits.head, limits.hello_timeout_s)
        except explicit.BadConnect as error:
            raise Refused(Reason.BAD_REQUEST, f"CONNECT is refused: {error}", connection) from None
        except TimeoutError:
            raise Refused(Reason.HELLO_TIMEOUT, "the CONNECT was not completed in time", connection) from None
        connection = replace(connection, name=tunnel.name, port=tunnel.port)
        verdict = self._gate.snapshot.decide(_ask(connection, _CONNECT_PROTOCOLS))
        await asyncio.get_running_loop().sock_sendall(sock, explicit.ESTABLISHED)
        if isinstance(verdict, Deny):
            await self._refuse_tunnel(sock, connection, verdict)
            return
        hello = await self._hello(sock, connection)
        connection = replace(connection, hello=hello, explicit=False, tls=hello.wire is Wire.TLS)
        if hello.sni is not None and hello.sni != tunnel.name:
            detail = f"CONNECT names {tunnel.name}, the ClientHello {hello.sni}"
            raise Refused(Reason.NAMES_DISAGREE, detail, connection)
        await self._decided(sock, connection)

    async def _refuse_tunnel(self, sock: socket.socket, connection: Connection, deny: Deny) -> None:
        """Tells why inside the tunnel: hardly a client shows its user the body of a refused CONNECT."""
        try:
            hello = await self._hello(sock, connection)
        except Refused as refused:
            self._reset(sock, refused.connection, deny)
            return
        await self._refuse(sock, replace(connection, hello=hello, tls=hello.wire is Wire.TLS), deny)

    async def _hello(self, sock: socket.socket, connection: Connection) -> Hello:
        limits = self._gate.limits
        try:
            return await peek(sock, limit=limits.hello, timeout_s=limits.hello_timeout_s)
        except HelloTimeout:
            raise Refused(
                Reason.HELLO_TIMEOUT, f"nothing was said for {limits.hello_timeout_s:g} s", connection
            ) from None
        except HelloTooLarge:
            raise Refused(
                Reason.HELLO_TOO_LARGE, f"the first message is larger than {limits.hello} bytes", connection
            ) from None
        except BadHello as error:
            raise Refused(Reason.BAD_HELLO, f"the ClientHello is not valid: {error}", connection) from None
        except PeerGone:
            raise Refused(Reason.CLIENT_GONE, "the client left before it said what it wants", connection) from None
        except asyncio.CancelledError:  # the end of a drain; this connection has no lane that would record it
            raise Refused(Reason.DRAINING, "the gateway stopped before the client said anything", connection) from None

    async def _decided(self, sock: socket.socket, connection: Connection) -> None:
        """The verdict on the connection, then its lane."""
        ask = _ask(connection, MAY_BE[connection.hello.wire])
        verdict = self._gate.snapshot.decide(ask)
        wire = connection.hello.wire
        match verdict:
            case Deny() if wire is Wire.HTTP1 and verdict.reason not in _WHATEVER_IS_ASKED:
                await self._http(sock, connection)  # each request names its host, and is refused by it
            case Deny():
                await self._refuse(sock, connection, verdict)
            case Permit(inspect=Inspect.SNI):
                await self._splice(sock, connection, ask)
            case Permit() if no_common_protocol(connection.hello):
                await self._alert(sock, connection, Deny(Reason.NOT_HTTP, built_in("alpn"), _NOT_OURS))
            case Permit() if wire in _HTTP_WIRES:
                await self._http(sock, connection)
            case Permit():
                raise Refused(Reason.NOT_HTTP, "the policy permits HTTP and TLS there, and this is neither", connection)

    async def _http(self, sock: socket.socket, connection: Connection) -> None:
        carry, lane = self._lanes.http1, Lane.HTTP1
        if carry is None or only_http2(connection.hello):
            carry, lane = self._lanes.mitm, Lane.MITM
        with self._gate.metrics.connection(lane):
            await carry(sock, replace(connection, lane=lane))

    async def _splice(self, sock: socket.socket, connection: Connection, ask: Ask) -> None:
        narrowed = replace(ask, protocols=frozenset({_UNDECRYPTED.get(connection.hello.wire, Protocol.TCP)}))
        with self._gate.metrics.connection(Lane.SPLICE):
            await Spliced(replace(connection, lane=Lane.SPLICE), self._gate).carry(sock, narrowed)

    async def _alert(self, sock: socket.socket, connection: Connection, deny: Deny) -> None:
        """Says in TLS that no protocol is shared, before any handshake, and records `deny`."""
        with contextlib.suppress(OSError):
            await asyncio.get_running_loop().sock_sendall(sock, NO_APPLICATION_PROTOCOL)
        Note(connection).write(deny, self._gate, self._gate.reserve(connection.identity))

    async def _refuse(self, sock: socket.socket, connection: Connection, deny: Deny) -> None:
        if no_common_protocol(connection.hello):
            await self._alert(sock, connection, deny)
            return
        if connection.tls and only_http2(connection.hello):
            await self._http(sock, replace(connection, refused=deny))  # it takes HTTP/2 to tell this client why
            return
        note = Note(connection)
        with self._gate.metrics.connection(Lane.REFUSE):
            try:
                refused = await refuse(sock, connection.hello, deny, incident=note.id, tls=self._leaf_for(connection))
                note.status = refused.status
                if refused.method is not None:
                    note.told(refused.method, refused.path or "/", refused.host)
            except Exception as error:  # noqa: BLE001 - it is refused all the same, and recorded once
                _log.exception("refusal failed", error=type(error).__name__)
                reset.arm(sock)
            finally:
                note.write(deny, self._gate, self._gate.reserve(connection.identity))

    def _leaf_for(self, connection: Connection) -> Callable[[], Awaitable[ssl.SSLContext]] | None:
        name = connection.name
        return None if name is None else lambda: self._lanes.leaf(name)

    def _reset(self, sock: socket.socket, connection: Connection, deny: Deny) -> None:
        """Ends the connection so that the client knows at once, and records why."""
        reset.arm(sock)
        Note(connection).write(deny, self._gate, self._gate.reserve(connection.identity))


def _unidentified(source: Endpoint) -> Connection:
    """What is known of a connection as it is accepted."""
    nobody = Unknown("nobody was asked")
    return Connection(new_id(), nobody, source, None, _NO_HELLO, None, 0, tls=False, lane=Lane.REFUSE)


def _ask(connection: Connection, protocols: frozenset[Protocol]) -> Ask:
    return Ask(
        identity=connection.identity,
        source=connection.source,
        name=connection.name,
        destination=connection.destination,
        port=connection.port,
        protocols=protocols,
        ech=connection.hello.ech,
    )
