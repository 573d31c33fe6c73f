"""The server's side of TLS over a plain socket, with its end in our hands.

asyncio's TLS transports cannot half-close: after the answer they would either hang up on a client that still sends
(it would see a reset instead of the answer) or wait for it without bound.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable

_CHUNK = 16 << 10


class TlsServer:
    """sock: non-blocking, in no transport; its first bytes may have been peeked, but not read."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self._sock = sock
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)

    async def handshake(self) -> None:
        """Raises ssl.SSLError (the client refused us, or spoke nonsense) and OSError."""
        await self._run(self._tls.do_handshake)

    async def recv(self, size: int) -> bytes:
        """b"" at the end."""
        try:
            return await self._run(lambda: self._tls.read(size))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    async def send(self, data: bytes) -> None:
        await self._run(lambda: self._tls.write(data))

    async def end(self) -> None:
        """Says that nothing follows (close_notify), and waits for no answer."""
        with contextlib.suppress(ssl.SSLError):  # it wants the client's close_notify, which is of no interest
            self._tls.unwrap()
        await self._flush()

    async def _run[T](self, step: Callable[[], T]) -> T:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
                continue
            except ssl.SSLError:
                await self._flush()  # the alert that tells the client why
                raise
            await self._flush()
            return result

    async def _fill(self) -> None:
        data = await asyncio.get_running_loop().sock_recv(self._sock, _CHUNK)
        if data:
            self._in.write(data)
        else:
            self._in.write_eof()

    async def _flush(self) -> None:
        if self._out.pending:
            await asyncio.get_running_loop().sock_sendall(self._sock, self._out.read())
