"""What every exchange stands before: the newest policy, the journal, the metrics, and the one way upstream."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from sluicegate.facts import Identity
from sluicegate.records.journal import Journal, Slot
from sluicegate.records.metrics import Metrics
from sluicegate.settings import Limits
from sluicegate.snapshot import Snapshot
from sluicegate.verdict import Deny, Permit

_log = structlog.get_logger("sluicegate.gate")


class DialRefused(Exception):
    """No socket was opened, or none could be: `deny` says why."""

    def __init__(self, deny: Deny) -> None:
        super().__init__(deny.reason)
        self.deny = deny


type Dial = Callable[[Permit], Awaitable[socket.socket]]
"""A connected, non-blocking socket to what the permit's ask names. Raises DialRefused."""


class Live(Protocol):
    """What goes on under a Permit and has to be decided again when the policy changes."""

    def recheck(self, snapshot: Snapshot) -> None:
        """Ends itself where the new policy refuses what the old one permitted."""


@dataclass(slots=True)
class Gate:
    """Shared by all connections of a worker. `snapshot` and `draining` are the only parts that change."""

    snapshot: Snapshot
    journal: Journal
    metrics: Metrics
    dial: Dial
    limits: Limits
    buffer: int
    draining: bool = False
    live: set[Live] = field(default_factory=set)

    def reserve(self, identity: Identity) -> Slot | None:
        """Room for one record. None: nothing may be permitted that would need it. Never raises."""
        try:
            return self.journal.reserve(identity)
        except Exception as error:  # noqa: BLE001 - no room can be promised, and that is what None says
            _log.error("no room for a record", error=type(error).__name__)
            return None
