"""The compiled form of all names: the one place that knows how it is laid out.

table   open addressing, a power of two of 64-bit slots, at most half of them in use:
            bit 0        1: the very name, 0: the name and all below it
            bits 1..32   where the key stands in the text; 0 is an empty slot
            bits 33..63  31 bits of the key's hash

A slot is a candidate only: the key is compared with the text before it counts, so two names with one hash are told
apart. Table and text are flat buffers that can lie in memory shared by workers, as long as these are forked from the
process that compiled them: the hash is Python's own, keyed per process family, so that nobody can write a list whose
names all fall into one slot.
"""

from __future__ import annotations

from array import array

from sluicegate.lists.text import OFFSET_BITS, Text

_TAG_SHIFT = 1 + OFFSET_BITS
_TAG_MASK = (1 << 64 - _TAG_SHIFT) - 1
_REF_MASK = (1 << _TAG_SHIFT) - 1
_ENDS = b" \n|"
_EMPTY = bytes(8)


class NamesBuilder:
    """Collects keys; build() makes the table when their number is known."""

    def __init__(self, text: Text) -> None:
        self._text = text
        self._hashes = array("q")
        self._refs = array("Q")

    def add(self, key: bytes, offset: int, exact: bool) -> None:  # noqa: FBT001 (a million calls)
        """`key` stands (or will stand) at `offset` of the text."""
        self._hashes.append(hash(key))
        self._refs.append(offset << 1 | exact)

    def build(self) -> Names:
        slots = 1 << max(4, (2 * len(self._refs)).bit_length())
        table = array("Q", _EMPTY) * slots
        mask, count = slots - 1, 0
        for hashed, ref in zip(self._hashes, self._refs, strict=True):
            tag, at = hashed >> _TAG_SHIFT & _TAG_MASK, hashed & mask
            while slot := table[at]:
                if slot >> _TAG_SHIFT == tag and self._twice(slot & _REF_MASK, ref):
                    break
                at = at + 1 & mask
            else:
                table[at] = tag << _TAG_SHIFT | ref
                count += 1
        return Names(self._text, table, count)

    def _twice(self, first: int, second: int) -> bool:
        """One list holds the same entry twice: the first line is the one to show."""
        text = self._text
        return (
            first & 1 == second & 1
            and text.list_of(first >> 1) == text.list_of(second >> 1)
            and text.key_at(first >> 1) == text.key_at(second >> 1)
        )


class Names:
    """The table of names. len() is the number of entries."""

    def __init__(self, text: Text, table: array[int], count: int) -> None:
        self._text = text.bytes
        self._table = table
        self._mask = len(table) - 1
        self._count = count

    def __len__(self) -> int:
        return self._count

    def find(self, name: bytes) -> list[int]:
        """Offsets of all entries that hold the canonical `name`, the most specific first."""
        table, mask, found = self._table, self._mask, []
        start = 0
        while True:
            key = name[start:]
            hashed = hash(key)
            tag, at = hashed >> _TAG_SHIFT & _TAG_MASK, hashed & mask
            while slot := table[at]:
                if slot >> _TAG_SHIFT == tag and not (start and slot & 1) and self._stands(key, slot):
                    found.append((slot & _REF_MASK) >> 1)
                at = at + 1 & mask
            start = name.find(b".", start) + 1
            if not start:
                return found

    def _stands(self, key: bytes, slot: int) -> bool:
        offset = (slot & _REF_MASK) >> 1
        return self._text.startswith(key, offset) and self._text[offset + len(key)] in _ENDS
