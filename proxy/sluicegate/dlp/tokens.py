"""Tokens that check themselves: checksums, encodings and structures that their issuers build in."""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib

_BASE62 = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_AWS_KEY = re.compile(rb"(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}")
_GITHUB_OR_NPM = re.compile(rb"(?:gh[pousr]|npm)_([0-9A-Za-z]{30})([0-9A-Za-z]{6})")
_GRAFANA = re.compile(rb"(glsa_[0-9A-Za-z]{32})_([0-9a-f]{8})", re.IGNORECASE)
_ARMOUR = re.compile(rb"-----[^-]{0,80}-----")
_PEM_HEADER = re.compile(rb"[A-Za-z-]{3,30}: [^\r\n\\]{0,200}")
_BREAKS = re.compile(rb"\\[nr]|\s|\\")  # as they are, or escaped in JSON and in shell quotes
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/].*", re.DOTALL)


def aws_key(value: bytes) -> bool:
    """An AWS access key id: 16 base32 characters after the prefix."""
    return _AWS_KEY.fullmatch(value) is not None


def base62(number: int, width: int) -> bytes:
    out = bytearray()
    while number or len(out) < width:
        number, rest = divmod(number, 62)
        out.append(_BASE62[rest])
    return bytes(out[::-1])


def crc32_base62(value: bytes) -> bool:
    """GitHub's and npm's tokens end in the CRC-32 of their 30 random characters, six base62 digits."""
    found = _GITHUB_OR_NPM.fullmatch(value)
    return found is not None and base62(zlib.crc32(found[1]), 6) == found[2]


def grafana_crc32(value: bytes) -> bool:
    """A Grafana service account token ends in the CRC-32 of the rest, little-endian hex."""
    found = _GRAFANA.fullmatch(value)
    return found is not None and zlib.crc32(found[1]).to_bytes(4, "little").hex().encode() == found[2].lower()


def jwt(value: bytes) -> bool:
    """A JSON Web Token: the first part is a JSON object with `alg` (RFC 7515, 4.1.1)."""
    head = value.partition(b".")[0]
    try:
        header = json.loads(base64.urlsafe_b64decode(head + b"=" * (-len(head) % 4)))
    except ValueError:  # binascii.Error, JSONDecodeError and UnicodeDecodeError are all of this kind
        return False
    return isinstance(header, dict) and "alg" in header


def pem_body(value: bytes) -> bytes:
    """The base64 of an armoured key without armour, headers, line breaks and their escapes."""
    inner = _PEM_HEADER.sub(b"", _ARMOUR.sub(b"", value))
    return _NOT_BASE64.sub(b"", _BREAKS.sub(b"", inner))


def pem(value: bytes) -> bool:
    """A private key: what stands between the armour is DER (a SEQUENCE) or OpenSSH's own format."""
    body = pem_body(value)[:32]
    try:
        raw = base64.b64decode(body[: len(body) // 4 * 4])
    except binascii.Error:
        return False
    return raw.startswith((b"\x30", b"openssh-key-v1"))
