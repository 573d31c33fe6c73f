"""The policy as one workload meets it: only the objects that select it, indexed by domain and address.

Workloads with the same facts share a view, and views share tables where the same objects were selected, so that a
cluster of thousands of pods costs one table per namespace and a few for the cluster's own objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter

from sluicegate.facts import Address
from sluicegate.policy.rules import Action, PolicyObject, Rule, Tier
from sluicegate.policy.selector import Who
from sluicegate.policy.spans import AddressIndex, AddressSet

type _Entry = tuple[int, Rule]
"""A rule and its place in the order of evaluation."""

_VIEWS = 8192
_TABLES = 1024


@dataclass(frozen=True, slots=True)
class Table:
    """Rules in the order of evaluation, and which of them can match at all: by name, by address, or whatever it is."""

    size: int
    exact: dict[str, list[_Entry]]
    suffixes: dict[str, list[_Entry]]
    addresses: AddressIndex[_Entry]
    """Rules with addresses and without domains."""
    always: list[_Entry]
    """Rules with neither, and deny rules with addresses alone that also depend on content: while the address is not
    known they may match, and what may match by content has a say in whether a connection is spliced."""

    def candidates(self, name: str | None, addresses: Iterable[Address]) -> list[Rule]:
        """The rules that may match, in order. name: in ASCII, None where there is none or it is an address."""
        found = self.always.copy()
        if name is not None:
            found += self.exact.get(name, ())
            dot = name.find(".") if self.suffixes else -1
            while dot >= 0:
                found += self.suffixes.get(name[dot + 1 :], ())
                dot = name.find(".", dot + 1)
        for address in addresses:
            found += self.addresses.find(address)
        if len(found) > 1:
            found.sort(key=itemgetter(0))
        return [rule for _, rule in _once(found)]


def _once(entries: Iterable[_Entry]) -> Iterator[_Entry]:
    """Sorted entries without repetition: a rule may name `a.example.com` and `*.example.com`, or be about two faces."""
    last = -1
    for entry in entries:
        if entry[0] != last:
            last = entry[0]
            yield entry


@dataclass(frozen=True, slots=True)
class View:
    """`cluster`: the security, platform and, if no EgressPolicy selects, baseline tiers. `own`: the namespace's."""

    cluster: Table
    own: Table
    selecting: tuple[PolicyObject, ...]
    """The EgressPolicies that select the workload."""

    @property
    def size(self) -> int:
        return self.cluster.size + self.own.size

    def candidates(self, name: str | None, addresses: Sequence[Address]) -> list[Rule]:
        """addresses: all that the ask has to do with, and what is embedded in them."""
        return self.cluster.candidates(name, addresses) + self.own.candidates(name, addresses)


@dataclass(frozen=True, slots=True)
class Views:
    """enforced: without anything audited. shadow: as if all that is audited were enforced; None if nothing is."""

    enforced: View
    shadow: View | None


class Compiler:
    """Makes views on demand and remembers them; both memories are bounded. Its policy never changes."""

    def __init__(self, members: Sequence[PolicyObject]) -> None:
        self._members = tuple(sorted(members, key=lambda member: member.rank))
        self.views = lru_cache(_VIEWS)(self._views)
        self._table = lru_cache(_TABLES)(_table)

    def _views(self, who: Who) -> Views:
        members = tuple(member for member in self._members if _selects(member, who))
        audited = any(member.audit or any(rule.audit for rule in member.rules) for member in members)
        enforced = tuple(member for member in members if not member.audit)
        return Views(
            self._view(enforced, with_audited=False),
            self._view(members, with_audited=True) if audited else None,
        )

    def _view(self, members: tuple[PolicyObject, ...], *, with_audited: bool) -> View:
        own = tuple(member for member in members if member.tier is Tier.NAMESPACE)
        skipped = (Tier.NAMESPACE, Tier.BASELINE) if own else (Tier.NAMESPACE,)
        cluster = tuple(member for member in members if member.tier not in skipped)
        return View(self._table(cluster, with_audited), self._table(own, with_audited), own)


def _selects(member: PolicyObject, who: Who) -> bool:
    return member.namespace in {None, who.namespace} and member.selector.selects(who)


def _table(members: tuple[PolicyObject, ...], with_audited: bool) -> Table:  # noqa: FBT001  # a key of lru_cache
    rules = [rule for member in members for rule in member.rules if with_audited or not rule.audit]
    exact: dict[str, list[_Entry]] = {}
    suffixes: dict[str, list[_Entry]] = {}
    by_address: list[tuple[AddressSet, _Entry]] = []
    always: list[_Entry] = []
    for entry in enumerate(rules):
        rule = entry[1]
        for name in rule.exact:
            exact.setdefault(name, []).append(entry)
        for suffix in rule.suffixes:
            suffixes.setdefault(suffix, []).append(entry)
        if rule.by_domain:
            continue
        if rule.addresses is not None:
            by_address.append((rule.addresses, entry))
        if rule.addresses is None or _denies_by_content(rule):
            always.append(entry)
    return Table(len(rules), exact, suffixes, AddressIndex(by_address), always)


def _denies_by_content(rule: Rule) -> bool:
    return rule.action is Action.DENY and bool(rule.http or rule.protocols)
