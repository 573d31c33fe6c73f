"""JA4, the TLS client fingerprint by FoxIO (BSD-3-Clause): t13d1516h2_8daaf6152771_e5627efa2ab1.

Transport, version, whether a name is sent, the counts of ciphers and of extensions, the first ALPN name; a hash of
the sorted ciphers; a hash of the sorted extensions and of the signature algorithms in their order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from sluicegate.lanes.client_hello import ALPN, SERVER_NAME, ClientHello

_VERSIONS = {0x0304: "13", 0x0303: "12", 0x0302: "11", 0x0301: "10", 0x0300: "s3", 0x0002: "s2"}
_NOTHING = "0" * 12


def ja4(hello: ClientHello) -> str:
    extensions = [n for n in hello.extensions if n not in {SERVER_NAME, ALPN}]
    return f"{_plain(hello)}_{_hash(_sorted(hello.ciphers))}_{_hash(_extensions(hello, extensions))}"


def _plain(hello: ClientHello) -> str:
    version = _VERSIONS.get(max(hello.versions, default=0), "00")
    name = "d" if SERVER_NAME in hello.extensions else "i"
    counts = f"{min(99, len(hello.ciphers)):02}{min(99, len(hello.extensions)):02}"
    return f"t{version}{name}{counts}{_first_and_last(hello.alpn)}"


def _first_and_last(alpn: tuple[bytes, ...]) -> str:
    """Of the first ALPN name; of its hex digits where either end is not a letter or digit."""
    if not alpn:
        return "00"
    ends = alpn[0][:1] + alpn[0][-1:]
    if ends.isalnum():  # of bytes: ASCII alone
        return ends.decode("ascii")
    digits = alpn[0].hex()
    return digits[0] + digits[-1]


def _extensions(hello: ClientHello, extensions: list[int]) -> str:
    listed = _sorted(extensions)
    if not hello.signature_algorithms:
        return listed
    return f"{listed}_{','.join(f'{n:04x}' for n in hello.signature_algorithms)}"


def _sorted(numbers: Iterable[int]) -> str:
    return ",".join(f"{n:04x}" for n in sorted(numbers))


def _hash(listed: str) -> str:
    return hashlib.sha256(listed.encode("ascii")).hexdigest()[:12] if listed else _NOTHING
