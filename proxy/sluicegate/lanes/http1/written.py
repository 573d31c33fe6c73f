"""The heads written last on a connection: those that come out of the same fields are the same bytes.

The exchange gives the same tuple of fields for what it has seen before, so it takes no more than a look at which it is.
"""

from __future__ import annotations

from sluicegate.exchange.heads import Headers
from sluicegate.lanes.http1 import writing
from sluicegate.lanes.http1.requests import Head

_AUTHENTICATES_CONNECTIONS = (b"ntlm", b"negotiate")


class Written:
    """One per client connection."""

    __slots__ = ("_asked", "_down", "_down_fields", "_down_form", "_up", "_up_fields", "binds")

    def __init__(self) -> None:
        self._asked: Head | None = None
        self._up_fields: Headers = ()
        self._up = b""
        self.binds = False
        """Whether the last request authenticates the connection it was written to."""
        self._down_fields: Headers = ()
        self._down_form: tuple[int, int | None, bool, bool] | None = None
        self._down = b""

    def request(self, asked: Head, target: bytes, fields: Headers, length: int | None) -> bytes:
        """writing.request_head. All else follows from what was asked."""
        if asked is not self._asked or fields is not self._up_fields:
            head = asked.head
            chunked = asked.length is None
            self._up = writing.request_head(head.method, target, fields, length=length, chunked=chunked)
            self.binds = binds(fields, b"authorization")
            self._asked, self._up_fields = asked, fields
        return self._up

    def response(
        self,
        status: int,
        fields: Headers,
        length: int | None,
        chunked: bool,  # noqa: FBT001 - one caller, and keywords cost
        keep_alive: bool,  # noqa: FBT001 - as above
    ) -> bytes:
        """writing.response_head."""
        form = (status, length, chunked, keep_alive)
        if fields is not self._down_fields or form != self._down_form:
            self._down = writing.response_head(status, fields, length=length, chunked=chunked, keep_alive=keep_alive)
            self._down_fields, self._down_form = fields, form
        return self._down


def binds(headers: Headers, name: bytes) -> bool:
    """Whether a field of this name authenticates the connection and not the request (NTLM, and Negotiate with it)."""
    size = len(name)
    return any(
        len(key) == size and key.lower() == name and value.lstrip().lower().startswith(_AUTHENTICATES_CONNECTIONS)
        for key, value in headers
    )
