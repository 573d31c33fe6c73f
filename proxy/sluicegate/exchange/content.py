"""What leaves is scanned here: url, headers, body, gRPC and WebSocket messages. Findings that block raise Stop."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from sluicegate.dlp.body import Body
from sluicegate.dlp.engine import Engine
from sluicegate.dlp.form import percent_decoded
from sluicegate.dlp.scan import Scan
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

_GRPC = re.compile(r"application/grpc(?:\+[a-z0-9.+-]+)?[ \t]*(?:;.*)?", re.IGNORECASE | re.DOTALL)  # not grpc-web
_METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE"})
_MOST_FINDINGS = 200
"""Of one request. What is above was found as well, and is not told one by one."""


class Content:
    """The content of one request. Close it always: the scanner holds memory of its own until then."""

    __slots__ = (
        "_body",
        "_buffer",
        "_ended",
        "_engine",
        "_grpc",
        "_grpc_coding",
        "_hold",
        "_limits",
        "_opened",
        "_out",
        "_seen",
        "findings",
    )

    def __init__(self, engine: Engine, limits: Limits, buffer: int) -> None:
        self._engine = engine
        self._opened: Scan | None = None  # of many a request nothing is left to scan
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
        """Scans method, target, authority and fields. Raises Stop."""
        self._note(self._found_in(head))

    def look(self, head: RequestHead) -> None:
        """As `head`, for one that is refused already: what is found is for its record, and stops nothing."""
        self.findings.extend(self._found_in(head))

    def known(self, head: RequestHead, *, end: bool) -> None:
        """In place of `head`, `begin` and, without a body, `finish`: the same bytes went through them and were clean."""
        self._seen = True
        if end:
            self._ended = True
        else:
            self.begin(head)

    def begin(self, head: RequestHead) -> None:
        """Chooses how the body is read: as gRPC messages, or as one stream of bytes."""
        kind = b"".join(head.values(b"content-type")[:1]).decode("latin-1")
        coding = b",".join(head.values(b"content-encoding")).decode("latin-1")
        if _GRPC.fullmatch(kind) and head.version == "HTTP/2.0" and not coding:
            self._grpc = Messages(self._limits.message)
            self._grpc_coding = b"".join(head.values(b"grpc-encoding")[:1]).decode("latin-1")
        else:
            self._body = self._scan.body(coding, kind)

    @property
    def _scan(self) -> Scan:
        if self._opened is None:
            self._opened = self._engine.open()
        return self._opened

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
        if self._ended:
            raise Stop(Reason.CRASH, "the body went on after its end")
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
        if self._opened is not None:
            self._opened.close()

    def _found_in(self, head: RequestHead) -> tuple[Finding, ...]:
        # All at once first: nearly every head is clean.
        fields = (key + b": " + value for key, value in head.headers)
        joined = b"\n".join((head.method, head.target, head.authority, *fields))
        self._seen = True
        if not self._suspects(joined):
            return ()
        found = [*self._scan.field("url", head.target), *self._scan.field("header:host", head.authority)]
        if head.method not in _METHODS:
            found += (replace(hit, location="method") for hit in self._scan.field("url", head.method))
        return (*found, *self._fields(head.headers))

    def _suspects(self, joined: bytes) -> bool:
        return self._scan.suspects(joined) or (b"%" in joined and self._scan.suspects(percent_decoded(joined)))

    def _fields(self, headers: Headers) -> list[Finding]:
        found: list[Finding] = []
        for key, value in headers:
            name = key.lower()
            named = self._scan.field("header", key)  # a name that is a secret must not be the place of another finding
            hits = self._scan.field("header" if named else f"header:{name.decode('latin-1')}", value)
            found += (*named, *(map(_recorded_only, hits) if name in CREDENTIAL_FIELDS else hits))
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
        if self._grpc_coding.strip().lower() in {"", "identity"}:
            raise Stop(Reason.UNSCANNABLE, "a gRPC message says that it is compressed, and not how")
        # A scan of its own: a stream may go on for days, and its budget for unpacking is that of one message.
        scan = self._engine.open()
        body = scan.body(self._grpc_coding, "application/grpc", "grpc")
        try:
            self._note((*body.feed(message.payload), *body.finish()))
            if body.unscannable:
                raise Stop(Reason.UNSCANNABLE, f"a gRPC message cannot be scanned: {body.unscannable}")
        finally:
            scan.close()

    def _note(self, found: Iterable[Finding]) -> None:
        fresh = tuple(found)
        if not fresh:
            return
        self.findings.extend(fresh[: max(0, _MOST_FINDINGS - len(self.findings))])
        blocking = tuple(finding for finding in fresh if finding.action == "block")
        if blocking:
            first = blocking[0]
            what = first.message or first.rule
            raise Stop(Reason.SENSITIVE_DATA, f"{first.location} holds sensitive data: {what}", blocking)


def _recorded_only(finding: Finding) -> Finding:
    return replace(finding, action="alert")
