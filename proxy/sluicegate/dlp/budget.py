"""How much may come out of what came in. A bomb is refused, not unpacked: brotli reaches 650,000 to 1."""

from __future__ import annotations

OUTPUT = 256 << 20
"""Bytes that all decoders of one request may give."""
RATIO = 200
"""Output to input of one decoder, once it has given FREE bytes; real text stays below 100."""
FREE = 1 << 20
WINDOW = 8 << 20
"""Bytes of history that a zstd frame may ask for; the least that RFC 8878 wants supported."""
LAYERS = 4
"""Encodings inside of encodings."""


class Unscannable(Exception):
    """Something cannot be looked into; the text says why."""


class OverBudget(Unscannable):
    """It could be, at a cost that nobody with a right to it causes."""


class Budget:
    """The output left to one request."""

    __slots__ = ("left",)

    def __init__(self, output: int = OUTPUT) -> None:
        self.left = output

    def spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise OverBudget(f"unpacks to more than {OUTPUT >> 20} MiB in one request")


class Meter:
    """Input and output of one decoder."""

    __slots__ = ("_budget", "_taken", "given")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._taken = 0
        self.given = 0

    def take(self, size: int) -> None:
        self._taken += size

    def give(self, size: int) -> None:
        """Raises OverBudget."""
        self.given += size
        self._budget.spend(size)
        if self.given > FREE and self.given > RATIO * self._taken:
            raise OverBudget(f"unpacks to more than {RATIO} times its size")
