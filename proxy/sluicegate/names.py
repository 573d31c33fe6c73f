"""HostName: parsed once at the border; afterwards nobody handles host text."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address


@dataclass(frozen=True, slots=True)
class HostName:
    """A canonical host: an A-label DNS name without trailing dot, or an IP address.

    ascii    ``example.com``, ``xn--bcher-kva.example``; for an address its canonical text, IPv6 without brackets
    address  the IPv4Address or IPv6Address where the host is a literal (in any costume), else None
    """

    ascii: str
    address: IPv4Address | IPv6Address | None = None

    @classmethod
    def parse(cls, raw: str | bytes) -> HostName:
        """Raises BadName (a ValueError whose text says what is wrong and what to write)."""
        raise NotImplementedError
