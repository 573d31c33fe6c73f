"""The body of one request, as it comes in."""

from __future__ import annotations

from sluicegate.dlp.layer import Inspection, Layer
from sluicegate.facts import Finding


class Body:
    """Fed in pieces of any size; `close` must be called, also when the client is gone.

    unscannable  why a part of it could not be looked into, or None; final only after `finish`
    seen         bytes inside of all codings that the header lists
    """

    __slots__ = ("_finished", "_inspection", "_layer")

    def __init__(self, inspection: Inspection, layer: Layer) -> None:
        self._inspection = inspection
        self._layer = layer
        self._finished = False

    @property
    def unscannable(self) -> str | None:
        return self._inspection.unscannable

    @property
    def seen(self) -> int:
        return self._layer.unpacked

    def feed(self, chunk: bytes) -> tuple[Finding, ...]:
        if not chunk:
            return ()
        self._layer.feed(bytes(chunk))
        return self._inspection.taken() if self._inspection.findings else ()

    def finish(self) -> tuple[Finding, ...]:
        """What the end of the body decides. Feeding after it is an error; a second call finds nothing."""
        if self._finished:
            return ()
        self._finished = True
        self._layer.finish()
        return self._inspection.taken()

    def close(self) -> None:
        self._finished = True
        self._layer.close()
