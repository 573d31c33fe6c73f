"""YAML -> Rule. What can fail, fails here; matching cannot.

How `protocol:` is read. A rule without one is about HTTP, in TLS or in clear; with `inspect: sni` also about TLS of any
content, since nobody looks inside, and `https` then means the same as `tls`. A deny rule without one is about all.

    protocol   default ports   an allow rule needs
    (none)     443 and 80
    https      443
    http       80              inspect: full (there is nothing to decrypt)
    tls        443             inspect: sni
    ssh        22              inspect: sni, addresses
    tcp        none            inspect: sni, addresses, ports

A deny rule without ports denies them all: whoever forbids a site does not mean to leave its port 8443 open.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Network

from sluicegate import paths
from sluicegate.documents import Fields, Node
from sluicegate.errors import ConfigError
from sluicegate.facts import Protocol
from sluicegate.policy import domains, globs
from sluicegate.policy.problems import Problems, filled
from sluicegate.policy.rules import Action, HttpMatch, PortRange, Rule, Tier
from sluicegate.policy.spans import AddressSet
from sluicegate.resolve.guard import Guard
from sluicegate.settings import network
from sluicegate.verdict import Inspect, Network, Source

_METHOD = re.compile(r"[A-Z][A-Z0-9!#$%&'*+.^_`|~-]*")
_PORTS = re.compile(r"([0-9]{1,5})-([0-9]{1,5})")
_DEFAULT_PORTS: dict[Protocol | None, tuple[PortRange, ...]] = {
    None: ((80, 80), (443, 443)),
    Protocol.HTTPS: ((443, 443),),
    Protocol.HTTP: ((80, 80),),
    Protocol.TLS: ((443, 443),),
    Protocol.SSH: ((22, 22),),
}
_HTTP = frozenset({Protocol.HTTP, Protocol.HTTPS})
_IN_TLS = frozenset({Protocol.HTTPS, Protocol.TLS})
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")


@dataclass(frozen=True, slots=True)
class Frame:
    """What a rule has from the object it stands in."""

    tier: Tier
    policy: str
    owner: str
    guard: Guard
    problems: Problems


@dataclass(frozen=True, slots=True)
class _To:
    node: Node
    exact: frozenset[str] = frozenset()
    suffixes: frozenset[str] = frozenset()
    addresses: AddressSet | None = None
    ports: tuple[PortRange, ...] | None = None
    protocol: Protocol | None = None


def load_rule(node: Node, index: int, frame: Frame) -> Rule | None:
    """None where the rule cannot be read at all; its errors are noted in the frame's problems."""
    with frame.problems.noted():
        fields = filled(node, "name", "action", "to", "http", "inspect", "ech", "mode")
        return _rule(node, fields, index, frame)
    return None


def _rule(node: Node, fields: Fields, index: int, frame: Frame) -> Rule:
    problems = frame.problems
    action = _action(fields, frame)
    to_node = fields.get("to")
    to = _To(node) if to_node is None else _to(to_node, action, problems)
    http_node = fields.get("http")
    http = () if http_node is None else tuple(problems.each(http_node, lambda item: _http_entry(item, problems)))
    inspect = problems.read(fields, "inspect", lambda item: Inspect(item.one_of(*Inspect)), Inspect.FULL)
    ech = problems.read(fields, "ech", lambda item: item.one_of("allow", "deny"), "deny")
    mode = problems.read(fields, "mode", lambda item: item.one_of("enforce", "audit"), "enforce")
    for error in _contradictions(fields, action, to, inspect):
        problems.add(error)
    return Rule(
        action=action,
        tier=frame.tier,
        source=Source(
            frame.policy, problems.read(fields, "name", Node.text, f"rules[{index}]"), frame.owner, node.where
        ),
        exact=to.exact,
        suffixes=to.suffixes,
        addresses=to.addresses,
        opens=_opens(to.addresses, action, frame),
        ports=_ports_or_default(to, action),
        protocols=_protocols(to.protocol, action, inspect, has_http=http_node is not None),
        http=http,
        inspect=inspect,
        ech=ech == "allow",
        audit=mode == "audit",
    )


def _action(fields: Fields, frame: Frame) -> Action:
    node = fields.get("action")
    if frame.tier is not Tier.NAMESPACE:
        return Action(fields.need("action").one_of(*Action))
    if node is not None and node.one_of(*Action) != Action.ALLOW:
        raise node.error("an EgressPolicy only allows, and denies all else: use a ClusterEgressPolicy for this rule")
    return Action.ALLOW


def _to(node: Node, action: Action, problems: Problems) -> _To:
    fields = filled(node, "domains", "addresses", "ports", "protocol")
    widen = action is not Action.DENY
    names, addresses, ports = fields.get("domains"), fields.get("addresses"), fields.get("ports")
    found = [] if names is None else problems.each(names, lambda item: domains.read(item, widen=widen))
    protocol = problems.read(fields, "protocol", lambda item: Protocol(item.one_of(*Protocol)), None)
    return _To(
        node,
        exact=frozenset(name for name, below in found if not below),
        suffixes=frozenset(name for name, below in found if below),
        addresses=None if addresses is None else AddressSet.of(problems.each(addresses, network)),
        ports=None if ports is None else tuple(problems.each(ports, _port_range)),
        protocol=protocol,
    )


def _port_range(node: Node) -> PortRange:
    if isinstance(node.value, str):
        found = _PORTS.fullmatch(node.value)
        if found and 1 <= int(found[1]) <= int(found[2]) <= 65535:
            return (int(found[1]), int(found[2]))
        if node.value.isascii() and node.value.isdigit():
            raise node.error(f"a port is a number: write {node.value} without quotes")
        raise node.error("expected a port such as 443, or a range such as 8000-8100")
    try:
        port = node.integer(1, 65535)
    except ConfigError:
        raise node.error("expected a port from 1 to 65535, or a range such as 8000-8100") from None
    return (port, port)


def _ports_or_default(to: _To, action: Action) -> tuple[PortRange, ...] | None:
    if to.ports is not None or action is Action.DENY:
        return to.ports
    return _DEFAULT_PORTS.get(to.protocol, ())  # tcp has none: that is an error, noted elsewhere


def _protocols(
    protocol: Protocol | None, action: Action, inspect: Inspect, *, has_http: bool
) -> frozenset[Protocol] | None:
    """What a connection may be for the rule to match; None: anything."""
    if protocol is Protocol.TCP:
        return None
    if protocol is None:
        if action is Action.ALLOW:
            return _HTTP | _IN_TLS if inspect is Inspect.SNI else _HTTP
        return _HTTP if has_http else None
    if inspect is Inspect.SNI and protocol in _IN_TLS:
        return _IN_TLS
    return frozenset({protocol})


def _opens(addresses: AddressSet | None, action: Action, frame: Frame) -> AddressSet | None:
    """The networks that lie in a private range as a whole: 0.0.0.0/0 names no private range, it only contains them."""
    if addresses is None or action is Action.DENY or frame.tier is Tier.NAMESPACE:
        return None
    named = [each for each in addresses.networks if _is_private(each, frame.guard)]
    return AddressSet.of(named) if named else None


def _is_private(each: Network, guard: Guard) -> bool:
    if isinstance(each, IPv6Network) and each.subnet_of(_LOCAL_NAT64):
        return True  # its ends carry 0.0.0.0 and 255.255.255.255, which are worse than private
    return guard.private(each[0]) is not None and guard.private(each[-1]) is not None


def _http_entry(node: Node, problems: Problems) -> HttpMatch:
    fields = filled(node, "methods", "paths")
    methods, patterns = fields.get("methods"), fields.get("paths")
    if methods is None and patterns is None:
        raise node.error("matches every request: name `methods` or `paths`, or leave `http` out")
    return HttpMatch(
        None if methods is None else frozenset(problems.each(methods, _method)),
        None if patterns is None else globs.compile_globs(problems.each(patterns, _path)),
    )


def _method(node: Node) -> str:
    text = node.text()
    if _METHOD.fullmatch(text):
        return text
    if _METHOD.fullmatch(text.upper()):
        raise node.error(f"methods are in upper case: use `{text.upper()}`")
    raise node.error("expected a method such as GET; leave `methods` out for any")


def _path(node: Node) -> str:
    text = node.text()
    try:
        globs.check(text)
    except globs.BadGlob as error:
        raise node.error(str(error)) from None
    canonical = paths.canonical(text)
    if canonical.query is not None:
        raise node.error(f"rules see no query: use `{text.partition('?')[0]}`")
    if canonical.ambiguous is not None:
        raise node.error(f"{canonical.ambiguous}, and such requests are denied: use `{canonical.path}`")
    if canonical.path != text:
        raise node.error(f"is not how paths are compared: use `{canonical.path}`")
    return text


def _contradictions(fields: Fields, action: Action, to: _To, inspect: Inspect) -> Sequence[ConfigError]:
    """Keys that are well by themselves and not together, each with what to write instead."""
    if action is not Action.ALLOW:
        keys = [node for key in ("inspect", "ech") if (node := fields.get(key)) is not None]
        found = [key.error(f"only an allow rule has it, this one is `{action}`: leave it out") for key in keys]
    else:
        found = list(_allow_contradictions(fields, to, inspect))
    http = fields.get("http")
    if http is not None and to.protocol in {Protocol.TLS, Protocol.SSH, Protocol.TCP}:
        found.append(ConfigError(http.place, "http", f"{to.protocol} has no requests: use `protocol: https`"))
    if to.protocol is Protocol.TCP and to.ports is None and action is not Action.DENY:
        found.append(ConfigError(to.node.place, "protocol: tcp", "has no default ports: add `ports`"))
    return found


def _allow_contradictions(fields: Fields, to: _To, inspect: Inspect) -> Sequence[ConfigError]:
    found: list[ConfigError] = []
    written, http, ech = fields.get("inspect"), fields.get("http"), fields.get("ech")
    spliced = inspect is Inspect.SNI
    opaque = to.protocol in {Protocol.TLS, Protocol.SSH, Protocol.TCP}
    if spliced and http is not None:
        found.append(ConfigError(http.place, "http", "cannot be seen with `inspect: sni`: use `inspect: full`"))
    if spliced and to.protocol is Protocol.HTTP and written is not None:
        found.append(written.error("http in clear text has nothing to decrypt: use `inspect: full`"))
    if opaque and not spliced:
        place = (written or fields.node).place
        found.append(ConfigError(place, f"protocol: {to.protocol}", "cannot be looked into: use `inspect: sni`"))
    if to.protocol in {Protocol.SSH, Protocol.TCP} and to.addresses is None:
        found.append(ConfigError(to.node.place, f"protocol: {to.protocol}", "carries no name: add `addresses`"))
    if ech is not None and ech.value == "allow" and not spliced:
        found.append(ech.error("is about connections that are not decrypted: add `inspect: sni`, or leave it out"))
    return found
