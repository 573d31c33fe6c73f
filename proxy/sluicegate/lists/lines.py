"""What a line of a list can look like, and which format a list has. All of it works on one line; none of it keeps any.

Nearly all lines are plain names in canonical form, and one regular expression says so; only the others are taken
apart. It accepts less than HostName.parse and nothing else: what it accepts is what parse would return.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network

from sluicegate.errors import ConfigError
from sluicegate.names import HostName
from sluicegate.verdict import Network

LINE_LIMIT = 4096

# A label with `--` in third place (xn--) and a last label that starts with a digit (an address?) go the long way.
_LABEL = rb"(?!..--)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME = rb"((?=.{1,253}\Z)(?:" + _LABEL + rb"\.)+(?=[a-z])" + _LABEL + rb")"
CANONICAL = {
    "domains": re.compile(rb"(?:\*?\.)?" + _NAME),
    "hosts": re.compile(rb"(?:0\.0\.0\.0|127\.0\.0\.1)[ \t]+" + _NAME),
    "addresses": re.compile(rb"(?!)"),  # matches nothing: addresses all go the long way
}
"""By format: lines whose group 1 is a key as it is. What stands before it on the line is a wildcard or a sink."""

_COMMENT = re.compile(rb"(?:^|[ \t])#.*")
_COMMENT_AFTER_ADDRESS = re.compile(rb"(?:^|[ \t])[#;].*")  # Spamhaus writes `192.0.2.0/24 ; SBL1234`
_SINKS = (b"0.0.0.0", b"127.0.0.1", b"::", b"::1")
_CONVENTIONAL = frozenset(
    b"localhost localhost.localdomain local broadcasthost ip6-localhost ip6-loopback ip6-localnet ip6-mcastprefix"
    b" ip6-allnodes ip6-allrouters ip6-allhosts 0.0.0.0".split()
)
_FOREIGN = (
    (re.compile(r"\|\||@@|!|\[|/.*/$|.*#[@?]?#"), "AdBlock rules are not read: take the list in its domains form"),
    (re.compile(r"(address|server|local)=/"), "dnsmasq lines are not read: take the list in its domains form"),
    (re.compile(r"local-(zone|data):"), "unbound lines are not read: take the list in its domains form"),
    (re.compile(r"[^/]+/"), "a list holds hosts, not URLs: write the host alone if all of it is meant"),
    (re.compile(r".*\*"), "a wildcard is a whole label and stands first: use `*.example.com`"),
)


def detect(lines: Iterable[bytes]) -> str:
    """The format, from the first hundred lines that hold something."""
    seen, format_ = 0, "addresses"
    for line in lines:
        columns = columns_of(line, "addresses")
        if not columns:
            continue
        if len(columns) > 1 and columns[0] in _SINKS:
            return "hosts"
        if not _is_network(columns[0]):
            format_ = "domains"
        seen += 1
        if seen == 100:
            break
    return format_ if seen else "domains"


def _is_network(word: bytes) -> bool:
    try:
        ip_network(word.decode(), strict=False)
    except ValueError:
        return False
    return True


def columns_of(line: bytes, format_: str) -> list[bytes]:
    """The words of a line, without its comment."""
    return (_COMMENT_AFTER_ADDRESS if format_ == "addresses" else _COMMENT).sub(b"", line).split()


def entries_of(line: bytes, format_: str, place: str, *, many: bool) -> list[bytes]:
    """The entries of a line, still to be read. many: several may stand on one, as in a YAML flow sequence."""
    if len(line) > LINE_LIMIT:
        raise ConfigError(place, shown(line[:40]), f"is longer than {LINE_LIMIT} bytes: is this a list?")
    columns = columns_of(line, format_)
    if format_ == "hosts":
        return _hosts(columns, line, place)
    if len(columns) > 1 and not many:
        raise ConfigError(place, shown(line), "one entry a line: remove the columns after the first")
    return columns


def _hosts(columns: list[bytes], line: bytes, place: str) -> list[bytes]:
    if not columns or (len(columns) > 1 and _CONVENTIONAL.issuperset(columns[1:])):
        return []
    if columns[0] not in _SINKS:
        raise ConfigError(place, shown(line), "a hosts line starts with 0.0.0.0, 127.0.0.1, :: or ::1: remove others")
    if len(columns) == 1:
        raise ConfigError(place, shown(line), "no name stands behind the address: write one")
    return [name for name in columns[1:] if name not in _CONVENTIONAL]


def parse_name(bare: str, word: str, place: str) -> HostName:
    """`bare` is `word` without its wildcard."""
    try:
        return HostName.parse(bare)
    except ValueError as error:
        fix = next((fix for pattern, fix in _FOREIGN if pattern.match(word)), str(error))
        raise ConfigError(place, word, fix) from None


def parse_network(word: str, place: str) -> Network | None:
    """An address or network, IPv4 where it is IPv4 in IPv6 costume; None for what is neither."""
    try:
        network = ip_network(word)
    except ValueError:
        _check_mask(word, place)
        return None
    if "%" in word:
        raise ConfigError(place, word, "a zone id means nothing in a list: remove it")
    if network.prefixlen == 0:
        raise ConfigError(place, word, "holds every address: a policy with `default: deny` says that")
    return _bare(network)


def _check_mask(word: str, place: str) -> None:
    try:
        meant = ip_network(word, strict=False)
    except ValueError:
        return
    raise ConfigError(place, word, f"has bits set outside of its mask: use `{meant}`")


def _bare(network: Network) -> Network:
    if isinstance(network, IPv6Network) and network.prefixlen >= 96:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - 96))
    return network


def shown(raw: bytes) -> str:
    return raw.decode(errors="backslashreplace")
