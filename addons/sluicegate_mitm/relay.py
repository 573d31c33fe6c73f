"""WebSocket, sans-io: whole messages are put together, scanned and passed on (RFC 6455). None is kept."""

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


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes for one of the sides."""

    to_client: bool
    data: bytes


@dataclass(frozen=True, slots=True)
class Closed:
    """Both sides are to be closed. deny: because of this."""

    deny: Deny | None = None


def accepted(request: RequestHead, response: ResponseHead) -> bool:
    """Whether a 101 really answers this handshake: anything else would be a tunnel for whatever two ends agree on."""
    key = request.values(b"sec-websocket-key")[0]
    expected = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
    return (
        response.values(b"sec-websocket-accept") == [expected]
        and [value.lower() for value in response.values(b"upgrade")] == [b"websocket"]
        and not response.values(b"sec-websocket-extensions")
    )


class Relay:
    """Bytes of one side in, bytes for the sides out."""

    def __init__(self, exchange: Exchange, limit: int) -> None:
        self._exchange = exchange
        self._limit = limit
        self._sides = {True: WebSocket(ConnectionType.SERVER), False: WebSocket(ConnectionType.CLIENT)}
        self._parts: dict[bool, list[bytes]] = {True: [], False: []}
        self._sizes = {True: 0, False: 0}

    def feed(self, data: bytes, *, from_client: bool) -> Iterator[Write | Closed]:
        """After Closed nothing more may be fed."""
        try:
            self._sides[from_client].receive_data(data)
            for event in self._sides[from_client].events():
                for out in self._event(event, from_client):
                    yield out
                    if isinstance(out, Closed):
                        return
        except (RemoteProtocolError, LocalProtocolError, UnicodeError):
            yield from self._invalid(from_client)

    def refuse(self, deny: Deny) -> Iterator[Write | Closed]:
        """Ends the conversation from outside, for instance after a reload."""
        yield from self._refuse(deny)

    def _event(self, event: Event, from_client: bool) -> Iterator[Write | Closed]:  # noqa: FBT001 - two directions
        match event:
            case Message():
                yield from self._part(event, from_client)
            case Ping() | Pong():
                # Their payload is up to 125 bytes of anything.
                yield from self._scanned(bytes(event.payload), from_client, [event])
            case CloseConnection() if self._sides[from_client].state is ConnectionState.OPEN:
                yield from self._invalid(from_client)  # wsproto's word for frames that make no sense
            case CloseConnection():
                reason = (event.reason or "").encode()
                yield from self._scanned(reason, from_client, [event])
                yield from self._answer_close(event, from_client)

    def _invalid(self, from_client: bool) -> Iterator[Write | Closed]:  # noqa: FBT001 - two directions
        reason = Reason.BAD_REQUEST if from_client else Reason.UPSTREAM_BROKE
        yield from self._refuse(self._exchange.fail(reason, "what was sent is not valid WebSocket"))

    def _part(self, event: Message[Any], from_client: bool) -> Iterator[Write | Closed]:  # noqa: FBT001 - two directions
        data = event.data.encode() if isinstance(event.data, str) else bytes(event.data)
        self._sizes[from_client] += len(data)
        if self._sizes[from_client] > self._limit:
            detail = f"a message is larger than {self._limit} bytes"
            yield from self._refuse(self._exchange.fail(Reason.MESSAGE_TOO_LARGE, detail))
            return
        self._parts[from_client].append(data)
        if not event.message_finished:
            return
        whole = b"".join(self._parts[from_client])
        self._parts[from_client], self._sizes[from_client] = [], 0
        message = TextMessage(whole.decode()) if isinstance(event, TextMessage) else BytesMessage(whole)
        yield from self._scanned(whole, from_client, [message])

    def _scanned(self, payload: bytes, from_client: bool, events: list[Event]) -> Iterator[Write | Closed]:  # noqa: FBT001
        verdict = self._exchange.message(from_client, payload)
        if isinstance(verdict, Deny):
            yield from self._refuse(verdict)
            return
        other = self._sides[not from_client]
        for event in events:
            if other.state is ConnectionState.OPEN:
                yield Write(not from_client, other.send(event))

    def _answer_close(self, event: CloseConnection, from_client: bool) -> Iterator[Write | Closed]:  # noqa: FBT001
        side = self._sides[from_client]
        if side.state is ConnectionState.REMOTE_CLOSING:
            yield Write(from_client, side.send(event.response()))
        yield Closed()

    def _refuse(self, deny: Deny) -> Iterator[Write | Closed]:
        client = self._sides[True]
        if client.state is ConnectionState.OPEN:
            reason = f"refused: {deny.reason}, incident {self._exchange.id}"
            yield Write(to_client=True, data=client.send(CloseConnection(_POLICY_VIOLATION, reason[:120])))
        yield Closed(deny)
