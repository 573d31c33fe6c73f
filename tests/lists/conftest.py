"""A folder of lists in one call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sluicegate.errors import ConfigErrors
from sluicegate.lists.catalogue import Lists
from sluicegate.lists.load import load

type Load = Callable[..., Lists]
type Refusal = Callable[..., list[str]]


@pytest.fixture
def lists(tmp_path: Path) -> Load:
    """lists(ads="a.test\\n", ...): one file for each keyword, loaded; text or bytes."""

    def make(**files: str | bytes) -> Lists:
        for name, content in files.items():
            raw = content if isinstance(content, bytes) else content.encode()
            (tmp_path / f"{name}.txt").write_bytes(raw)
        return load([tmp_path], [])

    return make


@pytest.fixture
def refusal(lists: Load, tmp_path: Path) -> Refusal:
    """The lines that `check` would print for these files, without the folder."""

    def make(**files: str | bytes) -> list[str]:
        with pytest.raises(ConfigErrors) as caught:
            lists(**files)
        return str(caught.value).replace(f"{tmp_path}/", "").splitlines()

    return make
