"""Which workloads a policy object is about. All given parts must match; what is not given matches all."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address

from sluicegate.facts import Address, Workload
from sluicegate.policy.spans import AddressSet

NAMESPACE_NAME_LABEL = "kubernetes.io/metadata.name"
"""Kubernetes puts it on every namespace; here it is always the namespace's name, whatever the identity table says."""


@dataclass(frozen=True, slots=True)
class Who:
    """The facts that selectors look at: hashable, so that what was selected is remembered by it."""

    namespace: str
    service_account: str
    labels: frozenset[tuple[str, str]]
    namespace_labels: frozenset[tuple[str, str]]
    ranges: tuple[AddressSet, ...] = ()
    """Those `cidrs` of the policy's selectors that hold the source address."""


def who(workload: Workload, source: Address, ranges: tuple[AddressSet, ...]) -> Who:
    """`ranges`: every `cidrs` of the policy; mostly there is none, and the source address says nothing."""
    if ranges:
        plain = _plain(source)
        ranges = tuple(each for each in ranges if each.holds(plain))
    return Who(
        workload.namespace,
        workload.service_account,
        frozenset(workload.labels.items()),
        frozenset(workload.namespace_labels.items()),
        ranges,
    )


def _plain(source: Address) -> Address:
    # A dual-stack listener shows IPv4 clients as ::ffff:a.b.c.d; nobody writes ranges so.
    if isinstance(source, IPv6Address) and source.ipv4_mapped is not None:
        return source.ipv4_mapped
    return source


class Operator(enum.StrEnum):
    """As in Kubernetes: NotIn also matches where the key is absent."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


@dataclass(frozen=True, slots=True)
class Expression:
    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        match self.operator:
            case Operator.IN:
                return labels.get(self.key) in self.values
            case Operator.NOT_IN:
                return labels.get(self.key) not in self.values
            case Operator.EXISTS:
                return self.key in labels
            case Operator.DOES_NOT_EXIST:
                return self.key not in labels


@dataclass(frozen=True, slots=True)
class Selector:
    """`service_accounts` holds ``name`` (in any namespace) and ``namespace/name``; None: not asked for."""

    namespaces: frozenset[str] | None = None
    namespace_labels: tuple[Expression, ...] = ()
    pod_labels: tuple[Expression, ...] = ()
    service_accounts: frozenset[str] | None = None
    cidrs: AddressSet | None = None

    def selects(self, who: Who) -> bool:
        return (
            (self.namespaces is None or who.namespace in self.namespaces)
            and self._account_matches(who)
            and (self.cidrs is None or self.cidrs in who.ranges)
            and _all_match(self.pod_labels, dict(who.labels))
            and _all_match(self.namespace_labels, {**dict(who.namespace_labels), NAMESPACE_NAME_LABEL: who.namespace})
        )

    def _account_matches(self, who: Who) -> bool:
        accounts = self.service_accounts
        if accounts is None:
            return True
        return who.service_account in accounts or f"{who.namespace}/{who.service_account}" in accounts


def _all_match(expressions: tuple[Expression, ...], labels: Mapping[str, str]) -> bool:
    return all(expression.matches(labels) for expression in expressions)
