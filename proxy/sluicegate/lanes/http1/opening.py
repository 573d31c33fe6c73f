"""Opens upstream connections: dialled through the gate, by a Permit, and proven by TLS to be the name permitted."""

from __future__ import annotations

import asyncio
import socket
import ssl
from ipaddress import ip_address
from typing import Final

from sluicegate.authority.refusals import why_untrusted
from sluicegate.exchange import DialRefused
from sluicegate.facts import Address
from sluicegate.lanes.channel import dial_plain
from sluicegate.lanes.http1.pool import Place
from sluicegate.lanes.http1.shared import Shared
from sluicegate.lanes.http1.upstream import Upstream
from sluicegate.lanes.tls import dial_tls
from sluicegate.lanes.tls_fault import TlsFault
from sluicegate.names import HostName
from sluicegate.verdict import Deny, Permit, Reason, built_in

HANDSHAKE_S: Final = 10.0


async def open_upstream(shared: Shared, place: Place, permit: Permit) -> Upstream:
    """A connection that is ready for a request. Raises DialRefused, also for a server that is not believed."""
    snapshot = shared.gate.snapshot
    sock = await shared.gate.dial(permit)
    try:
        upstream = Upstream(
            place,
            _address(sock),
            snapshot,
            shared.pool,
            shared.before(place),
            born=shared.clock.now,
            limit=shared.gate.limits.head,
        )
        upstream.proven = permit.ask
    except BaseException:
        sock.close()
        raise
    name = permit.ask.name
    try:
        if place.tls and name is not None:
            await _shake(shared, sock, name, place, upstream)
        else:
            await dial_plain(sock, upstream)
        await upstream.connected
    except TlsFault as fault:
        raise DialRefused(Deny(Reason.UPSTREAM_TLS, built_in("tls"), _why(fault, name))) from None
    except OSError:
        detail = f"the connection to {name.url if name else place.name} broke before it was ready"
        raise DialRefused(Deny(Reason.UPSTREAM_BROKE, built_in("tls"), detail)) from None
    except asyncio.CancelledError:
        upstream.abort()
        raise
    return upstream


async def _shake(shared: Shared, sock: socket.socket, name: HostName, place: Place, upstream: Upstream) -> None:
    await dial_tls(
        sock,
        shared.trust.ssl_context(),
        name.ascii,
        upstream,
        handshake_s=HANDSHAKE_S,
        session=shared.sessions.get(place),
    )
    upstream.remember(shared.sessions, place)


def _address(sock: socket.socket) -> Address:
    return ip_address(sock.getpeername()[0].partition("%")[0])


def _why(fault: TlsFault, name: HostName | None) -> str:
    """What the client is told is a sentence of ours, never OpenSSL's own."""
    shown = name.ascii if name is not None else "the origin"
    if isinstance(fault.cause, ssl.SSLCertVerificationError) and name is not None:
        return why_untrusted(fault.cause, name) or f"the certificate of {shown} was refused"
    return f"the TLS handshake with {shown} failed: {fault.reason}"
