"""Path globs of rules, compiled once at load. Matching takes time linear in the path; there are no regular expressions.

    pattern        matches                              does not match
    /v1/charges    /v1/charges                          /v1/charges/, /v1/charges/7
    /v1/*          /v1/, /v1/a, /v1/a/b                 /v1          (a last segment `*` is everything below)
    /v1/*/refunds  /v1/ch_7/refunds                     /v1/refunds, /v1/a/b/refunds   (elsewhere `*` is one segment,
    /v1/ch_*       /v1/ch_7, /v1/ch_                    /v1/ch_7/x                      or a part of one)
    /a/**/b        /a/b, /a/x/b, /a/x/y/b               /a/b/c       (`**` is any number of segments, none included)
    /**/x.tar.gz   /x.tar.gz, /v2/blobs/x.tar.gz        /x.tar.gz/

Paths and patterns are case-sensitive and both in the form of sluicegate.paths, so there are no empty segments but a
last one, and no dot segments.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

type Pieces = tuple[str, ...]
"""One segment, split at its asterisks: ``ch_*`` is ("ch_", "")."""
type Run = tuple[Pieces, ...]
"""The segments between two `**`."""


class BadGlob(ValueError):
    """A pattern that is none; ``str()`` is the fix."""


@dataclass(frozen=True, slots=True)
class Globs:
    """Any of several patterns, sorted by what they cost: one lookup, one comparison of prefixes, then the rest."""

    exact: frozenset[str]
    below: tuple[str, ...]
    """Prefixes, each with its last slash."""
    runs: tuple[tuple[Run, ...], ...]

    def match(self, path: str) -> bool:
        if path in self.exact or path.startswith(self.below):
            return True
        if not self.runs or not path.startswith("/"):
            return False
        segments = path[1:].split("/")
        return any(_runs_match(runs, segments) for runs in self.runs)


def compile_globs(patterns: Iterable[str]) -> Globs:
    """Patterns that `check` passed, as one matcher."""
    exact: set[str] = set()
    below: set[str] = set()
    rest: list[tuple[Run, ...]] = []
    for pattern in patterns:
        stem, _, last = pattern.rpartition("/")
        if "*" not in pattern:
            exact.add(pattern)
        elif last in {"*", "**"} and "*" not in stem:
            below.add(stem + "/")
        else:
            rest.append(_runs(pattern))
    return Globs(frozenset(exact), tuple(sorted(below)), tuple(rest))


def check(pattern: str) -> None:
    """Raises BadGlob for what compile_globs would misread."""
    if not pattern.startswith("/"):
        raise BadGlob(f"a path begins with a slash: use `/{pattern}`")
    for segment in pattern.split("/"):
        if "**" in segment and segment != "**":
            raise BadGlob("`**` is a whole segment: use `*` inside of one")


def _runs(pattern: str) -> tuple[Run, ...]:
    segments = pattern[1:].split("/")
    if segments[-1] == "*":
        segments[-1] = "**"
    runs: list[list[Pieces]] = [[]]
    for segment in segments:
        if segment == "**":
            runs.append([])
        else:
            runs[-1].append(tuple(segment.split("*")))
    return tuple(tuple(run) for run in runs)


def _runs_match(runs: tuple[Run, ...], segments: list[str]) -> bool:
    first, last = runs[0], runs[-1]
    if len(runs) == 1:
        return len(segments) == len(first) and _run_at(first, segments, 0)
    # "Everything below" is at least one segment, be it empty: /v1/, not /v1.
    end = len(segments) - (len(last) or 1)
    at = len(first)
    if at > end or not _run_at(first, segments, 0) or not _run_at(last, segments, end):
        return False
    for run in runs[1:-1]:
        # The leftmost place leaves the most room for the next runs, so there is nothing to go back to.
        found = next((place for place in range(at, end - len(run) + 1) if _run_at(run, segments, place)), None)
        if found is None:
            return False
        at = found + len(run)
    return True


def _run_at(run: Run, segments: list[str], at: int) -> bool:
    return all(_segment_matches(pieces, segments[at + index]) for index, pieces in enumerate(run))


def _segment_matches(pieces: Pieces, segment: str) -> bool:
    first, last = pieces[0], pieces[-1]
    if len(pieces) == 1:
        return segment == first
    if len(segment) < len(first) + len(last) or not segment.startswith(first) or not segment.endswith(last):
        return False
    at, end = len(first), len(segment) - len(last)
    for piece in pieces[1:-1]:
        at = segment.find(piece, at, end)
        if at < 0:
            return False
        at += len(piece)
    return True
