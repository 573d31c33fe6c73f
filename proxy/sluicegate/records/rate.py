"""How many records a second each workload may write: a token bucket each, with a burst of two seconds."""

from __future__ import annotations

BURST_S = 2.0


class Rates:
    """Buckets by key. Not locked: the journal is.

    A bucket that nobody drew from for BURST_S is full again, and a full one need not be remembered: so there are
    never more of them than keys that wrote within that time, and at most `most`.
    """

    def __init__(self, per_second: float, most: int = 20_000) -> None:
        self._rate = per_second
        self._burst = per_second * BURST_S
        self._most = most
        self._buckets: dict[str, tuple[float, float]] = {}  # key -> tokens, when they were counted (monotonic seconds)

    def take(self, key: str, now: float) -> bool:
        """Whether one more record of `key` is within its rate."""
        tokens, counted = self._buckets.get(key, (self._burst, now))
        tokens = min(self._burst, tokens + (now - counted) * self._rate)
        if key not in self._buckets and len(self._buckets) >= self._most:
            self._forget_full(now)
            if len(self._buckets) >= self._most:
                return False  # more writers than we can tell apart: summed up, like any that is beyond its rate
        within = tokens >= 1.0
        self._buckets[key] = (tokens - 1.0 if within else tokens, now)
        return within

    def __len__(self) -> int:
        return len(self._buckets)

    def _forget_full(self, now: float) -> None:
        self._buckets = {key: kept for key, kept in self._buckets.items() if now - kept[1] < BURST_S}
