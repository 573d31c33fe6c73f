"""Bytes that came and are not read yet."""

from __future__ import annotations


class Held:
    """A queue of bytes. What comes in one piece and is taken whole is never copied."""

    __slots__ = ("data",)

    def __init__(self) -> None:
        self.data: bytes | bytearray = b""

    def __len__(self) -> int:
        return len(self.data)

    def add(self, data: bytes | memoryview) -> None:
        if not self.data:
            self.data = bytes(data)  # the same object, where it is bytes
            return
        if isinstance(self.data, bytes):
            self.data = bytearray(self.data)
        self.data += data

    def take(self, count: int) -> bytes:
        """The first `count` bytes, or as many as there are."""
        data = self.data
        if count >= len(data):
            self.data = b""
            return bytes(data)
        taken = bytes(data[:count])
        self.drop(count)
        return taken

    def drop(self, count: int) -> None:
        """Forgets the first `count` bytes."""
        if isinstance(self.data, bytearray):
            del self.data[:count]
        else:
            self.data = self.data[count:]

    def all(self) -> bytes:
        return self.take(len(self.data))
