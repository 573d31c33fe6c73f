"""S3's own framing of uploads, ``Content-Encoding: aws-chunked``: hex sizes and signatures between pieces of the object.

Without undoing it, a secret that a frame's border cuts in two would pass. From Amazon's description of Signature
Version 4 for chunked uploads: ``<hex size>[;chunk-signature=...]CRLF <data> CRLF`` ..., a chunk of size 0, trailers.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from sluicegate.dlp.budget import Budget, Unscannable

_LONGEST_HEAD = 512
_LONGEST_END = 8192
_HEAD = re.compile(rb"([0-9A-Fa-f]{1,12})(?:;[\x20-\x7e]*)?")


class AwsChunked:
    """Nothing is unpacked, so there is nothing to meter."""

    def __init__(self, sink: Callable[[bytes], None], _budget: Budget) -> None:
        self._sink = sink
        self._held = b""  # part of a head, or what follows the last chunk
        self._left = 0  # bytes of this chunk's data still to come, with the CRLF behind them
        self._ended = False

    def feed(self, data: bytes) -> None:
        data = self._held + data
        self._held = b""
        while data and not self._ended:
            data = self._data(data) if self._left else self._head(data)
        if self._ended:
            self._held += data
            if len(self._held) > _LONGEST_END:
                raise Unscannable("something follows the last aws-chunked chunk")

    def finish(self) -> None:
        if not self._ended:
            raise Unscannable("the aws-chunked stream is cut short")

    def _head(self, data: bytes) -> bytes:
        line, found, rest = data.partition(b"\r\n")
        if not found and len(data) <= _LONGEST_HEAD:
            self._held = data
            return b""
        head = _HEAD.fullmatch(line) if len(line) <= _LONGEST_HEAD else None
        if head is None:
            raise Unscannable("the aws-chunked stream is corrupt")
        size = int(head[1], 16)
        self._ended = size == 0
        self._left = size + 2 if size else 0
        return rest

    def _data(self, data: bytes) -> bytes:
        plain = data[: max(0, self._left - 2)]
        if plain:
            self._sink(plain)
            self._left -= len(plain)
            return data[len(plain) :]
        if data[0] != b"\r\n"[2 - self._left]:
            raise Unscannable("the aws-chunked stream is corrupt")
        self._left -= 1
        return data[1:]
