"""gRPC by grpcio on both ends: another implementation of HTTP/2 than ours, and the one that is used."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography.hazmat.primitives import serialization

from sluicegate.names import HostName


def plain(data: bytes) -> bytes:
    return data


class Calls:
    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self.ended = asyncio.Event()

    async def unary(self, request: Any, context: Any):
        self.seen.append(request)
        await context.send_initial_metadata((("x-initial", "yes"),))
        context.set_trailing_metadata((("x-trailing", "yes"),))
        return b"echo:" + request

    async def bidi(self, requests: Any, context: Any):
        try:
            async for request in requests:
                self.seen.append(request)
                yield b"echo:" + request
        finally:
            self.ended.set()

    async def fails(self, _request: Any, context: Any):
        await context.abort(grpc.StatusCode.NOT_FOUND, "there is none")


@contextlib.asynccontextmanager
async def between(bed: Any):
    """(calls, channel): a gRPC server and a channel to it through the lane."""
    calls = Calls()
    server = grpc.aio.server()
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(calls.unary, plain, plain),
        "Bidi": grpc.stream_stream_rpc_method_handler(calls.bidi, plain, plain),
        "Fails": grpc.unary_unary_rpc_method_handler(calls.fails, plain, plain),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))
    leaf = bed.leaves.leaf(HostName.parse("origin.test"))
    key = leaf._key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, leaf.pem)]))
    await server.start()
    try:
        async with bed.door(port) as door:
            options = [
                ("grpc.ssl_target_name_override", "origin.test"),
                ("grpc.default_authority", f"origin.test:{port}"),
            ]
            trust = grpc.ssl_channel_credentials(bed.ca.read_bytes())
            async with grpc.aio.secure_channel(f"127.0.0.1:{door}", trust, options) as channel:
                yield calls, channel
            for task in bed.tasks:  # grpcio keeps its connection for a while
                task.cancel()
            await bed.settle()
    finally:
        await server.stop(None)


async def test_a_unary_call_with_its_metadata(bed: Any):
    async with between(bed) as (calls, channel):
        call = channel.unary_unary("/test.Echo/Unary", plain, plain)(b"hello")
        assert await call == b"echo:hello"
        assert ("x-initial", "yes") in [*await call.initial_metadata()]
        assert ("x-trailing", "yes") in [*await call.trailing_metadata()]
    assert calls.seen == [b"hello"]
    assert bed.record()["path"] == "/test.Echo/Unary"


async def test_a_status_without_an_answer(bed: Any):
    async with between(bed) as (_, channel):
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary("/test.Echo/Fails", plain, plain)(b"x")
    assert (failed.value.code(), failed.value.details()) == (grpc.StatusCode.NOT_FOUND, "there is none")


async def test_messages_flow_both_ways_before_the_call_ends(bed: Any):
    async with between(bed) as (calls, channel):
        call = channel.stream_stream("/test.Echo/Bidi", plain, plain)()
        for message in (b"one", b"two", b"c" * 300_000):
            await call.write(message)
            assert await asyncio.wait_for(call.read(), 3) == b"echo:" + message
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK
    assert len(calls.seen) == 3
    bed.record()


async def test_a_secret_in_one_message_stops_the_call_before_it_has_left(bed: Any):
    async with between(bed) as (calls, channel):
        call = channel.stream_stream("/test.Echo/Bidi", plain, plain)()
        await call.write(b"harmless")
        assert await asyncio.wait_for(call.read(), 3) == b"echo:harmless"
        await call.write(f"key {bed.secret} .".encode())
        with pytest.raises(grpc.aio.AioRpcError):  # noqa: PT012 - one of the reads raises
            while await asyncio.wait_for(call.read(), 3) is not grpc.aio.EOF:
                pass
        await asyncio.wait_for(calls.ended.wait(), 3)
    assert calls.seen == [b"harmless"]
    assert bed.record()["reason"] == "sensitive-data"


async def test_a_refused_call_says_so_in_grpc(bed: Any):
    async with between(bed) as (calls, channel):
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary("/test.Echo/Unary", plain, plain)(f"key {bed.secret} .".encode())
    assert failed.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert calls.seen == []


async def test_calls_share_a_connection(bed: Any):
    async with between(bed) as (_, channel):
        unary = channel.unary_unary("/test.Echo/Unary", plain, plain)
        answers = await asyncio.gather(*(unary(b"%d" % n) for n in range(150)))
    assert answers == [b"echo:%d" % n for n in range(150)]
    bed.records(150)
