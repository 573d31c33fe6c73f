"""Reading TLS's length-prefixed fields (RFC 8446, 3.4) with every bound checked."""

from __future__ import annotations

from sluicegate.lanes.hello_errors import BadHello


class Fields:
    """A cursor over bytes that were received whole. What goes over the end raises BadHello naming the field."""

    __slots__ = ("_at", "_data", "_end")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._end = len(data)

    def __bool__(self) -> bool:
        """True while bytes are left."""
        return self._at < self._end

    def take(self, count: int, what: str) -> bytes:
        end = self._at + count
        if end > self._end:
            raise BadHello(f"{what} goes over its end")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def number(self, size: int, what: str) -> int:
        return int.from_bytes(self.take(size, what))

    def vector(self, size: int, what: str, least: int = 0, most: int | None = None) -> bytes:
        """A vector whose length stands before it in `size` bytes; it holds `least` to `most` bytes."""
        length = self.number(size, what)
        if length < least or (most is not None and length > most):
            raise BadHello(f"{what} has {length} bytes")
        return self.take(length, what)

    def numbers(self, size: int, what: str) -> tuple[int, ...]:
        """A vector of 16-bit numbers, at least one."""
        raw = self.vector(size, what, least=2)
        if len(raw) % 2:
            raise BadHello(f"{what} has an odd length")
        return tuple(int.from_bytes(raw[at : at + 2]) for at in range(0, len(raw), 2))

    def done(self, what: str) -> None:
        if self._at != self._end:
            raise BadHello(f"{what} has bytes after its end")
