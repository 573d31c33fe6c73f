"""The answer to an Ask: Permit or Deny. Neither has a default, and neither can be used as a truth value."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import NoReturn

from sluicegate.facts import Ask, Finding, ListHit

type Network = IPv4Network | IPv6Network


class Reason(enum.StrEnum):
    """Why. A closed set: metrics count by it, scripts match on it, docs/reasons.md explains each."""

    # permits
    RULE = "rule"  # a rule of a policy allows it
    DEFAULT_AUDIT = "default-audit"  # nothing matched, and the gateway's default is audit
    # policy
    METADATA = "metadata"
    HARD_ADDRESS = "hard-address"
    UNKNOWN_IDENTITY = "unknown-identity"
    LISTED = "listed"
    PRIVATE_ADDRESS = "private-address"
    RULE_DENY = "rule-deny"
    NO_RULE = "no-rule"
    ECH = "ech"
    # content
    SENSITIVE_DATA = "sensitive-data"
    UNSCANNABLE = "unscannable"
    # malformed or disagreeing input
    BAD_NAME = "bad-name"
    NAMES_DISAGREE = "names-disagree"
    BAD_REQUEST = "bad-request"
    AMBIGUOUS_PATH = "ambiguous-path"
    BAD_HELLO = "bad-hello"
    NOT_HTTP = "not-http"
    # limits
    HELLO_TIMEOUT = "hello-timeout"
    HELLO_TOO_LARGE = "hello-too-large"
    HEAD_TOO_LARGE = "head-too-large"
    TIMEOUT = "timeout"
    TOO_MANY_CONNECTIONS = "too-many-connections"
    MESSAGE_TOO_LARGE = "message-too-large"
    # the way upstream
    RESOLVE_FAILED = "resolve-failed"
    CONNECT_FAILED = "connect-failed"
    UPSTREAM_TLS = "upstream-tls"
    UPSTREAM_BROKE = "upstream-broke"
    CLIENT_TLS = "client-tls"
    CLIENT_GONE = "client-gone"
    # the gateway itself
    CRASH = "crash"
    RECORDS_FULL = "records-full"
    DRAINING = "draining"
    RELOADED = "reloaded"


class Inspect(enum.StrEnum):
    """How deep a permitted connection is looked into."""

    FULL = "full"
    SNI = "sni"


@dataclass(frozen=True, slots=True)
class Source:
    """Who decided: the object, its rule, the line it stands on, and the person to ask."""

    policy: str  # ClusterEgressPolicy/no-paste-sites, EgressPolicy/payments/payments; "" for built-in steps
    rule: str  # the rule's name, or rules[2]; built-in steps have names of their own
    owner: str
    place: str  # file:line; "" for built-in steps


class _NoTruth:
    __slots__ = ()

    def __bool__(self) -> NoReturn:
        # `if verdict:` would be true for a Deny.
        msg = "a verdict has no truth value: match on Permit and Deny"
        raise TypeError(msg)


@dataclass(frozen=True, slots=True)
class Deny(_NoTruth):
    """No. `detail` is one sentence for the person whose request it was."""

    reason: Reason
    source: Source
    detail: str = ""
    hit: ListHit | None = None
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Permit(_NoTruth):
    """Yes, to exactly this ask. Made by policy.decide alone; dial takes all that it dials from `ask`."""

    reason: Reason
    source: Source
    ask: Ask
    inspect: Inspect
    would_deny: Deny | None = None


type Verdict = Permit | Deny


class Coverage(enum.StrEnum):
    """How much of one direction was looked at."""

    FULL = "full"
    PARTIAL = "partial"
    OPAQUE = "opaque"
    NONE = "none"  # there was nothing to look at


def built_in(step: str) -> Source:
    """The Source of a step that no policy object holds."""
    return Source(policy="", rule=step, owner="", place="")
