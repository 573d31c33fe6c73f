"""One plaintext, however it is cut: hyperscan says where to look, `confirm` looks.

A candidate is decided when all that can matter for it has been seen (Rule.ahead), or at the end. So what is found
does not depend on where the text was cut; the price is that a finding can come up to 8 KiB after its last byte,
which whoever forwards the bytes must hold back (docs/dlp.md).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
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
    database: Database | None  # None where there are no rules
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
        if not piece or self._matter.database is None:
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
        self._pending = []
        if not final:
            candidates, self._pending = self._parted(candidates)
        if not candidates:
            return ()
        if self._search is None:
            self._search = _Search(self._matter)
        return self._search.at(candidates, window, self._size)

    def _parted(self, candidates: list[tuple[int, int]]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Those of which all has been seen that can matter, and the others."""
        rules, size = self._matter.rules, self._size
        if candidates[-1][0] + self._matter.keep <= size:  # further back than any rule looks: the usual case
            return candidates, []
        ready = [hit for hit in candidates if hit[0] + rules[hit[1]].ahead <= size]
        return ready, [hit for hit in candidates if hit[0] + rules[hit[1]].ahead > size]


def sightings(matter: Matter, value: bytes) -> list[Sighting]:
    """All that stands in one whole value."""
    hits = matter.database.once(value) if matter.database else []
    if not hits:
        return []
    return _Search(matter).at(sorted(hits), value, len(value))


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

    def at(self, candidates: list[tuple[int, int]], window: bytes, size: int) -> list[Sighting]:
        """The matches that start before one of these ends; `window` is the last part of the `size` bytes of text."""
        ends: dict[int, list[int]] = {}
        for end, index in candidates:
            if end > self._from.get(index, 0):
                ends.setdefault(index, []).append(end)
        seen: list[tuple[int, Sighting]] = []
        for index, of_rule in ends.items():
            for run in _merged(of_rule, self._matter.rules[index].max_length):
                self._from[index] = max(run[1], self._walk(index, run, window, size - len(window), seen))
        return [sighting for _, sighting in sorted(seen, key=_place)]

    def _walk(
        self, index: int, run: tuple[int, int], window: bytes, base: int, seen: list[tuple[int, Sighting]]
    ) -> int:
        """Appends to `seen` what starts before the run's last end; returns where the last match was left."""
        first, last = run
        rule = self._matter.rules[index]
        longest = rule.max_length
        start = max(first - longest, self._from.get(index, 0), base)
        while match := rule.pattern.search(window, start - base, last - base + longest):
            place = base + match.start()
            if place >= last:
                break
            if match.end() - match.start() > longest:
                match = rule.pattern.match(window, match.start(), match.start() + longest)
            sighting = self._examine(index, match, window, place) if match else None
            if match and sighting:
                seen.append((place, sighting))
                start = base + match.end()
            else:
                start = place + 1
        return start

    def _examine(self, index: int, match: re.Match[bytes], window: bytes, place: int) -> Sighting | None:
        rule, key = self._matter.rules[index], self._matter.key
        rejected = self._rejected.get(index, 0)
        if rejected > _GRACE + _PATIENCE * place:
            return sure(rule, match, key)
        seen = confirm(rule, window, match, key)
        if seen is None:
            self._rejected[index] = rejected + len(match[0])
        return seen


def _merged(ends: list[int], longest: int) -> list[tuple[int, int]]:
    """First and last of each run of ends that lie so close that one walk serves them all."""
    runs = [(ends[0], ends[0])]
    for end in ends[1:]:
        first, last = runs[-1]
        if end - longest <= last:
            runs[-1] = (first, end)
        else:
            runs.append((end, end))
    return runs


def _place(found: tuple[int, Sighting]) -> int:
    return found[0]
