"""mitmproxy's TLS layers, with orderly ends: a close_notify where we close, and its absence noticed where it counts."""

from __future__ import annotations

from mitmproxy.proxy import layer
from mitmproxy.proxy.commands import CloseConnection
from mitmproxy.proxy.context import Context
from mitmproxy.proxy.events import Event
from mitmproxy.proxy.layer import CommandGenerator
from mitmproxy.proxy.layers.tls import ClientTLSLayer, ServerTLSLayer
from OpenSSL import SSL

from sluicegate_mitm.events import Reset


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
    """TLS with the origin."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)

    def receive_close(self) -> CommandGenerator[None]:
        if not self.tls.get_shutdown() & SSL.RECEIVED_SHUTDOWN:
            self.conn.error = "closed without close_notify"  # a body that ends with the connection may be cut short
        yield from super().receive_close()
