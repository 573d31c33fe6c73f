"""Is this the mitmproxy that the lane was written against? Its private parts are overridden here; they change at will."""

from __future__ import annotations

import importlib
from typing import Final

from mitmproxy import version

EXPECTED: Final = "12.2.3"

# module: attributes that are overridden, called or read
_SYMBOLS: Final = {
    "h2.connection": (
        "H2Connection._receive_goaway_frame",
        "H2Connection.initiate_connection",
        "H2Connection.acknowledge_received_data",
    ),
    "h11._readers": ("ChunkedReader", "ContentLengthReader.read_eof", "Http10Reader"),
    "h11._receivebuffer": ("ReceiveBuffer.maybe_extract_lines", "ReceiveBuffer.maybe_extract_at_most"),
    "mitmproxy.proxy.layer": ("Layer.handle_event", "Layer._handle_event"),
    "mitmproxy.proxy.layers.http": (
        "DropStream",
        "GetHttpConnection",
        "GetHttpConnectionCompleted",
        "HttpLayer._handle_event",
        "HttpLayer.event_to_child",
        "HttpLayer.get_connection",
        "HttpLayer.make_stream",
        "HttpLayer.register_connection",
        "HttpStream._handle_event",
        "RegisterHttpConnection",
        "SendHttp",
    ),
    "mitmproxy.proxy.layers.http._base": ("HttpConnection", "HttpEvent", "ReceiveHttp"),
    "mitmproxy.proxy.layers.http._events": ("ErrorCode.CANCEL", "ErrorCode.KILL", "RequestHeaders", "ResponseHeaders"),
    "mitmproxy.proxy.layers.http._http2": (
        "Http2Client._handle_event",
        "Http2Client._handle_event2",
        "Http2Client.close_connection",
        "Http2Client.handle_h2_event",
        "Http2Connection.done",
        "Http2Connection.is_closed",
        "Http2Connection.is_open_for_us",
        "Http2Server.handle_h2_event",
        "Http2Server.protocol_error",
        "StreamState.EXPECTING_HEADERS",
    ),
    "mitmproxy.proxy.layers.http._http_h2": (
        "BufferedH2Connection.initiate_connection",
        "BufferedH2Connection.send_data",
    ),
    "mitmproxy.proxy.layers.tls": (
        "ClientTLSLayer.receive_handshake_data",
        "ServerTLSLayer.start_handshake",
        "TLSLayer.receive_close",
        "TLSLayer.send_close",
        "TLSLayer.tls_interact",
    ),
    "mitmproxy.proxy.server": (
        "LiveConnectionHandler.close_connection",
        "LiveConnectionHandler.handle_connection",
        "LiveConnectionHandler.hook_task",
        "LiveConnectionHandler.open_connection",
        "LiveConnectionHandler.server_event",
        "LiveConnectionHandler.wakeup",
    ),
    "mitmproxy.proxy.tunnel": ("LayerStack", "TunnelLayer.event_to_child"),
    "mitmproxy.utils.asyncio_utils": ("set_eager_task_factory",),
}


class WrongMitmproxy(Exception):
    """The lane must not run. `str()` says what is wrong and what to install."""


def check() -> None:
    """Raises WrongMitmproxy."""
    if version.VERSION != EXPECTED:
        raise WrongMitmproxy(f"mitmproxy {version.VERSION} is installed: the mitm lane needs {EXPECTED}")
    missing = [f"{module}.{path}" for module, paths in _SYMBOLS.items() for path in paths if not _has(module, path)]
    if missing:
        raise WrongMitmproxy(f"mitmproxy {EXPECTED} lacks {', '.join(missing)}: install the locked requirements")


def _has(module: str, path: str) -> bool:
    try:
        found: object = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        return False
    return True
