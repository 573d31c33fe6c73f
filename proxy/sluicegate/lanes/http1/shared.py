"""What all connections of the http1 lane share; one per worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from sluicegate.authority.leaves import Leaves
from sluicegate.authority.server_side import ServerSide
from sluicegate.authority.trust import Trust
from sluicegate.exchange import Connection, Exchange, Gate
from sluicegate.exchange.memory import Memory
from sluicegate.lanes.http1.clock import Clock
from sluicegate.lanes.http1.pool import Place, Pool
from sluicegate.lanes.http1.responses import Before
from sluicegate.lanes.http1.upstream import Upstream
from sluicegate.lanes.tls_sessions import TlsSessions

_PLACES = 1024


@dataclass(eq=False, slots=True)
class Shared:
    """tasks: dials that are under way; the loop itself would forget them."""

    gate: Gate
    leaves: Leaves
    server_side: ServerSide
    trust: Trust
    clock: Clock
    pool: Pool[Upstream]
    sessions: TlsSessions
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    heads: dict[Place, Before] = field(default_factory=dict)
    new_exchange: Callable[[Connection, Gate, Memory], Exchange] = Exchange

    def before(self, place: Place) -> Before:
        """The head that came last from there: an origin's heads are the same on all connections, for a second."""
        found = self.heads.get(place)
        if found is None:
            if len(self.heads) >= _PLACES:
                self.heads.clear()
            found = self.heads[place] = Before()
        return found
