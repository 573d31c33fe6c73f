"""Each step of decide() made to raise, once: the request is refused as a crash, and nothing may go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import story
from sluicegate.policy import decide
from sluicegate.verdict import Deny, Reason
from story import Told


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    with story.told(tmp_path, policy=story.allow("a.test")) as told:
        yield told


def fails(_walk: object) -> None:
    raise RuntimeError("a fault in this step")


@pytest.mark.parametrize("index", range(len(decide._STEPS)), ids=[name for name, _ in decide._STEPS])
def test_a_step_that_raises_refuses_the_request(told: Told, monkeypatch: pytest.MonkeyPatch, index: int) -> None:
    name, _ = decide._STEPS[index]
    steps = (*decide._STEPS[:index], (name, fails), *decide._STEPS[index + 1 :])
    monkeypatch.setattr(decide, "_STEPS", steps)
    exchange = told.exchange()

    verdict = exchange.head(story.head(), end=True)

    if isinstance(verdict, Deny):
        assert verdict.reason is Reason.CRASH
        assert not exchange.ready
    else:  # an earlier step had the answer: the allow of the namespace comes before the baseline
        assert name == "baseline"
    exchange.close()
    assert len(told.records()) == 1


def test_a_default_that_raises_refuses_the_request(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decide, "_default", fails)
    monkeypatch.setattr(decide, "_STEPS", ())
    exchange = told.exchange()

    verdict = exchange.head(story.head(), end=True)

    assert isinstance(verdict, Deny)
    assert verdict.reason is Reason.CRASH
    exchange.close()
