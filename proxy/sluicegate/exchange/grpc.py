"""gRPC messages in a body: a flag byte, four bytes of length, the message (gRPC over HTTP/2, "Length-Prefixed-Message").

A message is released only when it was scanned whole, so a stream of them flows both ways without waiting for its end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_PREFIX = 5


@dataclass(frozen=True, slots=True)
class Message:
    compressed: bool
    payload: bytes
    raw: bytes  # with its prefix, as it goes upstream


class TooLarge(Exception):
    """A message announces more bytes than one may have."""


class BadFlag(Exception):
    """The flag byte is neither 0 nor 1: this is not gRPC."""


class Messages:
    """Chunks in, whole messages out."""

    __slots__ = ("_limit", "_pending")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pending = bytearray()

    @property
    def partial(self) -> bool:
        """True where a message has begun and not ended."""
        return bool(self._pending)

    def feed(self, chunk: bytes) -> Iterator[Message]:
        """The messages that this chunk completes. Raises TooLarge and BadFlag before holding what they announce."""
        self._pending += chunk
        while len(self._pending) >= _PREFIX:
            flag, size = self._pending[0], int.from_bytes(self._pending[1:_PREFIX])
            if flag > 1:
                raise BadFlag
            if size > self._limit:
                raise TooLarge
            end = _PREFIX + size
            if len(self._pending) < end:
                return
            raw = bytes(self._pending[:end])
            del self._pending[:end]
            yield Message(flag == 1, raw[_PREFIX:], raw)
