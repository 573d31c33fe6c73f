"""The name of a connection is its own ClientHello's, whatever session it resumes: with the real peek and real clients."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lanes.talking import Talk
from sluicegate import settings
from sluicegate.authority import ca
from sluicegate.authority.leaves import Leaves
from sluicegate.authority.server_side import ServerSide
from sluicegate.lanes.peek import peek
from sluicegate.lanes.tls import accept_tls


class Gateway:
    """Shows each connection the leaf of the name in its hello, and answers with that name."""

    def __init__(self, folder: Path) -> None:
        self.paths = settings.Authority(folder / "ca.pem", folder / "ca.key")
        ca.create(self.paths.cert, self.paths.key)
        self.leaves = Leaves(ca.load(self.paths))
        self.side = ServerSide()
        self.served: list[str] = []
        self.resumed: list[bool] = []

    async def serve(self, listener: socket.socket) -> None:
        while True:
            sock, _ = await asyncio.get_running_loop().sock_accept(listener)
            hello = await peek(sock, limit=1 << 16, timeout_s=10)
            assert hello.sni
            name = hello.sni.ascii

            def answer(talk: Talk, _data: Any, name: str = name) -> None:
                self.served.append(name)
                self.resumed.append(talk.channel.reused)
                talk.channel.write(f"you are at {name}\n".encode())
                talk.channel.end()

            await accept_tls(sock, self.side.identity(self.leaves.leaf(hello.sni)), Talk(heard=answer), handshake_s=10)


async def s_client(port: int, name: str, *options: str) -> bytes:
    program = await asyncio.create_subprocess_exec(
        "openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", name, "-ign_eof", *options,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await program.communicate(b"hello\n")
    return said


@pytest.fixture
def gateway(tmp_path: Path):
    made = Gateway(tmp_path)
    yield made
    made.leaves.close()


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_ticket_of_a_offered_for_e(run: Callable[..., Any], gateway: Gateway, tmp_path: Path, version: str):
    kept = str(tmp_path / "session")

    async def go():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            serving = asyncio.ensure_future(gateway.serve(listener))
            port = listener.getsockname()[1]
            first = await s_client(port, "a.example", version, "-sess_out", kept)
            assert b"subject=CN = a.example" in first
            assert b"you are at a.example" in first
            again = await s_client(port, "a.example", version, "-sess_in", kept)
            assert b"Reused, " in again
            other = await s_client(port, "e.example", version, "-sess_in", kept)
            assert b"you are at e.example" in other
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await serving

    run(go())
    assert gateway.served == ["a.example", "a.example", "e.example"]
    assert gateway.resumed[:2] == [False, True]
