"""Ending a connection so that nobody takes it for a clean end."""

from __future__ import annotations

import contextlib
import socket
import struct

_AT_ONCE = struct.pack("ii", 1, 0)


def arm(sock: socket.socket) -> None:
    """Makes the next close() a reset."""
    with contextlib.suppress(OSError):  # a socket that is closed already cannot be reset
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)


def reset(sock: socket.socket) -> None:
    arm(sock)
    sock.close()
