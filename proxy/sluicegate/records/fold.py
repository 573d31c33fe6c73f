"""Many records as one line that counts them, where a workload writes more than its share."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import msgspec

from sluicegate.records.ids import new_id
from sluicegate.records.record import SUMMARY, Count, Record, Summary, next_seq
from sluicegate.records.times import timestamp

_MOST_RULES = 50


@dataclass(slots=True)
class _Fold:
    example: Record
    first: str
    last: str
    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    findings: dict[str, int] = field(default_factory=dict)

    def add(self, record: Record) -> None:
        self.first, self.last = min(self.first, record.time), max(self.last, record.time)
        counted = (record.verdict, record.reason)
        self.counts[counted] = self.counts.get(counted, 0) + 1
        for found in record.findings:
            if found.rule in self.findings or len(self.findings) < _MOST_RULES:
                self.findings[found.rule] = self.findings.get(found.rule, 0) + 1
        if _telling(record) > _telling(self.example):
            self.example = record


class Folds:
    """What is to be summed up, by workload and cause. Not locked: the journal is."""

    def __init__(self, most: int = 5_000) -> None:
        self._most = most
        self._folds: dict[tuple[str, str], _Fold] = {}

    def add(self, key: str, cause: str, record: Record) -> bool:
        """False: there is no room to count one more workload in."""
        fold = self._folds.get((key, cause))
        if fold is None:
            if len(self._folds) >= self._most:
                return False
            fold = self._folds[key, cause] = _Fold(record, record.time, record.time)
        fold.add(record)
        return True

    def take(self) -> list[Record]:
        """One record for each workload and cause; afterwards nothing is held."""
        folds, self._folds = self._folds, {}
        return [_summary(cause, fold) for (_, cause), fold in folds.items()]

    def __bool__(self) -> bool:
        return bool(self._folds)


def _telling(record: Record) -> int:
    """A finding is a better example than a deny, and a deny than an allow."""
    return 2 if record.findings else 1 if record.verdict == "deny" else 0


def _summary(cause: str, fold: _Fold) -> Record:
    counts = tuple(Count(verdict, reason, number) for (verdict, reason), number in fold.counts.items())
    return msgspec.structs.replace(
        fold.example,
        time=timestamp(time.time()),
        id=new_id(),
        seq=next_seq(),
        kind=SUMMARY,
        summary=Summary(cause, sum(fold.counts.values()), fold.first, fold.last, counts, fold.findings),
    )
