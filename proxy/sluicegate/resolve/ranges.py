"""Tables of address ranges that no request may reach, or only by leave: IANA's special-purpose registries and the clouds.

Sources: IANA special-purpose address registries (RFC 6890 and its updates), IANA IPv6 address space (RFC 4291: only
2000::/3 is global unicast), and the vendors' documentation of their metadata services. One row: range, why.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from ipaddress import ip_network

from sluicegate.verdict import Network

type Row = tuple[str, str]

OPEN = ""  # the why of a range that is an exception to a wider one

# Of two ranges that hold an address the narrower one names it; so these speak before the wider tables below.
METADATA: tuple[Row, ...] = (
    ("169.254.169.254/32", "metadata (AWS, GCP, Azure, Oracle, DigitalOcean, OpenStack and others)"),
    ("169.254.170.2/32", "metadata (AWS ECS task credentials)"),
    ("169.254.170.23/32", "metadata (AWS EKS Pod Identity)"),
    ("169.254.0.23/32", "metadata (Tencent Cloud)"),
    ("169.254.42.42/32", "metadata (Scaleway)"),
    ("100.100.100.200/32", "metadata (Alibaba Cloud)"),  # inside CGNAT
    ("168.63.129.16/32", "metadata (Azure WireServer)"),  # a public address by every registry
    ("192.0.0.192/32", "metadata (Oracle Cloud Classic)"),
    # All of fd00:ec2::/32 is AWS': metadata ::254, Pod Identity ::23, DNS ::253, NTP ::123. Nobody else may use it.
    ("fd00:ec2::/32", "metadata (AWS)"),
    ("fd20:ce::254/128", "metadata (GCP)"),
    ("fd00:c1::a9fe:a9fe/128", "metadata (Oracle)"),
    ("fd00:42::42/128", "metadata (Scaleway)"),
    ("fd00:a9fe:a9fe::1/128", "metadata (Akamai)"),
    ("fd00:100::100:200/128", "metadata (Alibaba Cloud)"),
    ("fe80::a9fe:a9fe/128", "metadata (OpenStack)"),
)

HARD: tuple[Row, ...] = (
    ("0.0.0.0/8", "this network (RFC 791)"),
    ("0.0.0.0/32", "unspecified (RFC 1122)"),
    ("127.0.0.0/8", "loopback (RFC 1122)"),
    ("169.254.0.0/16", "link-local (RFC 3927)"),
    ("192.0.0.0/24", "IETF protocol assignments (RFC 6890)"),
    ("192.0.2.0/24", "documentation (RFC 5737)"),
    ("192.88.99.0/24", "6to4 relay anycast (RFC 7526)"),
    ("198.18.0.0/15", "benchmarking (RFC 2544)"),
    ("198.51.100.0/24", "documentation (RFC 5737)"),
    ("203.0.113.0/24", "documentation (RFC 5737)"),
    ("224.0.0.0/4", "multicast (RFC 5771)"),
    ("240.0.0.0/4", "reserved (RFC 1112)"),
    ("255.255.255.255/32", "broadcast (RFC 919)"),
    # Of IPv6 only what is named here is open: global unicast; NAT64's well-known prefix, judged by the address inside;
    # and what the private table holds.
    ("::/0", "not global unicast (RFC 4291)"),
    ("2000::/3", OPEN),
    ("64:ff9b::/96", OPEN),
    ("64:ff9b:1::/48", OPEN),
    ("fc00::/7", OPEN),
    ("::/96", "IPv4-compatible IPv6 (RFC 4291, deprecated)"),
    ("::/128", "unspecified (RFC 4291)"),
    ("::1/128", "loopback (RFC 4291)"),
    ("::ffff:0:0/96", "IPv4-mapped IPv6 (RFC 4291)"),
    ("::ffff:0:0:0/96", "IPv4-translated IPv6 (RFC 2765)"),
    ("100::/64", "discard-only (RFC 6666)"),
    ("100:0:0:1::/64", "dummy prefix (RFC 9780)"),
    ("2001::/23", "IETF protocol assignments (RFC 2928)"),
    ("2001::/32", "Teredo (RFC 4380)"),
    ("2001:2::/48", "benchmarking (RFC 5180)"),
    ("2001:10::/28", "ORCHID (RFC 4843)"),
    ("2001:20::/28", "ORCHIDv2 (RFC 7343)"),
    ("2001:db8::/32", "documentation (RFC 3849)"),
    ("2002::/16", "6to4 (RFC 3056; RFC 7526)"),
    ("3fff::/20", "documentation (RFC 9637)"),
    ("5f00::/16", "segment routing SIDs (RFC 9602)"),
    ("fe80::/10", "link-local (RFC 4291)"),
    ("fec0::/10", "site-local (RFC 3879)"),
    ("ff00::/8", "multicast (RFC 4291)"),
)

PRIVATE: tuple[Row, ...] = (
    ("10.0.0.0/8", "RFC 1918"),
    ("172.16.0.0/12", "RFC 1918"),
    ("192.168.0.0/16", "RFC 1918"),
    ("100.64.0.0/10", "CGNAT (RFC 6598)"),
    ("fc00::/7", "ULA (RFC 4193)"),
    ("64:ff9b:1::/48", "local NAT64 (RFC 8215)"),
)


class Ranges:
    """Which of many (range, why) rows, of one IP version, is the narrowest around an address: one bisection.

    Of two rows for the same range the later one counts.
    """

    def __init__(self, version: int, rows: Iterable[tuple[Network, str]]) -> None:
        ranges = {
            (int(network.network_address), int(network.broadcast_address)): why
            for network, why in rows
            if network.version == version
        }
        self._starts, self._whys = _flattened(ranges)

    def why(self, address: int) -> str | None:
        """The why of the narrowest range around it; None where there is no range, or its why is empty."""
        index = bisect_right(self._starts, address) - 1
        return self._whys[index] if index >= 0 else None


def _flattened(ranges: dict[tuple[int, int], str]) -> tuple[list[int], list[str | None]]:
    """Nested ranges as one row of steps: where each begins, and what holds from there on."""
    starts: list[int] = []
    whys: list[str | None] = []
    around: list[tuple[int, str | None]] = []  # ends and whys of the ranges that the sweep is in, the narrowest last

    def step(at: int, why: str | None) -> None:
        if starts and starts[-1] == at:
            whys[-1] = why
        else:
            starts.append(at)
            whys.append(why)

    def leave(before: int | None) -> None:
        while around and (before is None or around[-1][0] < before):
            end, _ = around.pop()
            step(end + 1, around[-1][1] if around else None)

    for (first, last), why in sorted(ranges.items(), key=lambda item: (item[0][0], -item[0][1])):
        leave(first)
        step(first, why or None)
        around.append((last, why or None))
    leave(None)
    return starts, whys


def networks(rows: Sequence[Row]) -> list[tuple[Network, str]]:
    """Rows of text as rows of networks."""
    return [(ip_network(text), why) for text, why in rows]
