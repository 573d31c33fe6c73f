"""Content codings undone in a stream: gzip, deflate, br, zstd (RFC 9110, 8.4.1; RFC 7932; RFC 8878).

A decoder is fed what arrives and hands each slice of at most about 64 KiB to its sink, however much one byte of
input stands for. What is broken, cut short, followed by something else or over budget raises Unscannable.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from typing import Protocol

import brotli
import zstandard

from sluicegate.dlp.budget import WINDOW, Budget, Meter, Unscannable

type Sink = Callable[[bytes], None]

SLICE = 65_536


class Decoder(Protocol):
    def feed(self, data: bytes) -> None: ...

    def finish(self) -> None:
        """Nothing follows. Raises Unscannable where something should."""


class Gzip:
    """gzip with any number of members (RFC 1952, 2.2); zero bytes may pad the end, as tape tools do."""

    def __init__(self, sink: Sink, budget: Budget) -> None:
        self._sink = sink
        self._meter = Meter(budget)
        self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
        self._between = True  # members: at the start, and where one has ended
        self._members = 0

    def feed(self, data: bytes) -> None:
        self._meter.take(len(data))
        while data:
            if self._between:
                data = data.lstrip(b"\0") if self._members else data
                if not data:
                    return
                self._inflate = zlib.decompressobj(zlib.MAX_WBITS | 16)
                self._between = False
            data = _inflate(self._inflate, data, self._sink, self._meter)
            self._between = self._inflate.eof
            self._members += self._between

    def finish(self) -> None:
        if not self._between:
            raise Unscannable("the gzip stream is cut short")


class Deflate:
    """deflate: zlib as the RFC says, or raw as some senders do; the first two bytes tell (RFC 1950, 2.2)."""

    def __init__(self, sink: Sink, budget: Budget) -> None:
        self._sink = sink
        self._meter = Meter(budget)
        self._head = b""
        self._inflate: zlib._Decompress | None = None

    def feed(self, data: bytes) -> None:
        self._meter.take(len(data))
        if self._inflate is None:
            data = self._head + data
            if len(data) < 2:
                self._head = data
                return
            self._inflate = zlib.decompressobj(zlib.MAX_WBITS if _zlib_header(data) else -zlib.MAX_WBITS)
        if self._inflate.eof and data:
            raise Unscannable("something follows the deflate stream")
        if _inflate(self._inflate, data, self._sink, self._meter):
            raise Unscannable("something follows the deflate stream")

    def finish(self) -> None:
        if self._head and self._inflate is None:
            raise Unscannable("the deflate stream is cut short")
        if self._inflate is not None and not self._inflate.eof:
            raise Unscannable("the deflate stream is cut short")


class Brotli:
    """br, with the 16 MiB window that the RFC bounds it to."""

    def __init__(self, sink: Sink, budget: Budget) -> None:
        self._sink = sink
        self._meter = Meter(budget)
        self._state = brotli.Decompressor()

    def feed(self, data: bytes) -> None:
        self._meter.take(len(data))
        if data and self._state.is_finished():
            raise Unscannable("something follows the br stream")
        try:
            out = self._state.process(data, output_buffer_limit=SLICE)
            while out or not self._state.can_accept_more_data():
                self._meter.give(len(out))
                self._sink(out)
                out = self._state.process(b"", output_buffer_limit=SLICE)
        except brotli.error:
            raise Unscannable("the br stream is corrupt, or something follows it") from None

    def finish(self) -> None:
        if not self._state.is_finished():
            raise Unscannable("the br stream is cut short")


class Zstd:
    """zstd frames, one after the other. The library's writer calls back for each slice; nothing piles up."""

    def __init__(self, sink: Sink, budget: Budget) -> None:
        self._sink = sink
        self._meter = Meter(budget)
        self._probe: list[bytes] | None = None
        self._writer = zstandard.ZstdDecompressor(max_window_size=WINDOW).stream_writer(
            self,  # type: ignore[arg-type]  # asked for no more than `write`
            write_size=SLICE,
            closefd=False,
        )

    def feed(self, data: bytes) -> None:
        self._meter.take(len(data))
        self._push(data)

    def _push(self, data: bytes) -> None:
        try:
            self._writer.write(data)
        except zstandard.ZstdError:
            raise Unscannable("the zstd stream is corrupt, or wants more than 8 MiB of history") from None

    def write(self, out: bytes) -> int:
        """Called by the library."""
        if self._probe is not None:
            self._probe.append(bytes(out))
            return len(out)
        self._meter.give(len(out))
        self._sink(bytes(out))
        return len(out)

    def finish(self) -> None:
        """The writer does not tell whether a frame is open. One more frame does: inside of another it is none.

        Byte by byte: given a whole frame at once, libzstd takes it for one even where it stands in another's header.
        """
        nonce = os.urandom(16)
        self._probe = []
        try:
            for byte in zstandard.ZstdCompressor(level=1, write_checksum=True).compress(nonce):
                self._push(bytes((byte,)))
        except Unscannable:
            self._probe = []
        if b"".join(self._probe) != nonce:
            raise Unscannable("the zstd stream is cut short")


def _inflate(state: zlib._Decompress, data: bytes, sink: Sink, meter: Meter) -> bytes:
    """Feeds one member; returns what follows it."""
    try:
        while True:
            out = state.decompress(data, SLICE)
            data = state.unconsumed_tail
            if out:
                meter.give(len(out))
                sink(out)
            if state.eof:
                return state.unused_data
            if not data and len(out) < SLICE:
                return b""
    except zlib.error:
        raise Unscannable("the gzip or deflate stream is corrupt, or something follows it") from None


def _zlib_header(data: bytes) -> bool:
    return data[0] & 0x0F == 8 and data[0] >> 4 <= 7 and (data[0] << 8 | data[1]) % 31 == 0
