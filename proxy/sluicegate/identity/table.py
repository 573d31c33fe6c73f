"""Who speaks: from a peer's address to its workload."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv6Address
from typing import Protocol, Self

from sluicegate.facts import Address, Identity, Unknown, Workload
from sluicegate.identity.static import StaticSource
from sluicegate.settings import StaticIdentity


class Source(Protocol):
    """Something that knows workloads by address."""

    def find(self, address: Address) -> Workload | None: ...


class Table:
    """Asks its sources in order; the first that knows the address answers."""

    def __init__(self, *sources: Source) -> None:
        self._sources = sources

    @classmethod
    def of(cls, entries: Sequence[StaticIdentity]) -> Self:
        """Raises ConfigError for entries that contradict each other."""
        return cls(StaticSource(entries))

    def lookup(self, address: Address) -> Identity:
        """Never raises for an address. On a dual-stack listener IPv4 peers come v4-mapped: they are looked up as IPv4."""
        if isinstance(address, IPv6Address) and (mapped := address.ipv4_mapped) is not None:
            address = mapped
        for source in self._sources:
            found = source.find(address)
            if found is not None:
                return found
        return Unknown(f"no workload is known for {address}")
