"""Upstreams that must be believed, and those that must not, each with its sentence."""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import certifi
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL

from authority import forge
from sluicegate.authority import refusals, trust
from sluicegate.authority.trust import Trust
from sluicegate.errors import ConfigError
from sluicegate.names import HostName

HOST = HostName("origin.example")
UNKNOWN = "the certificate of origin.example comes from an issuer that is not trusted here (upstream.trust)"
OTHER = "the server's certificate is for another name than origin.example"
EXPIRED = "the certificate of origin.example, or of its issuer, has expired"


class Origin:
    """A root that is trusted, an intermediate of it, and a key for servers."""

    def __init__(self, folder: Path) -> None:
        self.top, self.middle, self.key = forge.key(), forge.key(), forge.key()
        self.root = forge.ca(self.top, "Root")
        self.by_root = (self.root, self.top)
        self.below = forge.ca(self.middle, "Middle", by=self.by_root)
        self.by_below = (self.below, self.middle)
        self.trust = Trust.load([str(forge.write(folder / "root.pem", self.root))])

    def server(self, *names: Any, by: Any = None, **options: Any):
        return forge.server(self.key, names, by or self.by_root, **options)


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory):
    return Origin(tmp_path_factory.mktemp("origin"))


def openssl_refusal(believer: Trust, key: Any, certs: Sequence[x509.Certificate], host: HostName = HOST):
    """The sentence; None where the server was believed."""
    client = trust.openssl_connection(believer, host, [b"http/1.1"])
    try:
        forge.shake(client, forge.openssl_server(key, *certs))
    except SSL.Error:
        return refusals.why_untrusted(client, host)
    return None


def stdlib_refusal(believer: Trust, key: Any, certs: Sequence[x509.Certificate], tmp_path: Path, host: HostName = HOST):
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(forge.write(tmp_path / "server.pem", forge.key_pem(key), *certs))
    try:
        forge.shake_stdlib(believer.ssl_context(), server_side, host.ascii)
    except ssl.SSLCertVerificationError as error:
        return refusals.why_untrusted(error, host)
    return None


type Certs = Callable[[Origin], list[x509.Certificate]]

SERVERS = [
    pytest.param(lambda o: [o.server("origin.example")], None, id="right"),
    pytest.param(lambda o: [o.server("*.example", "origin.example")], None, id="one name of several"),
    pytest.param(lambda o: [o.server("origin.example", by=o.by_below), o.below], None, id="by an intermediate"),
    pytest.param(lambda o: [o.server("ORIGIN.Example")], None, id="case does not matter"),
    pytest.param(lambda o: [o.server("origin.example", by=o.by_below)], UNKNOWN, id="intermediate not sent"),
    pytest.param(lambda o: [o.server("other.example")], OTHER, id="another name"),
    pytest.param(lambda o: [o.server("www.origin.example")], OTHER, id="a name below"),
    pytest.param(lambda o: [o.server("example")], OTHER, id="a name above"),
    pytest.param(lambda o: [o.server("*.origin.example")], OTHER, id="a wildcard below"),
    pytest.param(lambda o: [o.server("or*.example")], OTHER, id="a partial wildcard"),
    pytest.param(lambda o: [o.server("*")], OTHER, id="a wildcard for all"),
    pytest.param(lambda o: [o.server(cn="origin.example")], OTHER, id="the common name does not count"),
    pytest.param(lambda o: [o.server("192.0.2.7")], OTHER, id="an address"),
    pytest.param(lambda o: [o.server("origin.example", begins=-2 * forge.DAY, ends=-forge.DAY)], EXPIRED, id="expired"),
    pytest.param(
        lambda o: [o.server("origin.example", begins=forge.DAY)],
        "the certificate of origin.example is not valid yet, or the clock here is wrong",
        id="not valid yet",
    ),
    pytest.param(
        lambda o: [forge.server(o.key, ["origin.example"])],
        "the certificate of origin.example is self-signed",
        id="self-signed",
    ),
    pytest.param(
        lambda o: [o.server("origin.example", usage=ExtendedKeyUsageOID.CLIENT_AUTH)],
        "the certificate of origin.example is not one for servers",
        id="a client's certificate",
    ),
]


class TestServers:
    @pytest.mark.parametrize(("certs", "why"), SERVERS)
    def test_pyopenssl(self, origin: Origin, certs: Certs, why: str | None):
        assert openssl_refusal(origin.trust, origin.key, certs(origin)) == why

    @pytest.mark.parametrize(("certs", "why"), SERVERS)
    def test_stdlib_agrees(self, origin: Origin, tmp_path: Path, certs: Certs, why: str | None):
        assert stdlib_refusal(origin.trust, origin.key, certs(origin), tmp_path) == why

    def test_an_issuer_of_the_same_name_with_another_key(self, origin: Origin):
        impostor = forge.key()
        forged = forge.server(origin.key, ["origin.example"], (forge.ca(impostor, "Root"), impostor))
        assert "wrong" in openssl_refusal(origin.trust, origin.key, [forged])

    def test_an_own_root_sent_along_convinces_nobody(self, origin: Origin):
        stranger = forge.key()
        root = forge.ca(stranger, "Stranger")
        certs = [forge.server(origin.key, ["origin.example"], (root, stranger)), root]
        assert openssl_refusal(origin.trust, origin.key, certs) == UNKNOWN

    def test_a_server_certificate_signs_nothing(self, origin: Origin):
        buyer = forge.key()
        bought = forge.server(buyer, ["bought.example"], origin.by_root, cn="bought")
        certs = [forge.server(origin.key, ["origin.example"], (bought, buyer)), bought]
        assert openssl_refusal(origin.trust, origin.key, certs) is not None

    @pytest.mark.parametrize("address", ["192.0.2.7", "2001:db8::7"])
    def test_addresses(self, origin: Origin, tmp_path: Path, address: Any):
        host = HostName.parse(address)
        right, wrong = [origin.server(address)], [origin.server("192.0.2.8", "origin.example")]
        assert openssl_refusal(origin.trust, origin.key, right, host) is None
        assert stdlib_refusal(origin.trust, origin.key, right, tmp_path, host) is None
        why = f"the server's certificate is not for the address {address}"
        assert openssl_refusal(origin.trust, origin.key, wrong, host) == why
        assert stdlib_refusal(origin.trust, origin.key, wrong, tmp_path, host) == why

    def test_an_address_written_as_a_name_is_not_one(self, origin: Origin):
        host = HostName.parse("192.0.2.7")
        assert openssl_refusal(origin.trust, origin.key, [origin.server(cn="192.0.2.7")], host) is not None

    def test_where_the_certificate_is_not_the_reason_there_is_no_sentence(self, origin: Origin):
        client = trust.openssl_connection(origin.trust, HOST)
        with pytest.raises(SSL.WantReadError):
            client.do_handshake()
        client.bio_write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        with pytest.raises(SSL.Error):
            client.do_handshake()
        assert refusals.why_untrusted(client, HOST) is None

    def test_what_has_no_sentence_of_its_own_says_what_openssl_says(self):
        error = ssl.SSLCertVerificationError()
        error.verify_code = 23
        assert refusals.why_untrusted(error, HOST) == (
            "the certificate of origin.example was refused: certificate revoked"
        )


class TestConnection:
    @pytest.mark.parametrize(
        ("host", "sent"),
        [
            pytest.param("origin.example", b"origin.example", id="a name is sent"),
            pytest.param("192.0.2.7", None, id="an IPv4 address is not"),
            pytest.param("2001:db8::7", None, id="an IPv6 address is not"),
        ],
    )
    def test_server_name(self, origin: Origin, host: str, sent: bytes | None):
        server = forge.openssl_server(origin.key, origin.server(host))
        forge.shake(trust.openssl_connection(origin.trust, HostName.parse(host)), server)
        assert server.get_servername() == sent

    @pytest.mark.parametrize("text", ["", ".example", ".", "origin.example\x00.evil.example"])
    def test_what_openssl_would_take_for_any_name(self, origin: Origin, text: str):
        with pytest.raises(ValueError, match="not a host"):
            trust.openssl_connection(origin.trust, HostName(text))

    def test_contexts_are_made_once(self, origin: Origin):
        assert origin.trust.openssl_context() is origin.trust.openssl_context()
        assert origin.trust.ssl_context() is origin.trust.ssl_context()
        first, second = (trust.openssl_connection(origin.trust, HOST) for _ in range(2))
        assert first.get_context() is second.get_context()

    def test_names_of_two_connections_do_not_mix(self, origin: Origin):
        other = HostName("other.example")
        first, second = trust.openssl_connection(origin.trust, HOST), trust.openssl_connection(origin.trust, other)
        forge.shake(first, forge.openssl_server(origin.key, origin.server("origin.example")))
        with pytest.raises(SSL.Error):
            forge.shake(second, forge.openssl_server(origin.key, origin.server("origin.example")))


@contextmanager
def s_server(folder: Path, key: Any, certs: Sequence[x509.Certificate], *options: Any):
    """A real `openssl s_server`; gives its port."""
    file = forge.write(folder / "server.pem", forge.key_pem(key), *certs)
    program = subprocess.Popen(
        ["openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", file, "-key", file, "-cert_chain", file, *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with program:
        try:
            yield next(int(line.rsplit(b":", 1)[1]) for line in program.stdout if line.startswith(b"ACCEPT"))
        finally:
            program.kill()


class TestOpenSSLServer:
    def dial(self, origin: Origin, port: int):
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            origin.trust.ssl_context().wrap_socket(plain, server_hostname=HOST.ascii) as secured,
        ):
            return secured.version()

    def test_believed(self, origin: Origin, tmp_path: Path):
        with s_server(tmp_path, origin.key, [origin.server("origin.example")]) as port:
            assert self.dial(origin, port) == "TLSv1.3"

    def test_refused(self, origin: Origin, tmp_path: Path):
        with s_server(tmp_path, origin.key, [origin.server("other.example")]) as port:
            with pytest.raises(ssl.SSLCertVerificationError) as caught:
                self.dial(origin, port)
            assert refusals.why_untrusted(caught.value, HOST) == OTHER

    def test_old_versions(self, origin: Origin, tmp_path: Path):
        options = ("-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
        with (
            s_server(tmp_path, origin.key, [origin.server("origin.example")], *options) as port,
            pytest.raises(ssl.SSLError, match=r"(?i)protocol.version|unsupported.protocol"),
        ):
            self.dial(origin, port)


class TestLoad:
    def test_certifi_and_system_and_files_together(self, origin: Origin, tmp_path: Path):
        file = str(forge.write(tmp_path / "more.pem", origin.root, origin.below))
        together = Trust.load(["certifi", "system", file])
        assert {origin.root, origin.below} < set(together.roots)
        assert len(together.roots) == len(set(together.roots)) > len(Trust.load(["certifi"]).roots) > 50

    def test_both_contexts_hold_all_of_certifi(self):
        believer = Trust.load(["certifi"])
        blocks = Path(certifi.where()).read_bytes().count(b"BEGIN CERTIFICATE")
        assert len(believer.roots) == blocks
        assert believer.ssl_context().cert_store_stats()["x509"] == blocks
        assert believer.openssl_context() is not None

    def test_an_intermediate_without_its_root_is_trusted_as_it_stands(self, origin: Origin, tmp_path: Path):
        believer = Trust.load([str(forge.write(tmp_path / "below.pem", origin.below))])
        certs = [origin.server("origin.example", by=origin.by_below)]
        assert openssl_refusal(believer, origin.key, certs) is None
        assert stdlib_refusal(believer, origin.key, certs, tmp_path) is None

    def test_one_self_signed_server_can_be_trusted_by_itself(self, origin: Origin, tmp_path: Path):
        cert = forge.server(origin.key, ["origin.example"])
        believer = Trust.load([str(forge.write(tmp_path / "one.pem", cert))])
        assert openssl_refusal(believer, origin.key, [cert]) is None
        assert openssl_refusal(believer, origin.key, [forge.server(origin.key, ["origin.example"])]) is not None

    @pytest.mark.parametrize(
        ("content", "fix"),
        [
            pytest.param(None, "does not exist: name a PEM file", id="missing"),
            pytest.param(b"", "holds no readable certificate", id="empty"),
            pytest.param(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "holds no", id="garbled"),
        ],
    )
    def test_files_that_do_not_do(self, tmp_path: Path, content: bytes | None, fix: str):
        file = tmp_path / "trust.pem"
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(ConfigError, match=rf"upstream\.trust: `.*trust\.pem`: {fix}"):
            Trust.load(["certifi", str(file)])

    def test_nobody(self):
        with pytest.raises(ConfigError, match="trusts nobody"):
            Trust.load([])

    def test_a_system_without_roots(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent")
        monkeypatch.setattr(trust, "_SYSTEM", ("/nonexistent",))
        with pytest.raises(ConfigError, match=r"upstream\.trust: `system`: no root certificates are installed here"):
            Trust.load(["system"])

    def test_ssl_cert_file_is_the_system_s(self, origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("SSL_CERT_FILE", str(forge.write(tmp_path / "env.pem", origin.root)))
        assert Trust.load(["system"]).roots == (origin.root,)

    def test_one_odd_root_of_a_public_bundle_is_left_out(
        self, origin: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        odd = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        monkeypatch.setenv("SSL_CERT_FILE", str(forge.write(tmp_path / "env.pem", odd, origin.root)))
        assert Trust.load(["system"]).roots == (origin.root,)

    @pytest.mark.parametrize(
        ("version", "warns"),
        [("2026.10.18", False), ("2026.11.1", False), ("2026.10.17", True), ("2025.12.31", True)],
    )
    def test_an_old_certifi_is_a_warning(self, monkeypatch: pytest.MonkeyPatch, version: str, warns: bool):
        monkeypatch.setattr(certifi, "__version__", version)
        assert bool(Trust.load(["certifi"]).warnings) is warns

    def test_certifi_s_age_matters_only_where_it_is_used(self, origin: Origin, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(certifi, "__version__", "2020.1.1")
        assert Trust.load(origin.trust.sources).warnings == ()
