"""Names that lead to metadata services or back to this machine, known before any resolver is asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

from sluicegate.facts import Address
from sluicegate.names import HostName

# The name and all below it. The address guard would catch most of these after resolution; here no query leaves.
_SUFFIXES = {
    "metadata": "metadata (GCP)",  # on GCP's search path, and there only
    "metadata.google.internal": "metadata (GCP)",
    "metadata.goog": "metadata (GCP)",
    "metadata.azure.internal": "metadata (Azure)",
    "metadata.azure.com": "metadata (Azure)",
    "instance-data": "metadata (AWS)",
    "instance-data.ec2.internal": "metadata (AWS)",
    "metadata.tencentyun.com": "metadata (Tencent Cloud)",
    "metadata.oraclecloud.com": "metadata (Oracle)",
    "metadata.packet.net": "metadata (Equinix Metal)",
    "metadata.platformequinix.com": "metadata (Equinix Metal)",
    "metadata.cloud.ibm.com": "metadata (IBM Cloud)",
    "localhost": "loopback (RFC 6761)",
    "localhost.localdomain": "loopback",
    "localhost6": "loopback",
    "localhost6.localdomain6": "loopback",
    "ip6-localhost": "loopback",
    "ip6-loopback": "loopback",
    "localtest.me": "loopback (public name for 127.0.0.1)",
    "lvh.me": "loopback (public name for 127.0.0.1)",
    "vcap.me": "loopback (public name for 127.0.0.1)",
    "lacolhost.com": "loopback (public name for 127.0.0.1)",
}

# Public services that answer any name below them with the address that is written in it.
_MIRRORS = (".nip.io", ".sslip.io", ".xip.io", ".traefik.me", ".local-ip.co", ".local-ip.sh", ".backname.io")

# Looked ahead for, so that matches may overlap: which four of five numbers count is the mirror's choice.
_DECIMAL = re.compile(r"(?<![0-9])(?=(\d{1,3})[.-](\d{1,3})[.-](\d{1,3})[.-](\d{1,3})(?![0-9]))", re.ASCII)
_HEXADECIMAL = re.compile(r"(?<![0-9a-z])([0-9a-f]{8})(?![0-9a-z])", re.ASCII)
_COLONS_AS_HYPHENS = re.compile(r"(?<![0-9a-z-])[0-9a-f]{0,4}(?:-[0-9a-f]{0,4}){2,7}(?![0-9a-z-])", re.ASCII)


def known(name: HostName) -> str | None:
    """Why the name itself is refused, by the table."""
    ascii_name = name.ascii
    at = 0
    while True:
        if (why := _SUFFIXES.get(ascii_name[at:])) is not None:
            return why
        dot = ascii_name.find(".", at)
        if dot < 0:
            return None
        at = dot + 1


def mirrored(name: HostName) -> Iterator[Address]:
    """The addresses that a mirror (nip.io, sslip.io ...) may read out of a name; nothing for other names.

    All readings: 169-254-169-254, 169.254.169.254, a9fea9fe and fe80--1 (sslip.io writes IPv6 with hyphens).
    """
    if not name.ascii.endswith(_MIRRORS):
        return
    prefix = name.ascii.rsplit(".", 2)[0]
    for octets in _DECIMAL.findall(prefix):
        if all(int(octet) < 256 for octet in octets):
            yield IPv4Address(bytes(int(octet) for octet in octets))
    for digits in _HEXADECIMAL.findall(prefix):
        yield IPv4Address(int(digits, 16))
    for hyphens in _COLONS_AS_HYPHENS.findall(prefix):
        try:
            yield IPv6Address(hyphens.replace("-", ":"))
        except ValueError:
            continue  # a word with hyphens in it
