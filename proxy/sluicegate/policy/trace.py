"""What decide() notes on its way, for those who want to know."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from sluicegate.verdict import Source


class Outcome(enum.StrEnum):
    PASSED = "passed"  # nothing here decided
    MATCHED = "matched"  # this decided, or opened a guard, or skipped a tier
    SKIPPED = "skipped"  # does not match
    DENIED = "denied"
    MAYBE = "maybe"  # depends on what is not known yet


@dataclass(frozen=True, slots=True)
class Step:
    """One line of an explanation. `source`: the rule, object or list it is about; of a built-in step its name."""

    step: str
    outcome: Outcome
    source: Source
    text: str


type Trace = list[Step]
