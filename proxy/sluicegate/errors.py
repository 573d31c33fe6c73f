"""Errors a person can act on.

ConfigError        a file of the user's is wrong; printed as one line, place: value: fix
  └─ ConfigErrors  several of them, found in one pass
"""

from __future__ import annotations

from collections.abc import Sequence


class ConfigError(Exception):
    """Something that a person wrote cannot be used.

    place: where it stands (``policies/pay.yaml: rules[3].to.domains[0]``), value: what stands there,
    fix: what to write instead. ``str()`` is one line: place: `value`: fix.
    """

    def __init__(self, place: str, value: object, fix: str) -> None:
        super().__init__(place, value, fix)
        self.place = place
        self.value = value
        self.fix = fix

    def __str__(self) -> str:
        # What a terminal would obey is not shown to it.
        shown = "".join(each if each.isprintable() else "?" for each in " ".join(str(self.value).split()))
        if len(shown) > 120:
            shown = shown[:117] + "..."
        return f"{self.place}: `{shown}`: {self.fix}" if shown else f"{self.place}: {self.fix}"

    @property
    def each(self) -> Sequence[ConfigError]:
        """The single errors; for most, just this one."""
        return (self,)


class ConfigErrors(ConfigError):
    """Several errors, so that one run of `check` names them all; ``str()`` is one line for each."""

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        first = errors[0]
        super().__init__(first.place, first.value, first.fix)
        self._each = tuple(errors)

    def __str__(self) -> str:
        return "\n".join(str(error) for error in self._each)

    @property
    def each(self) -> Sequence[ConfigError]:
        return self._each
