"""A ClientHello out of TLS records (RFC 8446, 5.1), however they were cut."""

from __future__ import annotations

from dataclasses import dataclass

from sluicegate.lanes.client_hello import ClientHello, read_message
from sluicegate.lanes.hello_errors import BadHello, HelloTooLarge

LIMIT = 64 << 10

_HEADER = 5
_HANDSHAKE = 22
_CLIENT_HELLO = 1
_MOST = 1 << 14  # bytes of a plaintext record


@dataclass(frozen=True, slots=True)
class NeedMore:
    """The bytes so far are a beginning. It takes at least `total` bytes, counted from the first, to say more."""

    total: int


class Reassembly:
    """Reads a growing buffer. `read` is given all bytes from the first each time, and looks at the new ones only.

    NeedMore is as large as can be known, so that whoever waits for it is woken a logarithmic number of times
    even by records of one byte.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._at = 0  # where the next record begins
        self._message = bytearray()

    def read(self, data: bytes) -> ClientHello | NeedMore:
        """Raises BadHello and HelloTooLarge."""
        while len(data) >= self._at + _HEADER:
            end = self._at + _HEADER + _length(data, self._at)
            if len(data) < end:
                return self._need(end)
            self._message += data[self._at + _HEADER : end]
            self._at = end
            if self._missing() <= 0:
                return self._whole()
        if len(data) > self._at:
            _begins(data, self._at)
        return self._need(self._at + _HEADER + max(1, self._missing()))

    def _missing(self) -> int:
        """Bytes of the message that are not there yet, as far as its header tells; below zero: too many."""
        if self._message and self._message[0] != _CLIENT_HELLO:
            raise BadHello("the first handshake message is not a ClientHello")
        if len(self._message) < 4:
            return 4 - len(self._message)
        size = 4 + int.from_bytes(self._message[1:4])
        if size > self._limit:
            raise HelloTooLarge
        return size - len(self._message)

    def _whole(self) -> ClientHello:
        if self._missing() < 0:  # RFC 8446, 5.1: nothing may follow it in its record
            raise BadHello("bytes follow the ClientHello in its record")
        if self._at > self._limit:
            raise HelloTooLarge
        return read_message(bytes(self._message[4:]))

    def _need(self, total: int) -> NeedMore:
        if total > self._limit:
            raise HelloTooLarge
        return NeedMore(total)


def parse(data: bytes, limit: int = LIMIT) -> ClientHello | NeedMore:
    """All bytes at once. Raises BadHello and HelloTooLarge, and nothing else, for any bytes."""
    return Reassembly(limit).read(data)


def _length(data: bytes, at: int) -> int:
    _begins(data, at)
    length = int.from_bytes(data[at + 3 : at + 5])
    if not 0 < length <= _MOST:  # an empty handshake record is forbidden, RFC 8446, 5.1
        raise BadHello(f"a record has {length} bytes")
    return length


def _begins(data: bytes, at: int) -> None:
    """The type and the major version, as far as they are there: the minor version of a record is to be ignored."""
    if data[at] != _HANDSHAKE:
        raise BadHello("a record in the ClientHello is not of type handshake")
    if data[at + 1 : at + 2] not in {b"", b"\x03"}:
        raise BadHello("a record's version is not one of TLS")
