"""Why decide() says what it says: the same walk, with its steps written down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sluicegate.facts import Ask, ListHit
from sluicegate.policy.decide import answer
from sluicegate.policy.model import Policy
from sluicegate.policy.trace import Outcome, Step, Trace
from sluicegate.verdict import Verdict

__all__ = ["Explanation", "Outcome", "Step", "explain"]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The verdict, and the steps that led to it in their order."""

    verdict: Verdict
    steps: tuple[Step, ...]


def explain(ask: Ask, policy: Policy, hits: Sequence[ListHit] = ()) -> Explanation:
    """decide(), with its reasons."""
    trace: Trace = []
    verdict = answer(ask, policy, hits, trace)
    return Explanation(verdict, tuple(trace))
