"""What is known of a connection and of a request: frozen values, each made once and never changed.

Peer -> Workload | Unknown -> Hello -> Ask: each is a step on the way of a connection (ARCHITECTURE.md).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from sluicegate.names import HostName

type Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address and a TCP port."""

    address: Address
    port: int

    def __str__(self) -> str:
        if self.address.version == 6:
            return f"[{self.address}]:{self.port}"
        return f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Workload:
    """Who speaks: a pod, as the identity table knows it."""

    namespace: str
    pod: str
    service_account: str = "default"
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace_labels: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.namespace}/{self.pod}"


@dataclass(frozen=True, slots=True)
class Unknown:
    """No workload is known for the peer. Denied; `why` says what was looked for."""

    why: str

    def __str__(self) -> str:
        return "unknown"


type Identity = Workload | Unknown


class Wire(enum.StrEnum):
    """What the first bytes of a connection look like."""

    TLS = "tls"
    HTTP1 = "http1"
    HTTP2 = "http2"  # the preface in clear text (prior knowledge)
    SSH = "ssh"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Hello:
    """The first bytes, understood. For TLS also what the ClientHello says; nothing in it is proven."""

    wire: Wire
    sni: HostName | None = None
    alpn: tuple[str, ...] = ()
    versions: tuple[int, ...] = ()  # as on the wire: 0x0303 is TLS 1.2, 0x0304 is TLS 1.3; GREASE left out
    ech: bool = False  # encrypted_client_hello (RFC 9849) offered; a GREASE one looks the same
    ja4: str = ""


class Protocol(enum.StrEnum):
    """What a rule's ``protocol:`` names."""

    HTTPS = "https"  # HTTP in TLS
    HTTP = "http"  # HTTP in clear text
    TLS = "tls"  # TLS that is passed on undecrypted
    SSH = "ssh"
    TCP = "tcp"  # bytes of any kind


class Lane(enum.StrEnum):
    """How a connection is carried."""

    REFUSE = "refuse"
    SPLICE = "splice"
    HTTP1 = "http1"
    MITM = "mitm"


@dataclass(frozen=True, slots=True)
class Request:
    """The head of an HTTP request as decide() sees it: canonical, without its headers' values."""

    method: str  # upper case as sent: methods are case-sensitive (RFC 9110, 9.1)
    path: str  # canonical (sluicegate.paths), without the query
    ambiguous: str | None = None  # why two servers may read the raw path differently, if they may
    websocket: bool = False


@dataclass(frozen=True, slots=True)
class Ask:
    """The question put to decide(). One for a connection (request is None), one for every request on it.

    name         the one canonical name (SNI = Host = :authority), None where there is none
    destination  where the client's packet was going; for an explicit proxy None: the client named a name only
    resolved     the address about to be dialled; None before resolution
    protocols    all that this may still turn out to be: a ClientHello may become HTTPS or stay opaque TLS
    """

    identity: Identity
    source: Endpoint
    name: HostName | None
    destination: Endpoint | None
    port: int
    protocols: frozenset[Protocol]
    request: Request | None = None
    resolved: Address | None = None
    ech: bool = False


@dataclass(frozen=True, slots=True)
class ListHit:
    """One line of one blocklist that holds the name or address asked for."""

    list: str
    entry: str  # the key as it stands in the list
    place: str  # file:line
    category: str = ""
    owner: str = ""
    audit: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """One piece of sensitive data, without the data: a keyed fingerprint and a mask."""

    rule: str
    location: str  # url, header:x-token, body, body:gzip, ws, grpc ...
    fingerprint: str
    masked: str
    severity: str = "high"
    action: str = "block"  # block | alert
    message: str = ""
