"""Byte streams for the http1 lane: what is plain and what is TLS (lanes.tls) look the same from above.

Callbacks instead of coroutines, and one receive buffer for all: a coroutine costs microseconds for each message, a
buffer of its own costs tens of kilobytes for each connection that is idle.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Protocol, cast

import structlog

from sluicegate.lanes import reset

RECEIVE: Final = 256 << 10
"""Bytes taken from a socket at once, into a buffer that all channels of a loop share."""
HIGH: Final = 64 << 10
"""Bytes that wait to be sent before the conversation is told to hold."""
SMALL: Final = 4 << 10
"""Below it copying a part costs less than sending it by itself."""
LINGER_S: Final = 5.0
"""How long after end() the peer may take to end its side."""

_log = structlog.get_logger("sluicegate.channel")


class Conversation(Protocol):
    """What speaks over a channel. All of it is called from the loop, returns at once and does not raise."""

    def opened(self, channel: Channel) -> None:
        """Connected and, for TLS, the handshake is complete. The first call, unless it is lost()."""

    def heard(self, data: bytes | memoryview) -> None:
        """Bytes of the peer, at least one. A view is valid during the call only; write() may be given it as it is."""

    def ended(self) -> None:
        """The peer sends no more: a FIN, in TLS after its close_notify (or without: see `truncated`)."""

    def lost(self, error: Exception | None) -> None:
        """The channel is gone. The last call, exactly once, also when it was never opened: then `error` says why.

        None: it ended by end(). Otherwise a TlsFault, an OSError, Aborted, or what another callback raised.
        """

    def hold(self) -> None:
        """More than HIGH bytes wait to be sent."""

    def go_on(self) -> None:
        """Most of them are sent."""


class Channel(Protocol):
    """One connection. Methods may be called at any time; after end() or abort() what makes no sense does nothing."""

    alpn: str | None
    tls: bool
    truncated: bool
    """The peer's FIN came without a close_notify: what it sent may have been cut off by someone else."""

    @property
    def buffered(self) -> int:
        """Bytes that wait to be sent."""

    def write(self, data: bytes | memoryview) -> None: ...
    def writelines(self, parts: Sequence[bytes | memoryview]) -> None: ...

    def end(self) -> None:
        """Sends what waits, close_notify and FIN; closes after the peer's FIN, or after LINGER_S.

        Until then heard() goes on; where reading is paused, what still comes is thrown away.
        """

    def abort(self) -> None:
        """Closes at once, by a reset. lost() follows from the loop, never from within this call."""

    def pause(self) -> None:
        """Stops reading: no heard() and no ended() follow until resume()."""

    def resume(self) -> None: ...


class Aborted(Exception):
    """Why a channel was lost: our own abort()."""


class Flushable(Protocol):
    def flush(self) -> None: ...


class Turn:
    """What the channels of a loop share: the buffer, and who wrote during a callback.

    Bytes written within one callback are sent after it, together: as few records and system calls as can be.
    """

    __slots__ = ("active", "room", "written")

    def __init__(self) -> None:
        self.room = memoryview(bytearray(RECEIVE))
        self.active = False
        self.written: list[Flushable] = []

    def close(self) -> None:
        """Ends the callback; whoever wrote, sends."""
        self.active = False
        while self.written:
            self.written.pop().flush()


class _Here(threading.local):
    """A thread runs one loop. Looked up once for each channel: a thread's attributes are slow."""

    def __init__(self) -> None:
        self.turn = Turn()


HERE: Final = _Here()


class Stream(asyncio.BufferedProtocol):
    """What plain and TLS channels have in common: a transport, its back-pressure and its ends."""

    __slots__ = (
        "_conversation", "_done", "_ending", "_parts", "_paused", "_peer_ended", "_room", "_sock", "_timer",
        "_told_end", "_transport", "_turn", "_waiting", "_why", "alpn", "tls", "truncated",
    )  # fmt: skip

    def __init__(self, sock: socket.socket, conversation: Conversation) -> None:
        self.tls = False
        self.alpn: str | None = None
        self.truncated = False
        self._sock = sock
        self._conversation = conversation
        self._transport: asyncio.Transport | None = None
        self._turn = HERE.turn
        self._room = self._turn.room
        self._ending = False  # end() was called
        self._done = False  # nothing is told to the conversation any more but lost()
        self._paused = False
        self._peer_ended = False
        self._told_end = False
        self._parts: list[bytes | memoryview] = []
        self._waiting = 0  # bytes in them
        self._why: Exception | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def buffered(self) -> int:
        unsent = self._transport.get_write_buffer_size() if self._transport is not None else 0
        return unsent + self._waiting

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        return self._room

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        # asyncio does it only where the socket says that it is TCP, and an accepted one may say 0.
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._transport.set_write_buffer_limits(HIGH)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._done, self._transport = True, None
        error = self._why or exc
        if error is None and not self._ending:
            error = ConnectionResetError("the connection was closed")
        with contextlib.suppress(Exception):  # it is over, and nothing that fails now can let anything through
            self._conversation.lost(error)

    def pause_writing(self) -> None:
        self._tell(self._conversation.hold)

    def resume_writing(self) -> None:
        self._tell(self._conversation.go_on)

    def eof_received(self) -> bool:
        self._on_eof()
        return True  # stay open: whoever ended has not necessarily heard all

    def write(self, data: bytes | memoryview) -> None:
        if self._ending or self._done:
            return
        parts = self._parts
        parts.append(data)
        self._waiting += len(data)
        turn = self._turn
        if not turn.active or self._waiting >= HIGH:  # who writes until it is told to hold must be told in time
            self.flush()
        elif len(parts) == 1:
            turn.written.append(self)

    def writelines(self, parts: Sequence[bytes | memoryview]) -> None:
        turn = self._turn
        outermost, turn.active = not turn.active, True
        try:
            for part in parts:
                self.write(part)
        finally:
            if outermost:
                turn.close()

    def pause(self) -> None:
        if not self._paused and not self._ending:
            self._paused = True
            if self._transport is not None:
                self._transport.pause_reading()

    def resume(self) -> None:
        if self._paused and not self._ending:
            self._paused = False
            if self._transport is not None and not self._transport.is_closing():
                self._transport.resume_reading()
                if self._peer_ended:
                    asyncio.get_running_loop().call_soon(self._tell_end)

    def end(self) -> None:
        transport = self._transport
        if self._ending or transport is None or transport.is_closing():
            return
        self.flush()
        self._ending = True
        self._farewell()
        if transport.is_closing():  # what was written could not be sent
            return
        try:
            transport.write_eof()
        except OSError:  # the peer reset the connection, which the loop has not seen yet
            transport.close()
            return
        self._set_timer(LINGER_S, partial(self._linger, transport.get_write_buffer_size()))
        if self._peer_ended:
            transport.close()
        elif self._paused:
            transport.resume_reading()

    def abort(self) -> None:
        self._fail(Aborted("aborted"))

    def _fail(self, error: Exception) -> None:
        """Ends by a reset, and remembers why."""
        self._done = True
        if self._transport is not None:
            self._why = self._why or error
            reset.arm(self._sock)
            self._transport.abort()

    def _leave(self, error: Exception) -> None:
        """Ends by a FIN, so that what was said last, an alert, is read; and remembers why."""
        self._done = True
        if self._transport is not None:
            self._why = self._why or error
            self._set_timer(LINGER_S, self._transport.abort)
            self._transport.close()

    def _linger(self, before: int) -> None:
        """A peer that takes its time gets it, as long as it takes something; `before`: bytes that waited last time."""
        transport = self._transport
        if transport is None:
            return
        waiting = transport.get_write_buffer_size()
        if not waiting:
            transport.close()
        elif waiting < before:
            self._set_timer(LINGER_S, partial(self._linger, waiting))
        else:
            self._fail(TimeoutError("the peer does not take what is sent"))

    def _set_timer(self, after_s: float, then: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(after_s, then)

    def _open(self) -> None:
        self._tell(self._conversation.opened, self)
        if self._paused and self._transport is not None:
            # uvloop starts to read after connection_made(), whatever was said in it.
            asyncio.get_running_loop().call_soon(self._transport.pause_reading)

    def _tell(self, what: Callable[..., None], *arguments: object) -> None:
        """Calls the conversation, and sends what it wrote meanwhile."""
        if self._done or (self._ending and self._paused):
            return
        turn = self._turn
        outermost, turn.active = not turn.active, True
        try:
            what(*arguments)
        except Exception as error:  # noqa: BLE001 - a conversation that crashed must not go on half-way
            self._crashed(error)
        finally:
            if outermost:
                turn.close()

    def _hear(self, data: memoryview) -> None:
        """As _tell(), for what is called most: 0.4 us less. Called by the loop alone, so it is always the outermost."""
        if self._done or (self._ending and self._paused):
            return
        turn = self._turn
        turn.active = True
        try:
            self._conversation.heard(data)
        except Exception as error:  # noqa: BLE001 - what it said is not known to be whole
            self._crashed(error)
        finally:
            turn.active = False
            if turn.written:
                turn.close()

    def _crashed(self, error: Exception) -> None:
        _log.error("conversation failed", error=type(error).__name__)
        self._fail(error)

    def flush(self) -> None:
        """Sends what was written."""
        raise NotImplementedError

    def _farewell(self) -> None:
        """What is sent before the FIN."""

    def _on_eof(self) -> None:
        self._peer_ended = True
        self._tell_end()

    def _tell_end(self) -> None:
        if self._told_end or (self._paused and not self._ending):
            return
        self._told_end = True
        self._tell(self._conversation.ended)
        if self._ending and self._transport is not None:
            self._transport.close()


class PlainChannel(Stream):
    """TCP as it is."""

    __slots__ = ()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._open()

    def buffer_updated(self, nbytes: int) -> None:
        self._hear(self._room[:nbytes])

    def write(self, data: bytes | memoryview) -> None:
        # A transport keeps what it is given until the socket takes it; a view's bytes are others by then.
        super().write(bytes(data))

    def flush(self) -> None:
        parts, self._parts, self._waiting = self._parts, [], 0
        transport = self._transport
        if parts and transport is not None and not transport.is_closing():
            # Not writelines(): on asyncio of 3.12 and 3.13.0 that never calls pause_writing().
            for part in parts if len(parts) == 1 else packed(parts):
                transport.write(part)


def packed(parts: Sequence[bytes | memoryview]) -> list[bytes | memoryview]:
    """The same bytes with small parts joined: each part costs a record, or a system call."""
    packed: list[bytes | memoryview] = []
    small: list[bytes | memoryview] = []
    for part in parts:
        if len(part) < SMALL:
            small.append(part)
            continue
        if small:
            packed.append(b"".join(small))
            small = []
        packed.append(part)
    if small:
        packed.append(b"".join(small))
    return packed


async def accept_plain(sock: socket.socket, conversation: Conversation) -> PlainChannel:
    """A channel on an accepted, non-blocking socket, which it owns from now on; peeked at is fine, read from is not."""
    channel = PlainChannel(sock, conversation)
    await asyncio.get_running_loop().connect_accepted_socket(lambda: channel, sock)
    return channel


async def dial_plain(sock: socket.socket, conversation: Conversation) -> PlainChannel:
    """A channel on a connected, non-blocking socket, which it owns from now on."""
    channel = PlainChannel(sock, conversation)
    await asyncio.get_running_loop().create_connection(lambda: channel, sock=sock)
    return channel
