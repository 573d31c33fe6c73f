"""Contexts for the side of the client: what the strictest clients accept, and what is refused to them."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from OpenSSL import SSL, crypto

from authority import forge
from sluicegate import settings
from sluicegate.authority import bindings, ca, contexts
from sluicegate.authority.ca import Authority
from sluicegate.authority.leaf import Leaf
from sluicegate.authority.leaves import Leaves
from sluicegate.names import HostName

NAME = HostName("example.com")
type Make = Callable[..., Any]

LONGEST = ".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61])


@pytest.fixture
def leaf(leaves: Leaves):
    return leaves.leaf(NAME)


@pytest.fixture
def client(authority: Authority):
    return forge.strict_client(authority.issuer)


def descriptors() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


def openssl_end(context: Any):
    connection = SSL.Connection(context)
    connection.set_accept_state()
    return connection


def openssl_client(root: x509.Certificate, name: bytes = b"example.com", alpn: Any = ()):
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_verify(SSL.VERIFY_PEER, None)
    context.get_cert_store().add_cert(crypto.X509.from_cryptography(root))
    connection = SSL.Connection(context)
    connection.set_tlsext_host_name(name)
    if alpn:
        connection.set_alpn_protos(list(alpn))
    connection.set_connect_state()
    return connection


class TestStdlib:
    @pytest.mark.parametrize(
        "name", ["example.com", "xn--bcher-kva.example", "192.0.2.7", "2001:db8::7", "localhost", LONGEST]
    )
    def test_python_at_its_strictest(self, leaves: Leaves, client: ssl.SSLContext, name: str):
        leaf = leaves.leaf(HostName.parse(name))
        end, _ = forge.shake_stdlib(client, contexts.client_side_ssl(leaf), name)
        assert end.version() == "TLSv1.3"

    def test_another_name_is_refused_by_the_client(self, leaf: Leaf, client: ssl.SSLContext):
        with pytest.raises(ssl.SSLCertVerificationError, match="not valid for 'example\\.org'"):
            forge.shake_stdlib(client, contexts.client_side_ssl(leaf), "example.org")

    def test_no_name_below_it(self, leaf: Leaf, client: ssl.SSLContext):
        with pytest.raises(ssl.SSLCertVerificationError):
            forge.shake_stdlib(client, contexts.client_side_ssl(leaf), "www.example.com")

    @pytest.mark.parametrize("kind", ["p384", "rsa2048"])
    def test_a_client_that_knows_the_root_alone_accepts_what_an_intermediate_signed(self, tmp_path: Path, kind: str):
        top, middle = forge.key(kind), forge.key(kind)
        root = forge.ca(top, "Root")
        below = forge.ca(middle, "Middle", by=(root, top))
        paths = settings.Authority(
            forge.write(tmp_path / "c", below, root), forge.write(tmp_path / "k", forge.key_pem(middle))
        )
        leaf = Leaves(ca.load(paths)).leaf(NAME)

        forge.shake_stdlib(forge.strict_client(root), contexts.client_side_ssl(leaf), "example.com")
        forge.shake(openssl_client(root), openssl_end(contexts.openssl_server_context(leaf)))

    @pytest.mark.parametrize(
        ("offered", "chosen"),
        [
            pytest.param(["h2", "http/1.1"], "http/1.1", id="h2 is offered and not taken"),
            pytest.param(["http/1.1"], "http/1.1", id="http/1.1 alone"),
            pytest.param(["h2"], None, id="nothing in common goes on without"),
            pytest.param([], None, id="nothing offered"),
        ],
    )
    def test_alpn(self, leaf: Leaf, client: ssl.SSLContext, offered: list[str], chosen: Any):
        if offered:
            client.set_alpn_protocols(offered)
        end, _ = forge.shake_stdlib(client, contexts.client_side_ssl(leaf), "example.com")
        assert end.selected_alpn_protocol() == chosen

    def test_alpn_of_the_caller_in_our_order(self, leaf: Leaf, client: ssl.SSLContext):
        client.set_alpn_protocols(["http/1.1", "h2"])
        end, _ = forge.shake_stdlib(client, contexts.client_side_ssl(leaf, ["h2", "http/1.1"]), "example.com")
        assert end.selected_alpn_protocol() == "h2"

    def test_tls_1_2_has_forward_secrecy_and_no_compression(self, leaf: Leaf, client: ssl.SSLContext):
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        end, _ = forge.shake_stdlib(client, contexts.client_side_ssl(leaf), "example.com")
        assert end.cipher()[0].startswith("ECDHE-ECDSA-")
        assert end.compression() is None

    @pytest.mark.parametrize("cipher", ["AES128-SHA", "ECDHE-ECDSA-AES128-SHA", "AES128-GCM-SHA256"])
    def test_weak_suites_are_refused(self, leaf: Leaf, client: ssl.SSLContext, cipher: str):
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        client.set_ciphers(cipher)
        with pytest.raises(ssl.SSLError, match=r"(?i)no_shared_cipher|handshake_failure"):
            forge.shake_stdlib(client, contexts.client_side_ssl(leaf), "example.com")

    def test_no_descriptor_stays_open(self, leaf: Leaf):
        before = descriptors()
        leaf.equip_stdlib(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        assert descriptors() == before


class TestPyOpenSSL:
    def test_a_handshake(self, leaf: Leaf, authority: Authority):
        client = openssl_client(authority.issuer)
        forge.shake(client, openssl_end(contexts.openssl_server_context(leaf)))
        assert client.get_protocol_version_name() == "TLSv1.3"

    @pytest.mark.parametrize(
        ("ours", "chosen"),
        [
            pytest.param([b"h2", b"http/1.1"], b"h2", id="our order"),
            pytest.param([b"http/1.1"], b"http/1.1", id="one"),
            pytest.param([b"smtp"], b"", id="nothing in common goes on without"),
            pytest.param([], b"", id="none"),
            pytest.param(lambda _connection, offered: offered[0], b"http/1.1", id="a callable decides"),
        ],
    )
    def test_alpn(self, leaf: Leaf, authority: Authority, ours: Any, chosen: Any):
        client = openssl_client(authority.issuer, alpn=[b"http/1.1", b"h2"])
        forge.shake(client, openssl_end(contexts.openssl_server_context(leaf, ours)))
        assert client.get_alpn_proto_negotiated() == chosen

    def test_an_alpn_choice_that_crashes_ends_the_handshake(self, leaf: Leaf, authority: Authority):
        client = openssl_client(authority.issuer, alpn=[b"http/1.1"])
        with pytest.raises(ZeroDivisionError):
            forge.shake(client, openssl_end(contexts.openssl_server_context(leaf, lambda *_: 1 / 0)))


class TestResumption:
    """A second connection to a name costs no signature."""

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    def test_stdlib(self, leaf: Leaf, client: ssl.SSLContext, version: ssl.TLSVersion):
        client.maximum_version = version
        first, server = forge.shake_stdlib(client, contexts.client_side_ssl(leaf), "example.com")
        forge.exchange_stdlib(server, first)

        again, _ = forge.shake_stdlib(client, contexts.client_side_ssl(leaf), "example.com", first.session)

        assert again.session_reused

    def test_pyopenssl(self, leaf: Leaf, authority: Authority):
        first, server = openssl_client(authority.issuer), openssl_end(contexts.openssl_server_context(leaf))
        forge.shake(first, server)
        server.send(b"x")
        first.bio_write(server.bio_read(1 << 16))
        assert first.recv(1) == b"x"  # and with it the ticket

        again = SSL.Connection(first.get_context())
        again.set_tlsext_host_name(b"example.com")
        again.set_session(first.get_session())
        again.set_connect_state()
        resumed = openssl_end(contexts.openssl_server_context(leaf))
        forge.shake(again, resumed)

        assert resumed.get_session() is not None
        assert again.get_peer_certificate(as_cryptography=True) == leaf.cert
        assert bindings._lib.SSL_session_reused(again._ssl) == 1


class TestOldVersions:
    @pytest.mark.parametrize("make", [contexts.client_side_ssl, contexts.openssl_server_context])
    def test_tls_1_1_is_refused(self, leaf: Leaf, make: Make):
        old = SSL.Context(SSL.TLS_CLIENT_METHOD)
        old.set_cipher_list(b"ALL:@SECLEVEL=0")
        old.set_min_proto_version(SSL.TLS1_VERSION)
        old.set_max_proto_version(SSL.TLS1_1_VERSION)
        client = SSL.Connection(old)
        client.set_connect_state()
        with pytest.raises(SSL.WantReadError):
            client.do_handshake()
        hello = client.bio_read(1 << 16)

        context = make(leaf)
        if isinstance(context, SSL.Context):
            end = openssl_end(context)
            end.bio_write(hello)
            with pytest.raises(SSL.Error, match="unsupported protocol"):
                end.do_handshake()
        else:
            into, out = ssl.MemoryBIO(), ssl.MemoryBIO()
            into.write(hello)
            with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
                context.wrap_bio(into, out, server_side=True).do_handshake()


class TestKept:
    @pytest.mark.parametrize("make", [contexts.client_side_ssl, contexts.openssl_server_context])
    def test_one_for_each_leaf_and_offer(self, leaves: Leaves, leaf: Leaf, make: Make):
        assert make(leaf) is make(leaf)
        assert make(leaf) is not make(leaf, ())
        assert make(leaf) is not make(leaves.leaf(HostName("example.org")))

    def test_a_renewed_leaf_gets_a_new_one(self, authority: Authority):
        first, renewed = (Leaves(authority).leaf(NAME) for _ in range(2))
        assert contexts.client_side_ssl(first) is not contexts.client_side_ssl(renewed)

    def test_both_kinds_are_bounded(self):
        for kind in (contexts._stdlib, contexts._openssl):
            assert kind.cache_info().maxsize == 1024


async def test_openssl_s_client_on_loopback(leaf: Leaf, paths: settings.Authority):
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        writer.close()

    listener = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=contexts.client_side_ssl(leaf))
    port = listener.sockets[0].getsockname()[1]
    program = await asyncio.create_subprocess_exec(
        "openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "example.com", "-CAfile", paths.cert,
        "-verify_hostname", "example.com", "-verify_return_error", "-x509_strict", "-alpn", "h2,http/1.1",
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await program.communicate()
    listener.close()
    await listener.wait_closed()

    assert b"Verify return code: 0 (ok)" in said
    assert b"ALPN protocol: http/1.1" in said


@pytest.mark.skipif(os.getuid() != 0, reason="becomes another user")
def test_a_process_that_is_not_dumpable_and_not_root_loads_its_keys():
    """Such a process may not read most of its own /proc; the gateway is one. And no file is opened for a key."""
    program = """
        import ctypes, os, sys, tempfile
        from pathlib import Path
        from sluicegate import settings
        from sluicegate.authority import ca, contexts
        from sluicegate.authority.leaves import Leaves
        from sluicegate.names import HostName
        os.setgid(65534); os.setuid(65534)
        with tempfile.TemporaryDirectory(dir="/tmp") as folder:
            paths = settings.Authority(Path(folder) / "c", Path(folder) / "k")
            ca.create(paths.cert, paths.key)
            authority = ca.load(paths)
        assert ctypes.CDLL(None).prctl(4, 0, 0, 0, 0) == 0  # PR_SET_DUMPABLE
        try:
            Path("/proc/self/mem").open("rb")
        except PermissionError:
            print("not dumpable")
        leaf, opened = Leaves(authority).leaf(HostName("example.com")), []
        sys.addaudithook(lambda event, arguments: opened.append(arguments[0]) if event == "open" else None)
        contexts.client_side_ssl(leaf)
        print("loaded", opened)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False)
    assert done.stdout.split("\n") == ["not dumpable", "loaded []", ""], done.stderr
