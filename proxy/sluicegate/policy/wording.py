"""How verdicts and explanations are said to people."""

from __future__ import annotations

from sluicegate.facts import Ask
from sluicegate.policy.match import Fit, misfit
from sluicegate.policy.rules import Rule
from sluicegate.policy.trace import Outcome, Step

_NO = {
    "domains": "it is about other hosts",
    "ports": "it is about other ports",
    "protocol": "it is about another protocol",
    "addresses": "it is about other addresses",
    "http": "it is about other methods or paths",
}
_MAYBE = {
    "protocol": "depending on what the connection turns out to be",
    "addresses": "depending on the address that the name resolves to",
    "http": "depending on the request",
}


def target(ask: Ask) -> str:
    """What was asked for: ``api.example.com:443``, or for a request ``GET api.example.com:443/v1``."""
    if ask.name is not None:
        name = ask.name.ascii
    else:
        name = "an unknown address" if ask.destination is None else str(ask.destination.address)
    host = f"[{name}]:{ask.port}" if ":" in name else f"{name}:{ask.port}"
    return host if ask.request is None else f"{ask.request.method} {host}{ask.request.path}"


def rule_step(rule: Rule, ask: Ask, fit: Fit) -> Step:
    """How one rule was looked at."""
    part = misfit(rule, ask)
    match fit:
        case Fit.YES:
            return Step(rule.tier, Outcome.MATCHED, rule.source, f"{rule.action} by {rule.label}")
        case Fit.NO:
            return Step(rule.tier, Outcome.SKIPPED, rule.source, f"{rule.label} does not match: {_NO[part]}")
        case _:
            return Step(rule.tier, Outcome.MAYBE, rule.source, f"{rule.action} by {rule.label}, {_MAYBE[part]}")
