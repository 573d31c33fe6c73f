"""TLS over a plain transport, with OpenSSL in memory: cheaper than the event loops' own, and without their buffers.

All connections of a loop share one pair of memory BIOs (each would keep 22 KB otherwise, once a full record went
through it). That holds because every step is synchronous and leaves both empty: OpenSSL takes all it is fed, at the
latest when it says that it wants more, and what it has to send is taken out at once. What it does not take, after an
error or after the peer's close_notify, is thrown away in the same step: nothing of one connection is ever there when
the next one's turn comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Final, Protocol

from sluicegate.lanes import tls_fault
from sluicegate.lanes.channel import RECEIVE, Conversation, Stream, packed
from sluicegate.lanes.tls_fault import TlsFault

RECORD: Final = 16 << 10
"""Bytes of plain text that a record holds at most (RFC 8446, 5.1)."""
_SEND: Final = 4 * RECORD
"""Bytes that are encrypted before they are handed to the socket."""


class Wraps(Protocol):
    """An ssl.SSLContext, or what makes connections as one does (authority.contexts)."""

    def wrap_bio(self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, server_side: bool) -> ssl.SSLObject: ...  # noqa: FBT001 - as the ssl module has it


class _Memory(threading.local):
    """What all connections of a loop share; see above. plain: room for one receive and for what OpenSSL still held."""

    def __init__(self) -> None:
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.plain = memoryview(bytearray(RECEIVE + 3 * RECORD))
        # OpenSSL takes and gives back its buffers with each record. glibc would hand them on to the kernel each time, and
        # every page be faulted in again (a tenth of a bulk transfer's time); once a block of this size was freed, it
        # keeps twice as much (mallopt(3), M_TRIM_THRESHOLD and M_MMAP_THRESHOLD).
        bytearray(1 << 20)


_MEMORY: Final = _Memory()


class TlsChannel(Stream):
    """TLS 1.2 or 1.3 on a TCP transport."""

    __slots__ = ("_handshake_s", "_in", "_out", "_owed", "_plain", "_read", "_shaken", "_tls", "_write")

    def __init__(
        self, sock: socket.socket, conversation: Conversation, tls: ssl.SSLObject, memory: _Memory, handshake_s: float
    ) -> None:
        super().__init__(sock, conversation)
        self.tls = True
        self._tls = tls
        self._read: Callable[[int, memoryview], int] = tls.read  # type: ignore[assignment]  # bytes only without a buffer
        self._write = tls.write
        self._in, self._out, self._plain = memory.incoming, memory.outgoing, memory.plain
        self._handshake_s = handshake_s
        self._shaken = False
        self._owed = b""  # the end of the handshake, which goes out with the first bytes of ours

    @property
    def reused(self) -> bool:
        """The handshake resumed a session."""
        return bool(self._tls.session_reused)

    @property
    def version(self) -> str | None:
        """TLSv1.2 or TLSv1.3; None before the handshake."""
        return self._tls.version()

    @property
    def session(self) -> ssl.SSLSession | None:
        """What dial_tls() takes to resume. In TLS 1.3 there is none before the peer's first bytes; 0.2 ms to copy out."""
        return self._tls.session

    def certificate(self) -> bytes | None:
        """The peer's, in DER."""
        return self._tls.getpeercert(True)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._set_timer(self._handshake_s, self._too_slow)
        if not self._tls.server_side:
            self._shake()

    def buffer_updated(self, nbytes: int) -> None:
        if self._done:
            return
        self._in.write(self._room[:nbytes])
        if self._shaken:
            self._decrypt()
        else:
            self._shake()

    def flush(self) -> None:
        parts, self._parts, self._waiting = self._parts, [], 0
        transport = self._transport
        if not parts or not self._shaken or transport is None or transport.is_closing():
            return
        try:
            for part in parts if len(parts) == 1 else packed(parts):
                if 0 < len(part) <= RECORD:
                    self._write(part)
                    if self._owed:
                        self._send_out()
                    else:
                        transport.write(self._out.read())
                else:
                    self._encrypt(memoryview(part))
        except ssl.SSLError as error:
            self._refuse(error)

    def _encrypt(self, view: memoryview) -> None:
        """What fills several records. Raises ssl.SSLError."""
        size = len(view)
        for begin in range(0, size, _SEND):
            for at in range(begin, min(begin + _SEND, size), RECORD):
                self._write(view[at : at + RECORD])  # all of it: less would be a second record's beginning
            self._send_out()

    def _decrypt(self) -> None:
        """Takes the records that were fed, and gives their content to the conversation, all at once."""
        incoming, read, plain = self._in, self._read, self._plain
        size, closed, failure = 0, False, None
        try:
            while True:
                got = read(RECORD, plain[size:] if size else plain)
                size += got
                if not got:
                    closed = True
                    break
                if not incoming.pending:  # asking once more would cost an exception, 1.7 us
                    break
        except ssl.SSLWantReadError:
            pass  # part of a record, or a message that is not ours to see
        except ssl.SSLZeroReturnError:
            closed = True
        except ssl.SSLError as error:
            failure = error
        if incoming.pending:
            incoming.read()
        if self._out.pending:  # a key update, or an alert
            self._send_out()
        if size:
            self._hear(plain[:size])
        if closed or failure is not None:
            self._over(failure)

    def _over(self, failure: ssl.SSLError | None) -> None:
        if failure is not None:
            self._refuse(failure)
        elif not self._peer_ended:
            self._on_eof()

    def _shake(self) -> None:
        """One step of the handshake; where it was the last one, what came after it is read."""
        failure = None
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._send_out()
            return
        except ssl.SSLError as error:
            failure = error
        if failure is not None:
            self._refuse(failure)
            return
        self._shaken = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.alpn = self._tls.selected_alpn_protocol()
        rest = self._in.read() if self._in.pending else b""
        if self._out.pending:
            self._owed = self._out.read()
        self._open()
        # A client's Finished goes with its request. A server's last in TLS 1.3 is a ticket, which can wait for the answer.
        if self._owed and not (self._tls.server_side and self._tls.version() == "TLSv1.3"):
            self._send_out()
        if rest and not self._done:
            self._in.write(rest)
            self._decrypt()

    def _send_out(self) -> None:
        data = self._out.read()
        if self._owed:
            data, self._owed = self._owed + data, b""
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _refuse(self, error: ssl.SSLError) -> None:
        if self._in.pending:
            self._in.read()
        self._send_out()  # the alert that tells the peer why
        self._leave(tls_fault.fault(error))

    def _too_slow(self) -> None:
        self._fail(TlsFault(f"the handshake was not complete within {self._handshake_s:g} s"))

    def _farewell(self) -> None:
        with contextlib.suppress(ssl.SSLError):  # it wants the peer's close_notify, which comes when it comes
            self._tls.unwrap()
        self._send_out()

    def eof_received(self) -> bool:
        if not self._shaken:
            self._leave(TlsFault("the peer ended the connection during the handshake"))
        elif not self._peer_ended:
            self.truncated = True
            self._on_eof()
        return True


async def accept_tls(
    sock: socket.socket, context: Wraps, conversation: Conversation, *, handshake_s: float
) -> TlsChannel:
    """A channel on an accepted, non-blocking socket, which it owns from now on; peeked at is fine, read from is not.

    Returns before the handshake, whose end opened() or lost() tells.
    """
    tls = context.wrap_bio(_MEMORY.incoming, _MEMORY.outgoing, server_side=True)
    channel = TlsChannel(sock, conversation, tls, _MEMORY, handshake_s)
    await asyncio.get_running_loop().connect_accepted_socket(lambda: channel, sock)
    return channel


def _client_end(context: ssl.SSLContext, host: str | None, session: ssl.SSLSession | None) -> ssl.SSLObject:
    if host is None and context.check_hostname:  # wrap_bio() would go on, and verify for no name at all
        raise ValueError("a context that verifies names needs one")
    if host is not None and "\0" in host:
        raise ValueError("not a host that a certificate can be checked against")
    # As bytes: for a str the ssl module would use its codec for IDNA of 2003, which is slow and refuses what is in use.
    name = host.encode("ascii") if host is not None else None
    try:
        return context.wrap_bio(_MEMORY.incoming, _MEMORY.outgoing, server_hostname=name, session=session)
    except ValueError:
        if session is None:
            raise
    # The session is of a context from before a reload.
    return context.wrap_bio(_MEMORY.incoming, _MEMORY.outgoing, server_hostname=name)


async def dial_tls(
    sock: socket.socket,
    context: ssl.SSLContext,
    server_hostname: str | None,
    conversation: Conversation,
    *,
    handshake_s: float,
    session: ssl.SSLSession | None = None,
) -> TlsChannel:
    """A channel on a connected, non-blocking socket, which it owns from now on. Returns before the handshake's end.

    server_hostname: in A-labels, or a literal address, whose certificate must be shown. session: of a connection to the
    same server under the same name, with the same context: a resumed handshake proves nothing about another name.
    Raises ValueError for a name that no certificate can hold.
    """
    tls = _client_end(context, server_hostname, session)
    channel = TlsChannel(sock, conversation, tls, _MEMORY, handshake_s)
    await asyncio.get_running_loop().create_connection(lambda: channel, sock=sock)
    return channel
