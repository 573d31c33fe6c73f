"""The refuse lane: tells a client why before any byte went upstream.

TLS is finished with a leaf of ours so that a 403 can be read; plain HTTP gets it as it is; whatever is neither is
reset. The answer is never the reason to let anything through: this lane has no upstream.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Protocol

from sluicegate.exchange.refusal import render
from sluicegate.facts import Hello, Wire
from sluicegate.lanes import first_bytes, refused_head
from sluicegate.lanes.refused_head import Head
from sluicegate.lanes.reset import reset
from sluicegate.lanes.tls_server import TlsServer
from sluicegate.names import HostName
from sluicegate.verdict import Deny

_LINGER_S = 5.0
_QUIET_S = 1.0
_LINGER_BYTES = 64 << 20
"""How long and how much of an upload is thrown away, so that a client which sends all before it reads sees the answer."""

_TELLING = 64  # bytes that are enough to tell what is HTTP
_PHRASES = {status.value: status.phrase for status in HTTPStatus}


@dataclass(frozen=True, slots=True)
class Refused:
    """What the client asked, as far as it was read, and the status it was given: None where it could not be told.

    note: why it could not; a TLS alert of the client (it does not trust our CA) is named here.
    """

    status: int | None = None
    method: str | None = None
    host: HostName | None = None
    path: str | None = None
    note: str = ""


async def refuse(
    sock: socket.socket,
    hello: Hello,
    deny: Deny,
    *,
    incident: str,
    tls: Callable[[], Awaitable[ssl.SSLContext]] | None,
    timeout_s: float = 5.0,
) -> Refused:
    """Answers, or resets, and closes `sock`, which was peeked at only. Raises nothing but cancellation.

    tls: makes the context with the leaf for the name or address asked for, offering http/1.1 by ALPN; None: there is
    no name. timeout_s: for handshake and head together; sending off a slow upload may take five seconds more.
    """
    try:
        async with asyncio.timeout(timeout_s):
            way = await _way(sock, hello, tls)
            raw = await _head(way) if way is not None else None
            if way is None or raw is None:
                return Refused(note="not a request: the connection was reset")
            head = refused_head.read(raw)
            status = await _tell(way, deny, incident, head)
        await _linger(sock)
        return Refused(status, head.method, head.host, head.path)
    except TimeoutError:
        return Refused(note="the client sent no whole request in time")
    except ssl.SSLError as error:
        return Refused(note=f"tls: {(error.reason or 'handshake failed').lower().replace('_', ' ')}")
    except OSError:
        return Refused(note="the client is gone")
    except Exception as error:  # noqa: BLE001 - minting may fail in any way: a reset refuses as well
        return Refused(note=f"no answer could be made ({type(error).__name__})")
    finally:
        reset(sock)  # after a clean end it is closed already, and this does nothing


async def answer(
    sock: socket.socket, deny: Deny, incident: str, *, accept: str = "", timeout_s: float = 5.0
) -> int | None:
    """Answers a request in clear text whose head was read already, and closes. The status, or None: the client left."""
    try:
        async with asyncio.timeout(timeout_s):
            status = await _tell(_Plain(sock), deny, incident, Head(accept=accept))
        await _linger(sock)
    except (OSError, TimeoutError):
        return None
    else:
        return status
    finally:
        reset(sock)


class _Way(Protocol):
    async def recv(self, size: int) -> bytes: ...
    async def send(self, data: bytes) -> None: ...
    async def end(self) -> None: ...


class _Plain:
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    async def recv(self, size: int) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self._sock, size)

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._sock, data)

    async def end(self) -> None:
        pass  # the FIN says it all


async def _way(sock: socket.socket, hello: Hello, tls: Callable[[], Awaitable[ssl.SSLContext]] | None) -> _Way | None:
    """How the client can be told, or None."""
    if hello.wire is Wire.HTTP1:
        return _Plain(sock)
    if hello.wire is not Wire.TLS or tls is None or (hello.alpn and "http/1.1" not in hello.alpn):
        return None
    server = TlsServer(sock, await tls())
    await server.handshake()
    return server


async def _head(way: _Way) -> bytes | None:
    """Up to the end of the head, of the stream or of what is read at most; None for what is not HTTP/1."""
    data = bytearray()
    while len(data) < refused_head.LIMIT:
        before = len(data)
        data += await way.recv(refused_head.LIMIT - before)
        if first_bytes.wire(bytes(data[:_TELLING])) not in {Wire.HTTP1, None}:
            return None
        if len(data) == before or refused_head.complete(data, before):
            break
    return bytes(data) or None


async def _tell(way: _Way, deny: Deny, incident: str, head: Head) -> int:
    status, fields, body = render(deny, incident, head.accept, head.host.ascii if head.host else "")
    lines = [f"HTTP/1.1 {status} {_PHRASES.get(status, 'Refused')}", *(f"{name}: {value}" for name, value in fields)]
    await way.send(("\r\n".join(lines) + "\r\n\r\n").encode("ascii") + (b"" if head.method == "HEAD" else body))
    await way.end()
    return status


async def _linger(sock: socket.socket) -> None:
    """Ends our side, throws away what still comes, and closes.

    A close() with bytes unread would be a reset, and the answer lost with it (RFC 9112, 9.6). What is too much or
    too slow is left to the caller's reset; a client that is quiet has read its answer, and is closed cleanly.
    """
    loop, left, scrap = asyncio.get_running_loop(), _LINGER_BYTES, bytearray(256 << 10)
    with contextlib.suppress(OSError, TimeoutError):
        sock.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(_LINGER_S):
            while left > 0:
                count = await _received(loop, sock, scrap)
                if not count:
                    sock.close()
                    return
                left -= count


async def _received(loop: asyncio.AbstractEventLoop, sock: socket.socket, scrap: bytearray) -> int:
    """Bytes thrown away; 0 at the end, and where nothing came for a while."""
    try:
        async with asyncio.timeout(_QUIET_S):
            return await loop.sock_recv_into(sock, scrap)
    except TimeoutError:
        return 0
