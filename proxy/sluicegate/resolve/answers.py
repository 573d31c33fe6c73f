"""DNS messages as far as the resolver needs them: made, checked and read. No I/O."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from sluicegate.facts import Address
from sluicegate.names import BadName, HostName

_PAYLOAD = 1232  # bytes of UDP that pass everywhere unfragmented (DNS flag day 2020)
_NO_SOA_TTL = 5.0  # s; RFC 2308 would not cache these at all, which invites a storm
_HALF_TTL = 10.0  # s; where one family failed, it is asked for again soon

type Response = dns.message.QueryMessage


class Unusable(Exception):
    """A response, or its absence, that says nothing about the name; ``str()`` says why."""


@dataclass(frozen=True, slots=True)
class Found:
    """Addresses, or only aliases where a server left the chain unfinished; `ttl` in seconds, the least of all records."""

    addresses: tuple[Address, ...]
    chain: tuple[HostName, ...]
    ttl: float

    def followed_by(self, other: Found) -> Found:
        return Found(
            tuple(dict.fromkeys(self.addresses + other.addresses)),
            tuple(dict.fromkeys(self.chain + other.chain)),
            min(self.ttl, other.ttl),
        )


@dataclass(frozen=True, slots=True)
class Nothing:
    """The servers are sure: no such name, or no address for it. `ttl` in seconds, from the SOA record."""

    why: str
    ttl: float


def query(name: HostName, rdtype: str) -> dns.message.QueryMessage:
    """A recursive query for the absolute name."""
    return dns.message.make_query(absolute(name), rdtype, use_edns=0, payload=_PAYLOAD)


def absolute(name: HostName) -> dns.name.Name:
    return dns.name.from_text(name.ascii, origin=dns.name.root)


def checked(response: dns.message.Message) -> Response:
    """Raises Unusable for what another server may do better."""
    if not isinstance(response, dns.message.QueryMessage):
        raise Unusable("not an answer to a query")
    if response.rcode() not in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}:
        raise Unusable(dns.rcode.to_text(response.rcode()))
    if response.flags & dns.flags.TC:
        raise Unusable("cut short over TCP, too")
    return response


def read(response: Response) -> Found | Nothing:
    """What the response says of the name it was asked for. Raises Unusable."""
    try:
        result = response.resolve_chaining()
    except dns.exception.DNSException as error:
        raise Unusable(f"a chain of aliases that makes no sense ({error})") from error
    chain = tuple(_alias(rrset[0].target) for rrset in result.cnames)
    if result.answer is not None:
        if result.answer.rdtype not in {dns.rdatatype.A, dns.rdatatype.AAAA}:
            raise Unusable("an answer to another question")
        addresses = tuple(dict.fromkeys(ip_address(item.address) for item in result.answer))
        return Found(addresses, chain, result.minimum_ttl)
    if response.rcode() == dns.rcode.NXDOMAIN:
        return Nothing("does not exist", _negative_ttl(response, result.minimum_ttl))
    if chain and not _has_soa(response):
        return Found((), chain, result.minimum_ttl)
    return Nothing("has no address", _negative_ttl(response, result.minimum_ttl))


def joined(outcomes: Sequence[Found | Nothing | Unusable]) -> Found | Nothing:
    """A and AAAA as one; one that is missing was too slow. Nothing is believed only if all say it: else the missing family may be the one that counts."""
    if found := [outcome for outcome in outcomes if isinstance(outcome, Found)]:
        whole = found[0]
        for other in found[1:]:
            whole = whole.followed_by(other)
        sure = len(outcomes) == 2 and not any(isinstance(outcome, Unusable) for outcome in outcomes)
        return whole if sure else replace(whole, ttl=min(whole.ttl, _HALF_TTL))
    for outcome in outcomes:
        if isinstance(outcome, Unusable):
            raise outcome
    nothing = [outcome for outcome in outcomes if isinstance(outcome, Nothing)]
    return min(nothing, key=lambda each: each.ttl)


def _alias(target: dns.name.Name) -> HostName:
    try:
        name = HostName.parse(target.to_text(omit_final_dot=True))
    except BadName as error:
        raise Unusable(f"an alias leads to what is no host name: {error}") from None
    if name.address is not None:
        raise Unusable(f"an alias leads to the address {name}")
    return name


def _has_soa(response: Response) -> bool:
    return any(rrset.rdtype == dns.rdatatype.SOA for rrset in response.authority)


def _negative_ttl(response: Response, ttl: float) -> float:
    """Dnspython takes it from the SOA record as RFC 2308 says."""
    return ttl if _has_soa(response) and ttl < math.inf else _NO_SOA_TTL
