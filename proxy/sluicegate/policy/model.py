"""Policy: all objects of a reload, compiled. Immutable; what it remembers of workloads is a memory, not a state."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from sluicegate.facts import Address, Workload
from sluicegate.policy.rules import PolicyObject
from sluicegate.policy.selector import who
from sluicegate.policy.spans import AddressSet
from sluicegate.policy.view import Compiler, Views
from sluicegate.resolve.guard import Guard

type Default = Literal["deny", "audit"]

DEFAULT_LABEL = "sluicegate.dev/default"
"""A namespace's label that overrides `default` for its workloads."""


@dataclass(frozen=True, eq=False)
class Policy:
    """What decide() decides by. `digest`: sha256 of the content; comments, order and places do not change it."""

    members: tuple[PolicyObject, ...]
    default: Default
    guard: Guard
    digest: str
    _compiler: Compiler = field(init=False, repr=False)
    _source_ranges: tuple[AddressSet, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_compiler", Compiler(self.members))
        ranges = dict.fromkeys(member.selector.cidrs for member in self.members if member.selector.cidrs is not None)
        object.__setattr__(self, "_source_ranges", tuple(ranges))

    @property
    def objects(self) -> int:
        return len(self.members)

    @property
    def rules(self) -> int:
        return sum(len(member.rules) for member in self.members)

    def views(self, workload: Workload, source: Address) -> Views:
        return self._compiler.views(who(workload, source, self._source_ranges))

    def default_for(self, workload: Workload) -> Default:
        """The namespace's own default, where its label says one. What the label cannot mean is deny."""
        label = workload.namespace_labels.get(DEFAULT_LABEL)
        if label is None:
            return self.default
        return "audit" if label == "audit" else "deny"
