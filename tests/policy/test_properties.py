"""What holds for all policies and asks, tried on many small ones."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from policy.asks import (
    CONNECT,
    HTTP,
    HTTP_REQUEST,
    HTTPS_REQUEST,
    OTHER,
    PUBLIC,
    SPLICED,
    SSH,
    TLS,
    ask,
    cluster,
    hit,
    own,
    policy,
    workload,
)
from sluicegate.facts import Address, Ask, Protocol, Request, Unknown
from sluicegate.policy import match as matching
from sluicegate.policy.decide import decide
from sluicegate.policy.explain import Outcome, explain
from sluicegate.policy.match import Fit
from sluicegate.policy.model import Default, Policy
from sluicegate.policy.rules import Tier
from sluicegate.verdict import Deny, Inspect, Permit, Reason

# Few values, so that rules and asks meet.
DOMAINS = st.sampled_from(
    ["", "domains: [a.example.com]", "domains: ['*.example.com']", "domains: [b.example.com, '*.a.example.com']"]
)
ADDRESSES = st.sampled_from(
    ["", "", "addresses: [93.184.215.0/24]", "addresses: [10.0.0.0/8]", "addresses: [8.8.8.8, 10.1.0.0/16]"]
)
PORTS = st.sampled_from(["ports: [443]", "ports: [443, 80]", "ports: [1-65535]"])
PROTOCOL = st.sampled_from(["", "", "protocol: https", "protocol: http"])
HTTP_PART = st.sampled_from(
    ["", "", "http: [{methods: [GET]}]", "http: [{paths: [/v1/*]}]", "http: [{methods: [PUT], paths: [/v1/x]}]"]
)
SPLICES = st.sampled_from(["protocol: tls", "protocol: https", "", "protocol: tcp"])
MODE = st.sampled_from(["", "", "", "mode: audit"])


def joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


@st.composite
def rules(draw: st.DrawFn, *, actions: tuple[str, ...]) -> str:
    action, addresses, ports = draw(st.sampled_from(actions)), draw(ADDRESSES), draw(PORTS)
    domains, mode = draw(DOMAINS), draw(MODE)
    if action == "allow" and draw(st.booleans()):
        protocol = draw(SPLICES)
        if protocol == "protocol: tcp" and not addresses:
            protocol = "protocol: tls"
        to = joined(domains, addresses, ports, protocol)
        ech = draw(st.sampled_from(["", "ech: allow"]))
        return f"{{action: allow, to: {{{to}}}, inspect: sni, {joined(mode, ech)}}}"
    to = joined(domains, addresses, ports, draw(PROTOCOL))
    return f"{{{joined(f'action: {action}', f'to: {{{to}}}', draw(HTTP_PART), mode)}}}"


CLUSTER_RULES = st.lists(rules(actions=("allow", "deny", "deny", "pass")), min_size=1, max_size=3).map(", ".join)
OWN_RULES = st.lists(rules(actions=("allow",)), max_size=3).map(", ".join)


@st.composite
def texts(draw: st.DrawFn) -> list[str]:
    """A few objects."""
    found = []
    for tier in ("security", "platform", "baseline"):
        for index in range(draw(st.integers(0, 2))):
            more = joined(draw(MODE), f"priority: {draw(st.integers(0, 2))}")
            found.append(cluster(draw(CLUSTER_RULES), name=f"{tier}-{index}", tier=tier, more=more))
    return found + [
        own(draw(OWN_RULES), name=f"own-{index}", more=draw(MODE)) for index in range(draw(st.integers(0, 2)))
    ]


DEFAULTS = st.sampled_from(["deny", "deny", "audit"])
POLICIES = st.builds(lambda found, default: policy("".join(found), default=default), texts(), DEFAULTS)

NAMES = st.sampled_from(
    ["a.example.com", "b.example.com", "x.a.example.com", "c.example.org", "8.8.8.8", "10.0.0.1", None]
)
TARGETS = st.sampled_from([None, PUBLIC, "8.8.8.8", "10.1.2.3", "169.254.169.254"])
RESOLVED: list[Address | None] = [
    None,
    *map(ip_address, (PUBLIC, "1.1.1.1", "10.0.0.1", "10.1.0.1", "64:ff9b::a00:1", "127.0.0.1")),
]
REQUESTS = st.builds(
    Request,
    st.sampled_from(["GET", "PUT", "CONNECT"]),
    st.sampled_from(["/", "/v1/x", "/v1/y"]),
    st.sampled_from([None, None, None, "holds an encoded slash"]),
    st.booleans(),
)
IDENTITIES = st.sampled_from(
    [workload(), workload("lab"), workload(namespace_labels={"sluicegate.dev/default": "audit"}), Unknown("no pod")]
)
HITS = st.lists(st.builds(hit, st.just("list"), audit=st.booleans()), max_size=2)


@st.composite
def asks(draw: st.DrawFn) -> Ask:
    protocols = draw(st.sampled_from([TLS, TLS, HTTP, SSH, OTHER, SPLICED, CONNECT, HTTPS_REQUEST, HTTP_REQUEST]))
    found = ask(
        draw(NAMES),
        draw(st.sampled_from([443, 80, 22])),
        to=draw(TARGETS),
        protocols=protocols,
        ech=draw(st.booleans()),
        by=draw(IDENTITIES),
    )
    return _completed(draw, found, protocols)


def _completed(draw: st.DrawFn, found: Ask, protocols: frozenset[Protocol]) -> Ask:
    known = protocols in {HTTPS_REQUEST, HTTP_REQUEST} and draw(st.booleans())
    return replace(
        found, resolved=resolution(found, draw(st.sampled_from(RESOLVED))), request=draw(REQUESTS) if known else None
    )


def resolution(asked: Ask, answer: Address | None) -> Address | None:
    """What `answer` can be for this ask: a literal address and a missing name resolve to themselves."""
    return answer if matching.host(asked) is not None else answer and matching.dialled(replace(asked, resolved=None))


@given(POLICIES, asks(), HITS)
def test_decide_is_total_and_repeats_itself(rules: Policy, asked: Ask, hits: list):
    verdict = decide(asked, rules, hits)
    assert verdict == decide(asked, rules, hits)
    if isinstance(verdict, Permit):
        assert verdict.ask is asked
        assert verdict.reason in {Reason.RULE, Reason.DEFAULT_AUDIT}
    else:
        assert verdict.detail


@given(POLICIES, asks(), HITS)
def test_explain_says_what_decide_says(rules: Policy, asked: Ask, hits: list):
    explanation = explain(asked, rules, hits)
    verdict = decide(asked, rules, hits)

    assert explanation.verdict == verdict
    steps = [step for step in explanation.steps if step.step != "audit"]
    assert (steps[-1].outcome is Outcome.DENIED) is isinstance(verdict, Deny)
    assert steps[-1].source == verdict.source


@given(texts(), DEFAULTS, asks(), HITS)
def test_what_is_audited_is_as_if_absent(found: list[str], default: Default, asked: Ask, hits: list):
    whole = policy("".join(found), default=default)
    without = replace(
        whole,
        members=tuple(
            replace(member, rules=tuple(rule for rule in member.rules if not rule.audit))
            for member in whole.members
            if not member.audit
        ),
    )
    verdict, bare = decide(asked, whole, hits), decide(asked, without, [each for each in hits if not each.audit])

    if isinstance(verdict, Permit):
        assert isinstance(bare, Permit)
        assert replace(verdict, would_deny=None) == replace(bare, would_deny=None)
    else:
        assert verdict == bare


@given(texts(), asks(), HITS)
def test_would_deny_is_what_enforcing_says(found: list[str], asked: Ask, hits: list):
    assume("sluicegate.dev/default" not in getattr(asked.identity, "namespace_labels", {}))
    audited = decide(asked, policy("".join(found)), hits)
    enforced_text = "".join(found).replace("mode: audit", "mode: enforce")
    enforced = decide(asked, policy(enforced_text), [replace(each, audit=False) for each in hits])

    if isinstance(audited, Permit):
        would = audited.would_deny
        assert (would is not None) is isinstance(enforced, Deny)
        if would is not None:
            assert would.reason is enforced.reason
            assert would.source == enforced.source


@given(POLICIES, asks(), st.sampled_from(RESOLVED), REQUESTS, st.sampled_from([HTTPS_REQUEST, SPLICED]))
@settings(max_examples=150)
def test_what_may_be_permitted_later_is_not_denied_early(
    rules: Policy, asked: Ask, resolved: Address | None, request: Request, narrowed: frozenset[Protocol]
):
    """A deny is final: nothing that is learnt later about the same connection turns it into a permit."""
    early = replace(asked, protocols=TLS, resolved=None, request=None, ech=False)
    later = replace(
        early,
        protocols=narrowed,
        resolved=resolution(early, resolved),
        request=request if narrowed is HTTPS_REQUEST else None,
    )

    if isinstance(decide(early, rules), Deny):
        assert isinstance(decide(later, rules), Deny)


SPLICING = own("{to: {domains: ['*.example.com']}, inspect: sni}", name="splicing")


@given(texts(), NAMES, st.sampled_from(RESOLVED[1:5]), REQUESTS, st.booleans())
@settings(max_examples=150)
def test_no_request_could_be_denied_on_what_is_spliced(
    found: list[str], name: str | None, resolved: Address, request: Request, first: bool
):
    """Once the address is known, a splice hides nothing that a rule would deny if it could see it."""
    rules = policy(SPLICING + "".join(found) if first else "".join(found) + SPLICING)
    spliced = ask(name, protocols=SPLICED)
    spliced = replace(spliced, resolved=resolution(spliced, resolved))
    verdict = decide(spliced, rules)

    if isinstance(verdict, Permit):
        assert verdict.inspect is Inspect.SNI
        seen = replace(spliced, protocols=HTTPS_REQUEST, request=replace(request, ambiguous=None))
        assert isinstance(decide(seen, rules), Permit)


@given(POLICIES, asks(), st.sampled_from(RESOLVED[1:]), REQUESTS)
def test_what_is_fully_known_leaves_nothing_open(rules: Policy, asked: Ask, resolved: Address, request: Request):
    known = replace(asked, protocols=HTTPS_REQUEST, request=request, resolved=resolution(asked, resolved))
    for member in rules.members:
        for rule in member.rules:
            assert matching.match(rule, known) in {Fit.YES, Fit.NO}


@given(POLICIES, asks())
def test_the_index_leaves_no_rule_out(rules: Policy, asked: Ask):
    """Every rule that matches is a candidate. (Only what depends on an address alone, not known yet, need not be.)"""
    identity = asked.identity
    if isinstance(identity, Unknown):
        return
    view = rules.views(identity, asked.source.address).enforced
    candidates = view.candidates(matching.host(asked), matching.known_faces(asked))
    for member in rules.members:
        if member.audit or member.namespace not in {None, identity.namespace} or member.tier is Tier.BASELINE:
            continue
        for rule in member.rules:
            if not rule.audit and matching.match(rule, asked) not in {Fit.NO, Fit.MAYBE_ADDRESS}:
                assert rule in candidates
