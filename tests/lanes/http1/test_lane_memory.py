"""Memory stays flat whatever the size: client, lane and origin together, in this process.

SLUICEGATE_TEST_MIB=1024 moves a GiB each way.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

MIB = 1 << 20
SIZE = int(os.environ.get("SLUICEGATE_TEST_MIB", "96")) * MIB
ALLOWED = 64 * MIB
CHUNK = b"0123456789abcdef" * 4096


@contextlib.contextmanager
def flat_memory():
    """The highest resident size within stays below that at its begin plus 64 MiB."""
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew (proc(5))
    before = _peak()
    yield
    assert _peak() - before < ALLOWED


def _peak() -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


async def swallow(reader: Any, writer: Any):
    await reader.readuntil(b"\r\n\r\n")
    left = SIZE
    while left:
        data = await reader.read(65536)
        if not data:
            return
        left -= len(data)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    await reader.read()


async def pour(reader: Any, writer: Any):
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
    for _ in range(SIZE // len(CHUNK)):
        writer.write(CHUNK)
        await writer.drain()
    await reader.read()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
async def test_a_large_upload_is_streamed(bed: Any, tls: bool):
    async with bed.origin(swallow, tls=tls) as origin, bed.door(origin.port) as port:
        reader, writer = await _open(bed, port, tls)
        head = f"POST / HTTP/1.1\r\nHost: origin.test:{origin.port}\r\nContent-Length: {SIZE}\r\n\r\n"
        with flat_memory():
            writer.write(head.encode())
            for _ in range(SIZE // len(CHUNK)):
                writer.write(CHUNK)
                await writer.drain()
            assert (await reader.readuntil(b"\r\n\r\nok")).startswith(b"HTTP/1.1 200 ")
        writer.close()
        await bed.settle()
    assert bed.record()["bytes"]["up"] == SIZE


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
async def test_a_large_download_is_streamed(bed: Any, tls: bool):
    async with bed.origin(pour, tls=tls) as origin, bed.door(origin.port) as port:
        reader, writer = await _open(bed, port, tls)
        with flat_memory():
            writer.write(f"GET / HTTP/1.1\r\nHost: origin.test:{origin.port}\r\n\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
            left = SIZE
            while left:
                left -= len(await reader.read(65536))
        writer.close()
        await bed.settle()
    assert bed.record()["bytes"]["down"] == SIZE


async def test_a_client_that_does_not_read_stops_the_origin(bed: Any):
    poured = 0

    async def count(reader: Any, writer: Any):
        nonlocal poured
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
        for _ in range(SIZE // len(CHUNK)):
            writer.write(CHUNK)
            await writer.drain()
            poured += len(CHUNK)

    async with bed.origin(count) as origin, bed.door(origin.port) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        with flat_memory():
            writer.write(f"GET / HTTP/1.1\r\nHost: origin.test:{origin.port}\r\n\r\n".encode())
            await _until_still(lambda: poured)
        assert 0 < poured < 32 * MIB
        writer.transport.abort()
        await bed.settle()


async def test_an_origin_that_does_not_read_stops_the_client(bed: Any):
    async def deaf(reader: Any, _writer: Any):
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.Event().wait()

    poured = 0
    async with bed.origin(deaf) as origin, bed.door(origin.port) as port:
        _, writer = await asyncio.open_connection("127.0.0.1", port)

        async def send():
            nonlocal poured
            head = f"POST / HTTP/1.1\r\nHost: origin.test:{origin.port}\r\nContent-Length: {SIZE}\r\n\r\n"
            writer.write(head.encode())
            for _ in range(SIZE // len(CHUNK)):
                writer.write(CHUNK)
                await writer.drain()
                poured += len(CHUNK)

        with flat_memory():
            sending = asyncio.ensure_future(send())
            await _until_still(lambda: poured)
        assert 0 < poured < 32 * MIB
        sending.cancel()
        _reset(writer)  # the lane is not reading just now, and has to notice all the same
        await bed.settle()


async def test_a_client_that_goes_on_while_we_dial_waits(bed: Any):
    """What arrives meanwhile is not kept: it waits in the kernel."""
    gate = asyncio.Event()
    dial = bed.gate.dial

    async def slow(permit: Any):
        await gate.wait()
        return await dial(permit)

    bed.gate.dial = slow
    poured = 0
    async with bed.origin(swallow) as origin, bed.door(origin.port) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)

        async def send():
            nonlocal poured
            head = f"POST / HTTP/1.1\r\nHost: origin.test:{origin.port}\r\nContent-Length: {SIZE}\r\n\r\n"
            writer.write(head.encode())
            for _ in range(SIZE // len(CHUNK)):
                writer.write(CHUNK)
                await writer.drain()
                poured += len(CHUNK)

        with flat_memory():
            sending = asyncio.ensure_future(send())
            await _until_still(lambda: poured)
            assert 0 < poured < 32 * MIB
            gate.set()
            await sending
            assert (await reader.readuntil(b"\r\n\r\nok")).startswith(b"HTTP/1.1 200 ")
        writer.close()
        await bed.settle()


async def _until_still(count: Any):
    """Waits until a count has begun and does not grow any more."""
    last = -1
    while count() == 0 or count() != last:
        last = count()
        await asyncio.sleep(0.2)


async def _open(bed: Any, port: int, tls: bool):
    if not tls:
        return await asyncio.open_connection("127.0.0.1", port)
    return await asyncio.open_connection("127.0.0.1", port, ssl=bed.client_context(), server_hostname="origin.test")


def _reset(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
