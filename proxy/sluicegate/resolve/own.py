"""The addresses of this host's own interfaces: a gateway is never dialled through itself."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from sluicegate.facts import Address


def own_addresses(proc: Path = Path("/proc/net")) -> frozenset[Address]:
    """All local addresses of this network namespace, from the kernel's tables. Loopback is among them."""
    return frozenset((*_v4(proc / "fib_trie"), *_v6(proc / "if_inet6")))


def _v4(path: Path) -> set[IPv4Address]:
    # "|-- 10.0.0.5" is followed by its entries; "/32 host LOCAL" marks the host's own.
    found: set[IPv4Address] = set()
    last = ""
    for line in _lines(path):
        text = line.strip()
        if text.startswith("|-- "):
            last = text[4:]
        elif text == "/32 host LOCAL":
            found.add(IPv4Address(last))
    return found


def _v6(path: Path) -> set[IPv6Address]:
    # 32 hex digits, then index, prefix length, scope, flags, device.
    columns = (line.split() for line in _lines(path))
    found = (ip_address(bytes.fromhex(column[0])) for column in columns if column)
    return {address for address in found if isinstance(address, IPv6Address)}


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except FileNotFoundError:  # a kernel without that protocol
        return []
