"""Which files of a folder are lists, and what they are called."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from sluicegate.errors import ConfigError

SUFFIX = ".txt"
_SIZE_LIMIT = 1 << 29


def find(folder: Path) -> Iterator[tuple[str, Path]]:
    """(name, file) of every list below `folder`, sorted. Raises ConfigError for what cannot be looked into.

    Hidden files and folders are passed over: in a mounted ConfigMap, ``paste.txt`` points to ``..data/paste.txt``,
    and only the former is the list. A folder that is reached twice is looked into once.
    """
    if folder.is_file():
        yield folder.stem, folder
        return
    for file in _walk(folder, set()):
        yield file.relative_to(folder).as_posix().removesuffix(SUFFIX), file


def _walk(folder: Path, visited: set[str]) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in visited:
        return
    visited.add(real)
    try:
        children = sorted(folder.iterdir())
    except FileNotFoundError:
        fix = "does not exist: create it, or name another folder in `blocklists`"
        raise ConfigError(str(folder), "", fix) from None
    except OSError as error:
        raise ConfigError(str(folder), "", f"cannot be read: {error.strerror}") from None
    for child in children:
        if child.name.startswith("."):
            continue
        if child.is_dir():
            yield from _walk(child, visited)
        elif child.suffix == SUFFIX or not child.exists():
            yield child  # a link to nowhere may have been a folder of lists: reading it says so


def content(file: Path) -> bytes:
    """All of a file, without a byte-order mark."""
    try:
        if not file.is_file():
            raise ConfigError(str(file), "", "is not there or is no plain file: remove it or mend the link")
        if (size := file.stat().st_size) > _SIZE_LIMIT:
            raise ConfigError(str(file), f"{size} bytes", "is larger than 512 MiB: is this a list?")
        return file.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise ConfigError(str(file), "", f"cannot be read: {error.strerror}") from None
