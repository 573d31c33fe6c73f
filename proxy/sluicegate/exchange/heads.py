"""Heads and connections as the lanes hand them over, and what reading a head says: a Target, or Stop.

This is the border: bytes of a client come in, one canonical name, port and path come out, or one plain reason why not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sluicegate import paths
from sluicegate.exchange.stop import Stop
from sluicegate.facts import Endpoint, Hello, Identity, Lane
from sluicegate.names import BadName, HostName, parse_authority
from sluicegate.verdict import Deny, Reason

type Headers = tuple[tuple[bytes, bytes], ...]

MAX_FIELDS = 200
TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}")
_METHOD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}")
_BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_BAD_TARGET = re.compile(rb"[\x00-\x20\x7f#]")
_VERSIONS = frozenset({"HTTP/1.0", "HTTP/1.1", "HTTP/2.0"})
_DEFAULT_PORT = {b"https": 443, b"http": 80}


@dataclass(frozen=True, slots=True)
class Connection:
    """One client connection, as far as it is known before its first request.

    name     the one canonical name (SNI, the CONNECT name, or the literal destination); None where each request says its
             own: plain HTTP
    port     where the client was going
    refused  given to every request instead of a decision: for clients that only an HTTP lane can give an answer to
    """

    id: str
    identity: Identity
    source: Endpoint
    destination: Endpoint | None
    hello: Hello
    name: HostName | None
    port: int
    tls: bool
    lane: Lane
    explicit: bool = False
    refused: Deny | None = None


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request head as it was parsed: nothing is judged yet.

    authority is :authority or the authority of an absolute-form target, b"" in origin form; target is path and query.
    """

    method: bytes
    scheme: bytes
    authority: bytes
    target: bytes
    version: str
    headers: Headers

    def values(self, name: bytes) -> list[bytes]:
        """All values of a field; `name` in lower case."""
        return [value for key, value in self.headers if key.lower() == name]


@dataclass(frozen=True, slots=True)
class ResponseHead:
    """A response head as it was parsed."""

    status: int
    headers: Headers
    version: str = "HTTP/1.1"

    def values(self, name: bytes) -> list[bytes]:
        """All values of a field; `name` in lower case."""
        return [value for key, value in self.headers if key.lower() == name]


@dataclass(frozen=True, slots=True)
class Target:
    """What a well-formed head asks for."""

    name: HostName
    port: int
    method: str
    path: paths.Path
    websocket: bool


def read(head: RequestHead, connection: Connection, limit: int) -> Target:
    """The one name, port, method and path of a request. Raises Stop.

    Everything a second server might read differently is refused here, for all lanes alike (RFC 9112, 3.2, 5 and 6.3).
    """
    _check_size(head.headers, len(head.method) + len(head.target) + len(head.authority), limit)
    _check_line(head)
    _check_fields(head.headers)
    _check_framing(head)
    name, port = _authority(head, connection)
    _check_agreement(name, port, connection)
    return Target(name, port, head.method.decode(), paths.canonical(head.target), _is_websocket(head))


def _check_size(headers: Headers, line: int, limit: int) -> None:
    if len(headers) > MAX_FIELDS:
        raise Stop(Reason.HEAD_TOO_LARGE, f"the head has more than {MAX_FIELDS} fields")
    if line + sum(len(key) + len(value) + 4 for key, value in headers) > limit:
        raise Stop(Reason.HEAD_TOO_LARGE, f"the head is larger than {limit} bytes")


def _check_line(head: RequestHead) -> None:
    if head.version not in _VERSIONS:
        raise Stop(Reason.BAD_REQUEST, "the HTTP version is not one of 1.0, 1.1 and 2")
    if not _METHOD.fullmatch(head.method):
        raise Stop(Reason.BAD_REQUEST, "the method is not a token")
    if head.method == b"CONNECT":
        raise Stop(Reason.BAD_REQUEST, "CONNECT is answered by the explicit proxy listener only")
    if _BAD_TARGET.search(head.target):
        raise Stop(Reason.BAD_REQUEST, "the target holds a space, a control character or a fragment")
    if not head.target.startswith(b"/") and not (head.method == b"OPTIONS" and head.target == b"*"):
        raise Stop(Reason.BAD_REQUEST, "the target is not a path")


def _check_fields(headers: Headers) -> None:
    for key, value in headers:
        if not TOKEN.fullmatch(key):
            raise Stop(Reason.BAD_REQUEST, "a field name is not a token")
        if _BAD_VALUE.search(value):
            raise Stop(Reason.BAD_REQUEST, "a field value holds a control character or a folded line")


def _check_framing(head: RequestHead) -> None:
    lengths, codings = head.values(b"content-length"), head.values(b"transfer-encoding")
    if len(lengths) > 1 or (lengths and not (lengths[0].isdigit() and len(lengths[0]) < 19)):
        raise Stop(Reason.BAD_REQUEST, "Content-Length is not one plain number")
    if codings and (lengths or head.version != "HTTP/1.1" or len(codings) > 1 or codings[0].lower() != b"chunked"):
        raise Stop(Reason.BAD_REQUEST, "Transfer-Encoding is not exactly `chunked`, alone, in HTTP/1.1")
    if any(value.lower() != b"100-continue" for value in head.values(b"expect")):
        raise Stop(Reason.BAD_REQUEST, "Expect is not `100-continue`")


def _authority(head: RequestHead, connection: Connection) -> tuple[HostName, int]:
    hosts = head.values(b"host")
    if len(hosts) > 1:
        raise Stop(Reason.BAD_REQUEST, "there is more than one Host")
    if not hosts and (head.version != "HTTP/2.0" or not head.authority):
        raise Stop(Reason.BAD_REQUEST, "there is no Host")
    expected = b"https" if connection.tls else b"http"
    if head.scheme and head.scheme.lower() != expected:
        raise Stop(Reason.NAMES_DISAGREE, f"the scheme is not {expected.decode()}")
    default = _DEFAULT_PORT[expected]
    said = {_parse(raw, default) for raw in (*hosts, head.authority) if raw or raw in hosts}
    if len(said) > 1:
        raise Stop(Reason.BAD_REQUEST, "Host and the authority of the target disagree")
    return said.pop()


def _parse(raw: bytes, default: int) -> tuple[HostName, int]:
    try:
        name, port = parse_authority(raw)
    except BadName as error:
        raise Stop(Reason.BAD_NAME, f"the host is not valid: {error}") from None
    return name, port if port is not None else default


def _check_agreement(name: HostName, port: int, connection: Connection) -> None:
    if connection.name is not None and name != connection.name:
        raise Stop(Reason.NAMES_DISAGREE, f"the request names {name}, its connection was made for {connection.name}")
    if not connection.explicit and port != connection.port:
        raise Stop(Reason.NAMES_DISAGREE, f"the request names port {port}, its connection goes to {connection.port}")


def _is_websocket(head: RequestHead) -> bool:
    # An offer in HTTP/1.1 only (RFC 6455); extended CONNECT (RFC 8441) is never offered by us.
    upgrades = [value.lower() for value in head.values(b"upgrade")]
    return (
        upgrades == [b"websocket"]
        and head.method == b"GET"
        and head.version == "HTTP/1.1"
        and b"upgrade" in _tokens(head.values(b"connection"))
        and len(head.values(b"sec-websocket-key")) == 1
    )


def _tokens(values: list[bytes]) -> set[bytes]:
    return {token.strip().lower() for value in values for token in value.split(b",")}
