"""What one request has shown so far: no finding twice, thresholds over all of it, and a bound on the reports."""

from __future__ import annotations

from sluicegate.dlp.confirm import Sighting
from sluicegate.facts import Finding

MOST = 100
"""Reports of one request, of each action; what is above is counted. Alerts never use up the room of blocks."""


class Tally:
    """The findings of one request, whatever part they come from. `dropped`: how many were only counted."""

    __slots__ = ("_distinct", "_reported", "_seen", "dropped")

    def __init__(self) -> None:
        self._seen: set[tuple[str, str, str, str]] = set()
        self._distinct: dict[str, set[str]] = {}
        self._reported = {"alert": 0, "block": 0}
        self.dropped = 0

    def add(self, sighting: Sighting, location: str) -> Finding | None:
        """The finding to report, or None: not looked for at this place, seen there before, or above the bound."""
        rule = sighting.rule
        if location.partition(":")[0] not in rule.where:
            return None
        action = self._action(sighting)
        entry = (rule.id, location, sighting.fingerprint, action)
        if entry in self._seen:
            return None
        if self._reported[action] >= MOST:
            self.dropped += 1
            return None
        self._reported[action] += 1
        self._seen.add(entry)
        return Finding(rule.id, location, sighting.fingerprint, sighting.masked, rule.severity, action, rule.message)

    def _action(self, sighting: Sighting) -> str:
        """A finding of low confidence, and one of too few different values, is an alert whatever the rule says."""
        rule = sighting.rule
        if rule.action == "alert" or sighting.confidence == "low":
            return "alert"
        if rule.min_distinct == 1:
            return "block"
        values = self._distinct.setdefault(rule.id, set())
        if len(values) < rule.min_distinct:
            values.add(sighting.fingerprint)
        return "block" if len(values) >= rule.min_distinct else "alert"
