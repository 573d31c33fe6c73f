"""One plaintext, however it is cut: hyperscan says where to look, `confirm` looks.

A candidate is decided when all that can matter for it has been seen (Rule.ahead), or at the end. So what is found
does not depend on where the text was cut; the price is that a finding can come up to 8 KiB after its last byte,
which whoever forwards the bytes must hold back (docs/dlp.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sluicegate.dlp.confirm import Sighting, confirm, sure
from sluicegate.dlp.database import Cursor, Database
from sluicegate.dlp.rules import Rule

_PATIENCE = 8
"""A rule may look at each byte of a text so many times in matches it rejects; see `_Search`."""
_GRACE = 65_536


@dataclass(frozen=True, slots=True)
class Matter:
    """What every text of an engine shares. keep: bytes of past text that a decision can need."""

    rules: tuple[Rule, ...]
    database: Database
    key: bytes
    keep: int


class Text:
    """One plaintext in pieces. Must be closed."""

    __slots__ = ("_cursor", "_matter", "_past", "_pending", "_search", "_size")

    def __init__(self, matter: Matter) -> None:
        self._matter = matter
        self._cursor: Cursor | None = None
        self._past = b""  # the text before the next piece; at least `keep` bytes of it, if there are as many
        self._size = 0
        self._pending: list[tuple[int, int]] = []
        self._search: _Search | None = None

    def feed(self, piece: bytes) -> Sequence[Sighting]:
        if not piece:
            return ()
        if self._cursor is None:
            self._cursor = self._matter.database.open()
        self._cursor.feed(piece)
        self._size += len(piece)
        past, keep = self._past, self._matter.keep
        short = len(piece) < keep
        self._past = past[-keep:] + piece if short else piece
        if not self._cursor.hits.found and not self._pending:
            return ()
        return self._decide(self._past if short else past[-keep:] + piece, final=False)

    def finish(self) -> Sequence[Sighting]:
        """What was still open, now that nothing follows. Closes."""
        self.close()
        if self._cursor is None or not (self._cursor.hits.found or self._pending):
            return ()
        return self._decide(self._past, final=True)

    def close(self) -> None:
        if self._cursor is not None:
            self._cursor.close()

    def _decide(self, window: bytes, *, final: bool) -> Sequence[Sighting]:
        assert self._cursor is not None
        found, self._cursor.hits.found = self._cursor.hits.found, []
        candidates = sorted(self._pending + found)
        rules, size = self._matter.rules, self._size
        self._pending = [] if final else [hit for hit in candidates if hit[0] + rules[hit[1]].ahead > size]
        ready = candidates if final else [hit for hit in candidates if hit[0] + rules[hit[1]].ahead <= size]
        if not ready:
            return ()
        if self._search is None:
            self._search = _Search(self._matter)
        return [seen for end, index in ready for seen in self._search.at(index, end, window, size)]


def sightings(matter: Matter, value: bytes) -> list[Sighting]:
    """All that stands in one whole value."""
    hits = matter.database.once(value)
    if not hits:
        return []
    search = _Search(matter)
    return [seen for end, index in sorted(hits) for seen in search.at(index, end, value, len(value))]


class _Search:
    """Walks each rule's expression over the places that hyperscan names, no byte as a start twice.

    A rejected match is left by one byte, since a right one may begin inside of it; a text made of such matches could
    cost its length squared. So the bytes of rejected matches are counted, and a text that has shown eight times its
    length of them, and 64 KiB, is no accident: from there on the rule's matches are taken without examination.
    """

    __slots__ = ("_from", "_matter", "_rejected")

    def __init__(self, matter: Matter) -> None:
        self._matter = matter
        self._from: dict[int, int] = {}
        self._rejected: dict[int, int] = {}

    def at(self, index: int, end: int, window: bytes, size: int) -> Iterator[Sighting]:
        """The rule's matches that start before `end`; `window` is the last part of the `size` bytes of text so far."""
        rule, base = self._matter.rules[index], size - len(window)
        start = max(end - rule.max_length, self._from.get(index, 0), base)
        limit = end + rule.max_length - base
        while start < end:
            match = rule.pattern.search(window, start - base, limit)
            if match is None or base + match.start() >= end:
                break
            if len(match[0]) > rule.max_length:
                match = rule.pattern.match(window, match.start(), match.start() + rule.max_length) or match
            seen = self._examine(index, match, window, end)
            start = base + (match.end() if seen else match.start() + 1)
            if seen:
                yield seen
        self._from[index] = max(start, end)

    def _examine(self, index: int, match: re.Match[bytes], window: bytes, end: int) -> Sighting | None:
        rule, key = self._matter.rules[index], self._matter.key
        rejected = self._rejected.get(index, 0)
        if rejected > _GRACE + _PATIENCE * end:
            return sure(rule, match, key)
        seen = confirm(rule, window, match, key)
        if seen is None:
            self._rejected[index] = rejected + len(match[0])
        return seen
