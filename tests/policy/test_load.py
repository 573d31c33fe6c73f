"""What load refuses: one small YAML per failure, and the whole line that a person gets."""

from __future__ import annotations

import pytest

from policy.asks import GUARD, cluster, own, policy
from sluicegate import documents
from sluicegate.errors import ConfigError, ConfigErrors
from sluicegate.policy.load import load
from sluicegate.verdict import Inspect


def errors(text: str) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        policy(text)
    return [str(error) for error in caught.value.each]


def spec(rest: str) -> str:
    return f"{{kind: ClusterEgressPolicy, metadata: {{name: c}}, spec: {rest}}}"


RULE = "p.yaml: spec.rules[0]"

RULES = [
    # domains
    ("to: {domains: ['a*.example.com']}", ".to.domains[0]: `a*.example.com`: a wildcard is a whole label: use `*.example.com`"),
    ("to: {domains: ['*example.com']}", ".to.domains[0]: `*example.com`: a wildcard is a whole label: use `*.example.com`"),
    ("to: {domains: ['a.*.example.com']}", ".to.domains[0]: `a.*.example.com`: a wildcard is a whole label: use `*.example.com`"),
    ("to: {domains: ['*.*.example.com']}", ".to.domains[0]: `*.*.example.com`: a wildcard is a whole label: use `*.example.com`"),
    ("to: {domains: ['example.*']}", ".to.domains[0]: `example.*`: a wildcard is a whole label: use `*.example.com`"),
    ("to: {domains: ['*']}", ".to.domains[0]: `*`: would match every name: leave `domains` out where that is meant"),
    ("to: {domains: ['*.com']}", ".to.domains[0]: `*.com`: anybody can register a name below it: name the domains that are meant"),
    ("to: {domains: ['*.co.uk']}", ".to.domains[0]: `*.co.uk`: anybody can register a name below it: name the domains that are meant"),
    ("to: {domains: [.example.com]}", ".to.domains[0]: `.example.com`: begins with a dot: use `*.example.com` for what is below, and the name itself beside it"),
    ("to: {domains: [10.0.0.1]}", ".to.domains[0]: `10.0.0.1`: is an address: write `10.0.0.1` under `addresses`"),
    ("to: {domains: ['0x7f.1']}", ".to.domains[0]: `0x7f.1`: is an address: write `127.0.0.1` under `addresses`"),
    ("to: {domains: ['https://example.com/']}", ".to.domains[0]: `https://example.com/`: is a URL: write its host alone, and its path under `http`"),
    ("to: {domains: ['example.com:443']}", ".to.domains[0]: `example.com:443`: a port is not part of the host: leave it out (IPv6 addresses have at least two colons)"),
    ("to: {domains: []}", ".to.domains: `[]`: is empty and so matches nothing: name something, or leave the key out to match all"),
    ("to: {domains: }", ".to.domains: `None`: is empty: write a value, or leave the key out"),
    ("to: {domains: example.com}", ".to.domains: `example.com`: expected a list: start each entry with `- `"),
    # addresses
    ("to: {addresses: [10.0.0.1/8]}", ".to.addresses[0]: `10.0.0.1/8`: has bits set outside of its mask: use `10.0.0.0/8`"),
    ("to: {addresses: [example.com]}", ".to.addresses[0]: `example.com`: expected an address or a range, such as 10.0.0.0/8"),
    # ports
    ("to: {ports: ['443']}", ".to.ports[0]: `443`: a port is a number: write 443 without quotes"),
    ("to: {ports: [0]}", ".to.ports[0]: `0`: expected a port from 1 to 65535, or a range such as 8000-8100"),
    ("to: {ports: [65536]}", ".to.ports[0]: `65536`: expected a port from 1 to 65535, or a range such as 8000-8100"),
    ("to: {ports: [true]}", ".to.ports[0]: `True`: expected a port from 1 to 65535, or a range such as 8000-8100"),
    ("to: {ports: [8100-8000]}", ".to.ports[0]: `8100-8000`: expected a port such as 443, or a range such as 8000-8100"),
    ("to: {ports: [https]}", ".to.ports[0]: `https`: expected a port such as 443, or a range such as 8000-8100"),
    # protocol and inspect
    ("to: {protocol: htps}", ".to.protocol: `htps`: expected https, http, tls, ssh or tcp: did you mean `https`?"),
    ("inspect: sni, http: [{methods: [GET]}]", ".http: `http`: cannot be seen with `inspect: sni`: use `inspect: full`"),
    ("to: {protocol: http}, inspect: sni", ".inspect: `sni`: http in clear text has nothing to decrypt: use `inspect: full`"),
    ("to: {protocol: tls}", ": `protocol: tls`: cannot be looked into: use `inspect: sni`"),
    ("to: {protocol: tls}, inspect: full", ".inspect: `protocol: tls`: cannot be looked into: use `inspect: sni`"),
    ("to: {protocol: ssh, addresses: [1.1.1.1]}", ": `protocol: ssh`: cannot be looked into: use `inspect: sni`"),
    ("to: {protocol: ssh, domains: [a.example.com]}, inspect: sni", ".to: `protocol: ssh`: carries no name: add `addresses`"),
    ("to: {protocol: tcp, addresses: [1.1.1.1]}, inspect: sni", ".to: `protocol: tcp`: has no default ports: add `ports`"),
    ("inspect: none", ".inspect: `none`: expected full or sni"),
    ("ech: allow", ".ech: `allow`: is about connections that are not decrypted: add `inspect: sni`, or leave it out"),
    # http
    ("http: []", ".http: `[]`: is empty and so matches nothing: name something, or leave the key out to match all"),
    ("http: [{}]", ".http[0]: `{}`: matches every request: name `methods` or `paths`, or leave `http` out"),
    ("http: [{methods: [get]}]", ".http[0].methods[0]: `get`: methods are in upper case: use `GET`"),
    ("http: [{methods: ['*']}]", ".http[0].methods[0]: `*`: expected a method such as GET; leave `methods` out for any"),
    ("http: [{methods: }]", ".http[0].methods: `None`: is empty: write a value, or leave the key out"),
    ("http: [{paths: [v1/*]}]", ".http[0].paths[0]: `v1/*`: a path begins with a slash: use `/v1/*`"),
    ("http: [{paths: [/v1**]}]", ".http[0].paths[0]: `/v1**`: `**` is a whole segment: use `*` inside of one"),
    ("http: [{paths: ['/v1?a=*']}]", ".http[0].paths[0]: `/v1?a=*`: rules see no query: use `/v1`"),
    ("http: [{paths: [/a/../b]}]", ".http[0].paths[0]: `/a/../b`: holds dot segments, and such requests are denied: use `/b`"),
    ("http: [{paths: [/%61]}]", ".http[0].paths[0]: `/%61`: is not how paths are compared: use `/a`"),
    ("http: [{paths: [/a//b]}]", ".http[0].paths[0]: `/a//b`: is not how paths are compared: use `/a/b`"),
    # the rule
    ("mode: off", ".mode: `False`: expected enforce or audit"),
    ("mod: audit", ".mod: `mod`: unknown key: did you mean `mode`?"),
    ("to: {domain: [example.com]}", ".to.domain: `domain`: unknown key: did you mean `domains`?"),
    ("to: {lists: [paste]}", ".to.lists: `lists`: unknown key: known are domains, addresses, ports, protocol"),
    ("to: ", ".to: `None`: is empty: write a value, or leave the key out"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "line"), [pytest.param(rule, line, id=rule) for rule, line in RULES])
def test_a_rule_is_refused_with_its_fix(rule: str, line: str):
    assert errors(own(f"{{{rule}}}")) == [RULE + line]


CLUSTER_RULES = [
    ("action: pass, inspect: sni", ".inspect: `sni`: only an allow rule has it, this one is `pass`: leave it out"),
    ("action: deny, ech: allow", ".ech: `allow`: only an allow rule has it, this one is `deny`: leave it out"),
    ("action: block", ".action: `block`: expected allow, deny or pass"),
    ("to: {}", ": `action` is missing or empty: write a value"),
    ("action: pass, to: {protocol: tcp}", ".to: `protocol: tcp`: has no default ports: add `ports`"),
    ("action: deny, to: {protocol: ssh}, http: [{methods: [GET]}]", ".http: `http`: ssh has no requests: use `protocol: https`"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "line"), [pytest.param(rule, line, id=rule) for rule, line in CLUSTER_RULES])
def test_a_rule_of_a_cluster_policy_is_refused_with_its_fix(rule: str, line: str):
    assert errors(cluster(f"{{{rule}}}")) == [RULE + line]


OBJECTS = [
    ("kind: NetworkPolicy", "p.yaml: kind: `NetworkPolicy`: expected ClusterEgressPolicy or EgressPolicy"),
    ("kind: EgresPolicy", "p.yaml: kind: `EgresPolicy`: expected ClusterEgressPolicy or EgressPolicy: did you mean `EgressPolicy`?"),
    ("{apiVersion: v1, kind: EgressPolicy, metadata: {name: a, namespace: b}, spec: {}}", "p.yaml: apiVersion: `v1`: expected sluicegate.dev/v1alpha1"),
    ("{kind: EgressPolicy, spec: {}}", "p.yaml: `metadata` is missing or empty: write a value"),
    ("{kind: EgressPolicy, metadata: {name: a}, spec: {}}", "p.yaml: metadata: `a`: an EgressPolicy belongs to a namespace: add `namespace`"),
    ("{kind: EgressPolicy, metadata: {name: A_b, namespace: b}, spec: {}}", "p.yaml: metadata.name: `A_b`: is no name of an object: use lower-case letters, digits, hyphens and dots"),
    ("{kind: EgressPolicy, metadata: {name: a, namespace: b.c}, spec: {}}", "p.yaml: metadata.namespace: `b.c`: is no name of a namespace: use lower-case letters, digits and hyphens, at most 63"),
    ("{kind: EgressPolicy, metadata: {name: a, namespace: b}}", "p.yaml: `spec` is missing or empty: write a value"),
    ("{kind: EgressPolicy, metadata: {name: a, namespace: b}, spec: {tier: security}}", "p.yaml: spec.tier: `tier`: unknown key: known are selector, owner, mode, rules"),
    ("{kind: EgressPolicy, metadata: {name: a, namespace: b}, spec: {selector: {pods: {}}}}", "p.yaml: spec.selector.pods: `pods`: unknown key: known are matchLabels, matchExpressions, serviceAccounts"),
    ("{kind: EgressPolicy, metadata: {name: a, namespace: b}, spec: {selector: {serviceAccounts: [b/c]}}}", "p.yaml: spec.selector.serviceAccounts[0]: `b/c`: an EgressPolicy selects in its own namespace: use `c`"),
    ("{kind: ClusterEgressPolicy, metadata: {name: a, namespace: b}, spec: {tier: platform}}", "p.yaml: metadata: `b`: a ClusterEgressPolicy has no namespace: leave it out, or use an EgressPolicy"),
    (spec("{rules: [{action: deny}]}"), "p.yaml: spec: `tier` is missing: add it"),
    (spec("{tier: namespace, rules: [{action: deny}]}"), "p.yaml: spec.tier: `namespace`: expected security, platform or baseline"),
    (spec("{tier: security}"), "p.yaml: spec: `rules` is missing or empty: write a value"),
    (spec("{tier: security, rules: []}"), "p.yaml: spec.rules: `[]`: is empty and so does nothing: add a rule"),
    (spec("{tier: security, priority: -1, rules: [{action: deny}]}"), "p.yaml: spec.priority: `-1`: expected a whole number from 0 to 1000000"),
    (spec("{tier: security, selector: , rules: [{action: deny}]}"), "p.yaml: spec.selector: `None`: is empty: write a value, or leave the key out"),
    (spec("{tier: security, selector: {namespaces: {names: []}}, rules: [{action: deny}]}"), "p.yaml: spec.selector.namespaces.names: `[]`: is empty and so matches nothing: name something, or leave the key out to match all"),
    (spec("{tier: security, selector: {pods: {matchLabels: }}, rules: [{action: deny}]}"), "p.yaml: spec.selector.pods.matchLabels: `None`: is empty: write a value, or leave the key out"),
    (spec("{tier: security, selector: {cidrs: [10.0.0.1/24]}, rules: [{action: deny}]}"), "p.yaml: spec.selector.cidrs[0]: `10.0.0.1/24`: has bits set outside of its mask: use `10.0.0.0/24`"),
    (spec("{tier: security, selector: {serviceAccounts: [a/b/c]}, rules: [{action: deny}]}"), "p.yaml: spec.selector.serviceAccounts[0]: `a/b/c`: is no service account: use `name`, or `namespace/name`"),
    (spec("{tier: security, selector: {pods: {matchExpressions: [{key: a, operator: in, values: [b]}]}}, rules: [{action: deny}]}"), "p.yaml: spec.selector.pods.matchExpressions[0].operator: `in`: expected In, NotIn, Exists or DoesNotExist"),
    (spec("{tier: security, selector: {pods: {matchExpressions: [{key: a, operator: In}]}}, rules: [{action: deny}]}"), "p.yaml: spec.selector.pods.matchExpressions[0]: `values` is missing or empty: write a value"),
    (spec("{tier: security, selector: {pods: {matchExpressions: [{key: a, operator: NotIn, values: []}]}}, rules: [{action: deny}]}"), "p.yaml: spec.selector.pods.matchExpressions[0].values: `[]`: is empty: NotIn needs at least one value"),
    (spec("{tier: security, selector: {pods: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}, rules: [{action: deny}]}"), "p.yaml: spec.selector.pods.matchExpressions[0].values: `['b']`: Exists takes no values: leave them out"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line"), [pytest.param(text, line, id=line[:70]) for text, line in OBJECTS])
def test_an_object_is_refused_with_its_fix(text: str, line: str):
    assert errors(text) == [line]


@pytest.mark.parametrize("action", ["deny", "pass"])
def test_an_egress_policy_only_allows(action: str):
    line = f"{RULE}.action: `{action}`: an EgressPolicy only allows, and denies all else: use a ClusterEgressPolicy for this rule"
    assert errors(own(f"{{action: {action}}}")) == [line]


def test_an_egress_policy_may_say_so():
    assert policy(own("{action: allow}")).rules == 1


def test_two_objects_of_one_name():
    line = "p.yaml:6: metadata.name: `EgressPolicy/shop/own`: stands also in p.yaml:2: rename one"
    assert errors(own("") + own("")) == [line]
    assert policy(own("") + own("", namespace="lab") + cluster("{action: deny}", name="own")).objects == 3


def test_one_object_read_twice():
    node = documents.read(own(""), "p.yaml")[0]
    with pytest.raises(ConfigError, match=r"stands also in p\.yaml:2"):
        load([node, node], default="deny", guard=GUARD)


def test_two_rules_of_one_name():
    line = "p.yaml: spec.rules[1]: `a`: is also the name of the rule at p.yaml:4: rename one"
    assert errors(own("{name: a}, {name: a}")) == [line]


def test_all_errors_are_found_in_one_pass():
    text = (
        own(
            "{to: {domains: ['*', '*.com'], ports: ['1', 2, x]}, http: [{methods: [get], paths: [a]}], mode: x}, {x: y}"
        )
        + cluster("{action: x}, {action: deny, to: {addresses: [x]}}", more="priority: x, owner: 1, mode: x")
        + "---\nkind: Nothing\n"
    )
    found = [line.split(": `")[0] for line in errors(text)]

    assert found == [
        "p.yaml: spec.rules[0].to.domains[0]",
        "p.yaml: spec.rules[0].to.domains[1]",
        "p.yaml: spec.rules[0].to.ports[0]",
        "p.yaml: spec.rules[0].to.ports[2]",
        "p.yaml: spec.rules[0].http[0].methods[0]",
        "p.yaml: spec.rules[0].http[0].paths[0]",
        "p.yaml: spec.rules[0].mode",
        "p.yaml: spec.rules[1].x",
        "p.yaml: spec.owner",
        "p.yaml: spec.priority",
        "p.yaml: spec.mode",
        "p.yaml: spec.rules[0].action",
        "p.yaml: spec.rules[1].to.addresses[0]",
        "p.yaml: kind",
    ]


@pytest.mark.parametrize(
    "domain",
    ["'*.corp'", "'*.internal'", "'*.example.co.uk'", "'*.github.io'", "'*.blob.core.windows.net'", "a.b.c.example.com", "bücher.example", "EXAMPLE.com."],
)  # fmt: skip
def test_domains_that_are_well(domain: str):
    assert policy(own(f"{{to: {{domains: [{domain}]}}}}")).rules == 1


def test_a_deny_rule_may_be_about_all_below_a_registry():
    assert policy(cluster("{action: deny, to: {domains: ['*.zip']}}")).rules == 1


@pytest.mark.parametrize(
    ("rule", "ports"),
    [
        ("to: {protocol: https}", ((443, 443),)),
        ("to: {protocol: http}", ((80, 80),)),
        ("to: {protocol: tls}, inspect: sni", ((443, 443),)),
        ("to: {protocol: ssh, addresses: [1.1.1.1]}, inspect: sni", ((22, 22),)),
        ("to: {domains: [a.example.com]}", ((80, 80), (443, 443))),
        ("name: nothing", ((80, 80), (443, 443))),
        ("to: {ports: [22, 8000-8100]}", ((22, 22), (8000, 8100))),
    ],
)
def test_default_ports(rule: str, ports: tuple[tuple[int, int], ...]):
    assert policy(own(f"{{{rule}}}")).members[0].rules[0].ports == ports


def test_a_rule_inspects_fully_and_refuses_ech_unless_it_says_otherwise():
    rule = policy(own("{name: x}")).members[0].rules[0]
    assert (rule.inspect, rule.ech, rule.audit) == (Inspect.FULL, False, False)


def test_labels_annotations_and_status_of_kubernetes_are_ignored():
    text = (
        "{apiVersion: sluicegate.dev/v1alpha1, kind: EgressPolicy, status: {ok: true}, spec: {},"
        " metadata: {name: a, namespace: b, labels: {x: y}, annotations: {z: null}}}"
    )
    assert policy(text).objects == 1


def test_the_digest_is_of_the_content():
    one, two = own("{name: x, mode: audit}"), cluster("{action: deny}")
    digest = policy(one + two).digest

    assert len(digest) == 64
    assert policy(two + "---\n# a comment\n" + one).digest == digest
    assert policy(own("{mode: audit, name: x}") + two).digest == digest
    assert policy(one + two, default="audit").digest != digest
    assert policy(one.replace("x", "y") + two).digest != digest
    assert policy(one).digest != digest


def test_a_policy_counts_its_parts_and_is_frozen():
    loaded = policy(own("{name: x}, {name: y}") + cluster("{action: deny}"), default="audit")

    assert (loaded.objects, loaded.rules, loaded.default) == (2, 3, "audit")
    with pytest.raises(AttributeError):
        loaded.default = "deny"  # type: ignore[misc]  # that is the point


def test_nothing_is_a_policy_too():
    assert policy("").objects == 0
