"""What leaves is scanned here: url, headers, body, gRPC and WebSocket messages. Findings that block raise Stop."""

from __future__ import annotations

from collections.abc import Iterable

from sluicegate.dlp.body import Body
from sluicegate.dlp.engine import Engine
from sluicegate.exchange.grpc import BadFlag, Message, Messages, TooLarge
from sluicegate.exchange.heads import Headers, RequestHead
from sluicegate.exchange.hold import Hold
from sluicegate.exchange.stop import Stop
from sluicegate.facts import Finding
from sluicegate.settings import Limits
from sluicegate.verdict import Coverage, Reason

# A credential in the field made for it is how services are used: what is found there is recorded, not blocked.
# That a key goes to its own service alone is not checked here; SECURITY.md says so.
CREDENTIAL_FIELDS = frozenset({
    b"authorization", b"cookie", b"x-api-key", b"api-key", b"apikey", b"x-goog-api-key", b"private-token", b"job-token",
    b"x-vault-token", b"x-amz-security-token", b"x-auth-token", b"x-gitlab-token", b"dd-api-key", b"dd-application-key",
    b"x-figma-token", b"x-shopify-access-token", b"x-github-token", b"circle-token", b"x-postmark-server-token",
})  # fmt: skip


class Content:
    """The content of one request. Close it always: the scanner holds memory of its own until then."""

    __slots__ = (
        "_body",
        "_buffer",
        "_ended",
        "_grpc",
        "_grpc_coding",
        "_hold",
        "_limits",
        "_out",
        "_scan",
        "_seen",
        "findings",
    )

    def __init__(self, engine: Engine, limits: Limits, buffer: int) -> None:
        self._scan = engine.open()
        self._limits = limits
        self._buffer = buffer
        self._hold = Hold(buffer)
        self._body: Body | None = None
        self._grpc: Messages | None = None
        self._grpc_coding = ""
        self._out: list[bytes] = []
        self._ended = False
        self.findings: list[Finding] = []
        self._seen = False

    def head(self, head: RequestHead) -> None:
        """Scans target and fields, all of them at once first: nearly every head is clean."""
        joined = b"\n".join((head.target, *(key + b": " + value for key, value in head.headers)))
        self._seen = True
        if b"%" in head.target or self._scan.suspects(joined):
            self._note((*self._scan.field("url", head.target), *self._fields(head.headers)))

    def begin(self, head: RequestHead) -> None:
        """Chooses how the body is read: as gRPC messages, or as one stream of bytes."""
        kind = b"".join(head.values(b"content-type")[:1]).decode("latin-1")
        coding = b",".join(head.values(b"content-encoding")).decode("latin-1")
        if kind.lower().startswith("application/grpc") and head.version == "HTTP/2.0" and not coding:
            self._grpc = Messages(self._limits.message)
            self._grpc_coding = b"".join(head.values(b"grpc-encoding")[:1]).decode("latin-1")
        else:
            self._body = self._scan.body(coding, kind)

    @property
    def ready(self) -> bool:
        """Whether upstream may be opened: all was seen, or the body is one that flows."""
        return self._ended or self._grpc is not None or self._hold.flowing

    @property
    def scanned(self) -> Coverage:
        """How much of the request was looked at."""
        if not self._seen:
            return Coverage.NONE
        return Coverage.FULL if self._ended or self._grpc is not None else Coverage.PARTIAL

    def feed(self, chunk: bytes) -> None:
        """A piece of the body, as it came. Raises Stop."""
        if self._grpc is not None:
            self._feed_grpc(self._grpc, chunk)
            return
        assert self._body is not None
        self._note(self._body.feed(chunk))
        if self._body.unscannable:
            raise Stop(Reason.UNSCANNABLE, f"the body cannot be scanned: {self._body.unscannable}")
        self._hold.add(chunk)

    def finish(self) -> None:
        """The body has ended. Raises Stop."""
        if self._grpc is not None and self._grpc.partial:
            raise Stop(Reason.UNSCANNABLE, "the last gRPC message is incomplete")
        if self._body is not None:
            self._note(self._body.finish())
            if self._body.unscannable:
                raise Stop(Reason.UNSCANNABLE, f"the body cannot be scanned: {self._body.unscannable}")
        self._ended = True

    def trailers(self, trailers: Headers) -> None:
        """Fields after the body. Raises Stop."""
        self._note(self._fields(trailers))

    def message(self, payload: bytes, location: str = "ws") -> None:
        """One WebSocket message. Raises Stop."""
        if len(payload) > self._limits.message:
            raise Stop(Reason.MESSAGE_TOO_LARGE, f"a message is larger than {self._limits.message} bytes")
        self._note(self._scan.message(location, payload))

    def take(self) -> bytes:
        """Body bytes that may go upstream now."""
        if self._grpc is not None:
            out = b"".join(self._out)
            self._out.clear()
            return out
        return self._hold.take(ended=self._ended)

    def drop(self) -> None:
        """Forgets what is held: the request was refused."""
        self._hold.drop()
        self._out.clear()

    def close(self) -> None:
        if self._body is not None:
            self._body.close()
        self._scan.close()

    def _fields(self, headers: Headers) -> list[Finding]:
        found: list[Finding] = []
        for key, value in headers:
            name = key.lower()
            hits = self._scan.field(f"header:{name.decode('latin-1')}", value)
            found += (_recorded_only(hit) for hit in hits) if name in CREDENTIAL_FIELDS else hits
        return found

    def _feed_grpc(self, messages: Messages, chunk: bytes) -> None:
        try:
            for message in messages.feed(chunk):
                self._scan_grpc(message)
                self._out.append(message.raw)
        except TooLarge:
            raise Stop(Reason.MESSAGE_TOO_LARGE, f"a message is larger than {self._limits.message} bytes") from None
        except BadFlag:
            raise Stop(Reason.UNSCANNABLE, "the body is not made of gRPC messages") from None

    def _scan_grpc(self, message: Message) -> None:
        if not message.compressed:
            self._note(self._scan.message("grpc", message.payload))
            return
        body = self._scan.body(self._grpc_coding, "application/grpc", "grpc")
        try:
            self._note((*body.feed(message.payload), *body.finish()))
            if body.unscannable:
                raise Stop(Reason.UNSCANNABLE, f"a gRPC message cannot be scanned: {body.unscannable}")
        finally:
            body.close()

    def _note(self, found: Iterable[Finding]) -> None:
        fresh = tuple(found)
        if not fresh:
            return
        self.findings.extend(fresh)
        blocking = tuple(finding for finding in fresh if finding.action == "block")
        if blocking:
            first = blocking[0]
            what = first.message or first.rule
            raise Stop(Reason.SENSITIVE_DATA, f"{first.location} holds sensitive data: {what}", blocking)


def _recorded_only(finding: Finding) -> Finding:
    return Finding(
        finding.rule, finding.location, finding.fingerprint, finding.masked, finding.severity, "alert", finding.message
    )
