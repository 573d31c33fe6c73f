"""What the layers of this lane say to each other beyond mitmproxy's own vocabulary.

The heads derive from mitmproxy's events, because HttpLayer makes a stream where it sees a RequestHeaders; they carry our
heads and not mitmproxy's, which have forgotten how the bytes stood on the wire.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

from mitmproxy.proxy.commands import CloseConnection
from mitmproxy.proxy.events import Event
from mitmproxy.proxy.layers.http import GetHttpConnection
from mitmproxy.proxy.layers.http._base import HttpEvent
from mitmproxy.proxy.layers.http._events import RequestHeaders, ResponseHeaders

from sluicegate.exchange import RequestHead, ResponseHead
from sluicegate.names import HostName
from sluicegate.verdict import Deny, Permit
from sluicegate_mitm.head import BadHead

type Headers = tuple[tuple[bytes, bytes], ...]

_NONE = cast("Any", None)  # the parent's field for mitmproxy's own message; nothing of ours reads it


class RequestStarts(RequestHeaders):
    """Client to stream: a request head, or why it is none."""

    def __init__(self, stream_id: int, head: RequestHead | BadHead, *, end_stream: bool) -> None:
        super().__init__(stream_id, _NONE, end_stream)
        self.head = head


class Forward(RequestHeaders):
    """Stream to upstream: the request as it is to be written. length: bytes of the body, None if not known."""

    def __init__(
        self, stream_id: int, head: RequestHead, *, length: int | None, end_stream: bool, upgrade: bool
    ) -> None:
        super().__init__(stream_id, _NONE, end_stream)
        self.head = head
        self.length = length
        self.upgrade = upgrade


class ResponseStarts(ResponseHeaders):
    """Upstream to stream: a response head."""

    def __init__(self, stream_id: int, head: ResponseHead, *, end_stream: bool) -> None:
        super().__init__(stream_id, _NONE, end_stream)
        self.head = head


class Answer(ResponseHeaders):
    """Stream to client: the response as it is to be written. length: bytes of the body, None if not known."""

    def __init__(
        self, stream_id: int, status: int, headers: Headers, length: int | None, *, end_stream: bool = False
    ) -> None:
        super().__init__(stream_id, _NONE, end_stream)
        self.status = status
        self.headers = headers
        self.length = length


@dataclass
class Continue(HttpEvent):
    """Stream to client: the head is permitted, the body may come (RFC 9110, 10.1.1)."""


@dataclass
class Stopped(HttpEvent):
    """Handler to stream: a reload refuses what it carries."""


class Drained(Event):
    """Handler to HttpLayer: a transport took what was waiting; held back acknowledgements may go."""


class Settle(Event):
    """HttpLayer to an HTTP/2 connection: acknowledge what the other side has taken."""


class Reset(CloseConnection):
    """Close at once and with RST, so that the peer can tell it from an orderly end."""


@dataclass
class OpenUpstream(GetHttpConnection):
    """Stream to HttpLayer: a connection for this permit, a new one or one in use for the same rule.

    fresh: only a new one. Set by HttpLayer: reused, and deny, why none was opened. The reply is GetHttpConnection's:
    (connection, error).
    """

    permit: Permit = field(kw_only=True)
    name: HostName = field(kw_only=True)
    fresh: bool = field(default=False, kw_only=True)
    reused: bool = field(default=False, kw_only=True)
    deny: Deny | None = field(default=None, kw_only=True)

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other

    def same_way(self, other: OpenUpstream) -> bool:
        """Whether a connection opened for `other` may carry this: same place, permitted by the same line of policy."""
        return (self.address, self.tls, self.permit.source) == (other.address, other.tls, other.permit.source)
