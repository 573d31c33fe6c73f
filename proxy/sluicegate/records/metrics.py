"""What the gateway counts. Labels hold no names of workloads, hosts or paths: the listener has no authentication."""

from __future__ import annotations

import asyncio
import builtins
import contextlib
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    Metric,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.registry import Collector

from sluicegate.facts import Lane

# Seconds. Written out: 10 * 1e-6 is not 1e-05, and the label would show it.
_DECIDE = (5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 5e-3, 2.5e-2, 0.1, 1.0)
_LAG = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)

UNDECIDED = "none"
"""The lane of what was answered before a lane was chosen."""


class Metrics(Collector):
    """All of them, on a registry of their own. What is counted for each request is added up here and handed on at the next scrape."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the library's; one more series for each counter, which no dashboard reads
        self.registry = registry = CollectorRegistry()
        self._given: dict[tuple[str, str, str], int] = {}
        self._carried: dict[tuple[str, str], int] = {}
        registry.register(self)  # before the others: what it hands on is theirs to tell
        ProcessCollector(registry=registry)
        self._lag = Histogram(
            "sluicegate_event_loop_lag_seconds",
            "How much later than asked the event loop woke up a sleeper",
            buckets=_LAG,
            registry=registry,
        )
        self._open = Gauge("sluicegate_open_connections", "Connections being carried now", ["lane"], registry=registry)
        self._connections = Counter("sluicegate_connections", "Connections carried", ["lane"], registry=registry)
        self._verdicts = Counter(
            "sluicegate_verdicts", "Verdicts given", ["verdict", "reason", "lane"], registry=registry
        )
        self._bytes = Counter(
            "sluicegate_bytes",
            "Bytes carried: up to servers, down to clients",
            ["direction", "lane"],
            registry=registry,
        )
        self._decide = Histogram(
            "sluicegate_decide_seconds", "Time that one decision took", buckets=_DECIDE, registry=registry
        )
        self._lost = Counter(
            "sluicegate_records_lost", "Records that are in no file, or only in a summary", ["cause"], registry=registry
        )
        self._summed_up = Counter(
            "sluicegate_records_summed_up", "Records that are part of a summary", ["cause"], registry=registry
        )
        self._written = Counter("sluicegate_records_written", "Lines written to the records file", registry=registry)
        self._queue = Gauge("sluicegate_records_queue", "Records waiting to be written", registry=registry)
        self._reserved = Gauge(
            "sluicegate_records_reserved", "Records that running requests have taken room for", registry=registry
        )
        self._reloads = Counter("sluicegate_reloads", "Reloads of the policy", ["result"], registry=registry)
        self._reloaded = Gauge(
            "sluicegate_reload_timestamp_seconds", "When the policy in force was loaded", registry=registry
        )
        self._policy = Info("sluicegate_policy", "The policy in force", registry=registry)
        self._unsafe = Gauge(
            "sluicegate_unsafe_allow_addresses",
            "Networks that upstream.unsafe_allow_addresses exempts from the address guards; 0 outside of test beds",
            registry=registry,
        )
        self._findings = Counter(
            "sluicegate_dlp_findings", "Pieces of sensitive data found", ["rule"], registry=registry
        )
        self._finding_children: dict[str, Counter] = {}
        for cause in LOST:
            self._lost.labels(cause)
        for result in ("ok", "error"):
            self._reloads.labels(result)

    @contextlib.contextmanager
    def connection(self, lane: Lane) -> Iterator[None]:
        """For as long as the lane carries a connection."""
        self._connections.labels(lane).inc()
        carried = self._open.labels(lane)
        carried.inc()
        try:
            yield
        finally:
            carried.dec()

    def verdict(self, verdict: str, reason: str, lane: str | None) -> None:
        """verdict: allow | deny."""
        key = (verdict, reason, lane or UNDECIDED)
        self._given[key] = self._given.get(key, 0) + 1

    def bytes(self, direction: str, lane: str | None, number: int) -> None:
        """Carried beyond those counted before. direction: up (to the server) | down (to the client)."""
        key = (direction, lane or UNDECIDED)
        self._carried[key] = self._carried.get(key, 0) + number

    def collect(self) -> Iterable[Metric]:
        """Asked by the registry at each scrape, before the others: hands on what was counted for each request since."""
        given, self._given = self._given, {}
        carried, self._carried = self._carried, {}
        for verdict, number in given.items():
            self._verdicts.labels(*verdict).inc(number)
        for direction, number in carried.items():
            self._bytes.labels(*direction).inc(number)
        return ()

    def finding(self, rule: str) -> None:
        child = self._finding_children.get(rule)
        if child is None:
            child = self._finding_children[rule] = self._findings.labels(rule)
        child.inc()

    def decided(self, seconds: float) -> None:
        self._decide.observe(seconds)

    def record_lost(self, cause: str, number: int = 1) -> None:
        """cause: one of LOST."""
        self._lost.labels(cause).inc(number)

    def record_summed_up(self, cause: str) -> None:
        self._summed_up.labels(cause).inc()

    def records_written(self, number: int) -> None:
        self._written.inc(number)

    def watch_records(self, waiting: Callable[[], float], reserved: Callable[[], float]) -> None:
        """Asked at each scrape, so that a record costs nothing."""
        self._queue.set_function(waiting)
        self._reserved.set_function(reserved)

    def reloaded(self, *, ok: bool, digest: str) -> None:
        """A policy came into force (the first one, too), or was refused: then `digest` is still that of the old one."""
        self._reloads.labels("ok" if ok else "error").inc()
        self._policy.info({"digest": digest})
        if ok:
            self._reloaded.set_to_current_time()

    def unsafe_addresses(self, networks: int) -> None:
        self._unsafe.set(networks)

    def exposition(self) -> builtins.bytes:
        """The Prometheus text format, version 0.0.4."""
        return generate_latest(self.registry)

    async def watch_loop_lag(self, every_s: float = 0.1) -> None:
        """Measures until cancelled: how late the loop comes back from a sleep."""
        loop = asyncio.get_running_loop()
        while True:
            asked = loop.time() + every_s
            await asyncio.sleep(every_s)
            self._lag.observe(max(0.0, loop.time() - asked))


LOST = ("queue-full", "shutdown", "abandoned", "closed", "build")
"""Why a record is in no file; docs/metrics.md explains each."""
