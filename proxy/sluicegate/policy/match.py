"""Does a rule match an ask? Tables of parts; nothing here can fail, what could was refused at load.

An ask is put several times, each time with more known: for a connection (no request, no address), for each request on
it, and again for each address about to be dialled. So the answer has three values. YES and NO hold whatever else will
be known; MAYBE depends on it, and says on what: on the address, which is always asked about before it is dialled, or on
the content (the request, or what the bytes are), which is never seen on a connection that is spliced.

A rule matches if its domains AND addresses AND ports AND protocol AND one entry of http match. Addresses mean

* in an allow or pass rule: the address that will be dialled, or the IPv4 address that NAT64 leads to from there. Without domains beside them they authorise only asks
  without a name, or whose name is that literal address: behind a CDN's address live a million names, and whoever
  allowed the address meant none of them.
* in a deny rule: any address of the ask: where the packet was going, the literal name, the resolved address, and what
  is embedded in any of these (NAT64 and its kin). Without domains they deny every name that leads there.

`inspect: sni` passes bytes on unseen, so such a rule matches only what has a real name or lies in its addresses.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address, IPv6Network

from sluicegate.facts import Address, Ask, Protocol, Request
from sluicegate.policy.rules import Action, HttpMatch, Rule
from sluicegate.resolve.guard import faces
from sluicegate.verdict import Inspect


class Fit(enum.IntEnum):
    """Ordered, so that a rule fits as its worst part does."""

    YES = 0
    MAYBE_ADDRESS = 1
    MAYBE_CONTENT = 2
    NO = 3


_NAT64 = IPv6Network("64:ff9b::/96")
_TCP = frozenset({Protocol.TCP})


def match(rule: Rule, ask: Ask) -> Fit:
    """How the rule fits, all parts together."""
    worst = Fit.YES
    for _, part in PARTS:
        fit = part(rule, ask)
        if fit is Fit.NO:
            return fit
        worst = max(worst, fit)
    return worst


def misfit(rule: Rule, ask: Ask) -> str:
    """The part that decided match()'s answer, for people; "" for YES."""
    parts = [(part(rule, ask), name) for name, part in PARTS]
    worst = max(fit for fit, _ in parts)
    return "" if worst is Fit.YES else next(name for fit, name in parts if fit is worst)


def host(ask: Ask) -> str | None:
    """The name in ASCII; None where there is none or it is an address."""
    return None if ask.name is None or ask.name.address is not None else ask.name.ascii


def dialled(ask: Ask) -> Address | None:
    """The address that a permit of this ask leads to; None while the name is not resolved."""
    if ask.resolved is not None:
        return ask.resolved
    if ask.name is not None:
        return ask.name.address
    return None if ask.destination is None else ask.destination.address


def beneath(address: Address) -> Address:
    """The IPv4 address that NAT64's well-known prefix stands for; any other address itself."""
    if isinstance(address, IPv6Address) and address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def known_addresses(ask: Ask) -> Iterator[Address]:
    """Every address that the ask has to do with, the one that will be dialled first."""
    if ask.resolved is not None:
        yield ask.resolved
    if ask.name is not None and ask.name.address is not None:
        yield ask.name.address
    if ask.destination is not None:
        yield ask.destination.address


def known_faces(ask: Ask) -> list[Address]:
    """known_addresses, and what is embedded in them."""
    return [face for address in known_addresses(ask) for face in faces(address)]


def may_be(ask: Ask) -> frozenset[Protocol]:
    """What the connection may turn out to be. Everything is TCP; that counts only where nothing more is known."""
    return ask.protocols - _TCP or _TCP


def _domains(rule: Rule, ask: Ask) -> Fit:
    name = host(ask)
    if not rule.by_domain:
        return _without_domains(rule, name)
    if name is None:
        return Fit.NO
    if name in rule.exact:
        return Fit.YES
    dot = name.find(".") if rule.suffixes else -1
    while dot >= 0:
        if name[dot + 1 :] in rule.suffixes:
            return Fit.YES
        dot = name.find(".", dot + 1)
    return Fit.NO


def _without_domains(rule: Rule, name: str | None) -> Fit:
    if rule.action is Action.DENY:
        return Fit.YES
    if rule.addresses is not None:
        return Fit.YES if name is None else Fit.NO
    return Fit.NO if rule.inspect is Inspect.SNI and name is None else Fit.YES


def _port(rule: Rule, ask: Ask) -> Fit:
    if rule.ports is None or any(first <= ask.port <= last for first, last in rule.ports):
        return Fit.YES
    return Fit.NO


def _protocol(rule: Rule, ask: Ask) -> Fit:
    wanted = rule.protocols
    if wanted is None:
        return Fit.YES
    possible = may_be(ask)
    if possible <= wanted:
        return Fit.YES
    if possible & wanted:
        return Fit.MAYBE_CONTENT
    # TLS means that nobody looked inside. What is denied there cannot be ruled out.
    if rule.action is Action.DENY and Protocol.TLS in possible and Protocol.HTTPS in wanted:
        return Fit.MAYBE_CONTENT
    return Fit.NO


def _addresses(rule: Rule, ask: Ask) -> Fit:
    wanted = rule.addresses
    if wanted is None:
        return Fit.YES
    if rule.action is Action.DENY:
        if any(wanted.holds(face) for face in known_faces(ask)):
            return Fit.YES
        return Fit.MAYBE_ADDRESS if host(ask) is not None and ask.resolved is None else Fit.NO
    address = dialled(ask)
    if address is None:
        return Fit.MAYBE_ADDRESS if ask.name is not None else Fit.NO
    return Fit.YES if wanted.holds(address) or wanted.holds(beneath(address)) else Fit.NO


def _http(rule: Rule, ask: Ask) -> Fit:
    if not rule.http:
        return Fit.YES
    request = ask.request
    if request is None:
        return Fit.MAYBE_CONTENT
    return Fit.YES if any(_entry_matches(entry, request) for entry in rule.http) else Fit.NO


def _entry_matches(entry: HttpMatch, request: Request) -> bool:
    # A WebSocket opens with a GET, or over HTTP/2 with a CONNECT that stands for one (RFC 8441).
    method = "GET" if request.websocket else request.method
    return (entry.methods is None or method in entry.methods) and (
        entry.paths is None or entry.paths.match(request.path)
    )


PARTS: tuple[tuple[str, Callable[[Rule, Ask], Fit]], ...] = (
    ("domains", _domains),
    ("ports", _port),
    ("protocol", _protocol),
    ("addresses", _addresses),
    ("http", _http),
)
