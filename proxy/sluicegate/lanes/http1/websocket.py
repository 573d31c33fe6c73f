"""WebSocket after its 101: frames in, whole messages to the exchange, frames of our own out (RFC 6455).

Nothing is compressed: the offer of permessage-deflate was removed from the request, and frames that use it are invalid.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from wsproto.connection import Connection as WebSocket
from wsproto.connection import ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Message, Ping, Pong, TextMessage
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from sluicegate.exchange import Exchange, RequestHead, ResponseHead
from sluicegate.verdict import Deny, Reason

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_POLICY_VIOLATION = 1008
_LONGEST_REASON = 120  # RFC 6455, 5.5: 125 bytes with the code


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes for one of the sides."""

    to_client: bool
    data: bytes


@dataclass(frozen=True, slots=True)
class Closed:
    """Both sides are to be closed, after what was to be written. deny: because of this."""

    deny: Deny | None = None


type Out = Write | Closed


def accepted(request: RequestHead, response: ResponseHead) -> bool:
    """Whether a 101 really answers this handshake: anything else would be a tunnel for whatever two ends agree on."""
    key = request.values(b"sec-websocket-key")[0]
    proof = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    return (
        response.values(b"sec-websocket-accept") == [proof]
        and [value.lower() for value in response.values(b"upgrade")] == [b"websocket"]
        and not response.values(b"sec-websocket-extensions")
    )


class _Side:
    """What one of the two ends says: its frames, and the parts of a message that is not complete."""

    __slots__ = ("frames", "from_client", "parts", "size")

    def __init__(self, *, from_client: bool) -> None:
        self.from_client = from_client
        self.frames = WebSocket(ConnectionType.SERVER if from_client else ConnectionType.CLIENT)
        self.parts: list[bytes] = []
        self.size = 0

    @property
    def open(self) -> bool:
        return self.frames.state is ConnectionState.OPEN

    def whole(self) -> bytes:
        message = b"".join(self.parts)
        self.parts, self.size = [], 0
        return message


class Relay:
    """Bytes of one side in, bytes for the sides out. limit: bytes of one message, over all its fragments."""

    def __init__(self, exchange: Exchange, limit: int) -> None:
        self._exchange = exchange
        self._limit = limit
        self._client = _Side(from_client=True)
        self._origin = _Side(from_client=False)

    def feed(self, data: bytes, *, from_client: bool) -> Iterator[Out]:
        """After Closed nothing more may be fed."""
        side = self._client if from_client else self._origin
        try:
            side.frames.receive_data(data)
            for event in side.frames.events():
                for out in self._event(event, side):
                    yield out
                    if isinstance(out, Closed):
                        return
        except (RemoteProtocolError, LocalProtocolError, UnicodeError):
            yield from self._invalid(side)

    def refuse(self, deny: Deny) -> Iterator[Out]:
        """Ends the conversation: the client is told, the origin is not."""
        if self._client.open:
            reason = f"refused: {deny.reason}, incident {self._exchange.id}"[:_LONGEST_REASON]
            yield Write(to_client=True, data=self._client.frames.send(CloseConnection(_POLICY_VIOLATION, reason)))
        yield Closed(deny)

    def _event(self, event: Event, side: _Side) -> Iterator[Out]:
        match event:
            case Message():
                yield from self._part(event, side)
            case Ping() | Pong():
                yield from self._pass(bytes(event.payload), side, event)  # up to 125 bytes of anything
            case CloseConnection() if side.open:
                yield from self._invalid(side)  # wsproto's word for frames that make no sense
            case CloseConnection():
                yield from self._close(event, side)

    def _part(self, event: Message[Any], side: _Side) -> Iterator[Out]:
        data = event.data.encode() if isinstance(event.data, str) else bytes(event.data)
        side.size += len(data)
        if side.size > self._limit:
            detail = f"a message is larger than {self._limit} bytes"
            yield from self.refuse(self._exchange.fail(Reason.MESSAGE_TOO_LARGE, detail))
            return
        side.parts.append(data)
        if event.message_finished:
            whole = side.whole()
            message = TextMessage(whole.decode()) if isinstance(event, TextMessage) else BytesMessage(whole)
            yield from self._pass(whole, side, message)

    def _pass(self, payload: bytes, side: _Side, event: Event) -> Iterator[Out]:
        verdict = self._exchange.message(side.from_client, payload)
        if isinstance(verdict, Deny):
            yield from self.refuse(verdict)
            return
        other = self._origin if side.from_client else self._client
        if other.open:
            yield Write(not side.from_client, other.frames.send(event))

    def _close(self, event: CloseConnection, side: _Side) -> Iterator[Out]:
        for out in self._pass((event.reason or "").encode(), side, event):
            yield out
            if isinstance(out, Closed):
                return
        if side.frames.state is ConnectionState.REMOTE_CLOSING:
            yield Write(side.from_client, side.frames.send(event.response()))
        yield Closed()

    def _invalid(self, side: _Side) -> Iterator[Out]:
        reason = Reason.BAD_REQUEST if side.from_client else Reason.UPSTREAM_BROKE
        yield from self.refuse(self._exchange.fail(reason, "what was sent is not valid WebSocket"))
