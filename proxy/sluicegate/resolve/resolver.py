"""Resolver: names to addresses, by our own queries alone (never getaddrinfo, which reads search domains and nsswitch)."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import dns.asyncquery
import dns.exception

from sluicegate import settings as configuration
from sluicegate.facts import Address, Endpoint
from sluicegate.names import HostName
from sluicegate.resolve import answers
from sluicegate.resolve.answers import Found, Nothing
from sluicegate.resolve.cache import Cache

_RESOLV_CONF = Path("/etc/resolv.conf")
_MOST_ADDRESSES = 64
_MOST_LOOKUPS = 1000  # names under way at once; each holds two sockets
_CACHED_NAMES = 10_000
_TTL_S = (1.0, 300.0)
_NEGATIVE_TTL_S = (1.0, 30.0)
_OTHER_FAMILY_S = 0.25  # how long addresses of one family wait for the other (RFC 8305 asks for 50 ms at least)
_PATIENCE_S = (0.5, 1.0, 2.0, 4.0)  # for one query to one server, round by round: a datagram is soon lost
_FAILURE_TTL_S = 1.0  # RFC 9520, 3.2: failures are remembered, too, or clients that retry make a storm
_MOST_ALIASES = 8
_CLOSED = "the gateway is shutting down"


class ResolveFailed(Exception):
    """No addresses. `why` is one sentence part, for people: ``does not exist``, ``no answer within 5 s``."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True, slots=True)
class Answer:
    """What a name resolved to; never changes, so whoever holds it is pinned to it.

    addresses  1 to 64, IPv4 before IPv6, in the server's order; not yet judged by the guard
    chain      the names that CNAME records led through, in order, without `name` itself
    expires    on the clock of time.monotonic(); math.inf for hosts entries and literals
    """

    name: HostName
    addresses: tuple[Address, ...]
    chain: tuple[HostName, ...]
    expires: float


class Resolver:
    """hosts table, then cache, then the servers in their order: A and AAAA side by side, over UDP, TCP where cut short.

    Lives in one event loop. Several callers for one name share one lookup.
    """

    def __init__(self, settings: configuration.Resolver, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._servers = settings.servers if settings.servers is not None else _system_servers()
        self._cache: Cache[Answer | str] = Cache(_CACHED_NAMES, clock)
        self._closed = False
        self._under_way: dict[HostName, asyncio.Task[Answer | str]] = {}

    async def resolve(self, name: HostName) -> Answer:
        """Raises ResolveFailed; takes at most the configured time."""
        if name.address is not None:
            return Answer(name, (name.address,), (), math.inf)
        if (fixed := self._settings.hosts.get(name)) is not None:
            if not fixed:
                raise ResolveFailed("has no address in the hosts table")
            return Answer(name, tuple(fixed), (), math.inf)
        if (known := self._cache.get(name)) is None:
            known = await self._shared(self._lookup(name))
        if isinstance(known, str):
            raise ResolveFailed(known)
        return known

    async def close(self) -> None:
        """Ends all lookups; who waits for one, or comes later, gets ResolveFailed."""
        self._closed = True
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @staticmethod
    async def _shared(lookup: asyncio.Task[Answer | str]) -> Answer | str:
        try:
            return await asyncio.shield(lookup)  # whoever gives up leaves the lookup to the others
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if lookup.cancelled() and task is not None and not task.cancelling():
                return _CLOSED  # by close(): the caller's own task is not meant to end
            raise

    def _lookup(self, name: HostName) -> asyncio.Task[Answer | str]:
        if (task := self._under_way.get(name)) is None:
            if self._closed:
                raise ResolveFailed(_CLOSED)
            if len(self._under_way) >= _MOST_LOOKUPS:
                raise ResolveFailed(f"{_MOST_LOOKUPS} names are being resolved already")
            task = self._under_way[name] = asyncio.create_task(self._ask(name), name=f"resolve {name}")
            task.add_done_callback(lambda _: self._under_way.pop(name, None))
        return task

    async def _ask(self, name: HostName) -> Answer | str:
        """The Answer, or why there is none. A failure is not raised: nobody may be left to see it."""
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                found = await self._both_families(name)
        except TimeoutError:
            found = Nothing(f"no answer within {self._settings.timeout_s:g} s", _FAILURE_TTL_S)
        except answers.Unusable as error:
            found = Nothing(str(error), _FAILURE_TTL_S)
        now = self._clock()
        if isinstance(found, Nothing):
            self._cache.put(name, found.why, now + _within(found.ttl, _NEGATIVE_TTL_S))
            return found.why
        answer = Answer(name, found.addresses[:_MOST_ADDRESSES], found.chain, now + _within(found.ttl, _TTL_S))
        self._cache.put(name, answer, answer.expires)
        return answer

    async def _both_families(self, name: HostName) -> Found | Nothing:
        """One family that fails or dawdles does not take the other's addresses with it."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._outcome(name, rdtype)) for rdtype in ("A", "AAAA")]
            done, late = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if late and any(isinstance(task.result(), Found) for task in done):
                _, late = await asyncio.wait(late, timeout=_OTHER_FAMILY_S)
                for task in late:
                    task.cancel()
        return answers.joined([task.result() for task in tasks if not task.cancelled()])

    async def _outcome(self, name: HostName, rdtype: str) -> Found | Nothing | answers.Unusable:
        try:
            return await self._followed(name, rdtype)
        except answers.Unusable as error:
            return error

    async def _followed(self, name: HostName, rdtype: str) -> Found | Nothing:
        """Asks again for the end of a chain of aliases that a server left unfinished."""
        so_far = Found((), (), math.inf)
        target = name
        for _ in range(_MOST_ALIASES):
            part = answers.read(await self._query(target, rdtype))
            if isinstance(part, Nothing):
                return part
            so_far = so_far.followed_by(part)
            if so_far.addresses:
                return so_far
            target = part.chain[-1]
        raise answers.Unusable(f"more than {_MOST_ALIASES} aliases one after the other")

    async def _query(self, name: HostName, rdtype: str) -> answers.Response:
        """The first usable response of any server: asked in turn, and again, with more patience, who was silent."""
        if not self._servers:
            raise answers.Unusable("no DNS server is configured, and /etc/resolv.conf names none")
        servers = self._servers
        for patience in _PATIENCE_S:
            failures: list[str] = []
            silent: list[Endpoint] = []
            for server in servers:
                try:
                    return await _exchange(server, name, rdtype, patience)
                except dns.exception.Timeout:
                    silent.append(server)
                    failures.append(f"{server}: no answer")
                except answers.Unusable as error:
                    failures.append(f"{server}: {error}")
            servers = tuple(silent)
            if not servers:
                break
        raise answers.Unusable("; ".join(failures))


async def _exchange(server: Endpoint, name: HostName, rdtype: str, patience: float) -> answers.Response:
    query = answers.query(name, rdtype)
    try:
        # ignore_errors: a forged datagram must not end the wait for the true one.
        response, _ = await dns.asyncquery.udp_with_fallback(
            query, str(server.address), timeout=patience, port=server.port, ignore_unexpected=True, ignore_errors=True
        )
    except dns.exception.Timeout:
        raise
    except (dns.exception.DNSException, OSError, EOFError, ValueError) as error:
        raise answers.Unusable(f"{type(error).__name__}: {error}") from error
    return answers.checked(response)


def _within(ttl: float, bounds: tuple[float, float]) -> float:
    return min(max(ttl, bounds[0]), bounds[1])


def _system_servers() -> tuple[Endpoint, ...]:
    """The nameservers of /etc/resolv.conf, and of it nothing else: no search list, no ndots. Empty if there are none."""
    try:
        lines = _RESOLV_CONF.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return ()
    words = [line.split() for line in lines]
    return tuple(server for word in words if word[:1] == ["nameserver"] for server in _servers_in(word[1:2]))


def _servers_in(texts: list[str]) -> Iterator[Endpoint]:
    for text in texts:
        with contextlib.suppress(ValueError):  # as the C library: what is no address is passed over
            yield Endpoint(ip_address(text), 53)
