"""A small real DNS server on loopback: UDP and TCP on one ephemeral port, answers from a table."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

SOA = "ns.test. hostmaster.test. 1 3600 600 86400 {minimum}"


class NameServer:
    """Knows what `add` told it; for the rest NXDOMAIN. `queries` is every query seen: name, type, transport."""

    def __init__(self) -> None:
        self.records = {}  # (name, type) -> list of lists of texts: one per query, the last one for good
        self.ttl = {}
        self.rcodes = {}
        self.lose = 0  # so many of the next queries get no answer
        self.silent = set()  # types that get no answer
        self.truncate = set()  # names whose UDP answers are cut short
        self.bare_aliases = False  # give CNAME records without what they lead to
        self.minimum = 60
        self.soa = True
        self.forge = None  # a function of the query's bytes: datagrams sent before the answer
        self.queries = []
        self.gate = asyncio.Event()  # answers wait for it
        self.gate.set()
        self.arrived = asyncio.Event()
        self._pending = set()

    def add(self, name: str, rdtype: str, *turns: str | list[str], ttl: int = 60) -> None:
        self.records[name, rdtype] = [turn if isinstance(turn, list) else [turn] for turn in turns]
        self.ttl[name] = ttl

    def asked(self, name: str) -> list[tuple[str, str, str]]:
        return [query for query in self.queries if query[0] == name]

    def answer(self, query: dns.message.QueryMessage, transport: str) -> dns.message.Message:
        name = query.question[0].name.to_text(omit_final_dot=True)
        rdtype = dns.rdatatype.to_text(query.question[0].rdtype)
        self.queries.append((name, rdtype, transport))
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA
        response.set_rcode(self.rcodes.get((name, rdtype), self.rcodes.get(name, dns.rcode.NOERROR)))
        if response.rcode() == dns.rcode.NOERROR:
            self._fill(response, name, rdtype)
        if transport == "udp" and name in self.truncate:
            response.answer.clear()
            response.flags |= dns.flags.TC
        return response

    def _fill(self, response: dns.message.Message, name: str, rdtype: str) -> None:
        for _ in range(20):
            if (name, "CNAME") not in self.records:
                break
            target = self._turn(name, "CNAME")[0]
            response.answer.append(self._rrset(name, "CNAME", [target]))
            if self.bare_aliases:
                return
            name = target.removesuffix(".")
        if (name, rdtype) in self.records:
            response.answer.append(self._rrset(name, rdtype, self._turn(name, rdtype)))
            return
        if not any(known == name for known, _ in self.records):
            response.set_rcode(dns.rcode.NXDOMAIN)
        if self.soa:
            response.authority.append(dns.rrset.from_text("test.", 3600, "IN", "SOA", SOA.format(minimum=self.minimum)))

    def _turn(self, name: str, rdtype: str) -> list[str]:
        turns = self.records[name, rdtype]
        return turns.pop(0) if len(turns) > 1 else turns[0]

    def _rrset(self, name: str, rdtype: str, texts: list[str]) -> dns.rrset.RRset:
        return dns.rrset.from_text(dns.name.from_text(name), self.ttl[name], "IN", rdtype, *texts)

    async def _reply(self, wire: bytes, transport: str, send: Callable[[bytes], None]) -> None:
        query = dns.message.from_wire(wire)
        response = self.answer(query, transport)
        self.arrived.set()
        await self.gate.wait()
        if dns.rdatatype.to_text(query.question[0].rdtype) in self.silent:
            return
        if self.lose > 0:
            self.lose -= 1
            return
        if transport == "udp":
            for forged in self.forge(wire) if self.forge else ():
                send(forged)
        send(response.to_wire(max_size=65535))

    def spawn(self, wire: bytes, transport: str, send: Callable[[bytes], None]) -> None:
        task = asyncio.ensure_future(self._reply(wire, transport, send))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            wire = await reader.readexactly(length)
            await self._reply(wire, "tcp", lambda data: writer.write(struct.pack("!H", len(data)) + data))
            await writer.drain()
        writer.close()

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator[int]:
        """Yields the port on 127.0.0.1."""
        stream = await asyncio.start_server(self._stream, "127.0.0.1", 0)
        port = stream.sockets[0].getsockname()[1]
        loop = asyncio.get_running_loop()
        datagram, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), ("127.0.0.1", port))
        try:
            yield port
        finally:
            datagram.close()
            stream.close()
            await stream.wait_closed()
            for task in list(self._pending):
                task.cancel()
            await asyncio.gather(*self._pending, return_exceptions=True)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: NameServer) -> None:
        self.server = server

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, source: tuple[str, int]) -> None:
        self.server.spawn(data, "udp", lambda wire: self.transport.sendto(wire, source))
