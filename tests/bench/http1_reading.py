"""What reading and writing HTTP/1 costs, in microseconds of CPU: ``python tests/bench/http1_reading.py``.

Beside it what llhttp alone, with callbacks, and h11 take for the same head: the scale, because machines differ.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import h11
import httptools

from sluicegate.lanes.http1 import requests, responses, writing
from sluicegate.lanes.http1.events import End

REQUEST = (
    b"GET /v1/charges/ch_3N1?expand=customer&limit=10 HTTP/1.1\r\nHost: api.example.com\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\nAccept: application/json, text/plain, */*\r\n"
    b"Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en-US,en;q=0.9\r\n"
    b"Authorization: Bearer abcdefghijklmnopqrstuvwx\r\nCache-Control: no-cache\r\nConnection: keep-alive\r\n"
    b"X-Request-Id: 0f8fad5b-d9cb-469f-a165-70867728950e\r\n\r\n"
)
OTHER = REQUEST.replace(b"ch_3N1", b"ch_3N2")
ANSWER = (
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Type: application/json\r\n"
    b"Content-Length: 1024\r\nConnection: keep-alive\r\nX-Request-Id: 0f8fad5b-d9cb-469f-a165-70867728950e\r\n"
    b"Cache-Control: no-cache\r\n\r\n"
)
RECORD = b"x" * (16 << 10)
BODY = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (6 * len(RECORD))
CHUNKED = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNK = b"2000\r\n" + b"x" * 8192 + b"\r\n"
TINY = b"10\r\n0123456789abcdef\r\n" * 800


class Heard:
    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None: ...

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))


READER = requests.RequestReader(tls=True, head_limit=64 << 10)


def request_heads() -> None:
    """Two that differ by one byte, because one that comes again is not judged again."""
    for head in (REQUEST, OTHER):
        READER.feed(head)
        READER.next()
        READER.proceed()


def same_head() -> None:
    READER.feed(REQUEST)
    READER.next()
    READER.proceed()


def response_head() -> None:
    reader = responses.ResponseReader(b"GET", head_limit=64 << 10)
    reader.feed(ANSWER)
    reader.next()


def _read(*pieces: bytes) -> None:
    for piece in pieces:
        READER.feed(piece)
        while (event := READER.next()) is not None:
            if isinstance(event, End):
                READER.proceed()


def body() -> None:
    _read(BODY, *[RECORD] * 6)


def chunks() -> None:
    _read(CHUNKED, *[CHUNK * 2] * 6, b"0\r\n\r\n")


def tiny_chunks() -> None:
    _read(CHUNKED, TINY, b"0\r\n\r\n")


def llhttp_alone() -> None:
    httptools.HttpRequestParser(Heard()).feed_data(REQUEST)


def h11_alone() -> None:
    peer = h11.Connection(h11.SERVER)
    peer.receive_data(REQUEST)
    peer.next_event()


READER.feed(REQUEST)
FIELDS = READER.next().head.headers  # type: ignore[union-attr] # it is a head
READER.proceed()


def write_request() -> None:
    writing.request_head(b"GET", b"/v1/charges", FIELDS, length=None, chunked=False)


def write_response() -> None:
    writing.response_head(200, FIELDS, length=5, chunked=False, keep_alive=True)


BENCHES: dict[str, Callable[[], None]] = {
    f"two request heads of {len(REQUEST)} bytes": request_heads,
    "the same request head again": same_head,
    f"response head, {len(ANSWER)} bytes": response_head,
    "request with 96 KiB in 6 records": body,
    "request with 96 KiB in 12 chunks, 6 records": chunks,
    "request with 800 chunks of 16 bytes, 1 record": tiny_chunks,
    "request head written": write_request,
    "response head written": write_response,
    "(llhttp alone, with callbacks)": llhttp_alone,
    "(h11 alone)": h11_alone,
}


def measured(bench: Callable[[], None], rounds: int = 40, count: int = 1000) -> float:
    """The best of some rounds, in microseconds each: what else runs on the machine only ever adds."""
    best = float("inf")
    for _ in range(rounds):
        started = time.thread_time()
        for _ in range(count):
            bench()
        best = min(best, time.thread_time() - started)
    return best / count * 1e6


if __name__ == "__main__":
    for name, bench in BENCHES.items():
        print(f"{measured(bench):8.2f} us  {name}")
