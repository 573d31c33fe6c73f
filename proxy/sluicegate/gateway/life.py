"""From the first listener to the last record: start, serve, drain, end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import socket
from collections.abc import Awaitable, Callable
from ctypes import CDLL

import structlog

from sluicegate.errors import ConfigError
from sluicegate.exchange import Connection
from sluicegate.gateway.assemble import Parts
from sluicegate.gateway.reload import Reloads, stop
from sluicegate.lanes.connection import Lanes, Reception
from sluicegate.lanes.http1.lane import Http1Lane
from sluicegate.lanes.listen import accept_loop, open_socket
from sluicegate.records import http

_log = structlog.get_logger("sluicegate.life")
_PR_SET_DUMPABLE = 4

type Http = Callable[[socket.socket, Connection], Awaitable[None]]
type Receive = Callable[[socket.socket], Awaitable[None]]


def harden() -> None:
    """No core dumps, which would hold keys and bodies; as many descriptors as the system lets us have."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def open_listeners(parts: Parts) -> tuple[list[socket.socket], socket.socket | None]:
    """The transparent sockets and the explicit one. Raises ConfigError for a port that cannot be had."""
    listen = parts.settings.listen
    transparent = [open_socket(endpoint, transparent=listen.tproxy) for endpoint in listen.transparent]
    explicit = open_socket(listen.explicit, transparent=False) if listen.explicit else None
    return transparent, explicit


def _http1_lane(parts: Parts) -> Http1Lane | None:
    """None with `engine: mitm`, where all HTTP goes through the mitm lane."""
    if parts.settings.engine == "mitm":
        return None
    return Http1Lane(parts.gate, parts.leaves, parts.trust, parts.server_side)


class Life:
    """One worker's life."""

    def __init__(self, parts: Parts, mitm_lane: Http) -> None:
        self._parts = parts
        self._http1 = _http1_lane(parts)
        self._lanes = Lanes(
            mitm=mitm_lane, http1=self._http1.carry if self._http1 is not None else None, leaf=parts.leaf_context
        )
        self._connections: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._listening = False
        self.failed = False
        """Whether a part of the gateway failed that all else needs: it stops then, for someone to start it anew."""

    async def run(self, transparent: list[socket.socket], explicit: socket.socket | None) -> None:
        """Serves until SIGTERM or SIGINT, then drains."""
        parts = self._parts
        reception = Reception(parts.gate, parts.identities, self._lanes, frozenset(parts.settings.listen.transparent))
        reloads = Reloads(parts)
        self._signals(reloads)
        observed = await self._observe()
        doors = [*((sock, reception.transparent) for sock in transparent)]
        if explicit is not None:
            doors.append((explicit, reception.explicit))
        accepting = [asyncio.ensure_future(accept_loop(sock, self._opener(receive))) for sock, receive in doors]
        background = [
            asyncio.ensure_future(work)
            for work in (reloads.run(), reloads.watch(), parts.gate.metrics.watch_loop_lag())
        ]
        for task in (*accepting, *background):
            task.add_done_callback(self._watch_over)
        self._listening = True
        notify("READY=1")
        self._say_ready([sock for sock, _ in doors])
        try:
            await self._stopping.wait()
        finally:
            self._listening = False
            notify("STOPPING=1")
            await stop(accepting)
            for sock, _ in doors:
                sock.close()
            await self._drain()
            if self._http1 is not None:
                self._http1.close()
            await stop(background)
            if observed is not None:
                await observed.close()
            await parts.resolver.close()
            await asyncio.to_thread(parts.gate.journal.close, 10.0)

    def _watch_over(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.critical("a part of the gateway failed: it stops", error=type(error).__name__)
            self.failed = True
            self._stopping.set()

    def _opener(self, receive: Receive) -> Callable[[socket.socket], None]:
        def opened(sock: socket.socket) -> None:
            task = asyncio.ensure_future(receive(sock))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

        return opened

    def _signals(self, reloads: Reloads) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, reloads.ask)

    async def _observe(self) -> http.Served | None:
        endpoint = self._parts.settings.listen.metrics
        if endpoint is None:
            return None
        checks = {
            "listening": lambda: None if self._listening else "the listeners are not open",
            "records": lambda: self._parts.gate.journal.trouble,
        }  # a refused reload is no reason to be unready: the old policy is in force, and a metric tells
        try:
            return await http.serve(endpoint, self._parts.gate.metrics, checks)
        except OSError as error:
            fix = f"cannot be listened on ({error.strerror}): name a free port, or null"
            raise ConfigError("listen.metrics", endpoint, fix) from None

    async def _drain(self) -> None:
        """Lets what runs end for a while, then ends it."""
        self._parts.gate.draining = True
        running = set(self._connections)
        if running:
            _log.info("draining", connections=len(running), seconds=self._parts.settings.limits.drain_s)
            await asyncio.wait(running, timeout=self._parts.settings.limits.drain_s)
        left = [task for task in running if not task.done()]
        for task in left:
            task.cancel()
        if left:
            _log.warning("ended what did not finish in time", connections=len(left))
            await asyncio.wait(left, timeout=5)

    def _say_ready(self, sockets: list[socket.socket]) -> None:
        for warning in self._parts.warnings:
            _log.warning(warning)
        self._parts.gate.metrics.unsafe_addresses(len(self._parts.settings.upstream.unsafe_allow_addresses))
        listening = [f"{name[0]}:{name[1]}" for name in (sock.getsockname() for sock in sockets)]
        policy = self._parts.gate.snapshot.policy
        self._parts.gate.metrics.reloaded(ok=True, digest=policy.digest)
        _log.info("ready", listening=listening, policies=policy.objects, rules=policy.rules, digest=policy.digest)


def notify(state: str) -> None:
    """Tells the service manager (sd_notify(3)), where there is one."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect("\0" + path[1:] if path.startswith("@") else path)
        sock.send(state.encode())
