"""A whole Gate of real parts in a line or two: policy from YAML, lists, scanner, journal, metrics, resolver, dialler.

with story.told(tmp_path, policy=story.allow("a.test")) as told:
    exchange = told.exchange()
    ...
    assert told.records()[0]["verdict"] == "allow"
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from sluicegate import settings, snapshot
from sluicegate.dlp.engine import Engine
from sluicegate.exchange import Connection, Exchange, Gate, RequestHead
from sluicegate.facts import Endpoint, Hello, Identity, Lane, Wire, Workload
from sluicegate.lanes.dial import Dialler
from sluicegate.names import HostName
from sluicegate.records.journal import Journal
from sluicegate.records.metrics import Metrics
from sluicegate.resolve.guard import Guard
from sluicegate.resolve.resolver import Resolver
from sluicegate.settings import Settings
from sluicegate.snapshot import Snapshot

WEB = Workload("shop", "web-1", labels={"app": "web"})
HERE = Endpoint(ip_address("127.0.0.1"), 40000)
# Made up, and put together here so that no scanner of repositories takes it for a leak.
SECRET = "ghp_" + "A7bQ2mZ9xK4tW8sR1vC6nD3fG5hJ0pL2yUeI"
AWS = "AKIA" + "Z7Q2M9X4T8S1V6N3"
"""Its own kind of secret: upper case alone, so that it can stand where letters lose their case."""


def allow(*domains: str, rule: str = "", ports: str = '[80, 443, "1024-65535"]', inspect: str = "full") -> str:
    """An EgressPolicy for the namespace of WEB."""
    return f"""
apiVersion: sluicegate.dev/v1alpha1
kind: EgressPolicy
metadata: {{name: web, namespace: shop}}
spec:
  owner: shop@example.com
  rules:
    - {{name: web, to: {{domains: {json.dumps(domains)}, ports: {ports}}}, inspect: {inspect} {rule}}}
"""


@cache
def engine() -> Engine:
    """Both packs; compiled once for all tests of a process."""
    return Engine.load(("secrets", "pii"), key=b"a key for the tests of sluicegate")


@dataclass(frozen=True, slots=True)
class Told:
    """The parts, and what became of them."""

    gate: Gate
    guard: Guard
    settings: Settings
    metrics: Metrics
    resolver: Resolver
    folder: Path

    def connection(self, name: str | None = "a.test", **more: Any) -> Connection:
        """A TLS connection of WEB to a.test:443."""
        facts: dict[str, Any] = {
            "id": "c1", "identity": WEB, "source": HERE, "destination": None, "hello": Hello(Wire.TLS),
            "name": None if name is None else HostName.parse(name), "port": 443, "tls": True, "lane": Lane.MITM,
        }  # fmt: skip
        return Connection(**{**facts, **more})

    def exchange(self, name: str | None = "a.test", **more: Any) -> Exchange:
        return Exchange(self.connection(name, **more), self.gate)

    def records(self) -> list[dict[str, Any]]:
        """All that were written so far."""
        assert self.gate.journal.flush()
        return read(self)

    def record(self) -> dict[str, Any]:
        (only,) = self.records()
        return only

    def raw(self) -> str:
        assert self.gate.journal.flush()
        return self.settings.records.file.read_text()

    def counted(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0

    def reload(self, policy: str) -> Snapshot:
        """Another policy, in force."""
        self.gate.snapshot = self.read(policy)
        return self.gate.snapshot

    def read(self, policy: str) -> Snapshot:
        (self.folder / "policies" / "policy.yaml").write_text(policy)
        return snapshot.load(self.settings, self.guard, engine())


def read(told: Told) -> list[dict[str, Any]]:
    """The records in the file; after the journal was closed this is all there is."""
    return [json.loads(line) for line in told.settings.records.file.read_text().splitlines()]


@contextlib.contextmanager
def told(
    folder: Path, policy: str = "", *, listed: str = "", unsafe: str = "", identity: Identity = WEB, **config: Any
) -> Iterator[Told]:
    """listed: lines of a blocklist; unsafe: networks that may be dialled although they are loopback."""
    (folder / "policies").mkdir()
    (folder / "blocklists").mkdir()
    (folder / "policies" / "policy.yaml").write_text(policy or allow("a.test"))
    if listed:
        (folder / "blocklists" / "bad.txt").write_text(listed)
    assert isinstance(identity, Workload)
    text = {
        "apiVersion": settings.API_VERSION,
        "kind": "Gateway",
        "identity": {
            "static": [{"cidr": "127.0.0.0/8", "namespace": "shop", "pod": "web-1", "labels": {"app": "web"}}]
        },
        "resolver": {"servers": ["127.0.0.1:9"], "hosts": config.pop("hosts", {}), "timeout": "1s"},
        "upstream": {"connect_timeout": config.pop("connect_timeout", "2s"), "unsafe_allow_addresses": unsafe.split()},
        **config,
    }
    made = settings.parse(json.dumps(text), "gateway.yaml", folder)
    guard = Guard((), made.cluster_ranges, made.upstream.unsafe_allow_addresses)
    first = snapshot.load(made, guard, engine())
    metrics, resolver = Metrics(), Resolver(made.resolver)
    journal = Journal(made.records, metrics)
    dialler = Dialler(resolver, lambda: gate.snapshot, made.upstream.connect_timeout_s)
    gate = Gate(first, journal, metrics, dialler.dial, made.limits, made.dlp.buffer)
    try:
        yield Told(gate, guard, made, metrics, resolver, folder)
    finally:
        journal.close(1.0)


def head(
    *fields: tuple[bytes, bytes],
    method: bytes = b"GET",
    target: bytes = b"/",
    host: bytes | None = b"a.test",
    version: str = "HTTP/1.1",
    authority: bytes = b"",
) -> RequestHead:
    hosts = () if host is None else ((b"Host", host),)
    return RequestHead(method, b"", authority, target, version, (*hosts, *fields))
