from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import socket
import ssl
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from sluicegate.lanes import channel, tls

type Pair = tuple[socket.socket, socket.socket]
type Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Runs a coroutine to its end, on each of the two event loops."""
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield lambda coroutine: runner.run(asyncio.wait_for(coroutine, 20))


@pytest.fixture
def pairs() -> Iterator[Callable[[], Pair]]:
    """Makes connected TCP pairs: the client (blocking) and the accepted, non-blocking socket."""
    with contextlib.ExitStack() as stack:

        def make() -> Pair:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                client = stack.enter_context(socket.create_connection(listener.getsockname(), timeout=10))
                accepted = stack.enter_context(listener.accept()[0])
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            accepted.setblocking(False)
            return client, accepted

        yield make


@pytest.fixture
def pair(pairs: Callable[[], Pair]):
    return pairs()


@pytest.fixture(scope="session")
def leaf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PEM file with key and certificate of example.test and 127.0.0.1, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "example.test")])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName("example.test"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("leaf") / "leaf.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + cert.public_bytes(serialization.Encoding.PEM))
    return file


@pytest.fixture
def server_context(leaf: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(leaf)
    context.set_alpn_protocols(["http/1.1"])
    return context


@pytest.fixture
def client_context(leaf: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=leaf)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


@pytest.fixture
def ends(pair: Pair) -> Pair:
    """A connected pair, both non-blocking."""
    pair[0].setblocking(False)
    return pair


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    """Of no connection, however it ended, a byte is left in what all channels share."""
    yield
    memory = tls._MEMORY
    assert (memory.incoming.pending, memory.outgoing.pending) == (0, 0)
    assert not channel.HERE.turn.active
    assert not channel.HERE.turn.written
