"""What of a head is passed on. Heads are written anew: framing, Host and what belongs to one hop are ours."""

from __future__ import annotations

import enum

from sluicegate.exchange.heads import TOKEN, Headers, RequestHead, ResponseHead, Target
from sluicegate.exchange.stop import Stop
from sluicegate.verdict import Reason

# RFC 9110, 7.6.1, and what proxies of the past have added to it.
_HOP = frozenset({
    b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization", b"te", b"upgrade",
    b"http2-settings", b"proxy-authentication-info",
})  # fmt: skip
_REQUEST_DROPS = _HOP | {b"host", b"expect", b"trailer"}
# Alt-Svc would move the client to a port or protocol that does not pass through here (RFC 7838).
_RESPONSE_DROPS = _HOP | {b"alt-svc", b"trailer"}
# Compression inside the tunnel would have to be bounded on both sides: nobody negotiates it (RFC 7692).
_WEBSOCKET_DROPS = frozenset({b"sec-websocket-extensions"})
_DEFAULT_PORT = {True: 443, False: 80}


def request_headers(head: RequestHead, target: Target, *, tls: bool) -> Headers:
    """The fields to send upstream: Host first, then the client's in their order, without those of this hop."""
    drops = (
        _REQUEST_DROPS | _named(head.values(b"connection")) | (_WEBSOCKET_DROPS if target.websocket else frozenset())
    )
    kept = [(key, value) for key, value in head.headers if key.lower() not in drops]
    if target.websocket:
        kept += [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
    elif b"trailers" in head.values(b"te"):
        kept.append((b"TE", b"trailers"))  # gRPC insists on it
    return ((b"Host", host_field(target, tls=tls)), *kept)


def host_field(target: Target, *, tls: bool) -> bytes:
    """Host in canonical form: the port only where it is not the scheme's own."""
    host = target.name.url
    return host.encode() if target.port == _DEFAULT_PORT[tls] else f"{host}:{target.port}".encode()


def response_headers(head: ResponseHead, *, websocket: bool) -> Headers:
    """The fields to hand to the client. Raises Stop for what two clients may frame differently."""
    kept: list[tuple[bytes, bytes]] = []
    special: list[tuple[_Kind, bytes]] = []
    for field in head.headers:
        kind = _KINDS.get(field[0])
        if kind is None:
            kind = _kind(field[0])
        if kind is not _PLAIN:
            special.append((kind, field[1]))
            if kind is _DROPPED or kind is _CONNECTION:
                continue
        kept.append(field)
    values = b" ".join([value for _, value in head.headers])
    if b"\r" in values or b"\n" in values or b"\0" in values:
        raise Stop(Reason.UPSTREAM_BROKE, "a field of the origin's head holds a line break")
    if special:
        kept = _judged(kept, special)
    if websocket and head.status == 101:
        return (*kept, (b"Connection", b"Upgrade"), (b"Upgrade", b"websocket"))
    return tuple(kept)


class _Kind(enum.Enum):
    """What the name of a response's field is to us."""

    PLAIN = enum.auto()
    DROPPED = enum.auto()
    LENGTH = enum.auto()
    CODING = enum.auto()
    CONNECTION = enum.auto()
    BAD = enum.auto()


_PLAIN, _DROPPED, _CONNECTION = _Kind.PLAIN, _Kind.DROPPED, _Kind.CONNECTION
_BY_NAME = {
    **dict.fromkeys(_RESPONSE_DROPS, _Kind.DROPPED),
    b"content-length": _Kind.LENGTH,
    b"transfer-encoding": _Kind.CODING,
    b"connection": _Kind.CONNECTION,
}
_KINDS: dict[bytes, _Kind] = {}
"""Of the names seen so far, in their spelling: a few dozen serve nearly all origins."""
_MOST_KINDS = 2048


def _kind(name: bytes) -> _Kind:
    kind = _BY_NAME.get(name.lower(), _Kind.PLAIN) if TOKEN.fullmatch(name) else _Kind.BAD
    if len(_KINDS) >= _MOST_KINDS:
        _KINDS.clear()
    _KINDS[name] = kind
    return kind


def _judged(kept: list[tuple[bytes, bytes]], special: list[tuple[_Kind, bytes]]) -> list[tuple[bytes, bytes]]:
    """What is left of the fields to keep. Raises Stop."""
    lengths = [value for kind, value in special if kind is _Kind.LENGTH]
    codings = [value for kind, value in special if kind is _Kind.CODING]
    if any(kind is _Kind.BAD for kind, _ in special):
        raise Stop(Reason.UPSTREAM_BROKE, "a field of the origin's head has no proper name")
    if len(lengths) > 1 or (lengths and not lengths[0].isdigit()):
        raise Stop(Reason.UPSTREAM_BROKE, "the origin's Content-Length is not one plain number")
    if codings and (lengths or len(codings) > 1 or codings[0].lower() != b"chunked"):
        raise Stop(Reason.UPSTREAM_BROKE, "the origin's Transfer-Encoding is not exactly `chunked`, alone")
    said = [value for kind, value in special if kind is _CONNECTION]
    if not said or (len(said) == 1 and said[0].lower() in _NAMELESS):
        return kept
    named = _named(said)
    return [field for field in kept if field[0].lower() not in named]


_NAMELESS = frozenset({b"close", b"keep-alive"})


def _named(values: list[bytes]) -> frozenset[bytes]:
    """Fields that Connection declares to be of this hop; never those that frame or route (a known smuggling trick)."""
    if not values:
        return frozenset()
    named = {token.strip().lower() for value in values for token in value.split(b",")}
    return frozenset(named - {b"content-length", b"transfer-encoding", b"host", b"authorization", b"cookie", b"close"})
