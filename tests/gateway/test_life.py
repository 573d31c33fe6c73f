"""What ends a gateway; its whole life, with signals and drains, is tried in tests/net."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import story
from sluicegate import settings
from sluicegate.authority import ca
from sluicegate.authority.leaves import Leaves
from sluicegate.authority.server_side import ServerSide
from sluicegate.authority.trust import Trust
from sluicegate.exchange import Connection
from sluicegate.facts import Endpoint
from sluicegate.gateway import life
from sluicegate.gateway.assemble import Parts
from sluicegate.gateway.life import Life, notify, open_listeners
from sluicegate.gateway.reload import Reloads
from sluicegate.identity.table import Table
from sluicegate.settings import Listen
from story import Told


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    with story.told(tmp_path, limits={"drain": "100ms", "hello_timeout": "5s"}) as made:
        yield made


@pytest.fixture
def parts(told: Told) -> Parts:
    files = settings.Authority(told.folder / "ca.pem", told.folder / "ca.key")
    ca.create(files.cert, files.key)
    anywhere = Endpoint(story.ip_address("127.0.0.1"), 0)
    return Parts(
        settings=replace(told.settings, listen=Listen((), explicit=anywhere, metrics=None)),
        gate=told.gate,
        identities=Table.of(told.settings.identity),
        leaves=Leaves(ca.load(files)),
        server_side=ServerSide(),
        trust=Trust.load(("certifi",)),
        resolver=told.resolver,
        guard=told.guard,
        warnings=(),
    )


async def no_lane(_: socket.socket, connection: Connection) -> None:
    raise AssertionError(f"nobody asks anything of {connection.id}")


async def test_it_serves_until_it_is_told_to_stop_and_ends_who_dawdles(parts: Parts, told: Told):
    living = Life(parts, no_lane)
    transparent, explicit = open_listeners(parts)
    assert explicit is not None
    task = asyncio.ensure_future(living.run(transparent, explicit))
    reader, writer = await asyncio.open_connection(*explicit.getsockname())
    async with asyncio.timeout(10):
        while not living._connections:  # noqa: ASYNC110 - nobody tells when a connection was accepted
            await asyncio.sleep(0)
        living._stopping.set()
        await task
        with pytest.raises(ConnectionResetError):
            await reader.read()
    writer.close()

    assert not living.failed
    assert [found["reason"] for found in story.read(told)] == ["draining"]


async def test_it_stops_where_a_part_of_it_fails(parts: Parts, monkeypatch: pytest.MonkeyPatch):
    async def boom(_: Reloads) -> None:
        raise RuntimeError("boom")

    monkeypatch.setattr(Reloads, "run", boom)
    living = Life(parts, no_lane)
    async with asyncio.timeout(10):
        await living.run(*open_listeners(parts))

    assert living.failed


async def test_it_goes_on_where_there_is_nothing_to_watch(parts: Parts):
    living = Life(replace(parts, settings=replace(parts.settings, policies=(), blocklists=())), no_lane)
    task = asyncio.ensure_future(living.run(*open_listeners(parts)))
    done, _ = await asyncio.wait([task], timeout=0.2)

    assert not done
    living._stopping.set()
    await task
    assert not living.failed


class TestNotify:
    @pytest.mark.parametrize("abstract", [False, True], ids=["a path", "an abstract name"])
    def test_tells_the_service_manager(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, abstract: bool):
        name = f"sluicegate-{id(self)}" if abstract else str(tmp_path / "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind("\0" + name if abstract else name)
            monkeypatch.setenv("NOTIFY_SOCKET", "@" + name if abstract else name)
            notify("READY=1")
            assert manager.recv(100) == b"READY=1"

    def test_is_silent_where_there_is_none(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere/at/all")
        notify("READY=1")
        monkeypatch.delenv("NOTIFY_SOCKET")
        life.notify("READY=1")
