"""Collects what is wrong, so that one run of `check` names all of it."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from sluicegate.documents import Fields, Node
from sluicegate.errors import ConfigError, ConfigErrors


def filled(node: Node, *known: str, required: tuple[str, ...] = ()) -> Fields:
    """node.fields, where a key without a value is an error: `domains:` with nothing behind it must not mean all."""
    fields = node.fields(*known, required=required)
    for child in fields.mapping.values():
        if child.value is None:
            raise child.error("is empty: write a value, or leave the key out")
    return fields


class Problems:
    """Errors so far. What could not be read is replaced by a default that never gets used: `raise_if_any` follows."""

    def __init__(self) -> None:
        self._found: list[ConfigError] = []

    def add(self, error: ConfigError) -> None:
        self._found.extend(error.each)

    def noted(self) -> _Noted:
        """Notes a ConfigError raised inside of `with`, and goes on behind it."""
        return _Noted(self)

    def read[T](self, fields: Fields, key: str, reader: Callable[[Node], T], default: T) -> T:
        with self.noted():
            return fields.read(key, reader, default)
        return default

    def each[T](self, node: Node, reader: Callable[[Node], T]) -> list[T]:
        """What could be read of a list that must not be empty."""
        items: list[Node] = []
        with self.noted():
            items = node.items()
            if not items:
                raise node.error("is empty and so matches nothing: name something, or leave the key out to match all")
        found: list[T] = []
        for item in items:
            with self.noted():
                found.append(reader(item))
        return found

    def raise_if_any(self) -> None:
        if self._found:
            raise ConfigErrors(self._found)


class _Noted:
    def __init__(self, problems: Problems) -> None:
        self._problems = problems

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not isinstance(error, ConfigError):
            return False
        self._problems.add(error)
        return True
