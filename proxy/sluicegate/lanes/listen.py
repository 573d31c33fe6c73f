"""Listening sockets, and the loop that accepts from them."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable

import structlog

from sluicegate.errors import ConfigError
from sluicegate.facts import Endpoint

_log = structlog.get_logger("sluicegate.listen")

BACKLOG = 4096  # the kernel takes min(this, net.core.somaxconn)
_IP_TRANSPARENT = 19
_IPV6_TRANSPARENT = 75
_A_ROUND = 64  # accepted before other callbacks have their turn
_PAUSE_S = 0.1

# accept(2): errors of that one connection, which is gone already.
_GONE = frozenset({
    errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ENETDOWN, errno.ENOPROTOOPT, errno.EHOSTDOWN, errno.ENONET,
    errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EOPNOTSUPP, errno.EINTR,
})  # fmt: skip

_FIXES = {
    errno.EADDRINUSE: "the port is taken by another program: stop it, or choose another port",
    errno.EACCES: "this port needs CAP_NET_BIND_SERVICE: grant it, or choose a port from 1024 up",
    errno.EADDRNOTAVAIL: "this machine does not have the address: use one that it has, or 0.0.0.0",
    errno.EAFNOSUPPORT: "this machine has no IPv6: use an IPv4 address",
}
_NOT_TRANSPARENT = "IP_TRANSPARENT needs CAP_NET_ADMIN: grant it, or redirect with REDIRECT and set `tproxy: false`"


def open_socket(endpoint: Endpoint, *, transparent: bool) -> socket.socket:
    """One non-blocking listener. transparent: with IP_TRANSPARENT, for TPROXY. Raises ConfigError."""
    return open_sockets(endpoint, transparent=transparent)[0]


def open_sockets(endpoint: Endpoint, *, transparent: bool, count: int = 1) -> tuple[socket.socket, ...]:
    """`count` listeners that share the port, one for each worker. Raises ConfigError.

    SO_REUSEPORT alone would let a second gateway of the same user take half of the connections in silence. So the port
    is claimed first by a listener without it, which fails if anyone listens there; the shared ones are opened under
    the claim, and only then it is given up: two gateways that start together cannot both succeed.
    """
    shared: list[socket.socket] = []
    try:
        with _bound(endpoint) as claim:
            claim.listen(1)
            port = claim.getsockname()[1]  # where 0 was asked for, all must have the same
            claim.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            for _ in range(count):
                shared.append(_shared(Endpoint(endpoint.address, port), transparent=transparent))  # noqa: PERF401 - closed below if a later one fails
    except OSError as error:
        for sock in shared:
            sock.close()
        raise ConfigError(
            "listen", endpoint, _FIXES.get(error.errno or 0, error.strerror or "cannot be opened")
        ) from None
    except ConfigError:
        for sock in shared:
            sock.close()
        raise
    return tuple(shared)


def _shared(endpoint: Endpoint, *, transparent: bool) -> socket.socket:
    sock = _bound(endpoint, reuse_port=True, transparent=transparent)
    sock.listen(BACKLOG)
    sock.setblocking(False)
    return sock


def _bound(endpoint: Endpoint, *, reuse_port: bool = False, transparent: bool = False) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if endpoint.address.version == 6 else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(reuse_port))
        if sock.family == socket.AF_INET6:  # IPv4 has listeners of its own, so that no address comes in costume
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if transparent:
            _make_transparent(sock, endpoint)
        sock.bind((str(endpoint.address), endpoint.port))
    except BaseException:
        sock.close()
        raise
    return sock


def _make_transparent(sock: socket.socket, endpoint: Endpoint) -> None:
    try:
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT, 1)
        else:
            sock.setsockopt(socket.SOL_IP, _IP_TRANSPARENT, 1)
    except PermissionError:
        raise ConfigError("listen", endpoint, _NOT_TRANSPARENT) from None


async def accept_loop(listener: socket.socket, handle: Callable[[socket.socket], None]) -> None:
    """Gives every accepted, non-blocking socket to `handle`, which returns at once. Runs until it is cancelled."""
    await _Accepting(listener, handle).run()


class _Accepting:
    def __init__(self, listener: socket.socket, handle: Callable[[socket.socket], None]) -> None:
        self._listener = listener
        self._handle = handle
        self._loop = asyncio.get_running_loop()
        self._resume: asyncio.TimerHandle | None = None
        self._starved = False

    async def run(self) -> None:
        self._loop.add_reader(self._listener.fileno(), self._ready)
        try:
            await self._loop.create_future()  # until cancelled
        finally:
            if self._resume is not None:
                self._resume.cancel()
            self._loop.remove_reader(self._listener.fileno())

    def _ready(self) -> None:
        for _ in range(_A_ROUND):
            try:
                sock, _address = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _GONE:
                    continue
                self._pause(error)
                return
            self._starved = False
            self._give(sock)

    def _give(self, sock: socket.socket) -> None:
        try:
            sock.setblocking(False)
            self._handle(sock)
        except Exception as error:  # noqa: BLE001 - one connection's failure must not close the door for all
            _log.exception("connection not taken up", error=type(error).__name__)
            sock.close()

    def _pause(self, error: OSError) -> None:
        """Out of descriptors or memory: the connection stays in the queue, and the loop must not spin on it."""
        if not self._starved:  # said once, until one was accepted again
            self._starved = True
            _log.error("cannot accept: connections wait", error=error.strerror, errno=error.errno)
        self._loop.remove_reader(self._listener.fileno())
        self._resume = self._loop.call_later(
            _PAUSE_S, lambda: self._loop.add_reader(self._listener.fileno(), self._ready)
        )
