"""Percent-encoding undone, in whole values and in streams (application/x-www-form-urlencoded)."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

from sluicegate.dlp.budget import Budget

PASSES = 5
"""Encodings of encodings of ... that are undone."""

_OPEN = re.compile(rb"%(?:25){0,4}(?:2|[0-9A-Fa-f])?$")


def percent_decoded(value: bytes) -> bytes:
    """Plus signs are spaces; percent-encodings are undone until none is left, five times at most."""
    value = value.replace(b"+", b" ")
    for _ in range(PASSES):
        if b"%" not in value:
            break
        decoded = unquote_to_bytes(value)
        if decoded == value:
            break
        value = decoded
    return value


class Form:
    """A decoder for a form's body. An encoding cut in two is held until the rest of it is there."""

    def __init__(self, sink: Callable[[bytes], None], _budget: Budget) -> None:
        self._sink = sink
        self._held = b""

    def feed(self, data: bytes) -> None:
        data = self._held + data
        cut = _OPEN.search(data, max(0, len(data) - 11))
        end = cut.start() if cut else len(data)
        self._held = data[end:]
        if end:
            self._sink(percent_decoded(data[:end]))

    def finish(self) -> None:
        if self._held:
            self._sink(percent_decoded(self._held))
            self._held = b""
