"""Origins that keep every byte they were sent: one good, one evil, each on an address of its own, in clear and in TLS."""

from __future__ import annotations

import contextlib
import datetime as dt
import socket
import ssl
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

GOOD_V4, EVIL_V4 = "203.0.113.77", "203.0.113.78"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

_NAMES = ("good.test", "other.test", "narrow.test", "sealed.test", "veiled.test", "*.rebind.test", "evil.test",
          "under_score.test", "mtls.test", "old.test", "strange-ca.test", "self-signed.test", "expired.test")  # fmt: skip


def complete(raw: bytes) -> tuple[bytes, bytes, bytes] | None:
    """Head, body and the rest of the first whole HTTP/1 message; None: there is none yet."""
    head, end, rest = raw.partition(b"\r\n\r\n")
    if not end:
        return None
    fields = [line.partition(b":") for line in head.split(b"\r\n")[1:]]
    said = {name.lower(): value.strip() for name, _, value in fields}
    if said.get(b"transfer-encoding", b"").lower() == b"chunked":
        body, over, rest = rest.partition(b"0\r\n\r\n")
        return (head, body, rest) if over else None
    length = int(said.get(b"content-length") or 0)
    return (head, rest[:length], rest[length:]) if len(rest) >= length else None


@dataclass
class Seen:
    """One connection to an origin. `data`: what came out of TLS, if there was TLS; `raw`: the first bytes on the wire."""

    address: str
    port: int
    sni: str | None = None
    raw: bytes = field(default=b"", repr=False)
    data: bytes = b""
    requests: list[tuple[bytes, bytes]] = field(default_factory=list)


def _answer_ok(_head: bytes, _body: bytes) -> bytes | None:
    return OK


class RawOrigin:
    """`seen` are the connections since forget(); `answer` makes the answer to a head and body, None: hangs up."""

    def __init__(self, folder: Path, listen: Callable[[str, int], socket.socket]) -> None:
        self.seen: list[Seen] = []
        self.answer: Callable[[bytes, bytes], bytes | None] = _answer_ok
        self._contexts = _contexts(folder)
        self._open: set[socket.socket] = set()
        self._listeners = [listen(address, port) for address in (GOOD_V4, EVIL_V4) for port in (80, 443, 22)]
        for listener in self._listeners:
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def forget(self) -> None:
        """Hangs up as well: the gateway keeps connections, and each test is to see its own."""
        self.seen = []
        self.answer = _answer_ok
        for sock in tuple(self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    @property
    def data(self) -> bytes:
        """All that came, over all connections."""
        return b"".join(each.data for each in self.seen)

    @property
    def heads(self) -> list[bytes]:
        return [head for each in self.seen for head, _ in each.requests]

    def close(self) -> None:
        for listener in self._listeners:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listener.accept()
                seen = Seen(*listener.getsockname()[:2])
                self.seen.append(seen)
                threading.Thread(target=self._carry, args=(sock, seen, self.answer), daemon=True).start()

    def _carry(self, sock: socket.socket, seen: Seen, answer: Callable[[bytes, bytes], bytes | None]) -> None:
        sock.settimeout(30)
        self._open.add(sock)
        try:
            self._spoken(sock, seen, answer)
        finally:
            self._open.discard(sock)

    def _spoken(self, sock: socket.socket, seen: Seen, answer: Callable[[bytes, bytes], bytes | None]) -> None:
        with contextlib.suppress(OSError), sock:
            if seen.port == 443:
                seen.raw = sock.recv(1 << 16, socket.MSG_PEEK)
                with self._contexts.server(seen).wrap_socket(sock, server_side=True) as tls:
                    self._open.add(tls)  # wrapping has taken the descriptor away from `sock`
                    try:
                        self._serve(tls, seen, answer)
                    finally:
                        self._open.discard(tls)
            else:
                self._serve(sock, seen, answer)

    @staticmethod
    def _serve(sock: socket.socket, seen: Seen, answer: Callable[[bytes, bytes], bytes | None]) -> None:
        waiting = b""
        while piece := sock.recv(1 << 16):
            seen.data += piece
            waiting += piece
            while (whole := complete(waiting)) is not None:
                head, body, waiting = whole
                seen.requests.append((head, body))
                said = answer(head, body)
                if said is None:
                    return
                sock.sendall(said)


class _Contexts:
    """A server context for each name that is asked for."""

    def __init__(self, plain: ssl.SSLContext, special: dict[str, ssl.SSLContext]) -> None:
        self._plain, self._special = plain, special

    def server(self, seen: Seen) -> ssl.SSLContext:
        def named(sock: ssl.SSLObject | ssl.SSLSocket, name: str | None, _context: ssl.SSLContext) -> None:
            seen.sni = name
            if name in self._special:
                sock.context = self._special[name]

        # One for all: the callback names the connection just accepted, and tests speak one at a time.
        self._plain.sni_callback = named
        for name in ("old.test", "mtls.test"):  # versions and client certificates are settled before the callback runs
            if name.encode() in seen.raw:
                return self._special[name]
        return self._plain


def _contexts(folder: Path) -> _Contexts:
    ca = (
        x509.load_pem_x509_certificate((folder / "origin-ca.pem").read_bytes()).subject,
        serialization.load_pem_private_key((folder / "origin-ca.key").read_bytes(), None),
    )
    stranger = (_name("Strange CA"), ec.generate_private_key(ec.SECP256R1()))
    assert isinstance(ca[1], ec.EllipticCurvePrivateKey)
    signer = (ca[0], ca[1])

    def made(label: str, names: tuple[str, ...], by: _Signer | None, days: int = 9) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(_certificate(folder / f"raw-{label}.pem", names, by, days))
        return context

    mtls, old = made("mtls", _NAMES, signer), made("old", _NAMES, signer)
    mtls.verify_mode = ssl.CERT_REQUIRED
    mtls.load_verify_locations(str(folder / "origin-ca.pem"))
    old.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that it is old is the point
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    return _Contexts(
        made("plain", _NAMES, signer),
        {
            "self-signed.test": made("self", ("self-signed.test",), None),
            "expired.test": made("expired", ("expired.test",), signer, days=-1),
            "wrong-host.test": made("wrong", ("evil.test",), signer),
            "strange-ca.test": made("strange", ("strange-ca.test",), stranger),
            "mtls.test": mtls,
            "old.test": old,
        },
    )


type _Signer = tuple[x509.Name, ec.EllipticCurvePrivateKey]


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(file: Path, names: tuple[str, ...], by: _Signer | None, days: int) -> Path:
    """Certificate and key in one file. by None: signed by itself; days below zero: it has expired."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer, signing = by or (_name(names[0]), key)
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(_name(names[0]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=3))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .sign(signing, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(made.public_bytes(pem) + private)
    return file
