"""A gateway's http1 lane between real clients and real origins, all on loopback. Exchange, policy, dial and records are real."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import tempfile
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from sluicegate import settings, snapshot
from sluicegate.authority import ca
from sluicegate.authority.contexts import client_side_ssl
from sluicegate.authority.leaves import Leaves
from sluicegate.authority.server_side import ServerSide
from sluicegate.authority.trust import Trust
from sluicegate.dlp.engine import Engine
from sluicegate.exchange import Connection, Gate
from sluicegate.facts import Endpoint, Hello, Lane, Wire, Workload
from sluicegate.lanes.dial import Dialler
from sluicegate.lanes.http1.client import Client
from sluicegate.lanes.http1.lane import Http1Lane
from sluicegate.lanes.peek import peek
from sluicegate.names import HostName
from sluicegate.records.journal import Journal
from sluicegate.records.metrics import Metrics
from sluicegate.resolve.guard import Guard
from sluicegate.resolve.resolver import Resolver

POLICY = """
apiVersion: sluicegate.dev/v1alpha1
kind: ClusterEgressPolicy
metadata: {name: test}
spec:
  tier: platform
  owner: secops@example.test
  selector: {}
  rules:
    - {name: no-secrets, action: deny, to: {domains: [denied.test], ports: ["1-65535"]}}
    - {name: origin, action: allow, to: {domains: [origin.test, other.test, gone.test], ports: ["1-65535"]}, http: [{paths: ["/*"]}]}
"""
# Made for this test.
SECRET = "ghp_" + "aB3dE6fG9hJ2kL5mN8pQ1rS4tU7vW0xY3z6A"
LIMITS = settings.Limits(hello_timeout_s=5.0, idle_timeout_s=20.0, message=1 << 20)

type Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Origin:
    """A server that runs `talk` for each connection. Everything it received is kept."""

    talk: Talk
    port: int = 0
    connections: int = 0
    received: bytearray = field(default_factory=bytearray)
    errors: list[str] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self.talk(_Kept(reader, self.received), writer)
        except (OSError, asyncio.IncompleteReadError) as error:
            self.errors.append(type(error).__name__)
        finally:
            with contextlib.suppress(OSError):
                writer.close()
            self.ended.set()


class _Kept:
    """A reader that keeps what went through it."""

    def __init__(self, reader: asyncio.StreamReader, kept: bytearray) -> None:
        self._reader = reader
        self._kept = kept

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._reader, name)

        async def read(*args: Any):
            try:
                data = await method(*args)
            except asyncio.IncompleteReadError as error:
                self._kept += error.partial
                raise
            if len(self._kept) < 1 << 20:
                self._kept += data
            return data

        return read


@dataclass
class Bed:
    """lane: the real one. records() waits until all that was written is in the file."""

    gate: Gate
    lane: Http1Lane
    leaves: Leaves
    ca: Path
    file: Path
    secret: str = SECRET
    may_crash: bool = False
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def records(self, count: int = 1) -> list[dict]:
        assert self.gate.journal.flush()
        found = [json.loads(line) for line in self.file.read_text().splitlines()]
        assert len(found) == count, found
        return found

    def record(self) -> dict:
        return self.records(1)[0]

    async def settle(self) -> None:
        """Waits until every connection of the lane has ended."""
        async with asyncio.timeout(10):
            await asyncio.gather(*self.tasks, return_exceptions=True)

    @contextlib.asynccontextmanager
    async def origin(
        self, talk: Talk, *, tls: bool = False, alpn: tuple[str, ...] = ("http/1.1",)
    ) -> AsyncIterator[Origin]:
        made = Origin(talk)
        context = self.origin_context(alpn) if tls else None
        server = await asyncio.start_server(made.serve, "127.0.0.1", 0, ssl=context)
        made.port = server.sockets[0].getsockname()[1]
        try:
            yield made
        finally:
            server.close()

    def origin_context(self, alpn: tuple[str, ...] = ("http/1.1",), name: str = "origin.test") -> ssl.SSLContext:
        return client_side_ssl(self.leaves.leaf(HostName.parse(name)), alpn)

    def client_context(self, alpn: tuple[str, ...] = ()) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.ca)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context

    @contextlib.asynccontextmanager
    async def door(self, port: int, **more: Any) -> AsyncIterator[int]:
        """A port in front of the lane, for connections whose packets were going to `port` of the origin."""
        loop = asyncio.get_running_loop()
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)

        async def accept() -> None:
            while True:
                sock, peer = await loop.sock_accept(listener)
                task = loop.create_task(self.receive(sock, peer, port, **more))
                self.tasks.add(task)

        accepting = loop.create_task(accept())
        try:
            yield listener.getsockname()[1]
        finally:
            accepting.cancel()
            await asyncio.gather(accepting, return_exceptions=True)
            listener.close()

    async def receive(
        self, sock: socket.socket, peer: Any, port: int, *, hello: Hello | None = None, **more: Any
    ) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        seen = hello or await peek(sock, limit=65536, timeout_s=5)
        connection = Connection(
            id="c1",
            identity=Workload("shop", "web-0", labels={"app": "web"}),
            source=Endpoint(ip_address(peer[0]), peer[1]),
            destination=Endpoint(ip_address("127.0.0.1"), port),
            hello=seen,
            name=(seen.sni or HostName.parse("127.0.0.1")) if seen.wire is Wire.TLS else None,
            port=port,
            tls=seen.wire is Wire.TLS,
            lane=Lane.HTTP1,
        )
        await self.lane.carry(sock, replace(connection, **more))

    async def ask(self, port: int, data: bytes) -> bytes:
        """Sends, and reads one answer that has a Content-Length."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        head = await reader.readuntil(b"\r\n\r\n")
        body = await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
        writer.close()
        return head + body

    async def raw(self, port: int, data: bytes) -> bytes:
        """Sends, and reads until the end; a reset is the end as well."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        return await read_all(reader, writer)


async def read_all(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, within: float = 5) -> bytes:
    out = bytearray()
    with contextlib.suppress(OSError):
        async with asyncio.timeout(within):
            while data := await reader.read(65536):
                out += data
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return bytes(out)


@pytest.fixture(scope="session")
def engine() -> Engine:
    return Engine.load(("secrets", "pii"), key=b"k" * 32)


@pytest.fixture(scope="session")
def authority() -> Iterator[tuple[settings.Authority, Leaves]]:
    with tempfile.TemporaryDirectory() as folder:
        paths = settings.Authority(Path(folder) / "ca.pem", Path(folder) / "ca.key")
        ca.create(paths.cert, paths.key)
        leaves = Leaves(ca.load(paths))
        yield paths, leaves
        leaves.close()


@pytest.fixture
def beds(
    tmp_path: Path, engine: Engine, authority: tuple[settings.Authority, Leaves], monkeypatch: pytest.MonkeyPatch
) -> Callable[[], contextlib.AbstractAsyncContextManager[Bed]]:
    """Makes a bed in whatever event loop runs."""
    return lambda: lay(tmp_path, engine, authority, monkeypatch)


@pytest.fixture
async def bed(beds: Callable[[], contextlib.AbstractAsyncContextManager[Bed]]) -> AsyncIterator[Bed]:
    async with beds() as made:
        yield made


@contextlib.asynccontextmanager
async def lay(
    tmp_path: Path, engine: Engine, authority: tuple[settings.Authority, Leaves], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Bed]:
    paths, leaves = authority
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies/test.yaml").write_text(POLICY)
    base = settings.defaults(tmp_path)
    loopback = (ip_address("127.0.0.1"),)
    names = ("origin.test", "other.test", "denied.test")
    conf = replace(
        base,
        blocklists=(),
        resolver=settings.Resolver(servers=(), hosts={HostName.parse(name): loopback for name in names}),
        limits=LIMITS,
        records=settings.Records(file=tmp_path / "verdicts.jsonl"),
    )
    guard = Guard((), (), (ip_network("127.0.0.0/8"),))
    metrics = Metrics()
    journal = Journal(conf.records, metrics)
    dialler = Dialler(Resolver(conf.resolver), lambda: gate.snapshot, 3.0)
    gate = Gate(snapshot.load(conf, guard, engine), journal, metrics, dialler.dial, conf.limits, conf.dlp.buffer)
    trust = Trust.load([str(paths.cert)])
    made = Bed(gate, Http1Lane(gate, leaves, trust, ServerSide()), leaves, paths.cert, conf.records.file)
    crashes: list[str] = []
    crash = Client.crash

    def noted(client: Client, error: Exception) -> None:
        crashes.append("".join(traceback.format_exception(error)))
        crash(client, error)

    monkeypatch.setattr(Client, "crash", noted)
    yield made
    for task in made.tasks:
        task.cancel()
    await asyncio.gather(*made.tasks, return_exceptions=True)
    made.lane.close()
    journal.close()
    assert made.may_crash or not crashes, crashes[0]
