"""All lists, from folders and documents: the whole loads or none of it does."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path

from sluicegate.documents import Node
from sluicegate.errors import ConfigError, ConfigErrors
from sluicegate.lists import blocklist, folder
from sluicegate.lists.catalogue import ListInfo, Lists
from sluicegate.lists.index import NamesBuilder
from sluicegate.lists.lines import detect
from sluicegate.lists.options import Options, check_name, header
from sluicegate.lists.ranges import RangesBuilder
from sluicegate.lists.reader import Builders, Reader
from sluicegate.lists.text import Text

_HEAD = 1 << 16  # bytes in which the options and the format are looked for


def load(folders: Sequence[Path], documents: Sequence[Node]) -> Lists:
    """Every ``*.txt`` below the folders and every Blocklist document. Raises ConfigErrors with all that is wrong.

    A folder may also be a single file. A file that a document names is that document's list and not one of its own.
    """
    loading = _Loading()
    for node in documents:
        loading.document(node)
    for path in folders:
        loading.folder(path)
    return loading.lists()


@dataclass(slots=True)
class _Loading:
    text: Text = field(default_factory=Text)
    infos: list[ListInfo] = field(default_factory=list)
    errors: list[ConfigError] = field(default_factory=list)
    files: set[str] = field(default_factory=set)  # real paths
    builders: Builders = field(init=False)

    def __post_init__(self) -> None:
        text = self.text
        self.builders = Builders(text, NamesBuilder(text), RangesBuilder(text, 32), RangesBuilder(text, 128))

    def document(self, node: Node) -> None:
        try:
            document = blocklist.read(node)
            if document.file is None:
                self._list(document.name, document.data, node.file, document.options, inline=True)
            else:
                self._file(document.name, document.file, document.options)
        except ConfigError as error:
            self.errors.extend(error.each)

    def folder(self, path: Path) -> None:
        try:
            found = list(folder.find(path))
        except ConfigError as error:
            self.errors.append(error)
            return
        for name, file in found:
            if os.path.realpath(file) in self.files:
                continue
            try:
                self._file(name, file, {})
            except ConfigError as error:
                self.errors.extend(error.each)

    def _file(self, name: str, file: Path, options: Mapping[str, str]) -> None:
        data = folder.content(file)
        self.files.add(os.path.realpath(file))
        self._list(name, data, str(file), options, inline=False)

    def _list(self, name: str, data: bytes, place: str, given: Mapping[str, str], *, inline: bool) -> None:
        head = Options() if inline else header(_head(data), place)
        options = replace(head, **{"name": head.name or name, **given})
        options = replace(options, format=options.format or detect(_head(data)))
        options = replace(options, match="exact" if options.exact else "suffix")
        self._check_name(options.name, place)
        reader = Reader(self.builders, place, options.format, exact=options.exact, many=inline)
        reader.read(data)
        self.errors.extend(reader.errors)
        if not reader.entries and not reader.errors and not options.empty:
            self.errors.append(
                ConfigError(place, "", "the list is empty: if that is meant, write `# empty: ok` at its head")
            )
        self.infos.append(ListInfo(options.name, options, reader.entries, place))

    def _check_name(self, name: str, place: str) -> None:
        check_name(place, name)
        for info in self.infos:
            if info.name == name:
                raise ConfigError(place, name, f"another list has this name ({info.place}): rename one")

    def lists(self) -> Lists:
        if self.errors:
            raise ConfigErrors(self.errors)
        self.text.freeze()
        to = self.builders
        return Lists(tuple(self.infos), self._digest(), self.text, to.names.build(), to.v4.build(), to.v6.build())

    def _digest(self) -> str:
        digest = hashlib.sha256(self.text.bytes)
        for info in self.infos:
            digest.update(repr((astuple(info.options), info.entries)).encode())
        return digest.hexdigest()


def _head(data: bytes) -> Iterator[bytes]:
    """The first lines, all of them whole."""
    lines = data[:_HEAD].split(b"\n")
    return iter(lines if len(data) <= _HEAD else lines[:-1])
