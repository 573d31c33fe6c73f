"""mitmproxy's TLS layers, with orderly ends: a close_notify where we close, and its absence noticed where it counts."""

from __future__ import annotations

from mitmproxy.connection import ConnectionState, Server
from mitmproxy.proxy import layer
from mitmproxy.proxy.commands import CloseConnection
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.events import ConnectionClosed, DataReceived, Event
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.tls import ClientTLSLayer, ServerTLSLayer
from OpenSSL import SSL

from sluicegate.verdict import Deny, Reason, built_in
from sluicegate_mitm.events import Reset
from sluicegate_mitm.session import Session
from sluicegate_mitm.tls import why_ended


class Entrance(layer.Layer):
    """The bottom of the stack: mitmproxy's TLS layer wants to stand on something."""

    child: layer.Layer

    def _handle_event(self, event: Event) -> CommandGenerator[None]:
        yield from self.child.handle_event(event)


class ClientTls(ClientTLSLayer):
    """TLS with the client."""

    def on_handshake_error(self, err: str) -> CommandGenerator[None]:
        begun: SSL.Connection | None = self.tls
        if begun is not None:
            yield from self.tls_interact()  # the alert, which mitmproxy keeps to itself
        yield from super().on_handshake_error(err)

    def send_close(self, command: CloseConnection) -> CommandGenerator[None]:
        begun: SSL.Connection | None = self.tls  # None until the handshake starts, whatever mitmproxy declares
        if begun is not None and not isinstance(command, Reset):
            try:
                begun.shutdown()
            except SSL.Error:
                pass  # the handshake was not finished: there is nothing to shut down
            else:
                yield from self.tls_interact()
        yield from super().send_close(command)

    def send_data(self, data: bytes) -> CommandGenerator[None]:
        if not self.tls.get_shutdown() & SSL.SENT_SHUTDOWN:  # OpenSSL takes nothing after it
            yield from super().send_data(data)


class UpstreamTls(ServerTLSLayer):
    """TLS with the origin.

    In TLS 1.3 our handshake is complete before the origin has read our half of it. What it thinks of that, a missing
    client certificate above all, comes as an alert where answers are expected (RFC 8446, 4.4.2.4 and 6).
    """

    def __init__(self, context: Context, session: Session) -> None:
        super().__init__(context)
        self._session = session
        self._heard = False
        """Whether anything came after our handshake: session tickets at least say that the origin took our half."""

    def receive_data(self, data: bytes) -> CommandGenerator[None]:
        """As mitmproxy's, which notes an alert in its log and goes on waiting."""
        if data:
            self.tls.bio_write(data)
        plain, error = self._decrypted()
        self._heard = self._heard or bool(plain or (data and error is None))
        yield from self.tls_interact()  # after reading, which may have made something to send
        if plain:
            yield from self.event_to_child(DataReceived(self.conn, plain))
        if isinstance(error, SSL.ZeroReturnError):
            self._note_silence()
            yield from self._ended()
        elif error is not None:
            self.conn.error = "closed by a TLS alert"
            self._refuse(error)
            yield from self._ended()

    def _decrypted(self) -> tuple[bytes, SSL.Error | None]:
        """What there is, and what came after it: None: more may come."""
        plain = bytearray()
        while True:
            try:
                plain += self.tls.recv(65535)
            except SSL.WantReadError:
                return bytes(plain), None
            except SSL.Error as error:
                return bytes(plain), error

    def _ended(self) -> CommandGenerator[None]:
        self.conn.state &= ~ConnectionState.CAN_READ
        yield from self.event_to_child(ConnectionClosed(self.conn))

    def receive_close(self) -> CommandGenerator[None]:
        if not self.tls.get_shutdown() & SSL.RECEIVED_SHUTDOWN:
            self.conn.error = "closed without close_notify"  # a body that ends with the connection may be cut short
            self._note_silence()
        yield from super().receive_close()

    def _note_silence(self) -> None:
        """An alert may be lost where the origin resets the connection behind it."""
        if not self._heard and self.tls.get_protocol_version() == SSL.TLS1_3_VERSION:
            self._refuse(None)

    def _refuse(self, error: SSL.Error | None) -> None:
        """What streams on this connection are refused with, instead of only hearing that it closed."""
        assert isinstance(self.conn, Server)
        name = self._session.ways[self.conn].name
        self._session.refusals[self.conn] = Deny(Reason.UPSTREAM_TLS, built_in("tls"), why_ended(error, name))
