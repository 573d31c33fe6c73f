"""Names of records: UUIDs of version 7 (RFC 9562, 5.7), in the order in which one process gave them out."""

from __future__ import annotations

import os
import time
from threading import Lock

_AT_ONCE = 8 * 64
"""Random bytes that are fetched together: a system call for each id would be most of its cost."""


class _Ids:
    """48 bits of milliseconds, 12 bits of their fraction (method 3 of 6.2), 62 random bits."""

    def __init__(self) -> None:
        self._last = 0
        self._random = b""
        self._at = 0
        self._lock = Lock()
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        """Both sides of a fork would give the same numbers."""
        self._random, self._at = b"", 0

    def next(self) -> str:
        now = (time.time_ns() << 12) // 1_000_000
        with self._lock:
            # Two in one tick, or a clock set back: the next number, so that the order holds.
            self._last = now = max(now, self._last + 1)
            if self._at == len(self._random):
                self._random, self._at = os.urandom(_AT_ONCE), 0
            random = int.from_bytes(self._random[self._at : self._at + 8]) >> 2
            self._at += 8
        text = f"{(now >> 12) << 80 | 7 << 76 | (now & 0xFFF) << 64 | 2 << 62 | random:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


new_id = _Ids().next
"""A new id, as text of 36 characters. Any thread may call it."""
