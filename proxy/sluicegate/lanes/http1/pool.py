"""Upstream connections between two requests, for whoever may use them next.

What a connection was opened for is its Place: another workload, name, port or way of TLS has others. It is used again
only for a request that is permitted to its very address, under the snapshot it was dialled with: a reload forgets all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Protocol

from sluicegate.exchange import Gate
from sluicegate.facts import Address, Ask
from sluicegate.lanes.http1.clock import Clock
from sluicegate.snapshot import Snapshot
from sluicegate.verdict import Permit

OLDEST_S: Final = 300.0
"""A connection is not used again after so long: names move."""
IDLE_S: Final = 60.0
"""Servers give up idle connections after 60 to 75 seconds; we would rather be first."""
PER_PLACE: Final = 128
TOTAL: Final = 4096


@dataclass(frozen=True, slots=True)
class Place:
    """What a connection was opened for. workload: namespace, pod, service account and address of the client."""

    workload: tuple[str, ...]
    name: str
    port: int
    tls: bool


class Idle(Protocol):
    """An upstream connection, as the pool sees it.

    proven: the ask that was last permitted to its address; snapshot: under which it was dialled.
    """

    place: Place
    address: Address
    snapshot: Snapshot
    proven: Ask | None
    born: float
    idle_since: float

    def retire(self) -> None:
        """Closes it. It is in no pool any more."""


class Pool[C: Idle]:
    """Idle connections by place, the newest first (Live: a reload closes them; Watched: so does time)."""

    def __init__(self, gate: Gate, clock: Clock) -> None:
        self._gate = gate
        self._clock = clock
        self._idle: dict[Place, list[C]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def take(self, place: Place, permit: Permit) -> C | None:
        """A connection for this request, if there is one that it is permitted on."""
        while waiting := self._idle.get(place):
            found = waiting.pop()
            self._count -= 1
            if not waiting:
                del self._idle[place]
            if self.permits(found, permit):
                return found
            found.retire()
        return None

    def put(self, idle: C) -> None:
        """Keeps a connection that has nothing unread and nothing unfinished; or closes it, where there are enough."""
        waiting = self._idle.get(idle.place)
        if self._gate.draining or not self._young(idle) or self._count >= TOTAL or len(waiting or ()) >= PER_PLACE:
            idle.retire()
            return
        if waiting is None:
            self._idle[idle.place] = [idle]
        else:
            waiting.append(idle)
        idle.idle_since = self._clock.now
        self._count += 1
        if self._count == 1:
            self._gate.live.add(self)
            self._clock.watch(self)

    def drop(self, idle: C) -> None:
        """It is gone, or said something that nobody asked for."""
        waiting = self._idle.get(idle.place)
        if waiting is None or idle not in waiting:
            return
        waiting.remove(idle)
        self._count -= 1
        if not waiting:
            del self._idle[idle.place]

    def recheck(self, snapshot: Snapshot) -> None:  # noqa: ARG002 - none is kept, whatever the new one says
        """A new policy: its lists may hold a name that an address was found through, so all is dialled anew."""
        self.clear()

    def tick(self, now: float) -> None:
        """Closes what is too old; rests when it is empty."""
        for waiting in tuple(self._idle.values()):
            for idle in tuple(waiting):
                if now - idle.idle_since >= IDLE_S or not self._young(idle):
                    self.drop(idle)
                    idle.retire()
        if self._gate.draining:
            self.clear()
        if not self._count:
            self._gate.live.discard(self)
            self._clock.forget(self)

    def clear(self) -> None:
        """Closes all."""
        idle, self._idle, self._count = self._idle, {}, 0
        for waiting in idle.values():
            for each in waiting:
                each.retire()

    def _young(self, idle: Idle) -> bool:
        return idle.snapshot is self._gate.snapshot and self._clock.now - idle.born < OLDEST_S

    def permits(self, idle: Idle, permit: Permit) -> bool:
        """Whether the request may use it: its address is decided on, lists included; what was permitted last is not."""
        if not self._young(idle):
            return False
        if idle.proven is not None and _alike(permit.ask, idle.proven):
            return True
        verdict = self._gate.snapshot.decide(replace(permit.ask, resolved=idle.address))
        if not isinstance(verdict, Permit):
            return False
        idle.proven = permit.ask
        return True


def _alike(ask: Ask, proven: Ask) -> bool:
    """Whether decide() cannot tell them apart. A source's port is no part of any decision."""
    return ask is proven or (
        (ask.identity is proven.identity or ask.identity == proven.identity)
        and ask.request == proven.request
        and ask.destination == proven.destination
        and ask.source.address == proven.source.address
        and (ask.name, ask.port, ask.protocols, ask.ech) == (proven.name, proven.port, proven.protocols, proven.ech)
    )
