"""The journal: every verdict's record, on its way from the request that it is about to the file.

    reserve -> Slot -> write -> rate -> queue -> writer (a thread) -> file
                                  \\-> folds: one summary a second and workload

The queue counts records that are waiting and records that were promised: nothing is permitted that could not be
recorded. A record leaves the count when its line is in the file. See docs/records.md for what happens at each limit.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Condition, Lock

import structlog

from sluicegate import settings
from sluicegate.facts import Identity, Unknown
from sluicegate.records.file import LinesFile
from sluicegate.records.fold import Folds
from sluicegate.records.metrics import Metrics
from sluicegate.records.rate import Rates
from sluicegate.records.record import Record, encode
from sluicegate.records.writer import Writer

_log = structlog.get_logger(__name__)

_SHARE = 4
"""One workload may hold a quarter of the queue."""
_FOR_FINDINGS = 8
"""Records with findings have an eighth of the queue more, that nothing else can take."""
_DRAIN_S = 5.0


class Slot:
    """Room for one record. Its owner calls write or release, once; what is called after that does nothing."""

    __slots__ = ("_backed", "_journal", "_key", "_open")

    def __init__(self, journal: Journal, key: str, *, backed: bool) -> None:
        self._journal = journal
        self._key = key
        self._backed = backed
        self._open = True

    def write(self, record: Record) -> bool:
        """False: the record is lost (and counted), which only happens with on_full: count, or after close."""
        if not self._open:
            return True
        self._open = False
        return self._journal._write(record, self._key if self._backed else None)  # noqa: SLF001  # its other half

    def release(self) -> None:
        """There will be no record: nothing was asked."""
        if self._open:
            self._open = False
            if self._backed:
                self._journal._release(self._key)  # noqa: SLF001  # its other half


class Journal:
    """Any thread may call it. Raises OSError in the constructor where the file cannot be opened.

    Made in the process that writes, after any fork: it holds a thread.
    """

    def __init__(
        self, settings: settings.Records, metrics: Metrics, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._block = settings.on_full == "block"
        self._room = settings.queue
        self._share = max(1, settings.queue // _SHARE)
        self._metrics = metrics
        self._clock = clock
        self._lock = Lock()  # guards all below
        self._changed = Condition(self._lock)
        self._waiting = 0
        self._reserved = 0
        self._held: dict[str, int] = {}
        self._closed = False
        self._rates = Rates(settings.per_workload)
        self._finding_rates = Rates(settings.per_workload)
        self._folds = Folds()
        file = LinesFile(settings.file, max_size=settings.max_size, max_age_s=settings.max_age_s, keep=settings.keep)
        self._writer = Writer(file, self._written, self._summaries)
        metrics.watch_records(lambda: self._waiting, lambda: self._reserved)

    def reserve(self, identity: Identity | None = None) -> Slot | None:
        """Room for one record, before its request is permitted. None: there is none, so nothing may be permitted.

        identity: whose request it is; it counts against the share of the queue that one workload may hold.
        """
        key = "" if identity is None or isinstance(identity, Unknown) else str(identity)
        with self._lock:
            room = (
                not self._closed
                and self._waiting + self._reserved < self._room
                and (not key or self._held.get(key, 0) < self._share)
            )
            if room and not (self._block and self._writer.trouble):
                self._reserved += 1
                self._hold(key)
                return Slot(self, key, backed=True)
        return None if self._block else Slot(self, key, backed=False)

    def write_unreserved(self, record: Record) -> bool:
        """For a denial that no slot could be had for. False: it has no line of its own, and was counted as lost."""
        return self._write(record, None)

    @property
    def trouble(self) -> str | None:
        """Why requests are refused for want of records, or records lost, now; None: all is well. For /readyz."""
        if self._closed:
            return "the records file is closed"
        if self._writer.trouble:
            return self._writer.trouble
        with self._lock:
            full = self._waiting + self._reserved >= self._room
        return f"the queue of records is full ({self._room})" if full else None

    @property
    def healthy(self) -> bool:
        return self.trouble is None

    def flush(self, timeout: float = _DRAIN_S) -> bool:
        """Waits until all that was written to the journal is in the file. False: it is not, after `timeout` seconds."""
        self._writer.hurry()
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._folds, timeout)

    def close(self, timeout: float = _DRAIN_S) -> int:
        """Writes what is waiting, for at most `timeout` seconds, and ends. How many records were lost by it."""
        with self._lock:
            if self._closed:
                return 0
            self._closed = True
            if self._reserved:  # requests that ended without a record, or still run
                self._metrics.record_lost("abandoned", self._reserved)
            abandoned = self._reserved
        self._writer.close(timeout)
        with self._lock:
            summaries = [folded.summary for folded in self._folds.take() if folded.summary is not None]
            # Those summed up for want of room were counted as lost then.
            lost = self._waiting + sum(each.records for each in summaries if each.cause == "rate")
        if lost:
            self._metrics.record_lost("shutdown", lost)
        return lost + abandoned

    def _write(self, record: Record, slot: str | None) -> bool:
        """slot: the key that room was reserved for; None: there was no room."""
        key = slot or _key(record)
        for found in record.findings:
            self._metrics.finding(found.rule)
        with self._lock:
            told = self._admit(key, slot, record)
            line = _line(record) if told is None else b""
            if line is None:
                told = self._lose("build")
            if slot is not None:
                self._reserved -= 1
            if told is not None or line is None:
                self._let_go(slot)
                return bool(told)
            self._waiting += 1
            if not slot:
                self._hold(key)
            self._writer.put(key, line)
            return True

    def _admit(self, key: str, slot: str | None, record: Record) -> bool | None:
        """None: the record gets a line of its own; else it does not, and is False if it counts as lost."""
        if self._closed:
            return self._lose("closed")
        rates = self._finding_rates if record.findings else self._rates
        if not rates.take(key, self._clock()):
            return self._fold(key, "rate", record)
        if slot is None and not self._has_room(key, record):
            self._fold(key, "queue-full", record)
            return self._lose("queue-full")
        return None

    def _has_room(self, key: str, record: Record) -> bool:
        room = self._room + self._room // _FOR_FINDINGS if record.findings else self._room
        return self._waiting + self._reserved < room and self._held.get(key, 0) < self._share

    def _fold(self, key: str, cause: str, record: Record) -> bool:
        if not self._folds.add(key, cause, record):
            return self._lose("queue-full")
        self._metrics.record_summed_up(cause)
        return True

    def _lose(self, cause: str) -> bool:
        self._metrics.record_lost(cause)
        return False

    def _release(self, key: str) -> None:
        with self._lock:
            self._reserved -= 1
            self._let_go(key)

    def _written(self, keys: list[str]) -> None:
        """The writer's word that lines of these workloads are in the file."""
        with self._lock:
            self._waiting -= len(keys)
            for key in keys:
                self._let_go(key)
            self._changed.notify_all()
        self._metrics.records_written(len(keys))

    def _summaries(self) -> list[tuple[str, bytes]]:
        """What was summed up since the last call, as lines that wait; the writer asks once a second."""
        with self._lock:
            lines = [(_key(record), encode(record)) for record in self._folds.take()]
            self._waiting += len(lines)
            for key, _ in lines:
                self._hold(key)
            return lines

    def _hold(self, key: str) -> None:
        if key:
            self._held[key] = self._held.get(key, 0) + 1

    def _let_go(self, key: str | None) -> None:
        if not key:
            return
        left = self._held[key] - 1
        if left:
            self._held[key] = left
        else:
            del self._held[key]


def _line(record: Record) -> bytes | None:
    """None: it cannot be written as JSON, which is a fault of the gateway."""
    try:
        return encode(record)
    except Exception as error:  # noqa: BLE001  # a request must not fail for its record; the loss is counted
        _log.error("record lost", error_type=type(error).__name__, id=record.id)
        return None


def _key(record: Record) -> str:
    """What is counted as one workload. Those that are not known are told apart by their addresses."""
    if isinstance(record.workload.namespace, str):
        return str(record.workload)
    return f"unknown {record.source.rpartition(':')[0]}"
