"""The compiled rules of a gateway."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import fields

from sluicegate.dlp.database import BadExpression, Database
from sluicegate.dlp.load import load_rules
from sluicegate.dlp.rules import Context, Rule
from sluicegate.dlp.scan import Scan
from sluicegate.dlp.text import Matter
from sluicegate.errors import ConfigError


class Engine:
    """Immutable; threads may share it. `digest` names the rules: the same rules, the same digest."""

    def __init__(self, rules: Sequence[Rule], *, key: bytes) -> None:
        """key: for the fingerprints; whoever has it can tell which of two guesses was the secret.

        Raises ConfigError for an expression that hyperscan does not compile.
        """
        if len(key) < 16:
            raise ValueError("a fingerprint key has at least 16 bytes")
        self.rules = tuple(rules)
        self.digest = _digest(self.rules)
        keep = max((rule.reach for rule in self.rules), default=0)
        self._matter = Matter(self.rules, _compile(self.rules), key, keep)

    @classmethod
    def load(cls, packs: Sequence[str], *, key: bytes) -> Engine:
        """packs: names of packs that come with the program (``secrets``, ``pii``), and paths of .yaml files.

        Raises ConfigError, or ConfigErrors with all that is wrong.
        """
        return cls(load_rules(packs), key=key)

    def open(self) -> Scan:
        """For one request."""
        return Scan(self._matter)


def _compile(rules: tuple[Rule, ...]) -> Database | None:
    if not rules:
        return None
    try:
        return Database([rule.find for rule in rules])
    except BadExpression as error:
        rule = rules[error.index]
        fix = f"rule {rule.id}: hyperscan cannot compile this ({error}): give it a `find` without lookaround"
        raise ConfigError(rule.place, rule.find.decode(), fix) from None


def _digest(rules: tuple[Rule, ...]) -> str:
    whole = hashlib.sha256()
    for rule in rules:
        whole.update(
            repr([_stable(getattr(rule, each.name)) for each in fields(rule) if each.name not in _NOISE]).encode()
        )
    return f"sha256:{whole.hexdigest()}"


_NOISE = {"place", "examples"}


def _stable(value: object) -> object:
    """Without what differs from run to run, and with all that an expression's repr leaves out."""
    match value:
        case re.Pattern():
            return value.pattern, value.flags
        case Context():
            return value.words, value.within, value.required
        case tuple():
            return tuple(_stable(each) for each in value)
        case _:
            return value
