"""YAML that knows where it stands, so that every error names its place and every rule its line.

`read` gives one Node per document. A Node is asked for what it should be (`text`, `items`, `fields`); what is
something else raises ConfigError with the place (``pay.yaml: rules[3].to.domains[0]``), the value and a fix.
"""

from __future__ import annotations

import contextlib
import difflib
import gc
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import yaml

from sluicegate.errors import ConfigError

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_LONGEST_S = 36_500 * 86400.0
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
        seconds = float(found[1]) * _SECONDS[found[2]]
        if not 0 < seconds <= _LONGEST_S:
            raise self.error("expected a duration above 0s and up to 36500d")
        return seconds

    def duration(self) -> timedelta:
        return timedelta(seconds=self.seconds())

    def size(self, low: int = 1) -> int:
        """Bytes, written with a unit: 64KiB, 1MiB. `low`: the least that makes sense."""
        raw = str(self.value) if type(self.value) is int else self.value
        found = _SIZE.fullmatch(raw) if isinstance(raw, str) and len(raw) < 32 else None
        if not found:
            raise self.error("expected a size with its unit, such as 64KiB or 1MiB")
        size = int(found[1]) * _BYTES[found[2] or "B"]
        if size < low:
            raise self.error(f"expected a size of at least {low}B")
        return size

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
    """All documents of a YAML text; empty ones are left out. Raises ConfigError for what is not YAML.

    Total: what is nested too deep, or multiplies itself by aliases, is a ConfigError too, before it costs anything.
    """
    with _without_collector():
        return _read(text, file)


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """A million new objects, none of them garbage: looking for some would take three quarters of the time (20,000 rules: 6 s of 8)."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _read(text: str, file: str) -> list[Node]:
    try:
        composed: list[yaml.Node | None] = list(yaml.compose_all(text, Loader=_Loader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{file}:{mark.line + 1}" if mark else file
        why = getattr(error, "problem", None) or getattr(error, "reason", None)  # of the parser, of the reader
        raise ConfigError(place, "", f"not YAML: {why or 'cannot be read'}") from None
    return _built(composed, file)


def _built(composed: list[yaml.Node | None], file: str) -> list[Node]:
    building = _Building(file)
    nodes = [building.node(node, "") for node in composed if node is not None]
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


_DEEPEST = 100
"""Collections inside of collections. A policy has 10; libyaml's composer ends the whole process at some 50,000."""
_MOST_REPEATED = 10_000
"""Nodes of one text that aliases may repeat: ten aliases of ten would otherwise make ten thousand million."""


class _Loader(yaml.CSafeLoader):
    """Composes, and counts how deep it is: the composer calls these two around every node."""

    _depth = 0

    def descend_resolver(self, current_node: yaml.Node | None, current_index: Any) -> None:  # noqa: ARG002 - PyYAML's
        self._depth += 1
        if self._depth > _DEEPEST + 1:
            mark = None if current_node is None else current_node.start_mark
            raise yaml.composer.ComposerError(None, None, _too_deep(), mark)

    def ascend_resolver(self) -> None:
        self._depth -= 1


_SCALARS = yaml.CSafeLoader("")  # only its constructors are used, none of which keeps anything
_READERS: dict[str, Callable[[yaml.ScalarNode], Any]] = {
    "tag:yaml.org,2002:str": lambda node: str(node.value),
    "tag:yaml.org,2002:timestamp": lambda node: str(node.value),  # read by whoever wants a date, with a time zone
    "tag:yaml.org,2002:null": _SCALARS.construct_yaml_null,
    "tag:yaml.org,2002:bool": _SCALARS.construct_yaml_bool,
    "tag:yaml.org,2002:int": _SCALARS.construct_yaml_int,
    "tag:yaml.org,2002:float": _SCALARS.construct_yaml_float,
}
_COLLECTIONS = {"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}


class _Building:
    """The Nodes of one text."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._above: list[yaml.Node] = []
        self._seen: set[int] = set()
        self._repeating = False
        self._repeated = 0

    def node(self, node: yaml.Node, path: str) -> Node:
        if isinstance(node, yaml.ScalarNode):
            self._count()
            return Node(self._file, path, node.start_mark.line + 1, self._scalar(node, path))
        before = self._repeating
        self._enter(node, path)
        try:
            return Node(self._file, path, node.start_mark.line + 1, self._children(node, path))
        finally:
            self._above.pop()
            self._repeating = before

    def _enter(self, node: yaml.Node, path: str) -> None:
        place = f"{self._file}: {path}" if path else self._file
        if node.tag not in _COLLECTIONS:
            raise ConfigError(place, node.tag, "tags are not read: remove it")
        if any(above is node for above in self._above):
            raise ConfigError(place, "", "an alias stands inside of what it names: write the value out")
        if len(self._above) >= _DEEPEST:
            raise ConfigError(place, "", _too_deep())
        self._repeating = self._repeating or id(node) in self._seen
        self._seen.add(id(node))
        self._above.append(node)
        self._count()

    def _count(self) -> None:
        self._repeated += self._repeating
        if self._repeated > _MOST_REPEATED:
            raise ConfigError(self._file, "", f"aliases repeat more than {_MOST_REPEATED} values: write fewer of them")

    def _children(self, node: yaml.Node, path: str) -> dict[str, Node] | list[Node]:
        if isinstance(node, yaml.MappingNode):
            return dict(self._pairs(node, path))
        return [self.node(child, f"{path}[{index}]") for index, child in enumerate(node.value)]

    def _scalar(self, node: yaml.ScalarNode, path: str) -> Any:
        place = f"{self._file}: {path}" if path else self._file
        reader = _READERS.get(node.tag)
        if reader is None:
            raise ConfigError(place, node.value, "tags are not read: put the value in quotes instead")
        try:
            return reader(node)
        except (ValueError, LookupError):  # `!!bool 7`, a number of 5,000 digits
            raise ConfigError(place, node.value, "cannot be read: put it in quotes") from None

    def _pairs(self, node: yaml.MappingNode, path: str) -> Iterator[tuple[str, Node]]:
        seen: set[str] = set()
        for key_node, value_node in node.value:
            place = f"{self._file}:{key_node.start_mark.line + 1}"
            if not isinstance(key_node, yaml.ScalarNode):
                raise ConfigError(place, "", "keys are plain text: nested keys are not read")
            key = str(key_node.value)
            if key == "<<":
                raise ConfigError(place, key, "keys are plain text: merge keys are not read")
            if key in seen:
                raise ConfigError(place, key, "stands twice in one mapping: remove one")
            seen.add(key)
            yield key, self.node(value_node, f"{path}.{key}" if path else key)


def _too_deep() -> str:
    return f"is nested more than {_DEEPEST} deep: make it flatter"


def _either(choices: tuple[str, ...]) -> str:
    return choices[0] if len(choices) == 1 else f"{', '.join(choices[:-1])} or {choices[-1]}"


def _near(word: str, names: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(word, names, n=1)
    return f": did you mean `{close[0]}`?" if close else ""
