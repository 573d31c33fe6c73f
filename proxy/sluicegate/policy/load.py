"""YAML documents -> Policy: all of them, or ConfigErrors with all that is wrong in one pass."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sluicegate.documents import Fields, Node, plain
from sluicegate.errors import ConfigError
from sluicegate.policy.load_rule import Frame, load_rule
from sluicegate.policy.load_selector import cluster_selector, namespace_name, namespace_selector
from sluicegate.policy.model import Default, Policy
from sluicegate.policy.problems import Problems, filled
from sluicegate.policy.rules import PolicyObject, Rule, Tier
from sluicegate.policy.selector import Selector
from sluicegate.resolve.guard import Guard
from sluicegate.settings import API_VERSION
from sluicegate.verdict import Source

_NAME = re.compile(r"[a-z0-9](?:[-.a-z0-9]{0,251}[a-z0-9])?")
_CLUSTER_TIERS = (Tier.SECURITY, Tier.PLATFORM, Tier.BASELINE)
_DEFAULT_PRIORITY = 100


@dataclass(frozen=True, slots=True)
class _Name:
    name: str
    namespace: str | None
    where: str

    @property
    def policy(self) -> str:
        if self.namespace is None:
            return f"ClusterEgressPolicy/{self.name}"
        return f"EgressPolicy/{self.namespace}/{self.name}"


def load(nodes: Sequence[Node], *, default: Default, guard: Guard) -> Policy:
    """Documents of the kinds ClusterEgressPolicy and EgressPolicy, compiled. Raises ConfigErrors."""
    problems = Problems()
    members: list[PolicyObject] = []
    places: dict[str, str] = {}
    for node in nodes:
        with problems.noted():
            member = _member(node, guard, problems)
            if (other := places.get(member.source.policy)) is not None:
                place = f"{node.where}: metadata.name"
                raise ConfigError(place, member.source.policy, f"stands also in {other}: rename one")
            places[member.source.policy] = node.where
            members.append(member)
    problems.raise_if_any()
    return Policy(tuple(members), default, guard, _digest(nodes, default))


def _member(node: Node, guard: Guard, problems: Problems) -> PolicyObject:
    fields = node.fields("apiVersion", "metadata", "spec", "status", required=("kind",))
    problems.read(fields, "apiVersion", lambda item: item.one_of(API_VERSION), API_VERSION)
    kind = fields.need("kind").one_of(*_KINDS)
    return _KINDS[kind](node, fields, guard, problems)


def _cluster_policy(node: Node, fields: Fields, guard: Guard, problems: Problems) -> PolicyObject:
    metadata = fields.need("metadata")
    name, namespace = _metadata(metadata)
    if namespace is not None:
        raise ConfigError(
            metadata.place, namespace, "a ClusterEgressPolicy has no namespace: leave it out, or use an EgressPolicy"
        )
    spec = filled(fields.need("spec"), "priority", "owner", "mode", "selector", "rules", required=("tier",))
    tier = problems.read(spec, "tier", lambda item: Tier(item.one_of(*_CLUSTER_TIERS)), Tier.SECURITY)
    rules = spec.need("rules")
    if not rules.items():
        raise rules.error("is empty and so does nothing: add a rule")
    return _object(spec, _Name(name, None, node.where), tier, guard, problems)


def _namespace_policy(node: Node, fields: Fields, guard: Guard, problems: Problems) -> PolicyObject:
    metadata = fields.need("metadata")
    name, namespace = _metadata(metadata)
    if namespace is None:
        raise ConfigError(metadata.place, name, "an EgressPolicy belongs to a namespace: add `namespace`")
    spec = filled(fields.need("spec"), "selector", "owner", "mode", "rules")
    return _object(spec, _Name(name, namespace, node.where), Tier.NAMESPACE, guard, problems)


def _object(spec: Fields, named: _Name, tier: Tier, guard: Guard, problems: Problems) -> PolicyObject:
    owner = problems.read(spec, "owner", Node.text, "")
    selector = cluster_selector if named.namespace is None else namespace_selector
    return PolicyObject(
        tier=tier,
        priority=problems.read(spec, "priority", lambda item: item.integer(0, 1_000_000), _DEFAULT_PRIORITY),
        name=named.name,
        namespace=named.namespace,
        selector=problems.read(spec, "selector", lambda item: selector(item, problems), Selector()),
        audit=problems.read(spec, "mode", lambda item: item.one_of("enforce", "audit"), "enforce") == "audit",
        rules=_rules(spec, Frame(tier, named.policy, owner, guard, problems)),
        source=Source(named.policy, "", owner, named.where),
    )


def _rules(spec: Fields, frame: Frame) -> tuple[Rule, ...]:
    """An EgressPolicy without rules denies all to those it selects."""
    nodes: list[Node] = frame.problems.read(spec, "rules", Node.items, [])
    rules: dict[str, Rule] = {}
    for index, node in enumerate(nodes):
        rule = load_rule(node, index, frame)
        if rule is None:
            continue
        name = rule.source.rule
        if (other := rules.setdefault(name, rule)) is not rule:
            frame.problems.add(
                ConfigError(node.place, name, f"is also the name of the rule at {other.source.place}: rename one")
            )
    return tuple(rules.values())


def _metadata(node: Node) -> tuple[str, str | None]:
    fields = node.fields("namespace", "labels", "annotations", required=("name",))
    name = fields.need("name")
    if not _NAME.fullmatch(name.text()):
        raise name.error("is no name of an object: use lower-case letters, digits, hyphens and dots")
    return name.text(), fields.read("namespace", namespace_name, None)


def _digest(nodes: Sequence[Node], default: Default) -> str:
    """Of what the objects say: places, comments, and the order of documents and keys do not count."""
    contents = sorted(json.dumps(plain(node), sort_keys=True, default=str) for node in nodes)
    return hashlib.sha256("\n".join((default, *contents)).encode()).hexdigest()


_KINDS: dict[str, Callable[[Node, Fields, Guard, Problems], PolicyObject]] = {
    "ClusterEgressPolicy": _cluster_policy,
    "EgressPolicy": _namespace_policy,
}
