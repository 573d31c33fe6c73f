"""What a connection need not work out twice.

Clients repeat themselves: many requests on a connection have the very head of one before. What follows from a head is a
pure function of its bytes, of the connection and of the snapshot (policy, lists and rules), so it is looked up where all
three are the same. Only what was permitted and found clean is remembered, and no longer than the connection lasts.
"""

from __future__ import annotations

from dataclasses import dataclass

from sluicegate.exchange import hop
from sluicegate.exchange.heads import Headers, RequestHead, ResponseHead, Target
from sluicegate.facts import Ask
from sluicegate.records.record import Inputs
from sluicegate.snapshot import Snapshot
from sluicegate.verdict import Permit, Verdict

_HEADS = 4
_VERDICTS = 64
"""How much is kept for each connection."""


@dataclass(frozen=True, slots=True)
class Reading:
    """All that was made of a head."""

    head: RequestHead
    end: bool
    target: Target
    ask: Ask
    permit: Permit
    inputs: Inputs | None
    upstream_headers: Headers


class Memory:
    """One per connection. A new snapshot empties it."""

    __slots__ = ("_answer", "_answer_headers", "_readings", "_snapshot", "_verdicts")

    def __init__(self) -> None:
        self._snapshot: Snapshot | None = None
        self._readings: list[Reading] = []
        self._verdicts: dict[tuple[object, ...], Verdict] = {}
        self._answer: ResponseHead | None = None
        self._answer_headers: Headers = ()

    def response_headers(self, head: ResponseHead, *, websocket: bool) -> Headers:
        """As hop.response_headers. The readers of heads give the same object for the same bytes."""
        if websocket:
            return hop.response_headers(head, websocket=True)
        if head is not self._answer:
            self._answer_headers = hop.response_headers(head, websocket=False)
            self._answer = head
        return self._answer_headers

    def reading(self, head: RequestHead, snapshot: Snapshot, *, end: bool) -> Reading | None:
        """What was made of this very head before."""
        if snapshot is not self._snapshot:
            self._forget(snapshot)
            return None
        for reading in self._readings:
            if reading.end is end and (reading.head is head or reading.head == head):
                return reading
        return None

    def keep(self, reading: Reading) -> None:
        """Remembers; the caller has made it under the snapshot it asked `reading` with."""
        if len(self._readings) >= _HEADS:
            del self._readings[0]
        self._readings.append(reading)

    def decide(self, target: Target, ask: Ask, snapshot: Snapshot) -> Verdict:
        """The snapshot's verdict; what of an ask is not in its target is the same for the whole connection."""
        if snapshot is not self._snapshot:
            self._forget(snapshot)
        path = target.path
        key = (target.name.ascii, target.port, target.method, path.path, path.ambiguous, target.websocket)
        verdict = self._verdicts.get(key)
        if verdict is None:
            if len(self._verdicts) >= _VERDICTS:
                self._verdicts.clear()
            verdict = self._verdicts[key] = snapshot.decide(ask)
        return verdict

    def _forget(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._readings.clear()
        self._verdicts.clear()
