"""How fast bodies are scanned, as ratios of one run. By hand: `python tests/bench/dlp_throughput.py`.

Bodies of 64 KiB, seeded: JSON with floats, identifiers and telephone numbers, HTML, base64. `hyperscan` is the engine
alone, `body` one Body for each of them, `stream` all of them through one; best of three.
"""

from __future__ import annotations

import base64
import json
import random
import statistics
import string
import time
from collections.abc import Callable

from sluicegate.dlp.database import Database
from sluicegate.dlp.engine import Engine

SIZE = 65_536
KEY = b"bench" * 8
WISHED = {"secrets": 400, "secrets, pii": 250}


def json_body(rng: random.Random) -> bytes:
    def row() -> str:
        return json.dumps({
            "id": rng.randrange(10**12),
            "uuid": f"{rng.getrandbits(128):032x}",
            "name": "".join(rng.choices(string.ascii_letters, k=12)),
            "price": rng.random() * 1000,
            "tags": rng.choices(["red", "green", "key", "card", "session"], k=3),
            "at": f"2026-11-{rng.randrange(1, 29):02}T10:{rng.randrange(60):02}:00Z",
            "phone": f"+1-{rng.randrange(999):03}-{rng.randrange(999):03}-{rng.randrange(9999):04}",
        })  # fmt: skip

    return ("[" + ",".join(row() for _ in range(SIZE // 200)) + "]").encode()[:SIZE]


def html_body(rng: random.Random) -> bytes:
    words = ["".join(rng.choices(string.ascii_lowercase, k=rng.randrange(2, 10))) for _ in range(3000)]

    def block() -> str:
        link = (
            f'<a href="/p/{rng.randrange(99999)}?utm={rng.getrandbits(64):x}">{" ".join(rng.choices(words, k=4))}</a>'
        )
        return f'<div class="c{rng.randrange(99)}">{link}<p>{" ".join(rng.choices(words, k=30))}</p></div>\n'

    return "".join(block() for _ in range(SIZE // 150)).encode()[:SIZE]


def base64_body(rng: random.Random) -> bytes:
    return base64.b64encode(rng.randbytes(SIZE * 3 // 4))


def bodies(count: int = 320) -> list[bytes]:
    rng = random.Random(20261123)
    kinds = (json_body, html_body, json_body, base64_body, html_body)
    return [kinds[index % len(kinds)](rng) for index in range(count)]


def rate(work: Callable[[], None], size: int) -> float:
    """MB/s, the best of three."""

    def once() -> float:
        start = time.perf_counter()
        work()
        return size / (time.perf_counter() - start) / 1e6

    return max(once() for _ in range(3))


def hyperscan_alone(database: Database, parts: list[bytes]) -> None:
    for part in parts:
        cursor = database.open()
        cursor.feed(part)
        cursor.close()


def one_body_each(engine: Engine, parts: list[bytes]) -> None:
    for part in parts:
        scan = engine.open()
        body = scan.body("", "application/json")
        body.feed(part)
        body.finish()
        scan.close()


def one_stream(engine: Engine, parts: list[bytes]) -> None:
    scan = engine.open()
    body = scan.body("", "application/json")
    for part in parts:
        body.feed(part)
    body.finish()
    scan.close()


def small_request(engine: Engine) -> float:
    """Microseconds for a request with a URL and a body of 256 bytes."""
    value = b'{"a": 1}' * 32

    def run() -> None:
        scan = engine.open()
        scan.field("url", b"/api/v1/items?id=1234&colour=red")
        body = scan.body("", "application/json")
        body.feed(value)
        body.finish()
        scan.close()

    def once() -> float:
        start = time.perf_counter()
        for _ in range(5000):
            run()
        return (time.perf_counter() - start) / 5000 * 1e6

    return min(once() for _ in range(3))


def flood(engine: Engine) -> float:
    """MB/s on the worst that a sender can make of it: near-misses of one rule, end to end."""
    part = (b"ghp_" + b"a" * 16) * (SIZE // 20)
    return rate(lambda: one_stream(engine, [part] * 4), 4 * len(part))


def slow_rules(engine: Engine, parts: list[bytes]) -> list[str]:
    """Those slower than a quarter of the median rule."""
    speeds = {
        rule.id: rate(lambda found=rule.find: hyperscan_alone(Database([found]), parts), sum(map(len, parts)))  # type: ignore[misc]
        for rule in engine.rules
    }
    median = statistics.median(speeds.values())
    return [f"{name} {speed / median:.2f}" for name, speed in speeds.items() if speed < median / 4]


def main() -> None:
    parts = bodies()
    size = sum(map(len, parts))
    print(f"{len(parts)} bodies, {size >> 20} MiB; MB/s")
    for name, wished in WISHED.items():
        engine = Engine.load(name.split(", "), key=KEY)
        database = engine._matter.database
        alone = rate(lambda: hyperscan_alone(database, parts), size)  # noqa: B023  called in its turn
        body = rate(lambda: one_body_each(engine, parts), size)  # noqa: B023  as above
        stream = rate(lambda: one_stream(engine, parts), size)  # noqa: B023  as above
        print(f"{name}: hyperscan {alone:.0f}, body {body:.0f}, stream {stream:.0f}, wished {wished}")
        print(f"  body / hyperscan {body / alone:.2f}; small request {small_request(engine):.1f} us")
        print(f"  flood of near-misses {flood(engine):.1f} MB/s")
        print(f"  slow rules: {', '.join(slow_rules(engine, parts[:40])) or 'none'}")


if __name__ == "__main__":
    main()
