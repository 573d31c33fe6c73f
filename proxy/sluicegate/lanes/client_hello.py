"""The ClientHello (RFC 8446, 4.1.2), read strictly: what two servers could read differently is refused.

The splice lane passes the client's own bytes on, so a name that we read and the server reads otherwise is a way
around the policy. Hence: no duplicate extension, no bytes left over, one name of plain letters, nothing lenient.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from sluicegate.lanes.hello_errors import BadHello
from sluicegate.lanes.tls_fields import Fields
from sluicegate.names import HostName

SERVER_NAME = 0x0000
SIGNATURE_ALGORITHMS = 0x000D
ALPN = 0x0010
PRE_SHARED_KEY = 0x0029
EARLY_DATA = 0x002A
SUPPORTED_VERSIONS = 0x002B
# encrypted_client_hello (RFC 9849), its drafts that were deployed, and encrypted_server_name, its forerunner.
HIDDEN_NAMES = frozenset({0xFE0D, 0xFE0A, 0xFE09, 0xFE08, 0xFFCE})

# RFC 6066, 3: A-labels only. Percent signs, colons and bytes above 0x7f have meanings in URLs and none here.
_NAME = re.compile(rb"[A-Za-z0-9._-]{1,255}")


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What the message says, in the order of the wire and without GREASE (RFC 8701)."""

    legacy_version: int
    ciphers: tuple[int, ...]
    extensions: tuple[int, ...] = ()
    sni: HostName | None = None
    alpn: tuple[bytes, ...] = ()
    versions: tuple[int, ...] = ()  # supported_versions, or legacy_version alone where it is absent
    signature_algorithms: tuple[int, ...] = ()
    ech: bool = False
    early_data: bool = False


def read_message(body: bytes) -> ClientHello:
    """The body of a handshake message of type client_hello. Raises BadHello."""
    fields = Fields(body)
    version = fields.number(2, "legacy_version")
    if version >> 8 != 3:
        raise BadHello("legacy_version is not one of TLS")
    fields.take(32, "random")
    fields.vector(1, "session_id", most=32)
    ciphers = fields.numbers(2, "cipher_suites")
    if 0 not in fields.vector(1, "compression_methods", least=1):
        raise BadHello("compression_methods lacks null")
    extensions = _extensions(fields)
    return ClientHello(
        legacy_version=version,
        ciphers=without_grease(ciphers),
        extensions=without_grease(tuple(extensions)),
        sni=_read(extensions, SERVER_NAME, _server_name, None),
        alpn=_read(extensions, ALPN, _alpn, ()),
        versions=_read(extensions, SUPPORTED_VERSIONS, _versions, (version,)),
        signature_algorithms=_read(extensions, SIGNATURE_ALGORITHMS, _signature_algorithms, ()),
        ech=not HIDDEN_NAMES.isdisjoint(extensions),
        early_data=EARLY_DATA in extensions,
    )


def without_grease(numbers: tuple[int, ...]) -> tuple[int, ...]:
    """RFC 8701, 2: 0x0a0a, 0x1a1a ... 0xfafa mean nothing."""
    return tuple(n for n in numbers if not (n & 0x0F0F == 0x0A0A and n >> 8 == n & 0xFF))


def _extensions(fields: Fields) -> dict[int, bytes]:
    if not fields:
        return {}  # a ClientHello of TLS 1.2 may end here
    inner = Fields(fields.vector(2, "extensions"))
    fields.done("the message")
    found: dict[int, bytes] = {}
    while inner:
        kind = inner.number(2, "an extension's type")
        if kind in found:  # RFC 8446, 4.2: there must not be two of a type
            raise BadHello(f"extension {kind} stands twice")
        if PRE_SHARED_KEY in found:  # RFC 8446, 4.2.11: it must be the last
            raise BadHello("pre_shared_key is not the last extension")
        found[kind] = inner.vector(2, f"extension {kind}")
    return found


def _read[T](extensions: dict[int, bytes], kind: int, reader: Callable[[Fields], T], absent: T) -> T:
    if kind not in extensions:
        return absent
    fields = Fields(extensions[kind])
    value = reader(fields)
    fields.done(f"extension {kind}")
    return value


def _server_name(fields: Fields) -> HostName:
    names = Fields(fields.vector(2, "server_name", least=1))
    kind = names.number(1, "server_name's type")
    name = names.vector(2, "server_name", least=1)
    if kind != 0 or names:  # host_name is the only type there is, and no type may stand twice
        raise BadHello("server_name is not exactly one host_name")
    if not _NAME.fullmatch(name):
        raise BadHello("server_name is not a DNS name")
    try:
        host = HostName.parse(name)
    except ValueError as error:
        raise BadHello(f"server_name is not a DNS name: {error}") from None
    if host.address is not None:  # RFC 6066, 3: literal addresses are not permitted
        raise BadHello("server_name is an address")
    return host


def _alpn(fields: Fields) -> tuple[bytes, ...]:
    inner = Fields(fields.vector(2, "ALPN", least=2))
    found = []
    while inner:
        found.append(inner.vector(1, "an ALPN name", least=1))
    return tuple(found)


def _versions(fields: Fields) -> tuple[int, ...]:
    return without_grease(fields.numbers(1, "supported_versions"))


def _signature_algorithms(fields: Fields) -> tuple[int, ...]:
    return without_grease(fields.numbers(2, "signature_algorithms"))
