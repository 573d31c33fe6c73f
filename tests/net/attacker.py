"""A client without manners: exactly these bytes, in exactly these cuts, from inside the pod's namespace."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import socket
import ssl
import struct
import termios
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from net.bed import Bed, Gateway, until
from net.raw_origin import EVIL_V4, GOOD_V4, RawOrigin, complete

__all__ = ["EVIL_V4", "GOOD_V4", "POLICY", "Answer", "Attacker", "Line", "TlsLine", "head", "inside", "refused"]

POLICY = """
apiVersion: sluicegate.dev/v1alpha1
kind: EgressPolicy
metadata: {name: attacked, namespace: shop}
spec:
  owner: shop@example.test
  selector: {matchLabels: {app: web}}
  rules:
    - {name: good, to: {domains: [good.test, other.test, under_score.test, cloaked.test, "*.rebind.test", mtls.test,
                                  self-signed.test, expired.test, wrong-host.test, strange-ca.test, old.test]}}
    - {name: address, to: {addresses: [203.0.113.77]}}
    - name: narrow
      to: {domains: [narrow.test]}
      http: [{methods: [GET, POST], paths: ["/v1/*"]}]
    - {name: sealed, to: {domains: [sealed.test], ports: [443]}, inspect: sni}
    - {name: veiled, to: {domains: [veiled.test], ports: [443]}, inspect: sni, ech: allow}
    - {name: metadata, to: {domains: [meta.test, metadata.google.internal, "*.nip.io"]}}
"""
SETTINGS = "limits: {hello_timeout: 2s}\n"
"""Rules that permit too much stand in it on purpose: what guards there are must hold without them."""

_PATIENCE_S = 6.0
_FEW = 16
_ESTABLISHED = b"\x01"
_LINGER_OFF = struct.pack("ii", 1, 0)


def inside[T](namespace: str, work: Callable[[], T]) -> T:
    """What `work` returns, run in a thread within this network namespace: a socket made there stays there."""

    def run() -> T:
        with Path(f"/run/netns/{namespace}").open("rb") as handle:
            os.setns(handle.fileno(), os.CLONE_NEWNET)
        return work()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(run).result()


@dataclass(frozen=True)
class Answer:
    """One HTTP/1 answer."""

    status: int
    head: bytes
    body: bytes


def answers(raw: bytes) -> list[Answer]:
    """The whole answers in what came."""
    found: list[Answer] = []
    while (whole := complete(raw)) is not None:
        head, body, raw = whole
        found.append(Answer(int(head.split(b" ", 2)[1]), head, body))
    return found


class Line:
    """A TCP connection of the pod. `end` tells how it ended: open, closed, reset, or `alert: ...`."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.end = "open"
        self.after = 0
        """How many records there were before it: ports are used again."""
        sock.settimeout(_PATIENCE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        host, port = sock.getsockname()[:2]
        self.source = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def raw(self, *cuts: bytes, gap: float = 0.0) -> None:
        """Each cut in a segment of its own. A few are sent each when the one before has arrived, `gap` seconds apart;
        of many that would wait for as many delayed acknowledgements."""
        for cut in cuts:
            try:
                self.sock.sendall(cut)
            except OSError:
                self.end = "reset"
                return
            if len(cuts) <= _FEW:
                self._arrive()
                time.sleep(gap)

    def urgent(self, byte: bytes) -> None:
        self.sock.send(byte, socket.MSG_OOB)

    def send(self, *cuts: bytes) -> None:
        self.raw(*cuts)

    def read(self, enough: Callable[[bytes], bool] = lambda _: False, seconds: float = _PATIENCE_S) -> bytes:
        """What comes until it is enough, or the connection ends, or nothing came for a while."""
        data = b""
        self.sock.settimeout(seconds)
        while not enough(data):
            piece = self._piece()
            if not piece:
                break
            data += piece
        return data

    def answers(self, count: int = 1) -> list[Answer]:
        """Up to `count` answers."""
        return answers(self.read(lambda data: len(answers(data)) >= count))

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_OFF)
        self.sock.close()

    def half_close(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def _piece(self) -> bytes:
        try:
            piece = self.sock.recv(1 << 16)
        except TimeoutError:
            return b""
        except OSError:
            self.end = "reset"
            return b""
        if not piece and self.end == "open":  # a reset that a send() met first leaves an end of stream behind
            self.end = "closed"
        return piece

    def _arrive(self) -> None:
        """Until the other side has it, or is gone, or takes no more."""
        end = time.monotonic() + 0.5
        while time.monotonic() < end and self.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == _ESTABLISHED:
            if not any(fcntl.ioctl(self.sock, termios.TIOCOUTQ, bytes(4))):
                return
            time.sleep(0.0002)


class TlsLine(Line):
    """TLS on top of it, with every byte in our hands."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, sni: str | None, session: Any = None) -> None:
        super().__init__(sock)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._in, self._out, server_hostname=sni, session=session)

    def hello(self) -> bytes:
        """The first flight, not sent."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        return self._out.read()

    def handshake(self, *cuts: bytes, gap: float = 0.0) -> bool:
        """With these cuts for the first flight, if any are given. False: it failed, and `end` says how."""
        self.raw(*(cuts or (self.hello(),)), gap=gap)
        return self._until(self.tls.do_handshake) is not _FAILED

    def send(self, *cuts: bytes) -> None:
        """Each cut in a record and a segment of its own."""
        for cut in cuts:
            self.tls.write(cut)
            self._flush()

    @property
    def leaf_names(self) -> list[str]:
        found = self.tls.getpeercert() or {}
        return [str(value) for _, value in found.get("subjectAltName", ())]

    def _piece(self) -> bytes:
        data = self._until(lambda: self.tls.read(1 << 16))
        if data == b"":  # a close_notify
            self.end = "closed"
        return data if isinstance(data, bytes) else b""

    def _until(self, step: Callable[[], Any]) -> Any:
        while True:
            try:
                result = step()
            except ssl.SSLWantReadError:
                self._flush()
                piece = super()._piece()
                if not piece:
                    return _FAILED
                self._in.write(piece)
            except ssl.SSLZeroReturnError:
                self.end = "closed"
                return _FAILED
            except ssl.SSLError as error:
                self._flush()
                self.end = f"alert: {(error.reason or '?').lower().replace('_', ' ')}"
                return _FAILED
            else:
                self._flush()
                return result

    def _flush(self) -> None:
        if self._out.pending:
            self.raw(self._out.read())


_FAILED = object()


@dataclass
class Attacker:
    """A pod that wants out, the gateway it is behind, and the origins that wait for it."""

    bed: Bed
    gateway: Gateway
    origin: RawOrigin
    _open: list[socket.socket] = field(default_factory=list)

    def close(self) -> None:
        """All connections made so far."""
        for sock in self._open:
            sock.close()
        self._open.clear()

    def tcp(self, port: int = 80, address: str = GOOD_V4) -> Line:
        return self._noted(Line(self._connected(address, port)))

    def context(self, alpn: Sequence[str] = ("http/1.1",)) -> ssl.SSLContext:
        """Trusts the cluster's CA and asks for no name."""
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        made.check_hostname = False
        made.load_verify_locations(str(self.bed.folder / "ca.pem"))
        if alpn:
            made.set_alpn_protocols(list(alpn))
        return made

    def undecrypted(self) -> ssl.SSLContext:
        """Trusts the origin's CA as well."""
        made = self.context()
        made.load_verify_locations(str(self.bed.folder / "origin-ca.pem"))
        return made

    def unshaken(
        self,
        sni: str | None = "good.test",
        *,
        address: str = GOOD_V4,
        port: int = 443,
        context: ssl.SSLContext | None = None,
        session: Any = None,
    ) -> TlsLine:
        """Connected, and no byte sent."""
        return self._noted(TlsLine(self._connected(address, port), context or self.context(), sni, session))

    def tls(self, sni: str | None = "good.test", **more: Any) -> TlsLine:
        """Connected, with the handshake done."""
        line = self.unshaken(sni, **more)
        assert line.handshake(), line.end
        return line

    def ask(self, *cuts: bytes, clear: bool = False, sni: str | None = "good.test", **more: Any) -> tuple[Line, Answer]:
        """The one answer to these bytes, in TLS unless `clear`; its line for the rest."""
        line = self.tcp(**more) if clear else self.tls(sni, **more)
        line.send(*cuts)
        found = line.answers()
        assert found, f"no answer: {line.end}"
        return line, found[0]

    def records(self, line: Line, count: int = 1) -> list[dict[str, Any]]:
        """The first records of a line, in the order of its requests."""

        def found() -> list[dict[str, Any]] | None:
            rows = [row for row in self.gateway.records()[line.after :] if row.get("source") == line.source]
            return rows if len(rows) >= count else None

        try:
            rows: list[dict[str, Any]] = until(found, f"{count} records of {line.source}", 8)
        except AssertionError as error:
            last = [(row["source"], row["kind"], row["reason"]) for row in self.gateway.records()[-5:]]
            raise AssertionError(f"{error}; the last are {last}; the log says {self.gateway.log()[-500:]}") from None
        return rows

    def reason(self, line: Line) -> str:
        """Why the last request of a line was refused. Ends our side: the gateway lingers on refused lines, then records."""
        line.half_close()
        row = self.records(line)[-1]
        assert row["verdict"] == "deny", row
        return str(row["reason"])

    def queries(self) -> list[str]:
        """All names that the bed's DNS server was asked for so far."""
        return [line.split()[1] for line in (self.bed.folder / "dns.log").read_text().splitlines()]

    def _noted[L: Line](self, line: L) -> L:
        line.after = len(self.gateway.records())
        return line

    def _connected(self, address: str, port: int) -> socket.socket:
        # A port of its own: one that was used to another destination lives on in connection tracking, where REDIRECT
        # makes both the same, and the kernel would give this connection another port than the record is looked for by.
        here = ("", next(_PORTS))
        sock = inside(self.bed.pod.name, lambda: socket.create_connection((address, port), _PATIENCE_S, here))
        self._open.append(sock)
        return sock


_PORTS = itertools.count(20_000)


def head(*lines: bytes) -> bytes:
    return b"\r\n".join((*lines, b"", b""))


def refused(
    attacker: Attacker, raw: bytes, status: int, reason: str, *, clear: bool = False, sni: str = "good.test"
) -> Line:
    """Sends it, and holds that it was answered with this status, recorded with this reason, and seen by no origin."""
    line, answer = attacker.ask(raw, clear=clear, sni=sni)
    assert (answer.status, attacker.reason(line)) == (status, reason), answer
    assert attacker.origin.seen == []
    return line
