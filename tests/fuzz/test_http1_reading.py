"""Nobody's bytes: no reading of them raises, cutting changes nothing, and what passes is read the same by others."""

from __future__ import annotations

from ipaddress import ip_address

import h11
import httptools
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from lanes.http1.conversations import requested, responded
from sluicegate.exchange import hop
from sluicegate.exchange.heads import Connection, RequestHead, read
from sluicegate.exchange.stop import Stop
from sluicegate.facts import Endpoint, Hello, Lane, Wire, Workload
from sluicegate.lanes.http1 import requests, responses, writing
from sluicegate.lanes.http1.chunks import Chunks
from sluicegate.lanes.http1.events import Data, End, Fault
from sluicegate.lanes.http1.held import Held
from sluicegate.lanes.strict import Refused

PLAIN = Connection(
    "id", Workload("shop", "web-1"), Endpoint(ip_address("10.0.0.1"), 4000), None, Hello(Wire.HTTP1), None, 80,
    tls=False, lane=Lane.HTTP1,
)  # fmt: skip

REQUESTS = [
    b"GET /a?b HTTP/1.1\r\nHost: a.test\r\nAccept: */*\r\nConnection: keep-alive\r\n\r\n",
    b"POST http://a.test/a HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /a HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"PUT /a HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    b"GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n",
    b"OPTIONS * HTTP/1.0\r\nHost: a.test\r\n\r\n",
    b"LIST /v1 HTTP/1.1\r\nHost: a.test\r\nX:\r\n\r\n",
]
ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nSet-Cookie: a\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.0 404 Not Found\r\nServer: x\r\n\r\nhello",
    b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
]
SPICES = [
    b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\0", b" ", b"\t", b":", b";", b",", b"#", b"\x7f", b"\xff", b"+", b"0x", b"_", b"0", b"5",
    b"Content-Length: 5\r\n", b"content-length: 0\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding : chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n", b"Host: e.test\r\n", b"Connection: close, host\r\n", b"Upgrade: h2c\r\n", b"HTTP/1.0", b"HTTP/2.0",
    b"GET ", b"CONNECT a.test:443 ", b"http://e.test", b" folded\r\n", b"0\r\n\r\n", b"ffffffffffffffff\r\n", b"Expect: 100-continue\r\n",
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """One or two seeds, with pieces cut out, put in, doubled or replaced."""
    data = b"".join(draw(st.lists(st.sampled_from(seeds), min_size=1, max_size=2)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        gone = draw(st.sampled_from([0, 0, 0, 1, 2, 8]))
        data = data[:at] + draw(st.sampled_from(SPICES) | st.binary(max_size=3)) + data[at + gone :]
    return data


@st.composite
def cut(draw: st.DrawFn, data: bytes) -> list[bytes]:
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


@settings(max_examples=600, deadline=None)
@given(st.data(), mutated(REQUESTS))
def test_requests_are_read_without_raising_and_the_same_in_all_cuts(data: st.DataObject, sent: bytes):
    whole = requested([sent])

    assert requested(data.draw(cut(sent))) == whole
    assert requested([bytes([byte]) for byte in sent]) == whole
    assert not any(isinstance(event, Fault) for event in whole[:-1])  # a Fault is the last word


@settings(max_examples=400, deadline=None)
@given(st.data(), mutated(ANSWERS), st.sampled_from([b"GET", b"HEAD"]), st.booleans())
def test_answers_are_read_without_raising_and_the_same_in_all_cuts(
    data: st.DataObject, sent: bytes, method: bytes, eof: bool
):
    whole = responded([sent], method=method, eof=eof)

    assert responded(data.draw(cut(sent)), method=method, eof=eof) == whole
    assert responded([bytes([byte]) for byte in sent], method=method, eof=eof) == whole


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_read(sent: bytes):
    assert requested([sent]) == requested([bytes([byte]) for byte in sent])
    assert responded([sent], eof=True) == responded([bytes([byte]) for byte in sent], eof=True)


def passed_on(head: RequestHead, event: requests.Head) -> bytes | None:
    """The head as it goes upstream; None where Exchange refuses it."""
    try:
        target = read(head, PLAIN, 64 << 10)
    except Stop:
        return None
    fields = hop.request_headers(head, target, tls=False)
    length = None if event.end else event.length
    return writing.request_head(head.method, head.target, fields, length=length, chunked=event.length is None)


@settings(max_examples=800, deadline=None)
@given(mutated(REQUESTS))
@example(b"POST /a HTTP/1.1\r\nHost: a.test\r\nConnection: content-length\r\nContent-Length: 5\r\n\r\nhello")
def test_what_goes_upstream_is_read_by_another_parser_as_the_same_request(sent: bytes):
    told = requested([sent])
    for at, event in enumerate(told):
        if not isinstance(event, requests.Head):
            continue
        raw = passed_on(event.head, event)
        complete = event.end or any(isinstance(each, End) for each in told[at + 1 : at + 3])
        if raw is None or not complete:
            continue
        body = next((each.data for each in told[at + 1 : at + 2] if isinstance(each, Data)), b"")
        wire = writing.chunk(body) + writing.last_chunk(()) if event.length is None else body
        if event.head.target.isascii():  # h11 knows no other
            check_with_h11(raw + wire, event.head, body)
        check_with_llhttp(raw, event.head)


def check_with_h11(wire: bytes, head: RequestHead, body: bytes) -> None:
    """One request, all of its bytes, and nothing after it."""
    peer = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    peer.receive_data(wire)
    request = peer.next_event()
    assert isinstance(request, h11.Request)
    assert (request.method, request.target) == (head.method, head.target)
    assert [value for name, value in request.headers if name == b"host"] == [wire.split(b"\r\n")[1][6:]]
    seen = b""
    while isinstance(event := peer.next_event(), h11.Data):
        seen += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert (seen, peer.trailing_data[0]) == (body, b"")


class Heard:
    """What llhttp tells of a message."""

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.url = b""

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value.strip(b" \t")))


def check_with_llhttp(raw: bytes, head: RequestHead) -> None:
    heard = Heard()
    parser = httptools.HttpRequestParser(heard)
    known = head.target.isascii() and head.method != b"LIST"
    fields = raw.partition(b"\r\n")[2]
    try:
        parser.feed_data(raw if known else b"GET / HTTP/1.1\r\n" + fields)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserInvalidMethodError:
        assume(False)
    assert not known or heard.url == head.target
    assert [name for name, _ in heard.fields].count(b"Host") == 1


@settings(max_examples=800, deadline=None)
@given(mutated(REQUESTS).map(lambda sent: sent.partition(b"\r\n\r\n")[0].rstrip(b"\r\n") + b"\r\n\r\n"))
def test_the_fields_of_llhttp_are_those_of_the_lines(raw: bytes):
    """Where a head passes, cutting it at its line ends and first colons gives the same fields."""
    event = requested([raw])[0] if raw.startswith((b"G", b"P", b"O", b"L")) else None
    if isinstance(event, requests.Head):
        parted = [line.partition(b":") for line in raw.lstrip(b"\r\n")[:-4].split(b"\r\n")[1:]]
        assert event.head.headers == tuple((name, value.strip(b" \t")) for name, _, value in parted)


BODIES = [b"5\r\nhello\r\n0\r\n\r\n", b"A;a=b\r\n0123456789\r\n1\r\nx\r\n0\r\n\r\n", b"0\r\nX: y\r\n\r\n"]


@settings(max_examples=600, deadline=None)
@given(mutated(BODIES))
def test_chunks_that_we_read_are_read_the_same_by_others(sent: bytes):
    held, chunks = Held(), Chunks()
    held.add(sent)
    try:
        body = chunks.read(held)
    except Refused:
        return
    if not chunks.done:
        return
    used = sent[: len(sent) - len(held)]
    assert by_h11(used) == body
    if b"-" not in used:  # llhttp refuses framing in trailers, which we drop
        assert by_llhttp(used) == body


HEAD = b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n"


def by_h11(sent: bytes) -> bytes:
    peer = h11.Connection(h11.SERVER)
    peer.receive_data(HEAD + sent)
    assert isinstance(peer.next_event(), h11.Request)
    seen = b""
    while isinstance(event := peer.next_event(), h11.Data):
        seen += event.data
    assert isinstance(event, h11.EndOfMessage)
    return seen


def by_llhttp(sent: bytes) -> bytes:
    class Body:
        def __init__(self) -> None:
            self.seen = b""
            self.done = False

        def on_body(self, data: bytes) -> None:
            self.seen += data

        def on_message_complete(self) -> None:
            self.done = True

    body = Body()
    httptools.HttpRequestParser(body).feed_data(HEAD + sent)
    assert body.done
    return body.seen


@settings(max_examples=400, deadline=None)
@given(mutated(ANSWERS))
def test_what_goes_to_the_client_is_read_by_another_parser_as_the_same_answer(sent: bytes):
    told = responded([sent], eof=True)
    at = next((at for at, event in enumerate(told) if isinstance(event, responses.Head)), None)
    if at is None or isinstance(told[-1], Fault):
        return
    head = told[at]
    assert isinstance(head, responses.Head)
    try:
        fields = hop.response_headers(head.head, websocket=False)
    except Stop:
        return
    chunked = not head.end and head.length is None
    if head.head.status == 101:
        return
    body = next((each.data for each in told[at + 1 : at + 2] if isinstance(each, Data)), b"") if not head.end else b""
    raw = writing.response_head(head.head.status, fields, length=head.length, chunked=chunked, keep_alive=True)
    wire = writing.chunk(body) + writing.last_chunk(()) if chunked else body
    check_answer_with_h11(raw + wire, head.head.status, body)


def check_answer_with_h11(wire: bytes, status: int, body: bytes) -> None:
    peer = h11.Connection(h11.CLIENT)
    peer.send(h11.Request(method="GET", target="/", headers=[("Host", "a.test")]))
    peer.send(h11.EndOfMessage())
    peer.receive_data(wire)
    answer = peer.next_event()
    assert isinstance(answer, h11.Response)
    assert answer.status_code == status
    seen = b""
    while isinstance(event := peer.next_event(), h11.Data):
        seen += event.data
    assert isinstance(event, h11.EndOfMessage)
    assert (seen, peer.trailing_data[0]) == (body, b"")
