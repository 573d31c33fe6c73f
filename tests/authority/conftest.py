from __future__ import annotations

import pytest

from sluicegate import settings
from sluicegate.authority import ca
from sluicegate.authority.leaves import Leaves


@pytest.fixture
def paths(tmp_path):
    return settings.Authority(tmp_path / "ca.pem", tmp_path / "ca.key")


@pytest.fixture
def authority(paths):
    ca.create(paths.cert, paths.key)
    return ca.load(paths)


@pytest.fixture
def leaves(authority):
    made = Leaves(authority)
    yield made
    made.close()
