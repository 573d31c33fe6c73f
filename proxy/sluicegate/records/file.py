"""A file of lines that grows at its end, rotates, and may be shared, renamed or removed while it is written.

The processes of one gateway append to the same file. Whoever writes holds its lock (flock), and under the lock makes
sure that the path still leads to it; so a line is never torn by another process, and one of them rotates, not all.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import msgspec
import structlog

from sluicegate.records.lines import rotated

_MODE = 0o600
_LOCK_WAIT_S = 1.0
_ROTATE_AGAIN_S = 30.0
_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS}  # file systems that have none

_log = structlog.get_logger(__name__)


class LinesFile:
    """Append-only. Raises OSError in the constructor where the file cannot be opened at all.

    max_size: bytes; a batch that would pass it goes to a new file. max_age_s: of the oldest line. keep: old files.
    """

    def __init__(
        self, path: Path, *, max_size: int, max_age_s: float, keep: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._path = path
        self._max_size = max_size
        self._max_age_s = max_age_s
        self._keep = keep
        self._clock = clock
        self._fd = -1
        self._regular = True
        self._born = 0.0
        self._rotate_not_before = 0.0
        self._torn = False  # a pipe was given a part of a line, which cannot be taken back
        self._open()

    def append(self, lines: Sequence[bytes]) -> int:
        """How many of these whole lines are in the file now; fewer than all where there was no room.

        Raises OSError where not one could be written.
        """
        coming = sum(map(len, lines))
        with self._held():
            if not self._due(coming):
                return self._write(lines)
            self._shift()
        with self._held():  # the new file, or one that another process made meanwhile
            return self._write(lines)

    def sync(self) -> None:
        """Waits until what was written is on the disk. Raises OSError."""
        if self._fd >= 0 and self._regular:
            os.fdatasync(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> None:
        self.close()
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
        try:
            self._fd = os.open(self._path, os.O_RDWR | flags, _MODE)
        except PermissionError:
            self._fd = os.open(self._path, os.O_WRONLY | flags, _MODE)  # /dev/stdout may be a pipe's writing end
        found = os.fstat(self._fd)
        self._regular = stat.S_ISREG(found.st_mode)
        self._born = self._clock()
        if self._regular and found.st_size:
            self._born = _first_time(self._path) or found.st_mtime

    @contextlib.contextmanager
    def _held(self) -> Iterator[None]:
        """The path's own file, open and locked."""
        while True:
            if self._fd < 0:
                self._open()
            if not self._regular:
                yield
                return
            self._lock()
            if self._is_current():
                break
            self._open()  # it was renamed or removed: closing it also frees the lock
        try:
            yield
        finally:
            if self._fd >= 0:
                with contextlib.suppress(OSError):
                    fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _lock(self) -> None:
        """Waits a little, never long: a process that was stopped with the lock must not stop this one unseen."""
        until = time.monotonic() + _LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= until:
                    raise OSError(errno.EAGAIN, "another process holds the lock of the file") from None
                time.sleep(0.001)
            except OSError as error:
                if error.errno in _NO_LOCKS:
                    return
                raise

    def _is_current(self) -> bool:
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(there, os.fstat(self._fd))

    def _write(self, lines: Sequence[bytes]) -> int:
        ahead = self._unfinished()
        data = memoryview(ahead + b"".join(lines))
        written = os.write(self._fd, data)
        if written == len(data):
            self._torn = False
            return len(lines)
        whole, torn = _whole(lines, written - len(ahead))
        self._take_back(torn)
        if not whole:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return whole

    def _take_back(self, torn: int) -> None:
        """Removes the torn line from the end, so that the file holds whole lines only."""
        if self._regular:
            with contextlib.suppress(OSError):  # then it stays: see _unfinished
                os.ftruncate(self._fd, os.fstat(self._fd).st_size - torn)
        self._torn = bool(torn) and not self._regular

    def _unfinished(self) -> bytes:
        """A newline where the last line has none: its writer died, or the disk was full. Readers count it as broken."""
        if not self._regular:
            return b"\n" if self._torn else b""
        size = os.fstat(self._fd).st_size
        try:
            return b"\n" if size and os.pread(self._fd, 1, size - 1) != b"\n" else b""
        except OSError as error:
            if error.errno == errno.EBADF:  # opened for writing only
                return b""
            raise

    def _due(self, coming: int) -> bool:
        """Whether the file is to be rotated before `coming` bytes more."""
        if not self._regular or not (size := os.fstat(self._fd).st_size):
            return False
        now = self._clock()
        due = size + coming > self._max_size or now - self._born > self._max_age_s
        return due and now >= self._rotate_not_before

    def _shift(self) -> None:
        """verdicts.jsonl -> .1 -> .2 ...; the last one is overwritten. What cannot be renamed is written on."""
        try:
            os.fdatasync(self._fd)
            for number in range(self._keep - 1, 0, -1):
                with contextlib.suppress(FileNotFoundError):
                    rotated(self._path, number).rename(rotated(self._path, number + 1))
            self._path.rename(rotated(self._path, 1))
        except OSError as error:
            # Better a file that is too long than a record that is lost.
            self._rotate_not_before = self._clock() + _ROTATE_AGAIN_S
            _log.warning("records file cannot be rotated", file=str(self._path), error=error.strerror)


def _whole(lines: Sequence[bytes], written: int) -> tuple[int, int]:
    """How many lines are within the first `written` bytes, and how many bytes of the next one."""
    for number, line in enumerate(lines):
        if written < len(line):
            return number, max(written, 0)
        written -= len(line)
    return len(lines), 0


class _Dated(msgspec.Struct):
    time: str


def _first_time(path: Path) -> float | None:
    """When the first record of a file was made: what a file is old by, over restarts."""
    try:
        with path.open("rb") as file:
            line = file.readline(1 << 16)
        return datetime.fromisoformat(msgspec.json.decode(line, type=_Dated).time).timestamp()
    except (OSError, ValueError, msgspec.DecodeError):
        return None
