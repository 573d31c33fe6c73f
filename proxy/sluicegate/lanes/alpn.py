"""Which lane a client can be carried on, by the protocols that it offers in its ClientHello (RFC 7301)."""

from __future__ import annotations

from typing import Final

from sluicegate.facts import Hello, Wire

_HTTP1, _HTTP2 = "http/1.1", "h2"

NO_APPLICATION_PROTOCOL: Final = b"\x15\x03\x03\x00\x02\x02\x78"
"""The alert, fatal, as a record in clear: no handshake has begun that could encrypt it (RFC 7301, 3.2)."""


def only_http2(hello: Hello) -> bool:
    """Whether the client speaks HTTP/2 and no HTTP/1.1. One that offers nothing speaks HTTP/1.1."""
    if hello.wire is Wire.HTTP2:
        return True
    return _HTTP2 in hello.alpn and _HTTP1 not in hello.alpn


def no_common_protocol(hello: Hello) -> bool:
    """Whether it offers something, and nothing of ours."""
    return bool(hello.alpn) and _HTTP1 not in hello.alpn and _HTTP2 not in hello.alpn
