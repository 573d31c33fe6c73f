"""YAML that knows where it stands, so that every error names its place and every rule its line.

`read` gives one Node per document. A Node is asked for what it should be (`text`, `items`, `fields`); what is
something else raises ConfigError with the place (``pay.yaml: rules[3].to.domains[0]``), the value and a fix.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import yaml

from sluicegate.errors import ConfigError

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+)(B|KiB|MiB|GiB|KB|MB|GB)?")
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "KB": 10**3, "MB": 10**6, "GB": 10**9}


@dataclass(frozen=True, slots=True)
class Node:
    """One value of a YAML file. file: as the user named it; path: ``spec.rules[3]``; line: from 1."""

    file: str
    path: str
    line: int
    value: Any  # dict[str, Node] | list[Node] | str | int | float | bool | None

    @property
    def place(self) -> str:
        return f"{self.file}: {self.path}" if self.path else self.file

    @property
    def where(self) -> str:
        """file:line, as editors open it."""
        return f"{self.file}:{self.line}"

    def error(self, fix: str) -> ConfigError:
        return ConfigError(self.place, plain(self), fix)

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self.error("expected text: put it in quotes")
        if not self.value.strip():
            raise self.error("is empty: write a value or leave the key out")
        return self.value

    def integer(self, low: int, high: int) -> int:
        if type(self.value) is not int or not low <= self.value <= high:
            raise self.error(f"expected a whole number from {low} to {high}")
        return self.value

    def boolean(self) -> bool:
        if type(self.value) is not bool:
            raise self.error("expected true or false")
        return self.value

    def one_of(self, *choices: str) -> str:
        if self.value not in choices:
            raise self.error(f"expected {_either(choices)}{_near(str(self.value), choices)}")
        return str(self.value)

    def seconds(self) -> float:
        """A duration with its unit: 500ms, 10s, 5m, 2h, 30d."""
        found = _DURATION.fullmatch(self.value) if isinstance(self.value, str) else None
        if not found:
            raise self.error("expected a duration with its unit, such as 10s, 5m or 24h")
        return float(found[1]) * _SECONDS[found[2]]

    def duration(self) -> timedelta:
        return timedelta(seconds=self.seconds())

    def size(self) -> int:
        """Bytes, written with a unit: 64KiB, 1MiB."""
        raw = str(self.value) if type(self.value) is int else self.value
        found = _SIZE.fullmatch(raw) if isinstance(raw, str) else None
        if not found:
            raise self.error("expected a size with its unit, such as 64KiB or 1MiB")
        return int(found[1]) * _BYTES[found[2] or "B"]

    def items(self) -> list[Node]:
        if not isinstance(self.value, list):
            raise self.error("expected a list: start each entry with `- `")
        return self.value

    def texts(self) -> tuple[str, ...]:
        return tuple(item.text() for item in self.items())

    def labels(self) -> dict[str, str]:
        """A mapping of text to text, as Kubernetes labels are."""
        return {key: node.text() for key, node in self._mapping().items()}

    def fields(self, *known: str, required: tuple[str, ...] = ()) -> Fields:
        """The value as a mapping with only these keys; `required` ones must be there."""
        mapping = self._mapping()
        for key, node in mapping.items():
            if key not in known and key not in required:
                names = (*required, *known)
                raise ConfigError(
                    node.place, key, f"unknown key{_near(key, names) or ': known are ' + ', '.join(names)}"
                )
        for key in required:
            if key not in mapping:
                raise ConfigError(self.place, "", f"`{key}` is missing: add it")
        return Fields(self, mapping)

    def _mapping(self) -> dict[str, Node]:
        if not isinstance(self.value, dict):
            raise self.error("expected `key: value` lines")
        return self.value


@dataclass(frozen=True, slots=True)
class Fields:
    """A mapping whose keys were checked."""

    node: Node
    mapping: dict[str, Node]

    def get(self, key: str) -> Node | None:
        """The node, or None where the key is absent or its value is empty."""
        found = self.mapping.get(key)
        return None if found is None or found.value is None else found

    def need(self, key: str) -> Node:
        found = self.get(key)
        if found is None:
            raise ConfigError(self.node.place, "", f"`{key}` is missing or empty: write a value")
        return found

    def read[T](self, key: str, reader: Callable[[Node], T], default: T) -> T:
        found = self.get(key)
        return default if found is None else reader(found)


def read(text: str, file: str) -> list[Node]:
    """All documents of a YAML text; empty ones are left out. Raises ConfigError for what is not YAML."""
    try:
        composed: list[yaml.Node | None] = list(yaml.compose_all(text, Loader=yaml.CSafeLoader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{file}:{mark.line + 1}" if mark else file
        raise ConfigError(place, "", f"not YAML: {getattr(error, 'problem', None) or 'cannot be read'}") from None
    nodes = [_build(node, file, "") for node in composed if node is not None]
    return [node for node in nodes if node.value is not None]


def plain(node: Node) -> Any:
    """The value without its places."""
    match node.value:
        case dict():
            return {key: plain(child) for key, child in node.value.items()}
        case list():
            return [plain(child) for child in node.value]
        case _:
            return node.value


_SCALARS = yaml.CSafeLoader("")  # only its resolver and constructors are used


def _build(node: yaml.Node, file: str, path: str) -> Node:
    line = node.start_mark.line + 1
    match node:
        case yaml.MappingNode():
            return Node(file, path, line, dict(_pairs(node, file, path)))
        case yaml.SequenceNode():
            children = [_build(child, file, f"{path}[{index}]") for index, child in enumerate(node.value)]
            return Node(file, path, line, children)
        case _:
            return Node(file, path, line, _scalar(node, file, path))


def _scalar(node: yaml.Node, file: str, path: str) -> Any:
    if node.tag == "tag:yaml.org,2002:timestamp":
        return str(node.value)  # dates are read by whoever wants one, with a time zone
    try:
        return _SCALARS.construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError):
        raise ConfigError(f"{file}: {path}", node.value, "cannot be read: put it in quotes") from None


def _pairs(node: yaml.MappingNode, file: str, path: str) -> Iterator[tuple[str, Node]]:
    seen: set[str] = set()
    for key_node, value_node in node.value:
        key = key_node.value
        place = f"{file}:{key_node.start_mark.line + 1}"
        if not isinstance(key, str) or key == "<<":
            raise ConfigError(place, key, "keys are plain text: merge keys and nested keys are not read")
        if key in seen:
            raise ConfigError(place, key, "stands twice in one mapping: remove one")
        seen.add(key)
        child = _build(value_node, file, f"{path}.{key}" if path else key)
        yield key, child


def _either(choices: tuple[str, ...]) -> str:
    return choices[0] if len(choices) == 1 else f"{', '.join(choices[:-1])} or {choices[-1]}"


def _near(word: str, names: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(word, names, n=1)
    return f": did you mean `{close[0]}`?" if close else ""
