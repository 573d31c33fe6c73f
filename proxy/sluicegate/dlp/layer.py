"""Bytes as they are at one depth of a body: scanned, and unpacked into the next depth where they are packed.

Every depth is scanned, the packed ones too: a receiver that ignores the coding sees those. And whatever the header
says, bytes that begin like a known coding are unpacked as that one as well.
"""

from __future__ import annotations

from collections.abc import Sequence

from sluicegate.dlp import codings
from sluicegate.dlp.budget import LAYERS, Budget, OverBudget, Unscannable
from sluicegate.dlp.confirm import Sighting
from sluicegate.dlp.decode import Decoder
from sluicegate.dlp.tally import Tally
from sluicegate.dlp.text import Matter, Text
from sluicegate.facts import Finding


class Inspection:
    """What the layers of one body share, and what they have to say."""

    __slots__ = ("budget", "findings", "matter", "tally", "unscannable")

    def __init__(self, matter: Matter, tally: Tally, budget: Budget) -> None:
        self.matter = matter
        self.tally = tally
        self.budget = budget
        self.findings: list[Finding] = []
        self.unscannable: str | None = None

    def taken(self) -> tuple[Finding, ...]:
        found, self.findings = tuple(self.findings), []
        return found

    def blind(self, why: str) -> None:
        self.unscannable = self.unscannable or why


class Layer:
    """`applied`: codings still on these bytes, the outermost last. Must be closed."""

    __slots__ = ("_applied", "_children", "_depth", "_form", "_head", "_inspection", "_location", "_text", "seen")

    def __init__(
        self, inspection: Inspection, location: str, applied: tuple[str, ...], *, form: bool, depth: int = 0
    ) -> None:
        self._inspection = inspection
        self._location = location
        self._applied = applied
        self._form = form
        self._depth = depth
        self._text = Text(inspection.matter)
        self._head: bytes | None = b""  # the first bytes, until there are enough of them to sniff at
        self._children: list[_Unpacked] = []
        self.seen = 0

    def feed(self, piece: bytes) -> None:
        self.seen += len(piece)
        sightings = self._text.feed(piece)
        if sightings:
            self._report(sightings)
        if self._head is not None:
            self._head += piece
            if len(self._head) < codings.SNIFF:
                return
            piece = self._settle()
        for child in self._children:
            child.feed(piece)

    def finish(self) -> None:
        if self._head:
            head = self._settle()
            for child in self._children:
                child.feed(head)
        for child in self._children:
            child.finish()
        self._report(self._text.finish())

    def close(self) -> None:
        self._text.close()
        for child in self._children:
            child.layer.close()

    @property
    def unpacked(self) -> int:
        """The bytes inside of all the codings that the header lists."""
        return next((child.layer.unpacked for child in self._children if child.listed), self.seen)

    def _report(self, sightings: Sequence[Sighting]) -> None:
        for sighting in sightings:
            if (finding := self._inspection.tally.add(sighting, self._location)) is not None:
                self._inspection.findings.append(finding)

    def _settle(self) -> bytes:
        """Decides what the bytes are unpacked as; returns those held until now."""
        head, self._head = self._head or b"", None
        expected = self._applied[-1] if self._applied else ("form" if self._form else None)
        sniffed = codings.sniff(head)
        if expected is not None:
            self._unpack(expected, self._applied[:-1], listed=expected != "form")
        if sniffed is not None and sniffed != expected:
            self._unpack(sniffed, (), listed=False)
        return head

    def _unpack(self, coding: str, applied: tuple[str, ...], *, listed: bool) -> None:
        if self._depth >= LAYERS:
            self._inspection.blind(f"packed more than {LAYERS} times over")
            return
        layer = Layer(
            self._inspection,
            f"{self._location}:{coding}",
            applied,
            form=self._form and coding != "form",
            depth=self._depth + 1,
        )
        self._children.append(_Unpacked(coding, layer, self._inspection, listed=listed))


class _Unpacked:
    """A decoder and the layer below it. One that the header does not list may fail: then these bytes are none of it."""

    __slots__ = ("_decoder", "_inspection", "layer", "listed")

    def __init__(self, coding: str, layer: Layer, inspection: Inspection, *, listed: bool) -> None:
        self._inspection = inspection
        self._decoder: Decoder | None = codings.decoder(coding, layer.feed, inspection.budget)
        self.layer = layer
        self.listed = listed

    def feed(self, data: bytes) -> None:
        if self._decoder is not None:
            try:
                self._decoder.feed(data)
            except Unscannable as reason:
                self._give_up(reason)

    def finish(self) -> None:
        if self._decoder is not None:
            try:
                self._decoder.finish()
            except Unscannable as reason:
                self._give_up(reason)
        self.layer.finish()

    def _give_up(self, reason: Unscannable) -> None:
        self._decoder = None
        if self.listed or isinstance(reason, OverBudget):
            self._inspection.blind(str(reason))
