"""What the layers of one client connection share with their handler: permits, live exchanges, and what may be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Protocol

from mitmproxy.connection import Connection as Peer
from mitmproxy.connection import Server

from sluicegate.exchange import Connection, Exchange, Gate
from sluicegate.verdict import Deny, Permit, Reason, Verdict
from sluicegate_mitm.events import OpenUpstream


class Control(Protocol):
    """The handler, as the layers see it."""

    def expect(self, seconds: float, reason: Reason | None, detail: str) -> None:
        """Ends the connection unless settled() is called in time. reason None: without a refusal."""

    def settled(self) -> None:
        """What was expected has come."""

    def shaken(self, server: Server) -> None:
        """The TLS handshake with this server is complete."""

    def clogged(self, peer: Peer) -> bool:
        """Whether more is waiting to be written to this peer than it takes."""

    def output(self, peer: Peer) -> int:
        """Bytes waiting to be written to this peer."""

    def stop(self, stream_id: int) -> None:
        """A reload refuses what this stream carries."""


@dataclass(eq=False, slots=True)
class Session:
    """One per client connection.

    ways      for each upstream connection what it was opened for; the handler dials only what stands here
    refusals  why an upstream connection was not opened, or its server not believed
    """

    connection: Connection
    gate: Gate
    control: Control
    new_exchange: Callable[[Connection, Gate], Exchange] = Exchange
    ways: dict[Server, OpenUpstream] = field(default_factory=dict)
    refusals: dict[Server, Deny] = field(default_factory=dict)
    live: set[Exchange] = field(default_factory=set)
    requests: int = 0

    def begin(self, stream_id: int) -> Exchange:
        """The exchange of a request that starts now."""
        exchange = self.new_exchange(self.connection, self.gate)
        self.live.add(exchange)
        self.requests += 1
        exchange.on_stop = lambda: self.control.stop(stream_id)
        return exchange

    def may_use(self, way: OpenUpstream, server: Server) -> bool:
        """Whether the newest policy lets this request go to the address that `server` is connected to."""
        return isinstance(self.decide(way.permit, server), Permit)

    def decide(self, permit: Permit, server: Server) -> Verdict:
        """As the dial decides, for a connection that another request has dialled."""
        assert server.peername is not None
        address = ip_address(server.peername[0].partition("%")[0])
        return self.gate.snapshot.decide(replace(permit.ask, resolved=address))

    def finish(self, exchange: Exchange, status: int | None = None) -> None:
        """Writes its record."""
        self.live.discard(exchange)
        exchange.on_stop = None
        exchange.close(status=status)

    def end(self, reason: Reason, detail: str) -> None:
        """Nothing more comes: closes what is live, and records the connection itself where it held no request."""
        if not self.requests:
            self.begin(0)
        for exchange in tuple(self.live):
            exchange.fail(reason, detail)
            self.finish(exchange)
