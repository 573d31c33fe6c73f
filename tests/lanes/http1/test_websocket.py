from __future__ import annotations

from typing import Any, cast

import pytest
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, Pong, TextMessage
from wsproto.extensions import PerMessageDeflate

from sluicegate.exchange import Exchange, RequestHead, ResponseHead
from sluicegate.lanes.http1.websocket import Closed, Relay, Write, accepted
from sluicegate.verdict import Deny, Reason, built_in

LIMIT = 1000
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, 1.3
PROOF = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


class Told:
    """An exchange's side of it: what it was told, and No to what holds `secret`."""

    id = "incident-1"

    def __init__(self) -> None:
        self.messages: list[tuple[bool, bytes]] = []
        self.failed: Deny | None = None

    def message(self, from_client: bool, payload: bytes) -> object:
        self.messages.append((from_client, payload))
        return Deny(Reason.SENSITIVE_DATA, built_in("dlp"), "no") if b"secret" in payload else object()

    def fail(self, reason: Reason, detail: str) -> Deny:
        self.failed = Deny(reason, built_in("lane"), detail)
        return self.failed


class Bed:
    """A relay between two ends of another hand."""

    def __init__(self, **client: Any) -> None:
        self.told = Told()
        self.relay = Relay(cast("Exchange", self.told), LIMIT)
        self.ends = {True: Connection(ConnectionType.CLIENT, **client), False: Connection(ConnectionType.SERVER)}
        self.closed: Closed | None = None
        self.got: list[tuple[bool, Event]] = []

    def send(self, *events: Event, from_client: bool = True, step: int = 1 << 20) -> list[tuple[bool, Event]]:
        """(to the client, event) of all that came out."""
        return self.raw(b"".join(self.ends[from_client].send(event) for event in events), from_client, step)

    def raw(self, data: bytes, from_client: bool = True, step: int = 1 << 20) -> list[tuple[bool, Event]]:
        self.got = []
        for at in range(0, len(data), step):
            self.take(self.relay.feed(data[at : at + step], from_client=from_client))
        return self.got

    def take(self, outs: Any) -> None:
        for out in outs:
            if isinstance(out, Write):
                end = self.ends[out.to_client]
                end.receive_data(out.data)
                self.got += [(out.to_client, event) for event in end.events()]
            else:
                self.closed = out


TEXT = TextMessage("grüße")


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
@pytest.mark.parametrize("from_client", [True, False], ids=["from the client", "from the origin"])
def test_messages_pass_whole(from_client: bool, step: int):
    bed = Bed()
    sent = [TEXT, BytesMessage(b"\0\xff" * 100), TextMessage(""), Ping(b"p"), Pong(b"q")]

    got = bed.send(*sent, from_client=from_client, step=step)

    assert got == [(not from_client, event) for event in sent]
    assert bed.told.messages == [(from_client, text) for text in ("grüße".encode(), b"\0\xff" * 100, b"", b"p", b"q")]


def test_fragments_are_one_message_and_what_comes_between_passes_first():
    bed = Bed()

    got = bed.send(TextMessage("sec", message_finished=False), Ping(b""), TextMessage("re", message_finished=False))
    assert got == [(False, Ping(b""))]
    got = bed.send(TextMessage("d"))

    assert got == [(False, TextMessage("secred"))]


def test_a_secret_over_fragments_does_not_leave():
    bed = Bed()

    got = bed.send(TextMessage("sec", message_finished=False), TextMessage("ret"))

    assert got == [(True, CloseConnection(1008, "refused: sensitive-data, incident incident-1"))]
    assert bed.closed is not None
    assert bed.closed.deny is not None
    assert bed.closed.deny.reason is Reason.SENSITIVE_DATA


@pytest.mark.parametrize(
    "event", [Ping(b"secret"), Pong(b"secret"), CloseConnection(1000, "secret")], ids=["ping", "pong", "close"]
)
def test_control_frames_are_looked_at(event: Event):
    bed = Bed()

    got = bed.send(event)

    assert not [event for to_client, event in got if not to_client]
    assert bed.closed is not None
    assert bed.closed.deny is not None


@pytest.mark.parametrize(("size", "passes"), [(LIMIT, True), (LIMIT + 1, False)])
@pytest.mark.parametrize("parts", [1, 3])
def test_a_message_has_a_size(size: int, passes: bool, parts: int):
    bed = Bed()
    pieces = [b"x" * (size - parts + 1), *[b"x"] * (parts - 1)]

    bed.send(*[BytesMessage(piece, message_finished=at == parts - 1) for at, piece in enumerate(pieces)])

    assert (bed.closed is None) is passes
    assert passes or (bed.told.failed is not None and bed.told.failed.reason is Reason.MESSAGE_TOO_LARGE)


def test_a_message_without_end_is_not_kept():
    bed = Bed()
    huge = b"\x82\xff" + (1 << 40).to_bytes(8, "big") + bytes(4)

    bed.raw(huge + b"x" * (LIMIT + 1))

    assert bed.told.failed is not None
    assert bed.told.failed.reason is Reason.MESSAGE_TOO_LARGE


@pytest.mark.parametrize("from_client", [True, False])
def test_a_close_is_passed_on_and_answered(from_client: bool):
    bed = Bed()

    got = bed.send(CloseConnection(1001, "bye"), from_client=from_client)

    assert got == [(not from_client, CloseConnection(1001, "bye")), (from_client, CloseConnection(1001, "bye"))]
    assert bed.closed == Closed()


@pytest.mark.parametrize(
    ("data", "from_client", "reason"),
    [
        pytest.param(b"\x81\x01x", True, Reason.BAD_REQUEST, id="a client that does not mask"),
        pytest.param(b"\x81\x81\0\0\0\0x", False, Reason.UPSTREAM_BROKE, id="an origin that masks"),
        pytest.param(b"\x83\x80\0\0\0\0", True, Reason.BAD_REQUEST, id="an unknown frame"),
        pytest.param(b"\xc1\x81\0\0\0\0x", True, Reason.BAD_REQUEST, id="compression that nobody agreed to"),
        pytest.param(b"\x81\x81\0\0\0\0\xff", True, Reason.BAD_REQUEST, id="text that is not UTF-8"),
        pytest.param(b"\x09\x80\0\0\0\0", True, Reason.BAD_REQUEST, id="a ping in fragments"),
        pytest.param(b"\x80\x80\0\0\0\0", True, Reason.BAD_REQUEST, id="a continuation of nothing"),
    ],
)
def test_what_is_not_valid_ends_both_sides(data: bytes, from_client: bool, reason: Reason):
    bed = Bed()

    bed.raw(data, from_client)

    assert bed.told.failed is not None
    assert bed.told.failed.reason is reason
    assert bed.closed == Closed(bed.told.failed)
    assert not bed.told.messages


def test_a_client_that_compresses_all_the_same_is_refused():
    deflate = PerMessageDeflate()
    deflate.finalize("permessage-deflate")
    bed = Bed(extensions=[deflate])

    bed.send(TextMessage("secret" * 9))

    assert bed.told.failed is not None
    assert not bed.told.messages


def test_a_reload_tells_the_client_why():
    bed = Bed()
    deny = Deny(Reason.RELOADED, built_in("x"), "no more")

    bed.take(bed.relay.refuse(deny))

    assert bed.got == [(True, CloseConnection(1008, "refused: reloaded, incident incident-1"))]
    assert bed.closed == Closed(deny)


def handshake(**fields: bytes) -> ResponseHead:
    said = {"Upgrade": b"websocket", "Sec_WebSocket_Accept": PROOF} | fields
    return ResponseHead(101, tuple((name.replace("_", "-").encode(), value) for name, value in said.items() if value))


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        pytest.param(handshake(), True, id="the proof of the key"),
        pytest.param(handshake(Upgrade=b"WebSocket"), True, id="in any case"),
        pytest.param(handshake(Sec_WebSocket_Accept=b""), False, id="no proof"),
        pytest.param(handshake(Sec_WebSocket_Accept=PROOF.lower()), False, id="another proof"),
        pytest.param(handshake(Upgrade=b"h2c"), False, id="another protocol"),
        pytest.param(handshake(Upgrade=b""), False, id="no protocol"),
        pytest.param(handshake(Sec_WebSocket_Extensions=b"permessage-deflate"), False, id="compression"),
    ],
)
def test_a_handshake_is_accepted_by_its_proof(response: ResponseHead, expected: bool):
    request = RequestHead(b"GET", b"", b"", b"/", "HTTP/1.1", ((b"Sec-WebSocket-Key", KEY),))

    assert accepted(request, response) is expected
