"""Blocklist documents: a list in YAML, with its entries inline or in a file beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sluicegate.documents import Fields, Node
from sluicegate.errors import ConfigError
from sluicegate.lists.options import check_name
from sluicegate.settings import API_VERSION

_SPEC = ("format", "match", "entries", "file", "action", "mode", "category", "owner")


@dataclass(frozen=True, slots=True)
class Document:
    """A Blocklist. Either `file` or `data` is there; data: one line for each line of the YAML file."""

    name: str
    options: Mapping[str, str]  # the fields of Options that the spec sets: they win over the head of `file`
    node: Node
    file: Path | None
    data: bytes


def read(node: Node) -> Document:
    """Raises ConfigError."""
    top = node.fields("apiVersion", required=("kind", "metadata", "spec"))
    top.need("kind").one_of("Blocklist")
    top.read("apiVersion", lambda item: item.one_of(API_VERSION), API_VERSION)
    metadata = top.need("metadata").fields("labels", "annotations", required=("name",))
    name = metadata.need("name")
    check_name(name.place, name.text())
    spec = top.need("spec").fields(*_SPEC)
    spec.read("action", lambda item: item.one_of("deny"), "deny")
    entries, file = spec.get("entries"), spec.get("file")
    if (entries is None) == (file is None):
        raise ConfigError(spec.node.place, "", "holds its list in `entries` or in `file`: write one of the two")
    return Document(
        name=name.text(),
        options=_options(spec, inline=entries is not None),
        node=node,
        file=None if file is None else Path(node.file).parent / file.text(),
        data=b"" if entries is None else _lines(entries.items()),
    )


def _options(spec: Fields, *, inline: bool) -> dict[str, str]:
    formats = ("domains", "addresses") if inline else ("domains", "hosts", "addresses")
    readers: dict[str, Callable[[Node], str]] = {
        "format": lambda item: item.one_of(*formats),
        "match": lambda item: item.one_of("exact", "suffix"),
        "mode": lambda item: item.one_of("enforce", "audit"),
        "category": Node.text,
        "owner": Node.text,
    }
    return {key: reader(found) for key, reader in readers.items() if (found := spec.get(key)) is not None}


def _lines(entries: Sequence[Node]) -> bytes:
    """Each entry on the line that it stands on in the YAML file, so that hits and errors name that line."""
    data, line = bytearray(), 1
    for entry in entries:
        word = entry.text()
        if len(word.split()) != 1 or "#" in word or word != word.strip():
            raise entry.error("expected one name, address or network")
        data += b"\n" * (entry.line - line) if entry.line > line else b" "
        data += word.encode()
        line = max(line, entry.line)
    return bytes(data)
