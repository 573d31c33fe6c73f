"""All lists in force: asked by name and by address."""

from __future__ import annotations

from dataclasses import dataclass

from sluicegate.facts import Address, ListHit
from sluicegate.lists.index import Names
from sluicegate.lists.options import Options
from sluicegate.lists.ranges import Ranges
from sluicegate.lists.text import Text
from sluicegate.names import HostName
from sluicegate.resolve.guard import faces


@dataclass(frozen=True, slots=True)
class ListInfo:
    """One list, as `check` and `lists status` show it."""

    name: str
    options: Options  # as they are in force: format and match are filled in
    entries: int
    place: str

    @property
    def format(self) -> str:
        return self.options.format


@dataclass(frozen=True, slots=True)
class Lists:
    """Never changed once built. digest: sha256 over what all lists say, in hex."""

    lists: tuple[ListInfo, ...]
    digest: str
    _text: Text
    _names: Names
    _v4: Ranges
    _v6: Ranges

    @property
    def names(self) -> int:
        """Entries that are names, each counted once for each list."""
        return len(self._names)

    @property
    def ranges(self) -> int:
        """Entries that are addresses or networks."""
        return len(self._v4) + len(self._v6)

    def name_hits(self, name: HostName) -> tuple[ListHit, ...]:
        """All entries that hold the name, the most specific first."""
        if name.address is not None:
            return self.address_hits(name.address)
        found = self._names.find(name.ascii.encode())
        return tuple(map(self._hit, found)) if found else ()

    def address_hits(self, address: Address) -> tuple[ListHit, ...]:
        """All entries that hold the address or an address that is embedded in it."""
        found: dict[int, None] = {}
        for face in faces(address):
            ranges = self._v4 if face.version == 4 else self._v6
            found.update(dict.fromkeys(ranges.find(int(face))))
        return tuple(map(self._hit, found)) if found else ()

    def _hit(self, offset: int) -> ListHit:
        info = self.lists[self._text.list_of(offset)]
        return ListHit(
            list=info.name,
            entry=self._text.entry_at(offset),
            place=f"{info.place}:{self._text.line_of(offset)}",
            category=info.options.category,
            owner=info.options.owner,
            audit=info.options.audit,
        )
