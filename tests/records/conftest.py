"""What the tests of records share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sluicegate.records.metrics import Metrics


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def value(metrics: Metrics) -> Callable[..., float]:
    """A sample of the registry, 0 where there is none."""
    return lambda name, **labels: metrics.registry.get_sample_value(name, labels) or 0.0


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "var" / "verdicts.jsonl"
