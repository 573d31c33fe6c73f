"""The tables in tests/cases: policies, and what they say to whom."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import yaml

from policy.asks import CONNECT, GUARD, HTTP, HTTP_REQUEST, HTTPS_REQUEST, OTHER, SPLICED, SSH, TLS, ask, request
from sluicegate import documents
from sluicegate.facts import Ask, Protocol, Workload
from sluicegate.policy.decide import decide
from sluicegate.policy.load import load
from sluicegate.policy.model import Policy
from sluicegate.verdict import Permit

FOLDER = Path(__file__).parent.parent / "cases"
PROTOCOLS = {"tls": TLS, "http": HTTP, "ssh": SSH, "other": OTHER, "spliced": SPLICED, "connect": CONNECT}
KEYS = {"from", "to", "port", "via", "wire", "request", "resolved", "ech", "says", "rule", "inspect", "would", "id"}


def cases() -> list[Any]:
    found = []
    for path in sorted(FOLDER.glob("*.yaml")):
        table = yaml.safe_load(path.read_text())
        nodes = documents.read(path.read_text(), path.name)[0].value["objects"].value
        policy = load(nodes, default=table.get("default", "deny"), guard=GUARD)
        workloads = {name: Workload(**facts) for name, facts in table["workloads"].items()}
        found += [pytest.param(policy, workloads, case, id=f"{path.stem}: {case['id']}") for case in table["cases"]]
    return found


@pytest.mark.parametrize(("policy", "workloads", "case"), cases())
def test_case(policy: Policy, workloads: dict[str, Workload], case: dict[str, Any]) -> None:
    assert set(case) <= KEYS
    asked = replace(_ask(case), identity=workloads[case.get("from", "default")])
    verdict = decide(asked, policy)

    permit = isinstance(verdict, Permit)
    assert verdict.reason == case["says"]
    if "rule" in case:
        assert f"{verdict.source.policy.partition('/')[2]}#{verdict.source.rule}" == case["rule"]
    if permit:
        assert verdict.inspect == case.get("inspect", "full")
        assert (None if verdict.would_deny is None else verdict.would_deny.source.rule) == case.get("would")
    else:
        assert verdict.detail


def _ask(case: dict[str, Any]) -> Ask:
    name, port, to = case.get("to"), case.get("port", 443), case.get("via", "93.184.215.14")
    resolved = case.get("resolved")
    if "request" in case:
        method, path = case["request"].split()
        protocols = HTTP_REQUEST if case.get("wire") == "http" else HTTPS_REQUEST
        return request(method, path, name, port, to=to, resolved=resolved, protocols=protocols)
    return ask(
        name, port, to=to, resolved=resolved, protocols=PROTOCOLS[case.get("wire", "tls")], ech=case.get("ech", False)
    )


def test_the_tables_speak_of_every_protocol():
    seen = {case.values[2].get("wire", "tls") for case in cases()}
    assert seen == set(PROTOCOLS)
    assert {protocol for name in seen for protocol in PROTOCOLS[name]} == set(Protocol)
    assert ip_address("93.184.215.14").is_global
