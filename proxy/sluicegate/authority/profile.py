"""What stands in the certificates made here: one builder for the root, one for leaves (certs/README.md has the table).

RFC 5280, the CA/Browser Forum's Baseline Requirements where they make sense for a private CA, and what Python's
VERIFY_X509_STRICT and the browsers refuse.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from sluicegate.names import HostName

type SigningKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

CURVES: Final = (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)
SKEW: Final = timedelta(hours=1)
"""How far behind a client's clock may be."""
_MAX_COMMON_NAME = 64
_USAGES: Final = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


def root(subject: x509.Name, key: ec.EllipticCurvePrivateKey, validity: timedelta) -> x509.Certificate:
    """A self-signed CA that can issue leaves and nothing else (path length 0)."""
    now = datetime.now(UTC).replace(microsecond=0)
    draft = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(_serial())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + validity)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage("key_cert_sign", "crl_sign"), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return sign(draft, key)


def leaf(
    name: HostName, public: ec.EllipticCurvePublicKey, issuer: x509.Certificate, begins: datetime, ends: datetime
) -> x509.CertificateBuilder:
    """A server certificate for this one name, without issuer name and signature."""
    subject = _subject(name)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(public)
        .serial_number(_serial())
        .not_valid_before(max(begins - SKEW, issuer.not_valid_before_utc))
        .not_valid_after(ends)
        # RFC 5280, 4.2.1.6: with an empty subject the alternative name is critical.
        .add_extension(x509.SubjectAlternativeName([_general(name)]), critical=not list(subject))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(_authority_key(issuer), critical=False)
    )


def sign(draft: x509.CertificateBuilder, key: SigningKey) -> x509.Certificate:
    return draft.sign(key, _hash(key))


def pem(certs: Iterable[x509.Certificate]) -> bytes:
    return b"".join(cert.public_bytes(serialization.Encoding.PEM) for cert in certs)


def extension[E: x509.ExtensionType](cert: x509.Certificate, kind: type[E]) -> x509.Extension[E] | None:
    try:
        return cert.extensions.get_extension_for_class(kind)
    except x509.ExtensionNotFound:
        return None


def not_strict(cert: x509.Certificate) -> str:
    """What a CA certificate lacks of X509_V_FLAG_X509_STRICT; empty where nothing."""
    basic = extension(cert, x509.BasicConstraints)
    lacking = {
        "critical basic constraints": basic is None or not basic.critical,
        "a key usage": extension(cert, x509.KeyUsage) is None,
        "a subject key identifier": extension(cert, x509.SubjectKeyIdentifier) is None,
        "an authority key identifier": cert.subject != cert.issuer
        and extension(cert, x509.AuthorityKeyIdentifier) is None,
    }
    missing = [what for what, lacks in lacking.items() if lacks]
    return "lacks " + " and ".join(missing) if missing else ""


def _serial() -> int:
    # 128 random bits: unique without a ledger, also over several workers and gateways (RFC 5280: at most 20 octets).
    return 1 + secrets.randbits(128)


def _hash(key: SigningKey) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512:
    """As strong as the key, and not stronger: SHA-384 for P-384, SHA-512 for P-521."""
    bits = key.curve.key_size if isinstance(key, ec.EllipticCurvePrivateKey) else 256
    return hashes.SHA256() if bits <= 256 else hashes.SHA384() if bits <= 384 else hashes.SHA512()


def _subject(name: HostName) -> x509.Name:
    # Nobody matches on the common name any more (RFC 9525, 2), but people read it, and some tools want one.
    if len(name.ascii) > _MAX_COMMON_NAME:
        return x509.Name([])
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name.ascii)])


def _general(name: HostName) -> x509.GeneralName:
    return x509.DNSName(name.ascii) if name.address is None else x509.IPAddress(name.address)


def _authority_key(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """The issuer's own identifier where it has one: others derive it in other ways than we would."""
    found = extension(issuer, x509.SubjectKeyIdentifier)
    if found is not None:
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(found.value)
    public = issuer.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey | rsa.RSAPublicKey)
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(public)


def _usage(*granted: str) -> x509.KeyUsage:
    return x509.KeyUsage(**{usage: usage in granted for usage in _USAGES})
