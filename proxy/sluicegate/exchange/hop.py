"""What of a head is passed on. Heads are written anew: framing, Host and what belongs to one hop are ours."""

from __future__ import annotations

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
    drops = _REQUEST_DROPS | _named_by_connection(head) | (_WEBSOCKET_DROPS if target.websocket else frozenset())
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
    _check_framing(head)
    upgraded = websocket and head.status == 101
    drops = _RESPONSE_DROPS | _named_by_connection(head)
    kept = tuple((key, value) for key, value in head.headers if key.lower() not in drops)
    return (*kept, (b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")) if upgraded else kept


def _check_framing(head: ResponseHead) -> None:
    lengths, codings = head.values(b"content-length"), head.values(b"transfer-encoding")
    if len(lengths) > 1 or (lengths and not lengths[0].isdigit()):
        raise Stop(Reason.UPSTREAM_BROKE, "the origin's Content-Length is not one plain number")
    if codings and (lengths or len(codings) > 1 or codings[0].lower() != b"chunked"):
        raise Stop(Reason.UPSTREAM_BROKE, "the origin's Transfer-Encoding is not exactly `chunked`, alone")
    for key, value in head.headers:
        if b"\r" in value or b"\n" in value or b"\0" in value or not TOKEN.fullmatch(key):
            raise Stop(Reason.UPSTREAM_BROKE, "a field of the origin's head holds a line break or has no proper name")


def _named_by_connection(head: RequestHead | ResponseHead) -> frozenset[bytes]:
    """Fields that Connection declares to be of this hop; never those that frame or route (a known smuggling trick)."""
    named = {token.strip().lower() for value in head.values(b"connection") for token in value.split(b",")}
    return frozenset(named - {b"content-length", b"transfer-encoding", b"host", b"authorization", b"cookie", b"close"})
