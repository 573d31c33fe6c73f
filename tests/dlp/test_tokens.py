from __future__ import annotations

import base64
import zlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sluicegate.dlp import tokens


def checked(prefix: bytes, body: bytes) -> bytes:
    return prefix + body + tokens.base62(zlib.crc32(body), 6)


@pytest.mark.parametrize(("number", "digits"), [
    pytest.param(0, b"000000", id="zero is padded"),
    pytest.param(61, b"00000z", id="the last digit"),
    pytest.param(62, b"000010", id="the first carry"),
    pytest.param(0xFFFFFFFF, b"4gfFC3", id="the largest"),
])  # fmt: skip
def test_base62(number: int, digits: bytes):
    assert tokens.base62(number, 6) == digits


@pytest.mark.parametrize("prefix", [b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_", b"npm_"])
def test_a_token_with_its_checksum(prefix: bytes):
    token = checked(prefix, b"zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ")
    assert tokens.crc32_base62(token)
    assert not tokens.crc32_base62(token[:-1] + (b"a" if token[-1:] != b"a" else b"b"))
    assert not tokens.crc32_base62(token + b"a")


def test_a_published_gist_of_a_token_has_the_checksum():
    # from GitHub's own description of the format: the body and its checksum are public
    body = b"zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ"
    assert tokens.base62(zlib.crc32(body), 6) == b"0mLq17"


def test_grafana():
    head = b"glsa_" + b"aB3" * 10 + b"xy"
    token = head + b"_" + zlib.crc32(head).to_bytes(4, "little").hex().encode()
    assert tokens.grafana_crc32(token)
    assert not tokens.grafana_crc32(token[:-1] + b"g")
    assert not tokens.grafana_crc32(head + b"_" + b"0" * 8)


@pytest.mark.parametrize(("key", "valid"), [
    pytest.param(b"AKIA" + b"IOSFODNN7EXAMPLE", True, id="the documented example"),
    pytest.param(b"ASIA" + b"Y34FZKBOKMUTVV7A", True, id="a temporary one"),
    pytest.param(b"AKIA" + b"IOSFODNN1EXAMPLE", False, id="1 is no base32 digit"),
    pytest.param(b"AKIA" + b"IOSFODNN7EXAMPL", False, id="15 characters"),
])  # fmt: skip
def test_aws_keys(key: bytes, valid: bool):
    assert tokens.aws_key(key) is valid


def jwt(header: bytes) -> bytes:
    return base64.urlsafe_b64encode(header).rstrip(b"=") + b".e30." + b"x" * 43


@pytest.mark.parametrize(("header", "valid"), [
    pytest.param(b'{"alg":"HS256","typ":"JWT"}', True, id="signed"),
    pytest.param(b'{"alg":"none"}', True, id="not signed"),
    pytest.param(b'{"typ":"JWT"}', False, id="without alg"),
    pytest.param(b'["alg"]', False, id="no object"),
    pytest.param(b'{"alg":', False, id="no JSON"),
    pytest.param(b"\xff\xfe{}", False, id="no text"),
])  # fmt: skip
def test_jwt(header: bytes, valid: bool):
    assert tokens.jwt(jwt(header)) is valid


@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL, PrivateFormat.OpenSSH])
@pytest.mark.parametrize("line_break", [b"\n", b"\r\n", b"\\n", b"\\r\\n"], ids=["lf", "crlf", "json", "json crlf"])
def test_pem(form: PrivateFormat, line_break: bytes):
    text = ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, form, NoEncryption())
    assert tokens.pem(text.replace(b"\n", line_break))
    assert tokens.pem_body(text.replace(b"\n", line_break)) == tokens.pem_body(text)


def test_pem_of_openssh_ed25519():
    key = ed25519.Ed25519PrivateKey.generate()
    assert tokens.pem(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))


@pytest.mark.parametrize("text", [
    pytest.param(b"-----BEGIN PRIVATE KEY-----\nand here the key goes\n-----END PRIVATE KEY-----", id="words"),
    pytest.param(b"-----BEGIN PRIVATE KEY-----\n", id="only a header"),
])  # fmt: skip
def test_no_pem(text: bytes):
    assert not tokens.pem(text)
