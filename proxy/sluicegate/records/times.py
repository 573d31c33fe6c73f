"""Times as records spell them."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache


def timestamp(at: float) -> str:
    """RFC 3339 in UTC with microseconds. at: seconds since 1970."""
    whole, micros = divmod(round(at * 1e6), 1_000_000)
    return f"{_second(whole)}.{micros:06d}Z"


@lru_cache(maxsize=4)
def _second(whole: int) -> str:
    return datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")
