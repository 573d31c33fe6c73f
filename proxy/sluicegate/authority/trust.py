"""Whom the gateway believes upstream: roots from certifi, the system or PEM files, and TLS contexts made of them once."""

from __future__ import annotations

import re
import ssl
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

import certifi
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.utils import CryptographyDeprecationWarning
from OpenSSL import SSL, crypto

from sluicegate.authority import bindings, profile
from sluicegate.authority.ca import read_certificates
from sluicegate.errors import ConfigError
from sluicegate.names import HostName

PLACE: Final = "upstream.trust"
OLDEST_CERTIFI: Final = (2026, 10, 18)
"""Older ones hold roots that browsers have thrown out since."""
CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20:DHE+AESGCM:ECDHE+AES:@SECLEVEL=2"
"""For TLS 1.2: forward secret; CBC last, for servers that are old but not broken.

Security level 2, whatever the distribution's default is: no RSA or DH below 2048 bits, no curve below 224, no SHA-1 in
a chain (the signature of a root itself is not looked at).
"""
_BLOCK: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)
_SYSTEM: Final = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, distroless
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, Red Hat
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # Alpine, BSD
)


@dataclass(frozen=True)
class Trust:
    """Roots, each once, and sentences for `check` and the log."""

    roots: tuple[x509.Certificate, ...] = field(repr=False)
    sources: tuple[str, ...]
    warnings: tuple[str, ...]

    @classmethod
    def load(cls, sources: Sequence[str]) -> Trust:
        """Of certifi | system | paths of PEM files; all together are trusted. Raises ConfigError."""
        found = {root.fingerprint(SHA256()): root for source in sources for root in roots_of(source)}
        if not found:
            raise ConfigError(PLACE, "", "trusts nobody: name certifi, system or a PEM file")
        doubts = _old_certifi(certifi.__version__) if "certifi" in sources else ()
        return cls(tuple(found.values()), tuple(sources), doubts)

    def openssl_context(self) -> SSL.Context:
        """The one pyOpenSSL client context: 10 ms to make, a megabyte. Names are checked by openssl_connection."""
        return self._openssl

    def ssl_context(self) -> ssl.SSLContext:
        """The one ssl.SSLContext, for HTTP/1.1; it checks the name given as server_hostname."""
        return self._stdlib

    @cached_property
    def _openssl(self) -> SSL.Context:
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.set_min_proto_version(SSL.TLS1_2_VERSION)
        context.set_options(SSL.OP_NO_COMPRESSION | bindings.OP_NO_RENEGOTIATION)
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        context.set_cipher_list(CIPHERS.encode())
        context.set_verify(SSL.VERIFY_PEER, None)
        store = context.get_cert_store()
        assert store is not None
        for root in self.roots:
            store.add_cert(crypto.X509.from_cryptography(root))
        # Whatever stands in the files is trusted as it stands there, also an intermediate without its root.
        store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
        return context

    @cached_property
    def _stdlib(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies the chain and the name
        context.hostname_checks_common_name = False
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        context.set_ciphers(CIPHERS)
        context.set_alpn_protocols(["http/1.1"])
        # Set, not added to: what a version of Python adds by itself must not decide which origins can be reached.
        context.verify_flags = ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_TRUSTED_FIRST
        context.load_verify_locations(cadata=profile.pem(self.roots).decode())
        return context


def openssl_connection(trust: Trust, name: HostName, alpn: Sequence[bytes] = ()) -> SSL.Connection:
    """A client connection over memory that completes its handshake only with a server that proves to be `name`."""
    connection = SSL.Connection(trust.openssl_context())
    bindings.expect(connection, name)
    if name.address is None:  # RFC 6066, 3: a literal address is not sent as a server name
        connection.set_tlsext_host_name(name.ascii.encode())
    if alpn:
        connection.set_alpn_protos(list(alpn))
    connection.set_connect_state()
    return connection


def roots_of(source: str) -> tuple[x509.Certificate, ...]:
    """The certificates that one entry of upstream.trust stands for. Raises ConfigError."""
    if source == "certifi":
        return _public_roots(Path(certifi.where()))
    if source == "system":
        return _public_roots(_system_file())
    if not Path(source).exists():
        raise ConfigError(PLACE, source, "does not exist: name a PEM file, or write certifi or system")
    try:
        return read_certificates(Path(source))
    except ConfigError as error:
        raise ConfigError(PLACE, source, error.fix) from None


def _public_roots(path: Path) -> tuple[x509.Certificate, ...]:
    """All that can be read of a public bundle. An oddity in one of its roots means one root less, not none at all."""
    found = []
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(PLACE, path, f"cannot be read: {error.strerror}") from None
    with warnings.catch_warnings():
        # One root of 2000 has serial number 0, which cryptography announces to refuse some day.
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        for block in _BLOCK.findall(text):
            with suppress(ValueError):
                found.append(x509.load_pem_x509_certificate(block))
    return tuple(found)


def _system_file() -> Path:
    # SSL_CERT_FILE first, as every OpenSSL program has it; then OpenSSL's own default, then where distributions put it.
    candidates = (ssl.get_default_verify_paths().cafile, *_SYSTEM)
    for path in candidates:
        if path and Path(path).is_file():
            return Path(path)
    raise ConfigError(
        PLACE, "system", "no root certificates are installed here: install ca-certificates, or use certifi"
    )


def _old_certifi(version: str) -> tuple[str, ...]:
    if tuple(int(part) for part in version.split(".")) >= OLDEST_CERTIFI:
        return ()
    wanted = ".".join(f"{part:02}" for part in OLDEST_CERTIFI)
    return (f"certifi {version} is old: roots distrusted since are still in it: install {wanted} or newer",)
