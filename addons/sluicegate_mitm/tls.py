"""What mitmproxy's TLS layers ask of us: contexts for both sides, and what to do when a handshake is over or fails."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from mitmproxy.connection import Server
from mitmproxy.tls import ClientHelloData, TlsData
from OpenSSL import SSL

from sluicegate.authority.contexts import openssl_server_context
from sluicegate.authority.leaves import Leaves
from sluicegate.authority.refusals import why_untrusted
from sluicegate.authority.trust import Trust, openssl_connection
from sluicegate.names import HostName
from sluicegate.verdict import Deny, Reason, built_in
from sluicegate_mitm.session import Session

HANDSHAKE_S = 10.0
"""Seconds a handshake may take, on either side."""

_WHY_CLIENT_FAILED = (  # by a part of what mitmproxy or OpenSSL says
    ("unknown ca", "the client does not trust the gateway's CA"),
    ("certificate unknown", "the client did not accept the gateway's certificate"),
    ("bad certificate", "the client did not accept the gateway's certificate, it may pin another one"),
    ("disconnected during", "the client left during the handshake, it may not trust the gateway's CA"),
    ("agree on a TLS version", "the client offers no version of TLS from 1.2 on"),
    ("no shared cipher", "the client offers no cipher suite that the gateway accepts"),
    ("Cannot parse ClientHello", "the ClientHello is malformed"),
)

_WHY_ORIGIN_ENDED = (  # by a part of OpenSSL's name for the alert
    ("certificate required", "{name} asks for a client certificate"),
    ("bad certificate", "{name} asks for a client certificate"),  # of some, for one that is empty (RFC 8446, 4.4.2.4)
)

type HookFunction = Callable[[Any], Awaitable[None] | None]


class NamesDisagree(Exception):
    """The ClientHello that mitmproxy read is not the one that was decided on."""


def choose_alpn(offered: Sequence[bytes]) -> bytes | None:
    """HTTP/1.1 for all that take it: nearly every client does, and it costs half. HTTP/2 for those that speak nothing else."""
    return next((protocol for protocol in (b"http/1.1", b"h2") if protocol in offered), None)


def _select(_connection: SSL.Connection, offered: list[bytes]) -> Any:
    chosen = choose_alpn(offered)
    return SSL.NO_OVERLAPPING_PROTOCOLS if chosen is None else chosen


def why_ended(error: SSL.Error | None, name: HostName) -> str:
    """The sentence for an origin that ended TLS after our half of the handshake. error None: without a word."""
    if error is None:
        return f"{name.ascii} closed the connection right after the TLS handshake, it may ask for a client certificate"
    said = str(error)
    found = (sentence for part, sentence in _WHY_ORIGIN_ENDED if part in said)
    return next(found, "{name} ended the connection with a TLS alert").format(name=name.ascii)


class TlsHooks:
    """The table of hooks of one connection. An exception in any of them ends the connection (StrictHandler)."""

    def __init__(self, session: Session, leaves: Leaves, trust: Trust) -> None:
        self._session = session
        self._leaves = leaves
        self._trust = trust

    def table(self) -> dict[str, HookFunction]:
        """Every hook that our layers can start; another one is a fault."""
        return {
            "tls_clienthello": self.tls_clienthello,
            "tls_start_client": self.tls_start_client,
            "tls_established_client": self.tls_established_client,
            "tls_failed_client": self.tls_failed_client,
            "tls_start_server": self.tls_start_server,
            "tls_established_server": self.tls_established_server,
            "tls_failed_server": self.tls_failed_server,
        }

    def tls_clienthello(self, data: ClientHelloData) -> None:
        """The same bytes were peeked and decided on before; both readings must agree."""
        said = data.client_hello.sni
        name = HostName.parse(said) if said else None
        if name != self._session.connection.hello.sni:
            raise NamesDisagree

    async def tls_start_client(self, data: TlsData) -> None:
        """The leaf is for the name that was decided on, and for nothing else."""
        name = self._session.connection.name
        assert name is not None
        connection = SSL.Connection(openssl_server_context(await self._leaves.aleaf(name), _select))
        connection.set_accept_state()
        data.ssl_conn = connection

    def tls_established_client(self, _data: TlsData) -> None:
        self._session.control.settled()

    def tls_failed_client(self, data: TlsData) -> None:
        error = data.conn.error or ""
        detail = next((sentence for part, sentence in _WHY_CLIENT_FAILED if part in error), "the TLS handshake failed")
        self._session.end(Reason.CLIENT_TLS, detail)

    def tls_start_server(self, data: TlsData) -> None:
        """Verification is the context's; it completes only with a server that proves to be the name permitted."""
        assert isinstance(data.conn, Server)
        way = self._session.ways[data.conn]
        alpn = (b"h2", b"http/1.1") if data.context.client.alpn == b"h2" else (b"http/1.1",)
        data.ssl_conn = openssl_connection(self._trust, way.name, alpn)

    def tls_established_server(self, data: TlsData) -> None:
        assert isinstance(data.conn, Server)
        self._session.control.shaken(data.conn)

    def tls_failed_server(self, data: TlsData) -> None:
        """What the client is told is a sentence of ours, never OpenSSL's own."""
        assert isinstance(data.conn, Server)
        name = self._session.ways[data.conn].name
        why = why_untrusted(data.ssl_conn, name) if data.ssl_conn is not None else None
        detail = why or f"the TLS handshake with {name.ascii} failed"
        self._session.refusals[data.conn] = Deny(Reason.UPSTREAM_TLS, built_in("tls"), detail)
