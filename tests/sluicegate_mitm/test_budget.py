from __future__ import annotations

import pytest

from sluicegate_mitm.budget import Budget


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def taken(budget: Budget) -> int:
    """All that is left."""
    return next(count for count in range(1000) if not budget.take())


def test_what_is_there_can_be_taken_at_once(clock: Clock):
    assert taken(Budget(3, 1, clock)) == 3


@pytest.mark.parametrize(
    ("later", "left"),
    [
        pytest.param(0.0, 0, id="at once"),
        pytest.param(0.25, 0, id="half of one"),
        pytest.param(0.5, 1, id="one"),
        pytest.param(1.0, 2, id="two"),
        pytest.param(3600.0, 3, id="never more than the size"),
    ],
)
def test_it_comes_back_with_time(clock: Clock, later: float, left: int):
    budget = Budget(3, 2, clock)
    taken(budget)
    clock.now += later
    assert taken(budget) == left


def test_parts_of_one_add_up_although_asked_for_in_between(clock: Clock):
    budget = Budget(1, 1, clock)
    assert budget.take()
    for _ in range(3):
        clock.now += 0.25
        assert not budget.take()
    clock.now += 0.25
    assert budget.take()


def test_what_is_given_back_can_be_taken_and_never_more_than_the_size(clock: Clock):
    budget = Budget(2, 0, clock)
    assert budget.take()
    for _ in range(5):
        budget.give()
    assert taken(budget) == 2
