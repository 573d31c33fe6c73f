"""Identities that stand in gateway.yaml: the longest prefix that holds an address says who it is."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network

from sluicegate.errors import ConfigError
from sluicegate.facts import Address, Workload
from sluicegate.settings import StaticIdentity
from sluicegate.verdict import Network

_CACHED = 16_384  # addresses; then the cache starts anew, so that a scan costs time and not memory

type _ByPrefix = dict[int, dict[int, Workload]]


class StaticSource:
    """Raises ConfigError where one network stands for two workloads."""

    def __init__(self, entries: Sequence[StaticIdentity]) -> None:
        self._by_prefix: dict[int, _ByPrefix] = {4: {}, 6: {}}
        for entry in entries:
            self._add(entry)
        for version, found in self._by_prefix.items():
            self._by_prefix[version] = dict(sorted(found.items(), reverse=True))
        self._cache: dict[bytes, Workload | None] = {}

    def find(self, address: Address) -> Workload | None:
        """`address` is IPv4 where it can be: see Table.lookup."""
        key = address.packed
        try:
            return self._cache[key]
        except KeyError:
            pass
        if len(self._cache) >= _CACHED:
            self._cache.clear()
        found = self._cache[key] = self._search(address)
        return found

    def _search(self, address: Address) -> Workload | None:
        value, width = int(address), address.max_prefixlen
        for bits, networks in self._by_prefix[address.version].items():
            found = networks.get(value >> width - bits)
            if found is not None:
                return found
        return None

    def _add(self, entry: StaticIdentity) -> None:
        network = _bare(entry.network)
        shift = network.max_prefixlen - network.prefixlen
        networks = self._by_prefix[network.version].setdefault(network.prefixlen, {})
        known = networks.setdefault(int(network.network_address) >> shift, entry.workload)
        if known != entry.workload:
            raise ConfigError(
                "identity.static", entry.network, f"is {known} already and cannot be {entry.workload} too: remove one"
            )


def _bare(network: Network) -> Network:
    """A network of v4-mapped addresses is one of IPv4 addresses, as their peers are looked up."""
    if isinstance(network, IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - 96))
    return network
