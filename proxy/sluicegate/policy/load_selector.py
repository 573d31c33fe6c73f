"""YAML -> Selector, in the words of Kubernetes."""

from __future__ import annotations

import re

from sluicegate.documents import Fields, Node
from sluicegate.policy.problems import Problems, filled
from sluicegate.policy.selector import Expression, Operator, Selector
from sluicegate.policy.spans import AddressSet
from sluicegate.settings import network

_ACCOUNT = re.compile(r"(?:[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?/)?[a-z0-9](?:[-.a-z0-9]{0,251}[a-z0-9])?")
_NAMESPACE = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")


def cluster_selector(node: Node, problems: Problems) -> Selector:
    """``{namespaces: {names, matchLabels, matchExpressions}, pods: {...}, serviceAccounts, cidrs}``."""
    fields = filled(node, "namespaces", "pods", "serviceAccounts", "cidrs")
    names, namespace_labels = _namespaces(fields.get("namespaces"), problems)
    cidrs = fields.get("cidrs")
    return Selector(
        namespaces=names,
        namespace_labels=namespace_labels,
        pod_labels=_pods(fields.get("pods"), problems),
        service_accounts=_accounts(fields, problems, qualified=True),
        cidrs=None if cidrs is None else AddressSet.of(problems.each(cidrs, network)),
    )


def namespace_selector(node: Node, problems: Problems) -> Selector:
    """``{matchLabels, matchExpressions, serviceAccounts}``: of pods in the policy's own namespace."""
    fields = filled(node, "matchLabels", "matchExpressions", "serviceAccounts")
    return Selector(
        pod_labels=_labels(fields, problems),
        service_accounts=_accounts(fields, problems, qualified=False),
    )


def namespace_name(node: Node) -> str:
    text = node.text()
    if not _NAMESPACE.fullmatch(text):
        raise node.error("is no name of a namespace: use lower-case letters, digits and hyphens, at most 63")
    return text


def _namespaces(node: Node | None, problems: Problems) -> tuple[frozenset[str] | None, tuple[Expression, ...]]:
    if node is None:
        return None, ()
    with problems.noted():
        fields = filled(node, "names", "matchLabels", "matchExpressions")
        names = fields.get("names")
        found = None if names is None else frozenset(problems.each(names, namespace_name))
        return found, _labels(fields, problems)
    return None, ()


def _pods(node: Node | None, problems: Problems) -> tuple[Expression, ...]:
    if node is None:
        return ()
    with problems.noted():
        return _labels(filled(node, "matchLabels", "matchExpressions"), problems)
    return ()


def _labels(fields: Fields, problems: Problems) -> tuple[Expression, ...]:
    equal: dict[str, str] = problems.read(fields, "matchLabels", Node.labels, {})
    found = [Expression(key, Operator.IN, frozenset({value})) for key, value in equal.items()]
    expressions = fields.get("matchExpressions")
    return (*found, *(() if expressions is None else problems.each(expressions, _expression)))


def _expression(node: Node) -> Expression:
    fields = filled(node, "values", required=("key", "operator"))
    operator = Operator(fields.need("operator").one_of(*Operator))
    values = fields.get("values")
    if operator in {Operator.IN, Operator.NOT_IN}:
        found = frozenset(fields.need("values").texts())
        if not found:
            raise fields.need("values").error(f"is empty: {operator} needs at least one value")
        return Expression(fields.need("key").text(), operator, found)
    if values is not None and values.items():
        raise values.error(f"{operator} takes no values: leave them out")
    return Expression(fields.need("key").text(), operator)


def _accounts(fields: Fields, problems: Problems, *, qualified: bool) -> frozenset[str] | None:
    node = fields.get("serviceAccounts")
    if node is None:
        return None
    return frozenset(problems.each(node, _qualified_account if qualified else _account))


def _qualified_account(node: Node) -> str:
    text = node.text()
    if not _ACCOUNT.fullmatch(text):
        raise node.error("is no service account: use `name`, or `namespace/name`")
    return text


def _account(node: Node) -> str:
    text = _qualified_account(node)
    if "/" in text:
        raise node.error(f"an EgressPolicy selects in its own namespace: use `{text.partition('/')[2]}`")
    return text
