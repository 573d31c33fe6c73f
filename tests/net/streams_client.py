"""The pod's gRPC and WebSocket clients: python streams_client.py grpc|unary|ws CA MESSAGE... Prints each answer."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue

import grpc
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect


def chat(ca: str, messages: list[bytes]) -> None:
    """Says the next message only when the last one was answered: nothing may wait for the end of the stream."""
    queue: SimpleQueue[bytes | None] = SimpleQueue()

    def said() -> Iterator[bytes]:
        while (message := queue.get()) is not None:
            yield message

    credentials = grpc.ssl_channel_credentials(Path(ca).read_bytes())
    with grpc.secure_channel("grpc.test:50051", credentials) as channel:
        answers = channel.stream_stream("/test.Echo/Chat")(said(), timeout=15)
        try:
            for message in messages:
                queue.put(message)
                print(next(answers).decode(), flush=True)
            queue.put(None)
            print("ended", len(list(answers)), answers.code().name)
        except grpc.RpcError as error:
            queue.put(None)
            print(error.code().name, error.details())


def unary(ca: str, messages: list[bytes]) -> None:
    credentials = grpc.ssl_channel_credentials(Path(ca).read_bytes())
    with grpc.secure_channel("grpc.test:50051", credentials) as channel:
        for message in messages:
            try:
                print(channel.unary_unary("/test.Echo/Say")(message, timeout=15).decode())
            except grpc.RpcError as error:
                print(error.code().name, error.details())


def websocket(ca: str, messages: list[bytes]) -> None:
    context = ssl.create_default_context(cafile=ca)
    with connect("wss://ws.test:8765/feed", ssl=context, max_size=None) as connection:
        try:
            for message in messages:
                connection.send(message.decode())
                answer = connection.recv(15)
                print(answer if len(answer) < 100 else len(answer))
        except ConnectionClosed as error:
            print("closed", error.rcvd.code if error.rcvd else None)


if __name__ == "__main__":
    kind, ca, *words = sys.argv[1:]
    {"grpc": chat, "unary": unary, "ws": websocket}[kind](ca, [word.encode() for word in words])
