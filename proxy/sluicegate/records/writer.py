"""The writer: a thread that takes lines from the journal and brings them into the file, however long that takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Lock, Thread

import structlog

from sluicegate.records.file import LinesFile

_LINGER_S = 0.02
"""Lines that come within this time are written with one call."""
_SUMMARIES_S = 1.0
_SYNC_S = 1.0
_BATCH = 1 << 20
_BACK_OFF_S = (0.05, 0.1, 0.2, 0.5, 1.0)

type Line = tuple[str, bytes]
"""The workload that it counts for, and the line with its newline."""

_log = structlog.get_logger(__name__)


class Writer:
    """Lines that cannot be written are tried again until they can, with a pause that grows to a second."""

    def __init__(
        self, file: LinesFile, written: Callable[[list[str]], None], summaries: Callable[[], list[Line]]
    ) -> None:
        """written: told the keys of lines that are in the file; summaries: asked for more lines once a second."""
        self._file = file
        self._written = written
        self._summaries = summaries
        self._lock = Lock()
        self._lines: list[Line] = []
        self._wake = Event()
        self._hurry = Event()
        self._closing = False
        self._give_up_at: float | None = None
        self._unsynced = False
        self._next_summaries = 0.0
        self._next_sync = 0.0
        self.trouble: str | None = None
        """Why the last attempt to write failed; None: it did not."""
        # A daemon: a disk that hangs must not keep the process from ending.
        self._thread = Thread(target=self._run, name="records", daemon=True)
        self._thread.start()

    def put(self, key: str, line: bytes) -> None:
        with self._lock:
            self._lines.append((key, line))
            first = len(self._lines) == 1
        if first:
            self._wake.set()

    def hurry(self) -> None:
        """Do not wait for more lines, nor for the second of the summaries."""
        self._hurry.set()
        self._wake.set()

    def close(self, timeout: float) -> None:
        """Writes what is there, for at most `timeout` seconds, and ends the thread."""
        self._give_up_at = time.monotonic() + timeout
        self._closing = True
        self.hurry()
        self._thread.join(timeout)

    def _run(self) -> None:
        failures = 0
        while not self._closing or (self._lines and not self._late()):
            self._wake.wait(_SUMMARIES_S)
            self._wake.clear()
            self._hurry.wait(_LINGER_S)
            hurried = self._hurry.is_set()
            self._hurry.clear()
            try:
                self._turn(hurried=hurried)
                failures = 0
            except Exception as error:  # noqa: BLE001  # a writer that died would lose all that follow, unseen
                self._fail(error)
                self._pause(failures)
                failures += 1
        self._file.close()

    def _turn(self, *, hurried: bool) -> None:
        now = time.monotonic()
        stuck = self.trouble is not None and self._lines
        if not stuck and (hurried or now >= self._next_summaries):  # else they would pile up here; there they add up
            self._next_summaries = now + _SUMMARIES_S
            summaries = self._summaries()
            with self._lock:
                self._lines += summaries
        while batch := self._batch():
            self._append(batch)
        if self._unsynced and (self._closing or now >= self._next_sync):
            self._next_sync = now + _SYNC_S
            self._file.sync()
            self._unsynced = False
            self._recover()

    def _batch(self) -> list[Line]:
        """The first lines, up to a mebibyte. They stay in the queue until they are in the file."""
        size = 0
        with self._lock:
            for number, (_, line) in enumerate(self._lines):
                size += len(line)
                if size > _BATCH and number:
                    return self._lines[:number]
            return self._lines[:]

    def _append(self, batch: list[Line]) -> None:
        done = self._file.append([line for _, line in batch])
        with self._lock:
            del self._lines[:done]
        self._unsynced = True
        self._written([key for key, _ in batch[:done]])
        if done == len(batch):
            self._recover()

    def _pause(self, failures: int) -> None:
        """Until it is worth to try again. Ends early, but not at once, when somebody waits."""
        self._wake.set()
        time.sleep(_BACK_OFF_S[0])
        self._hurry.wait(_BACK_OFF_S[min(failures, len(_BACK_OFF_S) - 1)])

    def _fail(self, error: Exception) -> None:
        said = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        trouble = f"the records file cannot be written: {said}"
        if self.trouble != trouble:
            _log.error("records cannot be written", error=said, errno=getattr(error, "errno", None))
        self.trouble = trouble

    def _recover(self) -> None:
        if self.trouble is not None:
            _log.info("records are written again")
        self.trouble = None

    def _late(self) -> bool:
        return self._give_up_at is not None and time.monotonic() >= self._give_up_at
