from __future__ import annotations

import pytest

from policy.asks import (
    CONNECT,
    HTTP,
    OTHER,
    OTHER_PUBLIC,
    PUBLIC,
    SPLICED,
    SSH,
    ask,
    cluster,
    hit,
    own,
    policy,
    request,
    workload,
)
from sluicegate.facts import Ask, ListHit, Protocol, Unknown
from sluicegate.policy.decide import decide
from sluicegate.policy.model import Policy
from sluicegate.resolve.guard import Guard
from sluicegate.verdict import Deny, Inspect, Permit, Reason, Source, Verdict

ANY = "{name: any, action: allow}"
EVERYTHING = policy(cluster(ANY, tier="security"))


def denied(verdict: Verdict) -> Deny:
    assert isinstance(verdict, Deny)
    return verdict


def permitted(verdict: Verdict) -> Permit:
    assert isinstance(verdict, Permit)
    return verdict


# --- 1. the hard guard ---


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        pytest.param(ask("metadata.google.internal"), Reason.METADATA, id="a metadata name"),
        pytest.param(ask("localhost"), Reason.HARD_ADDRESS, id="a loopback name"),
        pytest.param(ask("169.254.169.254", to=None), Reason.METADATA, id="a literal"),
        pytest.param(ask(None, to="169.254.169.254"), Reason.METADATA, id="the original destination, without a name"),
        pytest.param(ask(to="169.254.169.254"), Reason.METADATA, id="the original destination, with a name"),
        pytest.param(ask(resolved="127.0.0.1"), Reason.HARD_ADDRESS, id="a resolved address"),
        pytest.param(ask(resolved="64:ff9b::a9fe:a9fe"), Reason.METADATA, id="a resolved address in NAT64 costume"),
        pytest.param(ask(resolved="::ffff:93.184.215.14"), Reason.HARD_ADDRESS, id="a costume that nobody needs"),
    ],
)
def test_nothing_lifts_the_hard_guard(asked: Ask, reason: Reason):
    assert denied(decide(asked, EVERYTHING)).reason is reason


def test_the_hard_guard_comes_before_identity():
    assert denied(decide(ask("localhost", by=Unknown("no pod")), EVERYTHING)).reason is Reason.HARD_ADDRESS


def test_not_even_a_rule_that_names_the_range_lifts_the_hard_guard():
    opened = policy(cluster("{action: allow, to: {addresses: [127.0.0.0/8]}}"))
    assert denied(decide(ask(None, to="127.0.0.1"), opened)).reason is Reason.HARD_ADDRESS


# --- 2. identity ---


def test_an_unknown_workload_is_denied_before_lists():
    verdict = denied(decide(ask(by=Unknown("no pod has this address")), EVERYTHING, [hit()]))

    assert verdict.reason is Reason.UNKNOWN_IDENTITY
    assert verdict.detail == "no workload is known for 10.1.2.3: no pod has this address"


# --- 3. lists ---


def test_a_list_names_its_entry_its_place_and_its_owner():
    verdict = denied(decide(ask(), EVERYTHING, [hit()]))

    assert verdict.reason is Reason.LISTED
    assert verdict.source == Source("Blocklist/malware", "example.com", "secops@example.com", "malware.txt:7")
    assert verdict.hit == hit()
    assert verdict.detail == "api.example.com:443 is on the list malware: example.com"


def test_an_audited_list_is_transparent():
    verdict = permitted(decide(ask(), EVERYTHING, [hit(audit=True)]))

    assert verdict.source.rule == "any"
    assert denied_by(verdict) == Reason.LISTED


def test_a_list_that_is_not_audited_counts_beside_one_that_is():
    hits = [hit("tried", audit=True), hit("malware")]
    assert denied(decide(ask(), EVERYTHING, hits)).hit == hits[1]


def denied_by(permit: Permit) -> Reason | None:
    return None if permit.would_deny is None else permit.would_deny.reason


# --- 4. the private guard ---

TEN = "{name: ten, action: allow, to: {addresses: [10.0.0.0/8], ports: [443]}}"
PASSED = "{name: ten, action: pass, to: {domains: ['*.corp.example.com'], addresses: [10.0.0.0/8]}}"
NAMED = "{name: ten, action: allow, to: {domains: ['*.corp.example.com'], addresses: [10.0.0.0/8]}}"
CORP = own("{name: corp, to: {domains: ['*.corp.example.com']}}")
WIKI = "wiki.corp.example.com"


@pytest.mark.parametrize(
    ("text", "asked", "reason"),
    [
        pytest.param(
            CORP, request(name=WIKI, resolved="10.0.0.1"), Reason.PRIVATE_ADDRESS, id="a namespace opens nothing"
        ),
        pytest.param(
            own("{to: {domains: ['*.corp.example.com'], addresses: [10.0.0.0/8]}}"),
            request(name=WIKI, resolved="10.0.0.1"),
            Reason.PRIVATE_ADDRESS,
            id="a namespace that names the range opens nothing",
        ),
        pytest.param(cluster(PASSED) + CORP, request(name=WIKI, resolved="10.0.0.1"), Reason.RULE, id="pass opens"),
        pytest.param(cluster(NAMED), request(name=WIKI, resolved="10.0.0.1"), Reason.RULE, id="allow opens"),
        pytest.param(cluster(NAMED), request(name=WIKI), Reason.RULE, id="unknown yet"),
        pytest.param(
            cluster(PASSED), request(name=WIKI, resolved="10.0.0.1"), Reason.NO_RULE, id="pass allows nothing"
        ),
        pytest.param(
            cluster(NAMED),
            request(name=WIKI, resolved="10.255.255.255"),
            Reason.RULE,
            id="the last address of the range",
        ),
        pytest.param(
            cluster(NAMED),
            request(name=WIKI, resolved="172.16.0.1"),
            Reason.PRIVATE_ADDRESS,
            id="another private range",
        ),
        pytest.param(
            cluster(NAMED), request(name=WIKI, resolved="64:ff9b::a00:1"), Reason.RULE, id="the range through NAT64"
        ),
        pytest.param(
            cluster(NAMED),
            request(name=WIKI, resolved="64:ff9b::ac10:1"),
            Reason.PRIVATE_ADDRESS,
            id="another range through NAT64",
        ),
        pytest.param(
            cluster(NAMED) + cluster(ANY, name="z"),
            request(name="api.example.com", resolved="10.0.0.1"),
            Reason.PRIVATE_ADDRESS,
            id="rebinding: a public name at a private address",
        ),
        pytest.param(
            cluster(TEN) + cluster(ANY, name="z"),
            request(name=WIKI, resolved="10.0.0.1"),
            Reason.PRIVATE_ADDRESS,
            id="a range alone opens no name",
        ),
        pytest.param(
            cluster(TEN), request(name="10.0.0.1", to="10.0.0.1"), Reason.RULE, id="a range opens its literals"
        ),
        pytest.param(
            cluster(TEN), ask(None, to="10.0.0.1", protocols=HTTP), Reason.RULE, id="a range opens the nameless"
        ),
        pytest.param(
            cluster(ANY), ask(None, to="10.0.0.1", protocols=HTTP), Reason.PRIVATE_ADDRESS, id="allow all opens nothing"
        ),
        pytest.param(
            cluster("{action: allow, to: {addresses: [0.0.0.0/0]}}"),
            ask(None, to="10.0.0.1", protocols=HTTP),
            Reason.PRIVATE_ADDRESS,
            id="the whole Internet names no private range",
        ),
        pytest.param(
            cluster("{action: allow, to: {addresses: [8.0.0.0/5]}}"),
            ask(None, to="10.0.0.1", protocols=HTTP),
            Reason.PRIVATE_ADDRESS,
            id="a range around a private range does not name it",
        ),
        pytest.param(
            cluster(TEN, more="mode: audit") + cluster(ANY, name="z"),
            ask(None, to="10.0.0.1", protocols=HTTP),
            Reason.PRIVATE_ADDRESS,
            id="audit opens nothing",
        ),
        pytest.param(
            cluster(TEN, more="selector: {namespaces: {names: [lab]}}"),
            ask(None, to="10.0.0.1", protocols=HTTP),
            Reason.PRIVATE_ADDRESS,
            id="for another workload",
        ),
        pytest.param(
            cluster(TEN), ask(None, 8443, to="10.0.0.1", protocols=HTTP), Reason.PRIVATE_ADDRESS, id="another port"
        ),
        pytest.param(
            cluster(TEN, tier="baseline") + own(""),
            ask(None, to="10.0.0.1", protocols=HTTP),
            Reason.PRIVATE_ADDRESS,
            id="the baseline is not for the selected",
        ),
        pytest.param(
            cluster(NAMED)
            + cluster("{action: deny, to: {domains: [wiki.corp.example.com]}}", name="d", tier="security"),
            request(name=WIKI, resolved="10.0.0.1"),
            Reason.RULE_DENY,
            id="what is opened may still be denied",
        ),
        pytest.param(
            cluster("{action: allow, to: {domains: [a.corp.example.com], addresses: ['64:ff9b:1::/48', 10.0.0.0/8]}}"),
            request(name="a.corp.example.com", resolved="64:ff9b:1::a00:1"),
            Reason.RULE,
            id="local NAT64: the range and what is inside",
        ),
        pytest.param(
            cluster("{action: allow, to: {domains: [a.corp.example.com], addresses: ['64:ff9b:1::/48']}}"),
            request(name="a.corp.example.com", resolved="64:ff9b:1::a00:1"),
            Reason.PRIVATE_ADDRESS,
            id="local NAT64: the range alone",
        ),
    ],
)
def test_the_private_guard(text: str, asked: Ask, reason: Reason):
    verdict = decide(asked, policy(text))
    assert verdict.reason is reason
    if isinstance(verdict, Deny):
        assert verdict.detail


def test_cluster_ranges_are_opened_like_private_ones():
    from ipaddress import ip_network  # noqa: PLC0415  # the only test that builds a guard

    guard = Guard(cluster=[ip_network("93.184.0.0/16")])
    asked = request(resolved=PUBLIC)
    named = "{action: allow, to: {domains: [api.example.com], addresses: [93.184.215.0/24]}}"

    assert decide(asked, policy(cluster(ANY), guard=guard)).reason is Reason.PRIVATE_ADDRESS
    assert decide(asked, policy(cluster(named), guard=guard)).reason is Reason.RULE


# --- 5. ambiguous paths ---

PATHS = "{name: v1, to: {domains: [api.example.com]}, http: [{paths: [/v1/*]}]}"


@pytest.mark.parametrize(
    ("text", "name", "reason"),
    [
        pytest.param(own(PATHS), "api.example.com", Reason.AMBIGUOUS_PATH, id="a rule looks at paths"),
        pytest.param(own(PATHS + "," + "{name: x}"), "other.example.com", Reason.RULE, id="of another host only"),
        pytest.param(own("{name: x}"), "api.example.com", Reason.RULE, id="no rule looks at paths"),
        pytest.param(own("{name: x, http: [{methods: [GET]}]}"), "api.example.com", Reason.RULE, id="at methods only"),
        pytest.param(
            own("{name: x}") + own(PATHS, name="b", more="mode: audit"), "api.example.com", Reason.RULE, id="audited"
        ),
        pytest.param(
            own("{name: x}") + own(PATHS, name="b", more="selector: {matchLabels: {app: b}}"),
            "api.example.com",
            Reason.RULE,
            id="of another workload",
        ),
    ],
)
def test_an_ambiguous_path(text: str, name: str, reason: Reason):
    asked = request("GET", "/v1/x", name, ambiguous="holds an encoded slash")
    assert decide(asked, policy(text)).reason is reason


def test_an_audited_rule_that_looks_at_paths_would_deny_an_ambiguous_one():
    text = own("{name: x}") + own(PATHS, name="b", more="mode: audit")
    asked = request("GET", "/v1/x", ambiguous="holds an encoded slash")
    assert denied_by(permitted(decide(asked, policy(text)))) is Reason.AMBIGUOUS_PATH


def test_a_websocket_is_a_get():
    get = policy(own("{to: {domains: [api.example.com]}, http: [{methods: [GET], paths: [/ws]}]}"))

    assert decide(request("GET", "/ws", websocket=True), get).reason is Reason.RULE
    assert decide(request("CONNECT", "/ws", websocket=True), get).reason is Reason.RULE
    assert decide(request("CONNECT", "/ws"), get).reason is Reason.NO_RULE
    assert decide(request("GET", "/other", websocket=True), get).reason is Reason.NO_RULE


# --- 6. to 9. tiers: tests/cases/tiers.yaml. Here: what is not known yet ---

SNI = "{name: sni, to: {domains: [api.example.com]}, inspect: sni}"


@pytest.mark.parametrize(
    ("deny", "inspect"),
    [
        pytest.param("http: [{paths: [/admin/*]}]", Inspect.FULL, id="http of any host"),
        pytest.param("to: {domains: [api.example.com]}, http: [{methods: [PUT]}]", Inspect.FULL, id="http"),
        pytest.param("to: {domains: [api.example.com], protocol: https}", Inspect.FULL, id="protocol"),
        pytest.param("to: {addresses: [151.101.0.0/16]}", Inspect.SNI, id="address: decided before it is dialled"),
        pytest.param("to: {addresses: [151.101.0.0/16]}, http: [{methods: [PUT]}]", Inspect.FULL, id="both"),
        pytest.param(
            "to: {domains: [b.example.com]}, http: [{methods: [PUT]}]", Inspect.SNI, id="http of another host"
        ),
        pytest.param("to: {ports: [8443]}, http: [{methods: [PUT]}]", Inspect.SNI, id="http on another port"),
        pytest.param("to: {protocol: http}", Inspect.SNI, id="a protocol that it cannot be"),
        pytest.param("to: {protocol: ssh}", Inspect.SNI, id="another protocol that it cannot be"),
        pytest.param("http: [{paths: [/admin/*]}], mode: audit", Inspect.SNI, id="audit changes nothing"),
    ],
)
def test_what_a_deny_rule_needs_to_see_is_not_spliced(deny: str, inspect: Inspect):
    rules = policy(cluster(f"{{name: d, action: deny, {deny}}}", tier="security") + own(SNI))
    assert permitted(decide(ask(), rules)).inspect is inspect


@pytest.mark.parametrize(
    ("deny", "reason"),
    [
        pytest.param("http: [{paths: [/admin/*]}]", Reason.RULE_DENY, id="http"),
        pytest.param("to: {protocol: https}", Reason.RULE_DENY, id="what is not decrypted may be https"),
        pytest.param("to: {protocol: tls}", Reason.RULE_DENY, id="tls"),
        pytest.param("to: {protocol: ssh}", Reason.RULE, id="ssh"),
        pytest.param("to: {protocol: http}", Reason.RULE, id="http in clear"),
        pytest.param("to: {ports: [8443]}, http: [{paths: [/admin/*]}]", Reason.RULE, id="another port"),
    ],
)
def test_a_reload_closes_a_splice_that_a_new_rule_wants_to_see(deny: str, reason: Reason):
    rules = policy(cluster(f"{{name: d, action: deny, {deny}}}", tier="security") + own(SNI))
    assert decide(ask(protocols=SPLICED), rules).reason is reason


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        pytest.param(ask(to=OTHER_PUBLIC), Reason.RULE_DENY, id="where the packet was going"),
        pytest.param(ask(OTHER_PUBLIC), Reason.RULE_DENY, id="the literal"),
        pytest.param(ask(resolved=OTHER_PUBLIC), Reason.RULE_DENY, id="the resolved address"),
        pytest.param(ask(resolved="64:ff9b::9765:18c"), Reason.RULE_DENY, id="the resolved address through NAT64"),
        pytest.param(ask(None, to=OTHER_PUBLIC, protocols=OTHER), Reason.RULE_DENY, id="without a name"),
        pytest.param(ask(), Reason.RULE, id="not known yet"),
        pytest.param(ask(resolved=PUBLIC), Reason.RULE, id="another address"),
        pytest.param(ask(resolved="151.102.0.0"), Reason.RULE, id="the address behind the range"),
        pytest.param(ask(resolved="151.100.255.255"), Reason.RULE, id="the address before the range"),
    ],
)
def test_a_denied_range_denies_every_name_that_leads_there(asked: Ask, reason: Reason):
    rules = policy(cluster(f"{{name: d, action: deny, to: {{addresses: [151.101.0.0/16]}}}}, {ANY}"))
    assert decide(asked, rules).reason is reason


@pytest.mark.parametrize("port", [1, 22, 443, 8443, 65535])
@pytest.mark.parametrize("protocols", [OTHER, SSH, HTTP, SPLICED, CONNECT])
def test_a_deny_rule_without_ports_and_protocol_denies_all(port: int, protocols: frozenset[Protocol]):
    rules = policy(cluster("{action: deny, to: {domains: [api.example.com]}}", tier="security"), default="audit")
    assert decide(ask(port=port, protocols=protocols), rules).reason is Reason.RULE_DENY


def test_a_splice_needs_a_real_name_or_an_address_rule():
    rules = policy(own("{name: any, inspect: sni}"))

    assert decide(ask(), rules).reason is Reason.RULE
    assert decide(ask(PUBLIC), rules).reason is Reason.NO_RULE
    assert decide(ask(None), rules).reason is Reason.NO_RULE


def test_a_decrypted_connection_is_not_spliced_and_ech_does_not_matter_there():
    verdict = permitted(decide(request(), policy(own(SNI))))
    assert verdict.inspect is Inspect.FULL


def test_no_protocol_at_all_matches_no_rule():
    assert decide(ask(protocols=frozenset()), policy(own(SNI))).reason is Reason.NO_RULE


def test_neither_name_nor_destination():
    rules = policy(own("{name: ten, to: {addresses: [8.8.8.8]}}"))
    verdict = denied(decide(ask(None, to=None, protocols=HTTP), rules))
    assert verdict.detail == "an unknown address:443 is allowed by no rule of EgressPolicy/shop/own"


# --- 10. the default ---


@pytest.mark.parametrize(
    ("asked", "inspect"),
    [
        pytest.param(ask(), Inspect.FULL, id="TLS is decrypted"),
        pytest.param(ask(None, protocols=HTTP), Inspect.FULL, id="http is read"),
        pytest.param(ask(None, 22, protocols=SSH), Inspect.SNI, id="ssh cannot be looked into"),
        pytest.param(ask(None, 5432, protocols=OTHER), Inspect.SNI, id="other bytes neither"),
    ],
)
def test_the_audited_default_permits_and_says_what_it_would_deny(asked: Ask, inspect: Inspect):
    verdict = permitted(decide(asked, policy("", default="audit")))

    assert verdict.reason is Reason.DEFAULT_AUDIT
    assert verdict.inspect is inspect
    assert denied_by(verdict) is Reason.NO_RULE


@pytest.mark.parametrize(
    ("asked", "hits", "reason"),
    [
        pytest.param(ask("localhost"), [], Reason.HARD_ADDRESS, id="past the hard guard"),
        pytest.param(ask(by=Unknown("nobody")), [], Reason.UNKNOWN_IDENTITY, id="past identity"),
        pytest.param(ask(), [hit()], Reason.LISTED, id="past lists"),
        pytest.param(ask(resolved="10.0.0.1"), [], Reason.PRIVATE_ADDRESS, id="past the private guard"),
        pytest.param(ask(protocols=SPLICED, ech=True), [], Reason.ECH, id="past ECH on a splice"),
    ],
)
def test_the_audited_default_opens_nothing_before_it(asked: Ask, hits: list[ListHit], reason: Reason):
    assert decide(asked, policy("", default="audit"), hits).reason is reason


def test_the_audited_default_and_an_audited_rule_that_would_allow():
    verdict = permitted(decide(ask(), policy(own("{name: x}", more="mode: audit"), default="audit")))

    assert verdict.reason is Reason.DEFAULT_AUDIT
    assert verdict.would_deny is None


def test_an_empty_egress_policy_denies_those_it_selects():
    text = own("", more="selector: {matchLabels: {app: web}}") + cluster("{action: allow}", tier="baseline")

    assert decide(ask(by=workload(labels={"app": "web"})), policy(text)).reason is Reason.NO_RULE
    assert decide(ask(by=workload(labels={"app": "api"})), policy(text)).reason is Reason.RULE


def test_an_audited_egress_policy_would_deny_what_the_baseline_allows():
    text = own("", more="mode: audit") + cluster("{name: all, action: allow}", tier="baseline")
    verdict = permitted(decide(ask(), policy(text)))

    assert verdict.source.rule == "all"
    assert verdict.would_deny is not None
    assert verdict.would_deny.source.policy == "EgressPolicy/shop/own"


def test_a_permit_carries_its_ask_and_its_rule():
    asked = request()
    verdict = permitted(
        decide(asked, policy(own("{to: {domains: [api.example.com]}}", more="owner: shop@example.com")))
    )

    assert verdict.ask is asked
    assert verdict.source == Source("EgressPolicy/shop/own", "rules[0]", "shop@example.com", "p.yaml:4")


def test_all_policies_that_selected_are_named():
    verdict = denied(decide(ask(), policy(own("", name="b") + own("", name="a"))))

    assert verdict.source.policy == "EgressPolicy/shop/a"
    assert verdict.detail == "api.example.com:443 is allowed by no rule of EgressPolicy/shop/a, EgressPolicy/shop/b"


def test_the_policy_is_the_same_object_for_threads_and_callers():
    shared: Policy = EVERYTHING
    assert [decide(ask(), shared).reason for _ in range(3)] == [Reason.RULE] * 3
