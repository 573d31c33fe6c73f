from __future__ import annotations

from pathlib import Path

import pytest

from sluicegate import settings
from sluicegate.authority import ca
from sluicegate.authority.ca import Authority
from sluicegate.authority.leaves import Leaves


@pytest.fixture
def paths(tmp_path: Path):
    return settings.Authority(tmp_path / "ca.pem", tmp_path / "ca.key")


@pytest.fixture
def authority(paths: settings.Authority):
    ca.create(paths.cert, paths.key)
    return ca.load(paths)


@pytest.fixture
def leaves(authority: Authority):
    made = Leaves(authority)
    yield made
    made.close()
