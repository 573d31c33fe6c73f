"""One request under inspection: its fields, its body, its messages."""

from __future__ import annotations

from sluicegate.dlp import codings
from sluicegate.dlp.body import Body
from sluicegate.dlp.budget import Budget, Unscannable
from sluicegate.dlp.form import percent_decoded
from sluicegate.dlp.layer import Inspection, Layer
from sluicegate.dlp.tally import Tally
from sluicegate.dlp.text import Matter, sightings
from sluicegate.facts import Finding


class Scan:
    """Made by Engine.open, one for each request. `close` closes the bodies that are still open.

    dropped  findings above the bound of a request, which were only counted
    """

    __slots__ = ("_bodies", "_budget", "_matter", "_tally")

    def __init__(self, matter: Matter) -> None:
        self._matter = matter
        self._tally = Tally()
        self._budget = Budget()
        self._bodies: list[Body] = []

    @property
    def dropped(self) -> int:
        return self._tally.dropped

    def field(self, location: str, value: bytes) -> tuple[Finding, ...]:
        """A whole small value: ``url`` (path and query), ``header:x-token``. Also as percent-decoding leaves it."""
        if not value:
            return ()
        found = self._once(location, value)
        if b"%" in value:
            found += self._once(location, percent_decoded(value))
        return found

    def suspects(self, value: bytes) -> bool:
        """Whether `field` could find anything in this, wherever it stands: several fields are cleared in one pass."""
        return bool(sightings(self._matter, value))

    def message(self, location: str, payload: bytes) -> tuple[Finding, ...]:
        """One WebSocket or gRPC message: ``ws``, ``grpc``. Nothing is found across two of them."""
        return self._once(location, payload) if payload else ()

    def body(self, content_encoding: str, content_type: str, location: str = "body") -> Body:
        """A body with these headers, each "" where absent. One of an unknown coding is scanned as it is."""
        inspection = Inspection(self._matter, self._tally, self._budget)
        applied: tuple[str, ...] = ()
        if content_encoding:
            try:
                applied = codings.listed(content_encoding)
            except Unscannable as reason:
                inspection.blind(str(reason))
        body = Body(inspection, Layer(inspection, location, applied, form=codings.is_form(content_type)))
        self._bodies.append(body)
        return body

    def close(self) -> None:
        for body in self._bodies:
            body.close()
        self._bodies.clear()

    def _once(self, location: str, value: bytes) -> tuple[Finding, ...]:
        seen = sightings(self._matter, value)
        if not seen:
            return ()
        findings = (self._tally.add(each, location) for each in seen)
        return tuple(found for found in findings if found is not None)
