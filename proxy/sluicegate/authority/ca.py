"""The cluster's certificate authority: read and checked once, or made once. Its key never leaves this package.

Standards: RFC 5280 for what stands in certificates; what Python's VERIFY_X509_STRICT asks beyond common practice is
kept in all that is made here, and is a warning for a CA that was brought along.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509.oid import NameOID

from sluicegate import settings
from sluicegate.authority import files, profile
from sluicegate.authority.profile import SigningKey
from sluicegate.errors import ConfigError

MAX_NAME = 64
"""Characters of a common name (RFC 5280, appendix A, ub-common-name)."""
_SOON = timedelta(days=30)


@dataclass(frozen=True, slots=True, eq=False)
class Authority:
    """A CA that can sign now.

    chain     as in the file: the issuer first, then those that vouch for it, if they are there
    warnings  sentences for `ca show`, `check` and the log
    """

    chain: tuple[x509.Certificate, ...]
    warnings: tuple[str, ...]
    _key: SigningKey = field(repr=False)

    @property
    def issuer(self) -> x509.Certificate:
        return self.chain[0]

    @property
    def sent(self) -> tuple[x509.Certificate, ...]:
        """What goes to clients after the leaf. Roots do not: who does not have them would not believe them."""
        return tuple(cert for cert in self.chain if cert.subject != cert.issuer)

    @property
    def ends(self) -> datetime:
        """When the first of the chain expires: no leaf may live longer."""
        return min(cert.not_valid_after_utc for cert in self.chain)

    def sign(self, draft: x509.CertificateBuilder) -> x509.Certificate:
        """The certificate of a builder that has everything but its issuer."""
        return profile.sign(draft.issuer_name(self.issuer.subject), self._key)

    def derive(self, purpose: bytes) -> bytes:
        """32 secret bytes for one purpose, the same at every gateway of this CA (HKDF, RFC 5869)."""
        secret = self._key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return HKDF(hashes.SHA256(), length=32, salt=None, info=purpose).derive(secret)


def create(cert: Path, key: Path, *, name: str = "Sluicegate CA", days: int = 3650) -> x509.Certificate:
    """Makes a P-256 root CA: its key (PKCS #8, mode 0600) and its certificate (0644), in folders made where missing.

    Raises ConfigError where either file exists already or cannot be written; then nothing new is left behind.
    """
    if not 0 < len(name) <= MAX_NAME:
        raise ConfigError("name", name, f"a CA's name has 1 to {MAX_NAME} characters")
    for path in (cert, key):
        if os.path.lexists(path):
            raise _exists(path)
    private = ec.generate_private_key(ec.SECP256R1())
    made = profile.root(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), private, timedelta(days=days))
    _write(key, _pkcs8(private), 0o600)
    try:
        _write(cert, made.public_bytes(serialization.Encoding.PEM), 0o644)
    except ConfigError:
        key.unlink()  # made a moment ago, and of no use without its certificate
        raise
    return made


def _pkcs8(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, data: bytes, mode: int) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_new(path, data, mode)
        return
    except OSError as error:
        meanwhile = os.path.lexists(path)
        fault = _exists(path) if meanwhile else ConfigError(str(path), "", f"cannot be written: {error.strerror}")
    del data  # so that no traceback with locals can show it
    raise fault


def _exists(path: Path) -> ConfigError:
    return ConfigError(str(path), "", "exists already and is never overwritten: move it away, or name another path")


def load(files_of: settings.Authority) -> Authority:
    """The CA of the settings, ready to sign. Raises ConfigError for whatever would make clients refuse its leaves."""
    chain = read_certificates(files_of.cert)
    for place, cert in _places(files_of.cert, chain):
        _check_ca(place, cert)
        _check_dates(place, cert)
    _check_order(files_of.cert, chain)
    key = _read_key(files_of.key)
    if _public(key.public_key()) != _public(chain[0].public_key()):
        raise ConfigError(str(files_of.key), "", f"is not the key of {files_of.cert}: both come from one `ca init`")
    return Authority(chain, (*_open_to_others(files_of.key), *_doubts(chain)), key)


def read_certificates(path: Path) -> tuple[x509.Certificate, ...]:
    """The certificates of a PEM file, at least one. Raises ConfigError."""
    try:
        found = x509.load_pem_x509_certificates(_read(path))
    except ValueError:
        raise ConfigError(
            str(path), "", "holds no readable certificate: expected PEM, -----BEGIN CERTIFICATE-----"
        ) from None
    return tuple(found)


def fingerprint(cert: x509.Certificate) -> str:
    """SHA-256 as `openssl x509 -fingerprint -sha256` writes it."""
    return cert.fingerprint(hashes.SHA256()).hex(":").upper()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        fix = "does not exist: make a CA with `sluicegate ca init`, or name yours under `authority:`"
    except OSError as error:
        fix = f"cannot be read: {error.strerror}"
    raise ConfigError(str(path), "", fix)


def _read_key(path: Path) -> SigningKey:
    data = _read(path)
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except TypeError:
        fix = f"has a passphrase, which nobody could type here: write it anew with `openssl pkey -in {path} -out NEW`"
    except (ValueError, UnsupportedAlgorithm):
        fix = "holds no readable private key: expected PEM, -----BEGIN PRIVATE KEY-----"
    else:
        if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048:
            return key
        if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, profile.CURVES):
            return key
        fix = "is of a kind that clients refuse: use P-256, P-384, P-521 or RSA of 2048 bits or more"
    del data  # so that no traceback with locals can show it
    raise ConfigError(str(path), "", fix)


def _public(key: object) -> bytes:
    assert isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey)
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _places(path: Path, chain: Sequence[x509.Certificate]) -> list[tuple[str, x509.Certificate]]:
    if len(chain) == 1:
        return [(str(path), chain[0])]
    return [(f"{path}: certificate {number}", cert) for number, cert in enumerate(chain, 1)]


def _check_ca(place: str, cert: x509.Certificate) -> None:
    basic = profile.extension(cert, x509.BasicConstraints)
    usage = profile.extension(cert, x509.KeyUsage)
    if basic is None or not basic.value.ca or (usage is not None and not usage.value.key_cert_sign):
        raise ConfigError(
            place, cert.subject.rfc4514_string(), "is not a CA: it needs CA:TRUE and the key usage keyCertSign"
        )


def _check_dates(place: str, cert: x509.Certificate) -> None:
    now = datetime.now(UTC)
    if now >= cert.not_valid_after_utc:
        raise ConfigError(place, f"{cert.not_valid_after_utc:%Y-%m-%d}", "has expired: rotate it (certs/README.md)")
    if now < cert.not_valid_before_utc:
        raise ConfigError(
            place, f"{cert.not_valid_before_utc:%Y-%m-%d}", "is not valid yet: check this machine's clock"
        )


def _check_order(path: Path, chain: Sequence[x509.Certificate]) -> None:
    for number, (below, above) in enumerate(pairwise(chain), 1):
        try:
            below.verify_directly_issued_by(above)
        except (ValueError, TypeError, InvalidSignature):
            raise ConfigError(
                str(path),
                above.subject.rfc4514_string(),
                f"did not issue certificate {number}: put the signing CA first and its issuers after it",
            ) from None


def _open_to_others(path: Path) -> list[str]:
    # Only a warning: Kubernetes mounts secrets with mode 0644, in a folder that no other container sees.
    mode = path.stat().st_mode & 0o777
    return [f"{path}: others may read the CA's key (mode {mode:04o}): chmod 600"] if mode & 0o077 else []


def _doubts(chain: Sequence[x509.Certificate]) -> list[str]:
    found = []
    ends = min(cert.not_valid_after_utc for cert in chain)
    if ends - datetime.now(UTC) < _SOON:
        found.append(f"the CA expires on {ends:%Y-%m-%d}: rotate it (certs/README.md)")
    found += [
        f"{cert.subject.rfc4514_string()}: {lacking}: strict clients (Python 3.13) refuse it"
        for cert in chain
        if (lacking := profile.not_strict(cert))
    ]
    return found
