"""Why the first bytes of a connection could not be understood. Each ends in a Deny with its `reason`.

HelloError
  ├─ BadHello       not what it began to be: `why` names the field
  ├─ HelloTooLarge  above limits.hello
  ├─ HelloTimeout   not whole within limits.hello_timeout
  └─ PeerGone       closed or reset before it was whole
"""

from __future__ import annotations

from typing import ClassVar

from sluicegate.verdict import Reason


class HelloError(Exception):
    reason: ClassVar[Reason] = Reason.BAD_HELLO


class BadHello(HelloError):
    reason = Reason.BAD_HELLO

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class HelloTooLarge(HelloError):
    reason = Reason.HELLO_TOO_LARGE


class HelloTimeout(HelloError):
    reason = Reason.HELLO_TIMEOUT


class PeerGone(HelloError):
    reason = Reason.CLIENT_GONE
