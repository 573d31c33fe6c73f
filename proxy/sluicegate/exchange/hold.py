"""How much of a request body may go upstream, and when.

Up to `buffer` bytes all is held until the whole was scanned, so that a refusal comes before a byte has left. A larger
body flows, with the last 64 KiB held back: a match that ends in them is refused before its end has left, and the origin
never sees the request complete.
"""

from __future__ import annotations

from collections import deque

HOLD_BACK = 64 << 10


class Hold:
    """Bytes in, released bytes out."""

    __slots__ = ("_buffer", "_chunks", "_held", "_total", "flowing")

    def __init__(self, buffer: int) -> None:
        self._buffer = buffer
        self._chunks: deque[bytes] = deque()
        self._held = 0
        self._total = 0
        self.flowing = False
        """True once more came than is held whole: upstream has to be opened before the end is known."""

    def add(self, chunk: bytes) -> None:
        """Bytes that were scanned without a block."""
        self._chunks.append(chunk)
        self._held += len(chunk)
        self._total += len(chunk)
        if self._total > self._buffer:
            self.flowing = True

    def take(self, *, ended: bool) -> bytes:
        """What may go now: all after the end; all but the hold-back while flowing; else nothing."""
        if ended:
            return self._cut(self._held)
        return self._cut(self._held - HOLD_BACK) if self.flowing and self._held > HOLD_BACK else b""

    def drop(self) -> None:
        """Forgets what is held; for a refusal."""
        self._chunks.clear()
        self._held = 0

    def _cut(self, size: int) -> bytes:
        out: list[bytes] = []
        need = size
        while need > 0:
            chunk = self._chunks.popleft()
            if len(chunk) > need:
                self._chunks.appendleft(chunk[need:])
                chunk = chunk[:need]
            out.append(chunk)
            need -= len(chunk)
        self._held -= size
        return b"".join(out)
