"""HostName: parsed once at the border; afterwards nobody handles host text.

The reading is that of the WHATWG URL standard (ada), because that is what clients connect to: 0x7f.1, 2130706433 and
full-width digits are 127.0.0.1. On top of it stand the rules of DNS: labels of 1 to 63 letters, digits, hyphens or
underscores, 253 in all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import NoReturn

import ada_url

_LONGEST_INPUT = 1024  # 253 characters of A-labels never need more; longer input is refused before any work
_LONGEST_NAME = 253  # RFC 1035, 2.3.4: 255 octets on the wire
_LONGEST_LABEL = 63

# What most names are: canonical already. The last label begins with a letter, so it is neither a number nor 0x..., and
# names with "xn--" in them take the long way, where their punycode is proven.
_PLAIN = re.compile(r"(?:[a-z0-9_-]{1,63}\.)*[a-z][a-z0-9_-]{0,62}", re.ASCII)
_CANONICAL = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*", re.ASCII)
_ODD_ASCII = re.compile(r"[\x00-\x2c/:-@\[-^`{-\x7f]")  # all of ASCII but letters, digits, "-", "." and "_"
_BRACKETED = re.compile(r"\[([^\[\]]*)\](?::(.*))?", re.DOTALL)
_PORT = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)

_WHY_ODD = {
    "%": "percent signs have no place in a host: write the character itself",
    "@": "user information has no place in a host: write what stands after the @",
    "/": "a host ends before the /: write the host alone",
    "\\": "a host ends before the \\: write the host alone",
    "?": "a host ends before the ?: write the host alone",
    "#": "a host ends before the #: write the host alone",
    ",": "this is a list: write one host",
    "*": "a wildcard is no host: write one host",
    ":": "a port is not part of the host: leave it out (IPv6 addresses have at least two colons)",
    "[": "brackets are for IPv6 addresses: write [2001:db8::1]",
    "]": "brackets are for IPv6 addresses: write [2001:db8::1]",
    " ": "spaces have no place in a host: leave them out",
}


class BadName(ValueError):
    """Text that is no host. ``str()`` says what is wrong and what to write."""


@dataclass(frozen=True, slots=True)
class HostName:
    """A canonical host: an A-label DNS name without trailing dot, or an IP address.

    ascii    ``example.com``, ``xn--bcher-kva.example``; for an address its canonical text, IPv6 without brackets
    address  the IPv4Address or IPv6Address where the host is a literal (in any costume), else None
    """

    ascii: str
    address: IPv4Address | IPv6Address | None = field(default=None, compare=False)

    def __hash__(self) -> int:
        # The text alone decides equality, too; hashing an address object costs more than all the rest of a lookup.
        return hash(self.ascii)

    def __str__(self) -> str:
        return self.ascii

    @classmethod
    def parse(cls, raw: str | bytes) -> HostName:
        """Raises BadName (a ValueError whose text says what is wrong and what to write)."""
        text = raw if isinstance(raw, str) else _decoded(raw)
        if len(text) <= _LONGEST_NAME and _PLAIN.fullmatch(text) and "xn--" not in text:
            return cls(text)
        return _parse_any(text)

    @property
    def url(self) -> str:
        """As it stands in a URL or a Host field: IPv6 in brackets."""
        return f"[{self.ascii}]" if ":" in self.ascii else self.ascii

    def parents(self) -> Iterator[HostName]:
        """The name itself, then what is left after each dot: a.b.c, b.c, c. Nothing for an address: it has no parents."""
        if self.address is not None:
            return
        yield self
        dot = self.ascii.find(".")
        while dot >= 0:
            yield HostName(self.ascii[dot + 1 :])
            dot = self.ascii.find(".", dot + 1)

    def under(self, suffix: HostName) -> bool:
        """Whether this is `suffix` or a subdomain of it. Addresses are under themselves alone."""
        if self.ascii == suffix.ascii:
            return True
        return self.address is None and suffix.address is None and self.ascii.endswith("." + suffix.ascii)


def parse_authority(raw: str | bytes) -> tuple[HostName, int | None]:
    """``host``, ``host:port``, ``[2001:db8::1]:443``: the value of Host, :authority or CONNECT. Raises BadName.

    Stricter than HostName.parse: ASCII only (RFC 3986; an origin may read raw UTF-8 as another name than we do), IPv6
    in brackets only, and a port, if there is a colon, of digits from 1 to 65535 without leading zeros.
    """
    text = raw if isinstance(raw, str) else _decoded(raw)
    if len(text) > _LONGEST_INPUT:
        _refuse_length(text)
    if not text.isascii():
        raise BadName(f"characters outside of ASCII cannot stand in a request: write {_suggested(text)}")
    if text.startswith("["):
        return _bracketed_authority(text)
    host, colon, port = text.partition(":")
    if ":" in port:
        raise BadName("more than one colon: write an IPv6 address in brackets, as in [2001:db8::1]:443")
    return HostName.parse(host), _port(port) if colon else None


def _bracketed_authority(text: str) -> tuple[HostName, int | None]:
    match = _BRACKETED.fullmatch(text)
    if match is None:
        raise BadName("brackets that do not pair: write [2001:db8::1] or [2001:db8::1]:443")
    inner, port = match.groups()
    return _ipv6(inner), None if port is None else _port(port)


def _port(text: str) -> int:
    if not _PORT.fullmatch(text) or int(text) > 65535:
        raise BadName(f"{_shown(text)} is no port: write a number from 1 to 65535, or leave out the colon")
    return int(text)


def _decoded(raw: bytes) -> str:
    if len(raw) > _LONGEST_INPUT:
        _refuse_length(raw)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise BadName("is not UTF-8: write the name in ASCII (A-labels, xn--...)") from None


def _refuse_length(raw: str | bytes) -> NoReturn:
    raise BadName(f"{len(raw)} characters are too many: a host name has at most {_LONGEST_NAME}")


def _parse_any(text: str) -> HostName:
    """HostName.parse without its fast path: any text at all."""
    if len(text) > _LONGEST_INPUT:
        _refuse_length(text)
    if not text:
        raise BadName("is empty: write a host name or an address")
    if text.startswith("[") and text.endswith("]"):
        return _ipv6(text[1:-1])
    if text.count(":") > 1 and text[0] != "[" and text[-1] != "]":
        return _ipv6(text)
    if odd := _ODD_ASCII.search(text):
        character = odd.group()
        raise BadName(_WHY_ODD.get(character) or f"{_shown(character)} has no place in a host: leave it out")
    return _from_canonical(_whatwg(text))


def _ipv6(text: str) -> HostName:
    if "%" in text:
        raise BadName("a zone id means nothing to another machine: write the address without %...")
    try:
        address = IPv6Address(text)
    except ValueError:
        raise BadName(f"{_shown(text)} is no IPv6 address: write one such as 2001:db8::1") from None
    return HostName(str(address), address)


def _whatwg(text: str) -> str:
    """The host as the WHATWG URL standard serialises it; of a name only its characters and its last label are checked."""
    try:
        return ada_url.URL(f"http://{text}/").hostname
    except ValueError:  # UnicodeEncodeError, for lone surrogates, is one too
        raise BadName(f"{_shown(text)} is neither a host name nor an address: write it as example.com") from None


def _from_canonical(host: str) -> HostName:
    host = host.removesuffix(".")
    if len(host) > _LONGEST_NAME:
        raise BadName(f"is {len(host)} characters long: a host name has at most {_LONGEST_NAME}")
    if not _CANONICAL.fullmatch(host):
        raise BadName(_why_no_labels(host))
    if host[-1].isdigit() and host.rpartition(".")[2].isdigit():  # the standard knows no such name that is no IPv4
        address = IPv4Address(host)
        return HostName(str(address), address)
    if "xn--" in host:
        _prove_punycode(host)
    return HostName(host)


def _why_no_labels(host: str) -> str:
    labels = host.split(".")
    if "" in labels:
        return "has an empty label: write single dots, and at most one at the end"
    if longest := next((label for label in labels if len(label) > _LONGEST_LABEL), None):
        return f"the label {_shown(longest)} is {len(longest)} characters long: a label has at most {_LONGEST_LABEL}"
    return f"{_shown(host)} holds other characters than letters, digits, hyphens and underscores: leave them out"


def _prove_punycode(host: str) -> None:
    """Each A-label must be the one that its own Unicode text maps to (UTS 46), or two readers see two names."""
    try:
        decoded = ada_url.idna_to_unicode(host)
        same = ada_url.idna_to_ascii(decoded).decode() == host
    except ValueError:
        same, decoded = False, host
    if not same or any(label.startswith("xn--") for label in decoded.split(".")):
        raise BadName(f"{_shown(host)} has an xn-- label that is not valid IDNA: write the name in Unicode")


def _suggested(text: str) -> str:
    host, colon, port = text.partition(":")
    try:
        return HostName.parse(host).ascii + colon + _shown(port)[1:-1]
    except BadName:
        return "the name in A-labels (xn--...)"


def _shown(text: str) -> str:
    return ascii(text if len(text) <= 64 else text[:61] + "...")
