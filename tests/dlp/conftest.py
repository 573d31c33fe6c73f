from __future__ import annotations

from pathlib import Path

import pytest

from sluicegate.dlp.engine import Engine

KEY = b"a key for tests, 32 bytes long.."


@pytest.fixture(scope="session")
def engine() -> Engine:
    return Engine.load(["secrets", "pii"], key=KEY)


@pytest.fixture
def pack(tmp_path: Path):
    """Writes a pack with these rules (YAML, one list) and gives its path."""

    def write(rules: str) -> str:
        lines = "".join(f"  {line}\n" for line in rules.strip("\n").splitlines())
        path = tmp_path / "house.yaml"
        path.write_text(f"kind: DlpRules\nmetadata: {{name: house}}\nspec:\n  rules:\n{lines}")
        return str(path)

    return write
