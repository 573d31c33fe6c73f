"""One server certificate, with the key that belongs to it kept inside."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL

from sluicegate.authority import profile
from sluicegate.names import HostName


@dataclass(frozen=True, slots=True, eq=False)
class Leaf:
    """A certificate for one name. Compared and hashed by identity: a renewed one is another one.

    chain     the CA certificates to send after it, without the root
    renew_at  seconds since the epoch, after which Leaves makes a new one
    """

    name: HostName
    cert: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    renew_at: float
    _key: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def pem(self) -> bytes:
        """The certificate and its chain; never the key."""
        return profile.pem((self.cert, *self.chain))

    def equip_openssl(self, context: SSL.Context) -> None:
        """Gives a pyOpenSSL server context this certificate and its key."""
        bare: Any = context  # the published stubs are older than the library and want its deprecated classes
        bare.use_certificate(self.cert)
        for cert in self.chain:
            bare.add_extra_chain_cert(cert)
        bare.use_privatekey(self._key)

    def equip_stdlib(self, context: ssl.SSLContext) -> None:
        """Gives an ssl.SSLContext this certificate and its key.

        The ssl module reads both from a path only. A memfd has one, in /proc, and never touches a disk; a process may
        open its own also when it is not dumpable.
        """
        with _memfd() as descriptor:
            _write(descriptor, self.pem)
            _write(
                descriptor,
                # Not bound to a name, so that no traceback with locals can show it.
                self._key.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
                ),
            )
            context.load_cert_chain(f"/proc/self/fd/{descriptor}")


@contextmanager
def _memfd() -> Iterator[int]:
    descriptor = os.memfd_create("leaf", os.MFD_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _write(descriptor: int, data: bytes) -> None:
    if os.write(descriptor, data) != len(data):
        del data  # may be a key
        raise OSError("short write to a memfd")
