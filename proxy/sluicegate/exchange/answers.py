"""What a refused client is told, by reason: the status, RFC 9209's name for it, and what its owner can do."""

from __future__ import annotations

from dataclasses import dataclass

from sluicegate.verdict import Reason


@dataclass(frozen=True, slots=True)
class Answer:
    """status: of HTTP; error: a proxy error type of RFC 9209, 2.3; remedy: one sentence; grpc: gRPC's status code."""

    status: int
    error: str
    remedy: str

    @property
    def grpc(self) -> int:
        return _GRPC[self.status]


_GRPC = {
    400: 3,  # INVALID_ARGUMENT
    403: 7,  # PERMISSION_DENIED
    408: 4,  # DEADLINE_EXCEEDED
    413: 8,  # RESOURCE_EXHAUSTED
    421: 7,
    429: 8,
    431: 8,
    502: 14,  # UNAVAILABLE
    503: 14,
}

_ASK = "ask the owner named here, and give the incident"
_DENIED = "http_request_denied"
_BAD = "http_request_error"
_OURS = "proxy_internal_error"

ANSWERS = {
    # A refusal never carries a permit's reason; if one ever did, it would still be a refusal.
    Reason.RULE: Answer(403, _DENIED, _ASK),
    Reason.DEFAULT_AUDIT: Answer(403, _DENIED, _ASK),
    Reason.METADATA: Answer(
        403, "destination_ip_prohibited", "cloud metadata is never reachable from here: use workload identity instead"
    ),
    Reason.HARD_ADDRESS: Answer(
        403, "destination_ip_prohibited", "this address is never reachable through the gateway: use a public name"
    ),
    Reason.UNKNOWN_IDENTITY: Answer(
        403, _DENIED, "the gateway does not know this workload: have its namespace enrolled, or wait until it is"
    ),
    Reason.LISTED: Answer(403, _DENIED, "if the entry is wrong, ask the list's owner for an exception"),
    Reason.PRIVATE_ADDRESS: Answer(
        403, "destination_ip_prohibited", "private addresses need a cluster policy that names their range"
    ),
    Reason.RULE_DENY: Answer(403, _DENIED, _ASK),
    Reason.NO_RULE: Answer(403, _DENIED, "no rule allows this: add one to the namespace's policy, or ask its owner"),
    Reason.ECH: Answer(403, _DENIED, "the real name is encrypted: turn encrypted client hello off in the client"),
    Reason.SENSITIVE_DATA: Answer(
        403, _DENIED, "take the sensitive data out of the request, and revoke it if it is a secret"
    ),
    Reason.UNSCANNABLE: Answer(
        403, _DENIED, "send the content in a form that can be read: not encrypted, not nested deeper"
    ),
    Reason.BAD_NAME: Answer(400, _BAD, "send one valid host name"),
    Reason.NAMES_DISAGREE: Answer(
        421, _BAD, "the TLS name and the Host must be one and the same: open a connection of its own"
    ),
    Reason.BAD_REQUEST: Answer(400, _BAD, "send a request that keeps to RFC 9110 and RFC 9112"),
    Reason.AMBIGUOUS_PATH: Answer(
        400, _BAD, "write the path in its plain form: two servers could read this one differently"
    ),
    Reason.BAD_HELLO: Answer(400, _BAD, "send a ClientHello that keeps to RFC 8446"),
    Reason.NOT_HTTP: Answer(400, _BAD, "only HTTP is allowed there: a rule with `protocol:` can allow others"),
    Reason.HELLO_TIMEOUT: Answer(408, _BAD, "the client must speak first"),
    Reason.HELLO_TOO_LARGE: Answer(431, _BAD, "send a smaller ClientHello"),
    Reason.HEAD_TOO_LARGE: Answer(431, _BAD, "send fewer or shorter header fields"),
    Reason.TIMEOUT: Answer(408, _BAD, "send the request without long pauses, then try again"),
    Reason.TOO_MANY_CONNECTIONS: Answer(
        429, "connection_limit_reached", "close connections that are not used, or share them"
    ),
    Reason.MESSAGE_TOO_LARGE: Answer(413, _BAD, "send smaller messages"),
    Reason.RESOLVE_FAILED: Answer(502, "dns_error", "check the name; the gateway's resolver found no address for it"),
    Reason.CONNECT_FAILED: Answer(
        502, "destination_unavailable", "the destination does not accept connections: try again later"
    ),
    Reason.UPSTREAM_TLS: Answer(
        502, "tls_certificate_error", "the destination's certificate cannot be trusted: tell its operator"
    ),
    Reason.UPSTREAM_BROKE: Answer(502, "connection_terminated", "the destination broke off: try again"),
    Reason.CLIENT_TLS: Answer(400, _BAD, "let the client trust the cluster's CA and speak TLS 1.2 or newer"),
    Reason.CLIENT_GONE: Answer(400, _BAD, "stay connected until the answer has come"),
    Reason.CRASH: Answer(503, _OURS, "the gateway failed and let nothing through: give the incident to its operators"),
    Reason.RECORDS_FULL: Answer(503, _OURS, "verdicts cannot be recorded now, so nothing passes: try again later"),
    Reason.DRAINING: Answer(
        503, "connection_terminated", "this gateway is stopping: try again, another one will answer"
    ),
    Reason.RELOADED: Answer(403, _DENIED, "the policy has changed: ask the owner named here"),
}
