from __future__ import annotations

import pytest

from policy.asks import ask, cluster, hit, own, policy, request
from sluicegate.facts import Ask, ListHit, Unknown
from sluicegate.policy.explain import Explanation, Outcome, explain
from sluicegate.policy.model import Default
from sluicegate.verdict import Permit, Reason

RULES = policy(
    cluster("{name: watch, action: deny, to: {domains: [api.example.com]}, mode: audit}", name="s", tier="security")
    + cluster("{name: corp, action: pass, to: {domains: ['*.corp.example.com'], addresses: [10.0.0.0/8]}}")
    + own(
        "{name: ports, to: {domains: [api.example.com], ports: [8443]}},"
        "{name: read, to: {domains: [api.example.com]}, http: [{methods: [GET]}]},"
        "{name: corp, to: {domains: ['*.corp.example.com']}}",
    )
)


def told(explanation: Explanation) -> list[tuple[str, str]]:
    return [(step.step, step.outcome.value) for step in explanation.steps]


BEFORE = [("hard guard", "passed"), ("identity", "passed"), ("lists", "passed")]


def test_every_step_up_to_the_one_that_decides():
    explanation = explain(request(resolved="93.184.215.14"), RULES)

    assert explanation.verdict.reason is Reason.RULE
    assert told(explanation) == [
        *BEFORE,
        ("private guard", "passed"),
        ("paths", "passed"),
        ("security", "passed"),
        ("platform", "passed"),
        ("namespace", "skipped"),
        ("namespace", "matched"),
        ("audit", "denied"),
    ]
    skipped, matched, audit = explanation.steps[-3:]
    assert skipped.text == "rule ports of EgressPolicy/shop/own does not match: it is about other ports"
    assert matched.source.place == "p.yaml:12"
    assert matched.text == "allow by rule read of EgressPolicy/shop/own"
    assert audit.source.rule == "watch"


def test_what_is_not_known_yet():
    explanation = explain(ask(), RULES)

    assert told(explanation)[3:] == [
        ("private guard", "maybe"),
        ("paths", "passed"),
        ("security", "passed"),
        ("platform", "passed"),
        ("namespace", "skipped"),
        ("namespace", "maybe"),
        ("audit", "denied"),
    ]
    assert "depending on" in explanation.steps[-2].text


def test_an_opened_guard_and_a_pass_name_their_rule():
    explanation = explain(request(name="wiki.corp.example.com", resolved="10.0.0.1"), RULES)

    assert told(explanation)[3:] == [
        ("private guard", "matched"),
        ("paths", "passed"),
        ("security", "passed"),
        ("platform", "matched"),
        ("namespace", "matched"),
    ]
    assert explanation.steps[3].source.rule == "corp"
    assert isinstance(explanation.verdict, Permit)


@pytest.mark.parametrize(
    ("asked", "hits", "last"),
    [
        pytest.param(ask("localhost"), [], "hard guard", id="hard guard"),
        pytest.param(ask(by=Unknown("nobody")), [], "identity", id="identity"),
        pytest.param(ask(), [hit("tried", audit=True), hit()], "lists", id="lists"),
        pytest.param(ask(resolved="10.0.0.1"), [], "private guard", id="private guard"),
        pytest.param(request(path="/x", name="other.example.com"), [], "namespace", id="no rule of the namespace"),
    ],
)
def test_a_denial_is_the_last_step(asked: Ask, hits: list[ListHit], last: str):
    explanation = explain(asked, RULES, hits)
    step = explanation.steps[-1]

    assert (step.step, step.outcome) == (last, Outcome.DENIED)
    assert step.source == explanation.verdict.source
    assert step.text == explanation.verdict.detail  # type: ignore[union-attr]  # a Deny, by the line above


@pytest.mark.parametrize(("default", "outcome"), [("deny", Outcome.DENIED), ("audit", Outcome.MATCHED)])
def test_the_default_is_a_step(default: Default, outcome: Outcome):
    step = explain(ask(), policy("", default=default)).steps
    assert ("default", outcome) in {(each.step, each.outcome) for each in step}
