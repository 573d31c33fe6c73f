"""Reading what LinesFile writes, while it is written: every line once and in order, over any number of rotations."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_CHUNK = 1 << 20
_HEAD = 512  # bytes of a first line that tell a file from all others: the record's time and id are in them


def rotated(path: Path, number: int) -> Path:
    """The name of the old file that was current `number` rotations ago."""
    return path.with_name(f"{path.name}.{number}")


def open_all(path: Path, since: float | None = None) -> list[BinaryIO]:
    """The file and its rotated ones, oldest first; without those last written before `since` (seconds since 1970).

    They are opened newest first: a rotation meanwhile can only show one of them twice, which is noticed by its inode,
    and cannot hide one. All are open before any is read, so none can be deleted away.
    """
    found: dict[tuple[int, int], BinaryIO] = {}
    for name in (path, *(rotated(path, number) for number in _numbers(path))):
        try:
            file = name.open("rb")
        except FileNotFoundError:
            continue
        there = os.fstat(file.fileno())
        if (there.st_dev, there.st_ino) in found or (since is not None and there.st_mtime < since):
            file.close()
            continue
        found[there.st_dev, there.st_ino] = file
    return list(reversed(found.values()))


def read(file: BinaryIO) -> Iterator[bytes]:
    """The whole lines from where the file stands, without their newlines; then it stands after the last of them."""
    rest = b""
    while chunk := file.read(_CHUNK):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
    if rest:
        file.seek(-len(rest), os.SEEK_CUR)


class Follower:
    """The lines that a file gets from now on. `poll` is to be called every now and then."""

    def __init__(self, path: Path, files: list[BinaryIO]) -> None:
        """`files`: what open_all gave, each read to its end."""
        self._path = path
        self._file = files[-1] if files else None
        self._seen = {head for file in files if (head := _head(file))}
        self._moved = False
        for file in files[:-1]:
            file.close()

    def poll(self) -> Iterator[bytes]:
        """The whole lines since the last call."""
        moved = self._file is None or not _is_at(self._file, self._path)
        if self._file is not None:
            yield from self._more(self._file)
        if moved and (self._moved or self._file is None):
            # Only at the second look: a writer that was in the middle of a batch may have written to the old file.
            yield from self._go_on()
            moved = False
        self._moved = moved

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _more(self, file: BinaryIO) -> Iterator[bytes]:
        if os.fstat(file.fileno()).st_size < file.tell():
            file.seek(0)  # emptied in place
        yield from read(file)
        if head := _head(file):
            self._seen.add(head)

    def _go_on(self) -> Iterator[bytes]:
        """All files that came after ours, each to its end; the last one is ours then."""
        files = open_all(self._path)
        ours = [index for index, file in enumerate(files) if self._file is not None and _same(file, self._file)]
        newer = [file for file in files[ours[0] + 1 if ours else 0 :] if _head(file) not in self._seen]
        for file in files:
            if file not in newer:
                file.close()
        for file in newer:
            self.close()
            self._file = file
            yield from self._more(file)


def _numbers(path: Path) -> list[int]:
    """Of the rotated files that there are, newest first."""
    ends = (name.name.removeprefix(f"{path.name}.") for name in path.parent.glob(f"{_literal(path.name)}.*"))
    return sorted(int(end) for end in ends if end.isascii() and end.isdigit())


def _literal(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _head(file: BinaryIO) -> bytes:
    """The first line, or its beginning: inodes are used again, records' ids are not."""
    return os.pread(file.fileno(), _HEAD, 0).partition(b"\n")[0]


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def _same(one: BinaryIO, other: BinaryIO) -> bool:
    return os.path.samestat(os.fstat(one.fileno()), os.fstat(other.fileno()))
