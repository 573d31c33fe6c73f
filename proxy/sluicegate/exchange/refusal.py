"""What a refused person sees: why, by which rule, whom to ask and what to do. Pure.

Nothing of the request is repeated but its host, and nothing unescaped: the body is JSON, HTML or header fields made
here. Findings are named by rule and place, never by what was found.
"""

from __future__ import annotations

import json
import re
from urllib.parse import quote

from sluicegate.exchange.answers import ANSWERS
from sluicegate.exchange.page import html
from sluicegate.facts import Finding
from sluicegate.verdict import Deny

type Refusal = tuple[int, list[tuple[str, str]], bytes]

_WEIGHT = re.compile(r"q=(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)", re.IGNORECASE | re.ASCII)  # RFC 9110, 12.4.2
_UNPRINTABLE = re.compile(r"[^ -~]")  # RFC 8941, 3.3.3: what a quoted string may hold
_LONGEST_ACCEPT = 2048  # more than any client sends; the rest is not looked at
_LONGEST_DETAIL = 300


def render(deny: Deny, incident: str, accept: str, host: str) -> Refusal:
    """Status, header fields and body.

    accept: the request's Accept, or its Content-Type where that is application/grpc, which asks for gRPC's own form.
    host: the name that was asked for, as far as it is known. HTTP/2 callers leave out `Connection`.
    """
    answer, facts = ANSWERS[deny.reason], _facts(deny, incident, host)
    if accept.lower().lstrip().startswith("application/grpc"):
        return 200, _grpc(deny, incident, answer.grpc), b""
    if wants_html(accept):
        kind, body = "text/html; charset=utf-8", html(facts, answer.status).encode("utf-8", "backslashreplace")
    else:
        kind, body = "application/json", (json.dumps(facts, indent=2) + "\n").encode("ascii")
    return answer.status, [*_headers(deny, incident, kind), ("Content-Length", str(len(body)))], body


def wants_html(accept: str) -> bool:
    """RFC 9110, 12.5.1: HTML only for who prefers it, as browsers do; JSON for all others."""
    weights = _weights(accept)
    return _weight(weights, "text/html") > _weight(weights, "application/json")


def _once(findings: tuple[Finding, ...]) -> dict[str, str]:
    """Each rule with the first place it was found in: a form body, say, is read in two ways, and holds it in both."""
    return {found.rule: found.location for found in reversed(findings)}


def _weight(weights: dict[str, float], kind: str) -> float:
    """Of the most specific range that holds `kind`."""
    for accepted in (kind, kind.partition("/")[0] + "/*", "*/*"):
        if accepted in weights:
            return weights[accepted]
    return 0.0


def _weights(accept: str) -> dict[str, float]:
    weights: dict[str, float] = {}
    for part in accept[:_LONGEST_ACCEPT].split(","):
        kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
        found = [_WEIGHT.fullmatch(piece) for piece in parameters if piece.startswith("q=")]
        if None not in found:  # a weight that is none: the range is not counted
            weights[kind] = max(weights.get(kind, 0.0), float(found[0][1]) if found and found[0] else 1.0)
    return weights


def _facts(deny: Deny, incident: str, host: str) -> dict[str, object]:
    """What the body says, in the order in which it is read; what is not known is left out."""
    hit = deny.hit
    facts: dict[str, object] = {
        "error": "refused by the egress gateway",
        "reason": deny.reason.value,
        "detail": deny.detail,
        "what_to_do": ANSWERS[deny.reason].remedy,
        "incident": incident,
        "host": host,
        "rule": deny.source.rule,
        "policy": deny.source.policy,
        "owner": (hit.owner if hit else "") or deny.source.owner,
        "list": {"name": hit.list, "entry": hit.entry, "category": hit.category} if hit else None,
        "findings": [{"rule": rule, "location": location} for rule, location in _once(deny.findings).items()],
    }
    return {key: value for key, value in facts.items() if value}


def _headers(deny: Deny, incident: str, kind: str) -> list[tuple[str, str]]:
    return [
        ("Content-Type", kind),
        ("Cache-Control", "no-store"),
        ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Sluicegate-Incident", incident),
        ("Proxy-Status", f"sluicegate; error={ANSWERS[deny.reason].error}; details={_quoted(deny)}"),
        ("Connection", "close"),
    ]


def _grpc(deny: Deny, incident: str, code: int) -> list[tuple[str, str]]:
    """A Trailers-Only response: gRPC clients show grpc-message and ignore bodies."""
    message = f"{deny.reason.value}: {deny.detail or ANSWERS[deny.reason].remedy} (incident {incident})"
    return [
        ("Content-Type", "application/grpc"),
        ("Grpc-Status", str(code)),
        ("Grpc-Message", quote(message, safe=" !#$&'()*+,-./:;<=>?@[]^_`{|}~", errors="backslashreplace")),
        ("X-Sluicegate-Incident", incident),
    ]


def _quoted(deny: Deny) -> str:
    """A string of RFC 8941, 3.3.3."""
    plain = _UNPRINTABLE.sub("?", f"{deny.reason.value}: {deny.detail}" if deny.detail else deny.reason.value)
    escaped = plain[:_LONGEST_DETAIL].replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
