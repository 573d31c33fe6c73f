"""The second lock: the only function that opens upstream sockets.

It takes a Permit and goes where the permit's ask says, nowhere else. The name is resolved here, by us; each address is
decided on before it is dialled, and the connection is made to that very address. No permit: no query and no SYN.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import replace

from sluicegate.exchange import DialRefused
from sluicegate.facts import Address, Ask
from sluicegate.names import HostName
from sluicegate.resolve.resolver import ResolveFailed, Resolver
from sluicegate.snapshot import Snapshot
from sluicegate.verdict import Deny, Inspect, Permit, Reason, Verdict, built_in

_ATTEMPTS = 4
"""Addresses tried of one resolution."""


class Dialler:
    """Opens what a Permit permits. One per worker."""

    def __init__(self, resolver: Resolver, snapshot: Callable[[], Snapshot], timeout_s: float) -> None:
        self._resolver = resolver
        self._snapshot = snapshot
        self._timeout_s = timeout_s

    async def dial(self, permit: Permit) -> socket.socket:
        """A connected, non-blocking TCP socket to what `permit.ask` names. Raises DialRefused, and nothing else."""
        if not isinstance(permit, Permit):
            raise DialRefused(Deny(Reason.CRASH, built_in("dial"), "a connection was asked for without a permit"))
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._dial(permit)
        except TimeoutError:
            detail = f"{_shown(permit.ask)} did not answer within {self._timeout_s:g} s"
            raise DialRefused(Deny(Reason.CONNECT_FAILED, built_in("dial"), detail)) from None
        except DialRefused:
            raise
        except Exception as error:  # noqa: BLE001 - a fault in here must not look like a connection
            detail = f"the gateway failed while it dialled ({type(error).__name__})"
            raise DialRefused(Deny(Reason.CRASH, built_in("dial"), detail)) from None

    async def _dial(self, permit: Permit) -> socket.socket:
        ask = permit.ask
        addresses, aliases = await self._resolve(ask)
        permitted = self._permitted(permit, addresses, aliases)
        failure = ""
        for address in permitted[:_ATTEMPTS]:
            try:
                return await _connect(address, ask.port, self._timeout_s / min(len(permitted), _ATTEMPTS))
            except (OSError, TimeoutError) as error:
                failure = os.strerror(error.errno) if error.errno else "no answer"  # asyncio's own words hold addresses
        detail = f"{_shown(ask)} cannot be reached: {failure.lower()}"
        raise DialRefused(Deny(Reason.CONNECT_FAILED, built_in("dial"), detail))

    async def _resolve(self, ask: Ask) -> tuple[Sequence[Address], Sequence[HostName]]:
        if ask.name is None:
            if ask.destination is None:
                raise DialRefused(Deny(Reason.BAD_NAME, built_in("dial"), "neither a name nor an address is known"))
            return (ask.destination.address,), ()
        if ask.name.address is not None:
            return (ask.name.address,), ()
        try:
            answer = await self._resolver.resolve(ask.name)
        except ResolveFailed as error:
            raise DialRefused(
                Deny(Reason.RESOLVE_FAILED, built_in("dial"), f"{ask.name} has no address: {error}")
            ) from None
        return answer.addresses, answer.chain

    def _permitted(self, permit: Permit, addresses: Sequence[Address], aliases: Sequence[HostName]) -> list[Address]:
        ask, snapshot, refusal = permit.ask, self._snapshot(), None
        permitted: list[Address] = []
        for address in addresses:
            verdict = _as_deep(permit, snapshot.decide(replace(ask, resolved=address), aliases))
            if isinstance(verdict, Permit):
                permitted.append(address)
            elif refusal is None:
                refusal = verdict
        if not permitted:
            if refusal is None:
                refusal = Deny(Reason.RESOLVE_FAILED, built_in("dial"), f"{_shown(ask)} has no address")
            raise DialRefused(refusal)
        return permitted


def _as_deep(permit: Permit, verdict: Verdict) -> Verdict:
    """A splice stays one only where the address, too, may be reached undecrypted."""
    if isinstance(verdict, Permit) and permit.inspect is Inspect.SNI and verdict.inspect is not Inspect.SNI:
        return Deny(
            Reason.NOT_HTTP, verdict.source, "the policy wants what goes to this address inspected, and it cannot be"
        )
    return verdict


async def _connect(address: Address, port: int, timeout_s: float) -> socket.socket:
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        async with asyncio.timeout(timeout_s):
            await asyncio.get_running_loop().sock_connect(sock, (str(address), port))
    except BaseException:
        with contextlib.suppress(OSError):
            sock.close()
        raise
    return sock


def _shown(ask: Ask) -> str:
    return f"{ask.name.url if ask.name else ask.destination and ask.destination.address}:{ask.port}"
