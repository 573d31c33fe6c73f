"""Back-pressure: how the two sides of a connection tell each other to wait."""

from __future__ import annotations

from typing import Final, Protocol

from mitmproxy.connection import Connection as Peer

HIGH: Final = 256 << 10
"""Bytes that may wait for a slow peer before the other side is no longer read."""
OWN: Final = 1 << 20
"""Bytes that may wait for an HTTP/2 peer which makes us answer (PING, SETTINGS) and does not read."""


class Pressure(Protocol):
    """HttpLayer, as its connections see it."""

    def congested(self, peer: Peer, stream_id: int) -> bool:
        """Whether what came from this peer on this stream is still on our hands. stream_id: the client's number."""

    def busy(self) -> int:
        """Streams that are not finished."""

    def held(self) -> int:
        """Bytes of request bodies that are held for scanning, over all streams."""
