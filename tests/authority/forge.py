"""Certificates as other people make them: good, bad and odd ones. And two ends of TLS over memory."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL

DAY = timedelta(days=1)
PEM = serialization.Encoding.PEM


def key(kind: str = "p256"):
    match kind:
        case "p256":
            return ec.generate_private_key(ec.SECP256R1())
        case "p384":
            return ec.generate_private_key(ec.SECP384R1())
        case "p521":
            return ec.generate_private_key(ec.SECP521R1())
        case "k256":
            return ec.generate_private_key(ec.SECP256K1())
        case "ed25519":
            return ed25519.Ed25519PrivateKey.generate()
        case "rsa1024":
            return rsa.generate_private_key(65537, 1024)
        case _:
            return rsa.generate_private_key(65537, 2048)


def key_pem(private: Any, passphrase: bytes | None = None):
    how = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    return private.private_bytes(PEM, serialization.PrivateFormat.PKCS8, how)


def ca(
    private: Any,
    name: str = "Test CA",
    by: Any = None,
    *,
    begins: timedelta = -DAY,
    ends: timedelta = 365 * DAY,
    is_ca: bool = True,
    usage: bool = True,
    bare: bool = False,
):
    """by: (certificate, key) of the issuer; bare: without key usage and identifiers."""
    issuer, signer = by or (None, private)
    draft = _draft(private, name, issuer, begins, ends)
    draft = draft.add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=not bare)
    if not bare:
        flags = dict.fromkeys(
            (
                "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
                "crl_sign", "encipher_only", "decipher_only",
            ),
            False,
        )  # fmt: skip
        draft = draft.add_extension(x509.KeyUsage(key_cert_sign=usage, **flags), critical=True)
        draft = draft.add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False)
    if issuer is not None:
        draft = draft.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key()), critical=False
        )
    return draft.sign(signer, _hash(signer))


def server(
    private: Any,
    names: Sequence[str],
    by: Any = None,
    *,
    begins: timedelta = -DAY,
    ends: timedelta = 30 * DAY,
    cn: str = "server",
    usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH,
):
    """names: DNS names and addresses of the alternative name; none at all leaves the common name only."""
    issuer, signer = by or (None, private)
    draft = _draft(private, cn, issuer, begins, ends)
    if names:
        draft = draft.add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
    draft = draft.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    return draft.sign(signer, _hash(signer))


def _draft(private: Any, name: str, issuer: Any, begins: timedelta, ends: timedelta):
    now = datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer is not None else subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
    )


def _general(name: str):
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _hash(signer: Any):
    return None if isinstance(signer, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def write(path: Path, *parts: Any) -> Path:
    """Certificates, keys and raw bytes, one after the other in PEM, mode 0600."""
    path.write_bytes(b"".join(part if isinstance(part, bytes) else part.public_bytes(PEM) for part in parts))
    path.chmod(0o600)
    return path


def openssl_server(private: Any, *certs: Any) -> SSL.Connection:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate(certs[0])
    for cert in certs[1:]:
        context.add_extra_chain_cert(cert)
    context.use_privatekey(private)
    connection = SSL.Connection(context)
    connection.set_accept_state()
    return connection


def shake(client: SSL.Connection, server_end: SSL.Connection) -> None:
    """A handshake over memory. Raises SSL.Error of whichever end fails."""
    for _ in range(8):
        done = [_step(end) for end in (client, server_end)]
        _carry(client, server_end)
        _carry(server_end, client)
        if all(done):
            return
    raise AssertionError("the handshake does not end")


def _step(end: SSL.Connection):
    try:
        end.do_handshake()
    except SSL.WantReadError:
        return False
    return True


def _carry(source: SSL.Connection, sink: SSL.Connection):
    with suppress(SSL.WantReadError):
        sink.bio_write(source.bio_read(1 << 16))


def strict_client(*roots: x509.Certificate) -> ssl.SSLContext:
    """As strict as Python can be; trusts these roots only, and no intermediate by itself."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.hostname_checks_common_name = False
    context.load_verify_locations(cadata="".join(root.public_bytes(PEM).decode() for root in roots))
    return context


def exchange_stdlib(source: ssl.SSLObject, sink: ssl.SSLObject) -> None:
    """One byte, and with it the session tickets."""
    source.write(b"x")
    assert sink.read(1) == b"x"


def shake_stdlib(
    client: ssl.SSLContext, server_side: ssl.SSLContext, name: str, session: ssl.SSLSession | None = None
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both ends after a handshake over memory. Raises the ssl.SSLError of whichever fails."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(down, up, server_hostname=name, session=session),
        server_side.wrap_bio(up, down, server_side=True),
    )
    for _ in range(8):
        done = [_step_stdlib(end) for end in ends]
        if all(done):
            return ends
    raise AssertionError("the handshake does not end")


def _step_stdlib(end: ssl.SSLObject):
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True
