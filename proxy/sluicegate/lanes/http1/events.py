"""What both readers say, beside their heads. msgspec, because a frozen dataclass costs ten times as much to make."""

from __future__ import annotations

import msgspec

from sluicegate.exchange.heads import Headers
from sluicegate.verdict import Reason


class Data(msgspec.Struct, frozen=True, gc=False):
    """Bytes of the body, chunks undone. Never empty."""

    data: bytes


class End(msgspec.Struct, frozen=True):
    """The body is complete. Not given after a head that says `end`.

    trailers  those that may pass on: none that frames, routes or authenticates (RFC 9110, 6.5.1)
    """

    trailers: Headers = ()


class Fault(msgspec.Struct, frozen=True):
    """The bytes are not read any further: this is the last event. `status` is for an answer, if one can be given."""

    reason: Reason
    detail: str
    status: int
