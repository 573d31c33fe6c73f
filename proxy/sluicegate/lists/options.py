"""What a list says about itself: in the comments at its head, or in the spec of a Blocklist."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from sluicegate.errors import ConfigError

_OPTION = re.compile(rb"#[ \t]*(format|match|mode|category|owner|name|empty)[ \t]*:[ \t]*(.*?)[ \t]*")
_CHOICES = {
    "format": ("domains", "hosts", "addresses"),
    "match": ("exact", "suffix"),
    "mode": ("enforce", "audit"),
    "empty": ("ok",),
}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")


@dataclass(frozen=True, slots=True)
class Options:
    """format and match are empty where they are left to detection and to the format's default."""

    format: str = ""
    match: str = ""
    mode: str = "enforce"
    category: str = ""
    owner: str = ""
    name: str = ""
    empty: str = ""

    @property
    def exact(self) -> bool:
        """A hosts file names hosts, a list of domains means what is below them too, unless `match` says otherwise."""
        return self.match == "exact" or (not self.match and self.format == "hosts")

    @property
    def audit(self) -> bool:
        return self.mode == "audit"


def header(lines: Iterable[bytes], file: str) -> Options:
    """What the ``# key: value`` comments before the first entry say; other comments are just comments.

    Below the first entry such a comment is a heading (``# category: ads``) and means nothing.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        stripped = line.strip()
        if stripped and not stripped.startswith((b"#", b";")):
            break
        if option := _OPTION.fullmatch(stripped):
            key, value = option[1].decode(), option[2].decode(errors="replace")
            _check(f"{file}:{number}", key, value, already=key in found)
            found[key] = value
    return Options(**found)


def _check(place: str, key: str, value: str, *, already: bool) -> None:
    if already:
        raise ConfigError(place, f"{key}: {value}", "stands twice at the head of the list: remove one")
    if key in _CHOICES and value not in _CHOICES[key]:
        raise ConfigError(place, f"{key}: {value}", f"expected {' or '.join(_CHOICES[key])}")
    if not value:
        raise ConfigError(place, f"{key}:", "is empty: write a value or remove the line")
    if key == "name":
        check_name(place, value)


def check_name(place: str, name: str) -> None:
    """Rules and exceptions refer to a list by its name."""
    if not _NAME.fullmatch(name):
        raise ConfigError(place, name, "the name of a list is letters, digits, `.`, `_`, `-` and `/`: rename it")
