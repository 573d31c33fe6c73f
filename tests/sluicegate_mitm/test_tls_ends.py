"""Origins that end TLS after our half of the handshake, which is when TLS 1.3 lets them say that they want a certificate."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest

from sluicegate.authority.contexts import bare
from sluicegate.names import HostName
from sluicegate_mitm import streams

GARBAGE = b"\x17\x03\x03\x00\x20" + bytes(32)
ASKS = "origin.test asks for a client certificate"
ALERT = "origin.test ended the connection with a TLS alert"
SILENT = "origin.test closed the connection right after the TLS handshake, it may ask for a client certificate"
BROKE = "the origin closed the connection instead of answering"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class ByHand:
    """A TLS server whose records go out when it is told to. `end` is what it does once the handshake is complete."""

    def __init__(self, context: ssl.SSLContext, end: Callable[[ByHand], Any]) -> None:
        self._context, self._end = context, end

    async def __call__(self, reader: Any, writer: Any) -> None:
        self.reader, self.writer = reader, writer
        self.incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = self._context.wrap_bio(self.incoming, self._outgoing, server_side=True)
        while not self._shaken():
            self.flush()
            self.incoming.write(await reader.read(65536))
        await self._end(self)

    def flush(self) -> None:
        if self._outgoing.pending:
            self.writer.write(self._outgoing.read())

    async def read(self) -> bytes:
        """What is said within TLS; it may have come together with the end of the handshake."""
        while True:
            try:
                return self.tls.read(65536)
            except ssl.SSLWantReadError:
                self.incoming.write(await self.reader.read(65536))

    def _shaken(self) -> bool:
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError:
            pass  # its alert is waiting to be sent
        return True


async def alert(server: ByHand) -> None:
    """Whatever was wrong with what it read, it says so, and leaves the rest to us."""
    server.incoming.write(GARBAGE)
    with contextlib.suppress(ssl.SSLError):
        while True:
            server.tls.read(65536)
    server.flush()
    await server.reader.read(-1)


async def say_why(server: ByHand) -> None:
    server.flush()
    await server.reader.read(-1)


async def close(_server: ByHand) -> None:
    pass  # the session tickets were never sent


async def reset(server: ByHand) -> None:
    streams.reset(server.writer)


async def close_in_order(server: ByHand) -> None:
    server.flush()
    with contextlib.suppress(ssl.SSLWantReadError):
        server.tls.unwrap()
    server.flush()


async def close_after_tickets(server: ByHand) -> None:
    server.flush()


async def read_and_close(server: ByHand) -> None:
    server.flush()
    await server.read()


def own_context(bed: Any) -> ssl.SSLContext:
    """One that may be changed: the bed's is shared."""
    context = bare(("http/1.1",))
    bed.leaves.leaf(HostName.parse("origin.test")).equip_stdlib(context)
    return context


def wants_certificates(context: ssl.SSLContext, ca: Any) -> None:
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(ca)


async def asked(bed: Any, talk: Any) -> bytes:
    """The answer to one request over HTTP/1; nothing but an answer at once is one."""
    async with bed.origin(talk) as origin, bed.door(origin.port) as port:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=bed.client_context(), server_hostname="origin.test"
        )
        writer.write(f"GET / HTTP/1.1\r\nHost: origin.test:{origin.port}\r\n\r\n".encode())
        async with asyncio.timeout(3):
            answer = await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()
        await bed.settle()
    return bytes(answer)


@pytest.mark.parametrize(
    ("end", "mutual", "reasons"),
    [
        pytest.param(say_why, True, {("upstream-tls", ASKS)}, id="a certificate is required"),
        pytest.param(alert, False, {("upstream-tls", ALERT)}, id="another alert"),
        pytest.param(close, False, {("upstream-tls", SILENT)}, id="closed without a word"),
        pytest.param(reset, False, {("upstream-tls", SILENT)}, id="reset"),
        pytest.param(read_and_close, False, {("upstream-broke", BROKE)}, id="it read the request: not a matter of TLS"),
        # Tickets and the end come in one read or in two.
        pytest.param(
            close_after_tickets,
            False,
            {("upstream-tls", SILENT), ("upstream-broke", BROKE)},
            id="closed after session tickets",
        ),
        pytest.param(
            close_in_order, False, {("upstream-tls", SILENT), ("upstream-broke", BROKE)}, id="closed with close_notify"
        ),
    ],
)
async def test_an_origin_that_ends_tls_13_after_the_handshake(bed: Any, end: Any, mutual: bool, reasons: Any):
    context = own_context(bed)
    if mutual:
        wants_certificates(context, bed.ca)
    assert (await asked(bed, ByHand(context, end))).startswith(b"HTTP/1.1 502 ")
    record = bed.record()
    assert (record["verdict"], record["status"]) == ("deny", 502)
    assert (record["reason"], record["detail"]) in reasons


async def test_with_tls_12_its_origin_has_taken_our_half_before_we_speak(bed: Any):
    context = own_context(bed)
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    assert (await asked(bed, ByHand(context, read_and_close))).startswith(b"HTTP/1.1 502 ")
    assert bed.record()["reason"] == "upstream-broke"


async def test_an_alert_after_the_answer_takes_nothing_from_it(bed: Any):
    async def answer(server: ByHand) -> None:
        server.tls.write(HEAD)
        await alert(server)

    context = own_context(bed)
    assert (await asked(bed, ByHand(context, answer))).startswith(b"HTTP/1.1 200 ")
    assert bed.record()["verdict"] == "allow"


async def test_an_alert_in_the_middle_of_an_answer_breaks_it_off(bed: Any):
    """Even of a body that ends with the connection."""

    async def half(server: ByHand) -> None:
        await server.read()
        server.tls.write(b"HTTP/1.1 200 OK\r\n\r\nhalf of it")
        await alert(server)

    context = own_context(bed)
    async with bed.origin(ByHand(context, half)) as origin, bed.door(origin.port) as port:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=bed.client_context(), server_hostname="origin.test"
        )
        writer.write(f"GET / HTTP/1.1\r\nHost: origin.test:{origin.port}\r\n\r\n".encode())
        with pytest.raises((ConnectionError, ssl.SSLError)):
            async with asyncio.timeout(3):
                await reader.read(-1)
        writer.transport.abort()
        await bed.settle()
    assert bed.record()["reason"] == "upstream-tls"


async def test_every_stream_of_http2_hears_of_the_alert(bed: Any):
    context = own_context(bed)
    context.set_alpn_protocols(["h2"])
    wants_certificates(context, bed.ca)
    web = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
    statuses: list[str] = []
    async with bed.origin(ByHand(context, say_why)) as origin, bed.door(origin.port) as port:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=bed.client_context(("h2",)), server_hostname="origin.test"
        )
        web.initiate_connection()
        head = [(":method", "GET"), (":scheme", "https"), (":authority", f"origin.test:{origin.port}"), (":path", "/")]
        for stream in (1, 3, 5):
            web.send_headers(stream, head, end_stream=True)
        writer.write(web.data_to_send())
        async with asyncio.timeout(3):
            while len(statuses) < 3:
                found = web.receive_data(await reader.read(65536))
                statuses += [dict(e.headers)[":status"] for e in found if isinstance(e, h2.events.ResponseReceived)]
        writer.transport.abort()
        await bed.settle()
    assert statuses == ["502"] * 3
    assert {record["detail"] for record in bed.records(3)} == {ASKS}
