"""ClientHellos for the tests: by hand, field by field, and by OpenSSL itself."""

from __future__ import annotations

import ssl
from typing import Any

DEFAULT_CIPHERS = (0x1301, 0xC02F)


def u8(data: bytes) -> bytes:
    return bytes([len(data)]) + data


def u16(data: bytes) -> bytes:
    return len(data).to_bytes(2) + data


def numbers(*values: int) -> bytes:
    return b"".join(value.to_bytes(2) for value in values)


def extension(kind: int, body: bytes) -> bytes:
    return numbers(kind) + u16(body)


def sni(name: bytes, kind: int = 0) -> bytes:
    return extension(0, u16(bytes([kind]) + u16(name)))


def alpn(*names: bytes) -> bytes:
    return extension(16, u16(b"".join(u8(name) for name in names)))


def message(
    *extensions: bytes,
    version: int = 0x0303,
    ciphers: tuple[int, ...] = DEFAULT_CIPHERS,
    session: bytes = b"",
    compression: bytes = b"\0",
) -> bytes:
    """A handshake message of type client_hello."""
    body = numbers(version) + bytes(32) + u8(session) + u16(numbers(*ciphers)) + u8(compression)
    return handshake(body + u16(b"".join(extensions)))


def handshake(body: bytes, kind: int = 1) -> bytes:
    return bytes([kind]) + len(body).to_bytes(3) + body


def record(payload: bytes, kind: int = 22, version: int = 0x0301) -> bytes:
    return bytes([kind]) + numbers(version) + u16(payload)


def records(payload: bytes, size: int) -> bytes:
    return b"".join(record(payload[at : at + size]) for at in range(0, len(payload), size))


def hello(*extensions: bytes, **fields: Any) -> bytes:
    """One record with a ClientHello; for example.test unless extensions are given."""
    return record(message(*(extensions or (sni(b"example.test"),)), **fields))


def openssl_hello(name: str | None = "example.test", alpn: tuple[str, ...] = ("h2", "http/1.1")) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname = name is not None
    if alpn:
        context.set_alpn_protocols(list(alpn))
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    try:
        client.do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError
