"""Origins that speak gRPC and WebSocket: python streams_server.py ADDRESS CERT KEY. Both echo; each logs to stdout."""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
from websockets.asyncio.server import ServerConnection, serve

GRPC_PORT, WS_PORT = 50051, 8765


async def chat(messages: AsyncIterator[bytes], _context: Any) -> AsyncIterator[bytes]:
    async for message in messages:
        print("grpc", len(message), flush=True)
        yield b"echo " + message


async def unary(message: bytes, _context: Any) -> bytes:
    print("grpc", len(message), flush=True)
    return b"echo " + message


class Handler(grpc.GenericRpcHandler):
    def service(self, details: Any) -> Any:
        if details.method == "/test.Echo/Chat":
            return grpc.stream_stream_rpc_method_handler(chat)
        return grpc.unary_unary_rpc_method_handler(unary)


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        print("ws", len(message), flush=True)
        await connection.send(message)


async def main(address: str, cert: str, key: str, pair: tuple[bytes, bytes]) -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Handler(),))
    server.add_secure_port(f"{address}:{GRPC_PORT}", grpc.ssl_server_credentials([pair]))
    await server.start()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    async with serve(echo, address, WS_PORT, ssl=context):
        print("ready", flush=True)
        await server.wait_for_termination()


if __name__ == "__main__":
    _, cert, key = arguments = sys.argv[1:]
    asyncio.run(main(*arguments, (Path(key).read_bytes(), Path(cert).read_bytes())))
