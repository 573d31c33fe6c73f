"""What a client may spend: so many at once, and then so many a second."""

from __future__ import annotations

import time
from collections.abc import Callable


class Budget:
    """A token bucket. `size` can be taken at once; `rate` come back each second."""

    def __init__(self, size: float, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._size, self._rate, self._clock = size, rate, clock
        self._left, self._counted = size, clock()

    def take(self) -> bool:
        """Takes one. False: none is left."""
        now = self._clock()
        self._left = min(self._size, self._left + (now - self._counted) * self._rate)
        self._counted = now
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def give(self) -> None:
        """Gives one back."""
        self._left = min(self._size, self._left + 1)
