"""Weak origins are refused, and what decides that is set here, not by the distribution or the version of Python."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from OpenSSL import SSL

from authority import forge
from sluicegate.authority import refusals, trust
from sluicegate.authority.trust import Trust
from sluicegate.names import HostName

HOST = HostName("origin.example")
WEAK_KEY = "the key of origin.example's certificate is too weak"
WEAK_HASH = "a signature in the certificates of origin.example uses a weak hash"


class Bed:
    """A root of RSA 2048, trusted, and servers that it signed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.top = forge.key("rsa2048")
        self.root = forge.ca(self.top, "Root")
        self.trust = Trust.load([str(forge.write(folder / "root.pem", self.root))])

    def server(self, kind: str) -> tuple[Any, x509.Certificate]:
        key = forge.key(kind)
        return key, forge.server(key, ["origin.example"], (self.root, self.top))

    def by_sha1(self) -> tuple[Any, x509.Certificate]:
        """By the openssl program: the library refuses to sign so."""
        key = forge.key()
        paths = {
            "ca": forge.write(self.folder / "ca.pem", self.root), "cakey": forge.write(self.folder / "ca.key", forge.key_pem(self.top)),
            "key": forge.write(self.folder / "key.pem", forge.key_pem(key)),
        }  # fmt: skip
        extensions = self.folder / "ext"
        extensions.write_text("subjectAltName=DNS:origin.example\n")
        request = subprocess.run(
            ["openssl", "req", "-new", "-key", paths["key"], "-subj", "/CN=x"], capture_output=True, check=True
        ).stdout
        pem = subprocess.run(
            ["openssl", "x509", "-req", "-sha1", "-CA", paths["ca"], "-CAkey", paths["cakey"], "-days", "2",
             "-set_serial", "7", "-extfile", extensions], input=request, capture_output=True, check=True,
        ).stdout  # fmt: skip
        return key, x509.load_pem_x509_certificate(pem)


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory):
    return Bed(tmp_path_factory.mktemp("weak"))


def stdlib_refusal(bed: Bed, key: Any, cert: x509.Certificate):
    weak = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    weak.set_ciphers("ALL:@SECLEVEL=0")
    weak.load_cert_chain(forge.write(bed.folder / "server.pem", forge.key_pem(key), cert))
    try:
        forge.shake_stdlib(bed.trust.ssl_context(), weak, HOST.ascii)
    except ssl.SSLCertVerificationError as error:
        return refusals.why_untrusted(error, HOST)
    return None


def openssl_refusal(bed: Bed, key: Any, cert: x509.Certificate):
    weak = SSL.Context(SSL.TLS_SERVER_METHOD)
    weak.set_cipher_list(b"ALL:@SECLEVEL=0")
    weak.use_certificate(cert)
    weak.use_privatekey(key)
    server, client = SSL.Connection(weak), trust.openssl_connection(bed.trust, HOST)
    server.set_accept_state()
    try:
        forge.shake(client, server)
    except SSL.Error:
        return refusals.why_untrusted(client, HOST)
    return None


@pytest.mark.parametrize("refusal", [stdlib_refusal, openssl_refusal])
@pytest.mark.parametrize(
    ("kind", "why"),
    [
        pytest.param("rsa1024", WEAK_KEY, id="RSA of 1024 bits"),
        pytest.param("rsa2048", None, id="RSA of 2048 bits"),
        pytest.param("p256", None, id="P-256"),
        pytest.param("p384", None, id="P-384"),
    ],
)
def test_keys(bed: Bed, refusal: Any, kind: str, why: str | None):
    assert refusal(bed, *bed.server(kind)) == why


@pytest.mark.parametrize("refusal", [stdlib_refusal, openssl_refusal])
def test_sha1(bed: Bed, refusal: Any):
    assert refusal(bed, *bed.by_sha1()) == WEAK_HASH


def test_the_flags_are_ours(bed: Bed):
    context = bed.trust.ssl_context()
    assert context.verify_flags == ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_TRUSTED_FIRST
    assert not context.verify_flags & ssl.VERIFY_X509_STRICT
    assert (context.security_level, context.check_hostname, context.verify_mode) == (2, True, ssl.CERT_REQUIRED)
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert bed.trust.ssl_context() is context


def test_only_http_1_1_is_offered(bed: Bed, tmp_path: Path):
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    key, cert = bed.server("p256")
    server.load_cert_chain(forge.write(tmp_path / "server.pem", forge.key_pem(key), cert))
    server.set_alpn_protocols(["h2", "http/1.1"])
    _, end = forge.shake_stdlib(bed.trust.ssl_context(), server, HOST.ascii)
    assert end.selected_alpn_protocol() == "http/1.1"
