"""asyncio streams over sockets that we were handed, which say when they are clogged and when they are free again."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable

_LINGER_NOT = struct.pack("ii", 1, 0)
_LIMIT = 64 << 10  # asyncio stops reading at twice this
_TCP_CLOSE = 7  # include/net/tcp_states.h
_HIGH_WATER = 256 << 10


class Protocol(asyncio.StreamReaderProtocol):
    """As asyncio's own, and tells of pauses."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        super().__init__(reader)
        self.on_drained: Callable[[], None] | None = None
        self.clogged = False

    def pause_writing(self) -> None:
        self.clogged = True
        super().pause_writing()

    def resume_writing(self) -> None:
        self.clogged = False
        super().resume_writing()
        if self.on_drained is not None:
            self.on_drained()


type Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def accepted(sock: socket.socket, head: bytes) -> Streams:
    """Streams of a client's socket; `head` was read of it already."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_LIMIT, loop=loop)
    if head:
        reader.feed_data(head)
    transport, protocol = await loop.connect_accepted_socket(lambda: Protocol(reader), sock)
    return _streams(transport, protocol, reader, loop)


async def connected(sock: socket.socket) -> Streams:
    """Streams of a socket that we connected."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_LIMIT, loop=loop)
    transport, protocol = await loop.create_connection(lambda: Protocol(reader), sock=sock)
    return _streams(transport, protocol, reader, loop)


def _streams(
    transport: asyncio.Transport, protocol: Protocol, reader: asyncio.StreamReader, loop: asyncio.AbstractEventLoop
) -> Streams:
    transport.set_write_buffer_limits(high=_HIGH_WATER)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


def watch(writer: asyncio.StreamWriter, drained: Callable[[], None]) -> None:
    """Calls `drained` each time a clogged writer is free again."""
    protocol = writer.transport.get_protocol()
    assert isinstance(protocol, Protocol)
    protocol.on_drained = drained


def clogged(writer: asyncio.StreamWriter) -> bool:
    protocol = writer.transport.get_protocol()
    return isinstance(protocol, Protocol) and protocol.clogged and not writer.is_closing()


def was_reset(writer: asyncio.StreamWriter) -> bool:
    """Whether the peer has reset the connection; asyncio does not notice while it does not read."""
    with contextlib.suppress(OSError):
        state: int = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        return state == _TCP_CLOSE
    return True


def reset(writer: asyncio.StreamWriter) -> None:
    """Closes at once, with RST."""
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    writer.transport.abort()
