"""Files that are whole or absent: written beside their place, synced, then put there in one step."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Puts a file where none is. Raises FileExistsError otherwise: a link, unlike a rename, never overwrites."""
    with _beside(path, data, mode) as draft:
        os.link(draft, path)


def replace(path: Path, data: bytes, mode: int) -> None:
    """Puts a file, also in place of another."""
    with _beside(path, data, mode) as draft:
        draft.replace(path)


@contextmanager
def _beside(path: Path, data: bytes, mode: int) -> Iterator[Path]:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    # O_EXCL and the mode from the first moment on: nobody else has it open, nor ever could have.
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
        try:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), mode)  # whatever the umask took
            os.fsync(file.fileno())
            yield draft
        finally:
            draft.unlink(missing_ok=True)
