#!/usr/bin/env python3
"""CPU and memory of TLS on the server's side: our channel, uvloop's own TLS, asyncio's own TLS. By hand, not in the suite.

    .venv/bin/python tests/bench/tls_channel.py [--idle 1000] [--only ours,uvloop,asyncio]

A client in a process of its own does the same work with each; what is counted is the CPU time of the serving process.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import socket
import ssl
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvloop

from sluicegate import settings
from sluicegate.authority import ca, contexts
from sluicegate.authority.leaves import Leaves
from sluicegate.authority.server_side import ServerSide
from sluicegate.lanes import tls
from sluicegate.names import HostName

NAME = "example.test"
MB = 1 << 20
BLOB = bytes(64 << 10)
ECHOES = 32
ASK = struct.Struct("!II")  # bytes that follow, bytes wanted back


class Service:
    """Takes `following` bytes, answers with `wanted`; over anything that has write(), and pauses when told."""

    def __init__(self) -> None:
        self.head = b""
        self.following = self.wanted = 0
        self.held = False
        self.write: Callable[[bytes], Any] = len

    def feed(self, data: bytes | memoryview) -> None:
        if self.following:
            self.following -= len(data)
        else:
            self.head += bytes(data[:8])
            if len(self.head) < ASK.size:
                return
            self.following, self.wanted = ASK.unpack(self.head)
            self.following -= len(data) - 8
            self.head = b""
        if not self.following:
            self.pump()

    def pump(self) -> None:
        while self.wanted and not self.held:
            size = min(self.wanted, len(BLOB))
            self.wanted -= size
            self.write(BLOB[:size] if size < len(BLOB) else BLOB)


class Ours(Service):
    def opened(self, stream: Any) -> None:
        self.stream, self.write = stream, stream.write

    def heard(self, data: Any) -> None:
        self.feed(data)

    def ended(self) -> None:
        self.stream.end()

    def lost(self, error: Exception | None) -> None:
        pass

    def hold(self) -> None:
        self.held = True

    def go_on(self) -> None:
        self.held = False
        asyncio.get_running_loop().call_soon(self.pump)


class Theirs(Service, asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.write = transport.write

    def data_received(self, data: bytes) -> None:
        self.feed(data)

    def pause_writing(self) -> None:
        self.held = True

    def resume_writing(self) -> None:
        self.held = False
        self.pump()


async def serve_ours(listener: socket.socket, identity: Callable[[], Any]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        sock, _ = await loop.sock_accept(listener)
        await tls.accept_tls(sock, identity(), Ours(), handshake_s=10)


async def serve_theirs(listener: socket.socket, identity: Callable[[], Any]) -> None:
    server = await asyncio.get_running_loop().create_server(Theirs, sock=listener, ssl=identity())
    await server.serve_forever()


class Server:
    """A forked process; .used() is its CPU time, .rss() its memory."""

    def __init__(self, kind: str, identity: Callable[[], Any]) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.listener.setblocking(False)
        self.address = self.listener.getsockname()
        self.pid = os.fork()
        if not self.pid:
            loop = asyncio.new_event_loop if kind == "asyncio" else uvloop.new_event_loop
            with asyncio.Runner(loop_factory=loop) as runner:
                runner.run((serve_ours if kind == "ours" else serve_theirs)(self.listener, identity))
            os._exit(0)
        self.listener.close()
        os.sched_setaffinity(self.pid, {os.cpu_count() - 1})
        os.sched_setaffinity(0, {0})  # the client

    def used(self) -> float:
        """Microseconds."""
        return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[0]) / 1e3

    def rss(self) -> int:
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * resource.getpagesize()

    def stop(self) -> None:
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)


class Client:
    def __init__(self, server: Server, trusted: Path) -> None:
        self.server = server
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.load_verify_locations(trusted)

    def connect(self, session: Any = None) -> ssl.SSLSocket:
        sock = socket.create_connection(self.server.address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self.context.wrap_socket(sock, server_hostname=NAME, session=session)

    def ask(self, sock: ssl.SSLSocket, up: int, down: int) -> None:
        sock.sendall(ASK.pack(up, down) + BLOB[: min(up, len(BLOB) - 8)])
        left = up - min(up, len(BLOB) - 8)
        while left:
            left -= sock.send(BLOB[: min(left, len(BLOB))])
        while down:
            down -= len(sock.recv(min(down, len(BLOB))))

    def echo(self, socks: list[ssl.SSLSocket], size: int) -> None:
        """One request on each connection before the first answer is read: a server that sleeps between two measures
        the machine's wake-ups."""
        for sock in socks:
            sock.sendall(ASK.pack(size - 8, size) + BLOB[: size - 8])
        for sock in socks:
            assert len(sock.recv(size)) == size

    def cost(self, times: int, work: Callable[[], Any]) -> float:
        """Microseconds of the server for each; the best of five rounds."""
        rounds = []
        for _ in range(5):
            work()
            before = self.server.used()
            for _ in range(times):
                work()
            rounds.append((self.server.used() - before) / times)
        return min(rounds)

    def once(self, session: Any = None) -> Any:
        with self.connect(session) as sock:
            self.ask(sock, 1, 1)
            assert sock.session_reused == bool(session)
            return sock.session

    def idle(self, count: int, each: int) -> float:
        """KiB of the server's memory for each open connection that moved `each` bytes both ways."""
        with self.connect() as warm:
            self.ask(warm, 4 * MB, 4 * MB)
        before, held = self.server.rss(), []
        for _ in range(count):
            held.append(sock := self.connect())
            self.ask(sock, each, each)
        used = (self.server.rss() - before) / count / 1024
        for sock in held:
            sock.close()
        return used


def measure(kind: str, identity: Callable[[], Any], trusted: Path, idle: int) -> None:
    server = Server(kind, identity)
    try:
        client = Client(server, trusted)
        session = client.once()
        row = {
            "full": client.cost(100, client.once),
            "resumed": client.cost(100, lambda: client.once(session)),
        }
        with client.connect() as sock:
            row["10 MB down"] = client.cost(5, lambda: client.ask(sock, 1, 10 * MB))
            row["10 MB up"] = client.cost(5, lambda: client.ask(sock, 10 * MB, 1))
        socks = [client.connect() for _ in range(ECHOES)]
        row["1 KB echo"] = client.cost(100, lambda: client.echo(socks, 1024)) / ECHOES
        for sock in socks:
            sock.close()
        row["idle KiB, new"] = client.idle(idle, 1)
        row["idle KiB, 1 MB"] = client.idle(idle, MB)
        print(f"{kind:8}" + "".join(f"{value:>16,.1f}" for value in row.values()), flush=True)
    finally:
        server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--idle", type=int, default=1000)
    parser.add_argument("--only", default="ours,uvloop,asyncio")
    asked = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with tempfile.TemporaryDirectory() as folder:
        paths = settings.Authority(Path(folder, "ca.pem"), Path(folder, "ca.key"))
        ca.create(paths.cert, paths.key)
        leaf = Leaves(ca.load(paths)).leaf(HostName(NAME))
        ours = ServerSide()
        headings = ["us: full", "resumed", "10 MB down", "10 MB up", "1 KB echo", "KiB: idle, new", "after 1 MB"]
        print(" " * 8 + "".join(f"{each:>16}" for each in headings))
        for kind in asked.only.split(","):
            identity = (lambda: ours.identity(leaf)) if kind == "ours" else lambda: contexts.client_side_ssl(leaf)
            measure(kind, identity, paths.cert, asked.idle)
    print(f"Python {sys.version.split()[0]}, {ssl.OPENSSL_VERSION}, uvloop {uvloop.__version__}, {time.strftime('%F')}")


if __name__ == "__main__":
    main()
