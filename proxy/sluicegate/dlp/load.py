"""Rule packs: those that come with the program, by name, and files of the user's, by path."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from sluicegate import documents
from sluicegate.dlp.rules import Rule, read_rules
from sluicegate.documents import Node
from sluicegate.errors import ConfigError, ConfigErrors

_SHIPPED = resources.files("sluicegate.dlp") / "packs"
_API = "sluicegate.dev/v1alpha1"


def shipped() -> tuple[str, ...]:
    """The names of the packs that come with the program."""
    return tuple(
        sorted(entry.name.removesuffix(".yaml") for entry in _SHIPPED.iterdir() if entry.name.endswith(".yaml"))
    )


def load_rules(packs: Sequence[str]) -> tuple[Rule, ...]:
    """The rules of all packs, in order. Raises ConfigErrors that name all that is wrong in all of them."""
    rules: list[Rule] = []
    errors: list[ConfigError] = []
    for pack in packs:
        try:
            rules += _pack(pack)
        except ConfigError as error:
            errors.extend(error.each)
    errors += _twice(rules)
    if errors:
        raise ConfigErrors(errors)
    return tuple(rules)


def _pack(pack: str) -> list[Rule]:
    name, text = _text(pack)
    return [rule for document in documents.read(text, name) for rule in _document(document)]


def _text(pack: str) -> tuple[str, str]:
    if pack in shipped():
        return f"{pack}.yaml", (_SHIPPED / f"{pack}.yaml").read_text("utf-8")
    if not pack.endswith((".yaml", ".yml")):
        raise ConfigError("dlp.packs", pack, f"no such pack: use {', '.join(shipped())} or the path of a .yaml file")
    try:
        return pack, Path(pack).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError("dlp.packs", pack, f"cannot be read: {why}") from None


def _document(node: Node) -> tuple[Rule, ...]:
    fields = node.fields("apiVersion", required=("kind", "metadata", "spec"))
    fields.need("kind").one_of("DlpRules")
    fields.read("apiVersion", lambda item: item.one_of(_API), _API)
    fields.need("metadata").fields("license", "source", required=("name",)).need("name").text()
    return read_rules(fields.need("spec").fields(required=("rules",)).need("rules"))


def _twice(rules: Sequence[Rule]) -> list[ConfigError]:
    first: dict[str, Rule] = {}
    return [
        ConfigError(rule.place, rule.id, f"this id is taken by {first[rule.id].place}: choose another")
        for rule in rules
        if first.setdefault(rule.id, rule) is not rule
    ]
