"""Rules and the objects that hold them, as data: made by load, compared by match, walked by decide."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from sluicegate.facts import Protocol
from sluicegate.policy.globs import Globs
from sluicegate.policy.selector import Selector
from sluicegate.policy.spans import AddressSet
from sluicegate.verdict import Inspect, Source

type PortRange = tuple[int, int]
"""First and last port, both included."""


class Action(enum.StrEnum):
    ALLOW = "allow"
    DENY = "deny"
    PASS = "pass"  # noqa: S105  # skips the rest of its tier; no password


class Tier(enum.StrEnum):
    """In the order of evaluation."""

    SECURITY = "security"
    PLATFORM = "platform"
    NAMESPACE = "namespace"
    BASELINE = "baseline"


@dataclass(frozen=True, slots=True)
class HttpMatch:
    """One entry of `http:`. None matches all."""

    methods: frozenset[str] | None
    paths: Globs | None


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """One rule. None in a field of sets means that the rule does not ask for it.

    exact, suffixes  the domains: ``example.com``; ``*.example.com`` is the suffix ``example.com``
    opens            those of `addresses` that name a private range; only rules of a ClusterEgressPolicy have any
    protocols        what the connection may be for the rule to match (load says how `protocol:` becomes this)
    """

    action: Action
    tier: Tier
    source: Source
    exact: frozenset[str]
    suffixes: frozenset[str]
    addresses: AddressSet | None
    opens: AddressSet | None
    ports: tuple[PortRange, ...] | None
    protocols: frozenset[Protocol] | None
    http: tuple[HttpMatch, ...]
    inspect: Inspect
    ech: bool
    audit: bool

    @property
    def by_domain(self) -> bool:
        return bool(self.exact or self.suffixes)

    @property
    def has_paths(self) -> bool:
        """Whether paths make a difference: ``/**`` alone is every path, however it is read."""
        return any(entry.paths is not None and "/" not in entry.paths.below for entry in self.http)

    @property
    def label(self) -> str:
        """How sentences call it."""
        return f"rule {self.source.rule} of {self.source.policy}"


@dataclass(frozen=True, slots=True, eq=False)
class PolicyObject:
    """A ClusterEgressPolicy or, with the tier NAMESPACE, an EgressPolicy. `source` is the object itself."""

    tier: Tier
    priority: int
    name: str
    namespace: str | None
    selector: Selector
    audit: bool
    rules: tuple[Rule, ...]
    source: Source

    @property
    def rank(self) -> tuple[int, int, str]:
        return (list(Tier).index(self.tier), self.priority, self.name)
