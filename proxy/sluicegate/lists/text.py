"""The text of all lists: what they hold, one line for each line of the source, comments left out.

    example.com                             a key in canonical form
    *.example.com                           a key with its wildcard before it
    xn--bcher-kva.example|Bücher.example    a key, and how it stands in the source where that is different
    a.example b.example                     a line of a hosts file with two names
    192.0.2.0/24                            an address or a network, as it stands in the source

Keys are found by their offset; list and line of a hit are worked out from it, so that nothing is stored for an entry.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right

from sluicegate.errors import ConfigError

OFFSET_BITS = 32
_BLOCK = 1 << 14  # bytes of text for which the lines before them were counted
_KEY = re.compile(rb"[^ \n|]*")


class Text:
    """The text of all lists, one after the other; grows while lists are read, then stays."""

    def __init__(self) -> None:
        self.bytes = bytearray(b"\n")  # no key stands at 0, which marks an empty slot
        self._starts = array("Q")
        self._lines_before = array("Q")

    @property
    def size(self) -> int:
        return len(self.bytes)

    def begin(self) -> None:
        """The next list starts here."""
        self._starts.append(self.size)

    def append(self, lines: bytes) -> None:
        """Raises ConfigError once a slot can no longer say where a key stands."""
        if self.size + len(lines) >> OFFSET_BITS:
            raise ConfigError("blocklists", "", "hold more than 4 GiB of text together: remove some")
        self.bytes += lines

    def freeze(self) -> None:
        """Count the lines, so that a hit finds its own without counting from the start."""
        lines = 0
        for block in range(0, self.size, _BLOCK):
            self._lines_before.append(lines)
            lines += self.bytes.count(b"\n", block, block + _BLOCK)

    def list_of(self, offset: int) -> int:
        """Index of the list, in the order of begin()."""
        return bisect_right(self._starts, offset) - 1

    def line_of(self, offset: int) -> int:
        """Line in the source, from 1."""
        return self._newlines(offset) - self._newlines(self._starts[self.list_of(offset)]) + 1

    def _newlines(self, offset: int) -> int:
        block = offset // _BLOCK
        return self._lines_before[block] + self.bytes.count(b"\n", block * _BLOCK, offset)

    def key_at(self, offset: int) -> bytes:
        found = _KEY.match(self.bytes, offset)
        return found[0] if found else b""

    def entry_at(self, offset: int) -> str:
        """The entry as it stands in the source, with its wildcard."""
        key = self.key_at(offset)
        end = offset + len(key)
        if self.bytes[end : end + 1] == b"|":
            return self.key_at(end + 1).decode()
        prefix = "" if self.bytes[offset - 1] != ord(".") else "*." if self.bytes[offset - 2] == ord("*") else "."
        return prefix + key.decode()
