"""Leaf certificates: minted on demand, kept in an LRU, renewed before they expire, each minted once however many ask."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric import ec

from sluicegate.authority import profile
from sluicegate.authority.ca import Authority
from sluicegate.authority.leaf import Leaf
from sluicegate.names import HostName

VALIDITY = timedelta(days=30)
_RENEW = 2 / 3
"""The part of a leaf's life after which it is renewed: connections that begin just before still have ten days."""


class CannotMint(Exception):
    """The CA expired while the gateway ran: no certificate that it signs now would be believed."""


class Leaves:
    """The leaves of one process. Thread safe.

    All leaves of a process share one P-256 key, made here and never written anywhere. A key for each name would protect
    nothing more (they would lie in the same memory), and cost a key generation per name. It is never the CA's key: that
    one signs a certificate now and then, not every handshake, and stays out of every TLS context.
    """

    def __init__(self, authority: Authority, *, capacity: int = 10_000, clock: Callable[[], float] = time.time) -> None:
        self._authority = authority
        self._capacity = capacity
        self._clock = clock
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._kept: OrderedDict[HostName, Leaf] = OrderedDict()
        self._minting: dict[HostName, Future[Leaf]] = {}
        self._lock = threading.Lock()
        # One thread: minting is short, holds the GIL for most of it, and should not take a core from the event loop.
        self._minter = ThreadPoolExecutor(1, "mint")

    def __len__(self) -> int:
        return len(self._kept)

    def leaf(self, name: HostName) -> Leaf:
        """The leaf of a name; mints it here and now if need be, or waits for whoever does. Raises CannotMint."""
        found, ours = self._claim(name)
        if isinstance(found, Leaf):
            return found
        if ours:
            self._fill(name, found)
        return found.result()

    async def aleaf(self, name: HostName) -> Leaf:
        """As leaf(), but the event loop goes on meanwhile. Being cancelled cancels nobody else's wait."""
        found, ours = self._claim(name)
        if isinstance(found, Leaf):
            return found
        if ours:
            try:
                self._minter.submit(self._fill, name, found)
            except RuntimeError as closed:
                self._settle(name, found, closed)
        return await asyncio.wrap_future(found)

    def close(self) -> None:
        """Ends the minting thread; leaf() goes on to work."""
        self._minter.shutdown()

    def _claim(self, name: HostName) -> tuple[Leaf | Future[Leaf], bool]:
        """The leaf, or the future of it and whether the caller is the one to fill it."""
        with self._lock:
            if (kept := self._kept.get(name)) is not None and self._clock() < kept.renew_at:
                self._kept.move_to_end(name)
                return kept, False
            if (running := self._minting.get(name)) is not None:
                return running, False
            begun: Future[Leaf] = Future()
            begun.set_running_or_notify_cancel()  # a running future cannot be cancelled by one of those that wait
            self._minting[name] = begun
            return begun, True

    def _fill(self, name: HostName, begun: Future[Leaf]) -> None:
        try:
            made = self._mint(name)
        except BaseException as error:  # noqa: BLE001 - whoever waits must hear of it, whatever it was
            self._settle(name, begun, error)
        else:
            self._settle(name, begun, made)

    def _settle(self, name: HostName, begun: Future[Leaf], outcome: Leaf | BaseException) -> None:
        with self._lock:
            del self._minting[name]
            if isinstance(outcome, Leaf):
                self._kept[name] = outcome
                self._kept.move_to_end(name)
                while len(self._kept) > self._capacity:
                    self._kept.popitem(last=False)
        if isinstance(outcome, Leaf):
            begun.set_result(outcome)
        else:
            begun.set_exception(outcome)

    def _mint(self, name: HostName) -> Leaf:
        now = datetime.fromtimestamp(int(self._clock()), UTC)
        ends = min(now + VALIDITY, self._authority.ends)
        if ends <= now:
            raise CannotMint(f"the CA expired on {ends:%Y-%m-%d}: rotate it")
        draft = profile.leaf(name, self._key.public_key(), self._authority.issuer, now, ends)
        # Near the CA's own end a renewal would gain nothing.
        renewed = ends if ends == self._authority.ends else now + VALIDITY * _RENEW
        return Leaf(name, self._authority.sign(draft), self._authority.sent, renewed.timestamp(), self._key)
