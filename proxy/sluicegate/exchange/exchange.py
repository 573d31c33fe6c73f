"""Exchange: one request and its answer, from head to end, as verdicts.

A lane feeds it what arrives and does what it says. Each step may turn Permit into Deny, never back. No method raises: a
fault inside is Deny CRASH. Exactly one record is written, by close().
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Concatenate

import structlog

from sluicegate.exchange import hop, overrides
from sluicegate.exchange.content import Content
from sluicegate.exchange.gate import Gate
from sluicegate.exchange.heads import Connection, Headers, RequestHead, ResponseHead, Target, read
from sluicegate.exchange.memory import Memory, Reading
from sluicegate.exchange.note import Note
from sluicegate.exchange.refusal import Refusal, render
from sluicegate.exchange.stop import Stop, reloaded
from sluicegate.facts import Address, Ask, Protocol, Request
from sluicegate.snapshot import Snapshot
from sluicegate.verdict import Coverage, Deny, Permit, Reason, Verdict, built_in

_log = structlog.get_logger("sluicegate.exchange")
_RESPONSES_ARE_NOT_SCANNED = "responses are not scanned"


def _total[**P](
    step: Callable[Concatenate[Exchange, P], Verdict],
) -> Callable[Concatenate[Exchange, P], Verdict]:
    """Makes a step total: Stop is its Deny, any other exception Deny CRASH; after a Deny nothing runs any more."""

    def run(self: Exchange, /, *args: P.args, **kwargs: P.kwargs) -> Verdict:
        if self._refused:
            return self.verdict
        try:
            self.verdict = step(self, *args, **kwargs)
        except Stop as stop:
            self._refuse(stop.deny(step.__name__))
        except Exception as error:  # noqa: BLE001 - whatever it is, the request must not pass
            self._crash(step.__name__, error)
        return self.verdict

    return run


class Exchange:
    """One request on a connection. See the module's docstring for the rules."""

    def __init__(self, connection: Connection, gate: Gate, memory: Memory | None = None) -> None:
        """memory: the connection's, where it is to have one."""
        self._connection = connection
        self._gate = gate
        self._memory = memory if memory is not None else Memory()
        self._snapshot = gate.snapshot  # one policy for the whole of a request
        self._slot = gate.reserve(connection.identity)
        self._content: Content | None = None
        self._target: Target | None = None
        self._head: RequestHead | None = None
        self._note = Note(connection)
        self.verdict: Verdict = _UNDECIDED
        self._refused = False
        self._client_gone = False
        self.upstream_headers: Headers = ()
        self.upstream_target = b""
        self.response_headers: Headers = ()
        self.on_stop: Callable[[], None] | None = None
        """Set by the lane: called when a reload refuses what is going on; the lane then ends both sides."""
        gate.live.add(self)

    @property
    def id(self) -> str:
        """The record's id, which a refused person is told as the incident."""
        return self._note.id

    @property
    def ready(self) -> bool:
        """Whether upstream may be opened and `take` be asked: never before a Permit of all that must be seen first."""
        if not isinstance(self.verdict, Permit) or self._content is None or self._client_gone:
            return False
        return self._content.ready

    @_total
    def head(self, head: RequestHead, *, end: bool) -> Verdict:
        """Form, names, policy, then sensitive data in target and fields. `end`: there is no body."""
        if self._head is not None:
            raise Stop(Reason.CRASH, "a second head came for one request")
        self._head = head
        if self._connection.refused is None and self._slot is not None:
            started = time.perf_counter()
            reading = self._memory.reading(head, self._snapshot, end=end)
            if reading is not None:
                return self._as_before(reading, started)
        return self._read(head, end=end)

    def _as_before(self, reading: Reading, started: float) -> Verdict:
        """The head is one that was permitted on this connection, under this snapshot."""
        self._target = reading.target
        self._content = content = Content(self._snapshot.engine, self._gate.limits, self._gate.buffer)
        content.known(reading.head, end=reading.end)
        self._note.again(reading)
        self.upstream_headers = reading.upstream_headers
        self.upstream_target = reading.head.target
        self._note.decided(time.perf_counter() - started)
        return reading.permit

    def _read(self, head: RequestHead, *, end: bool) -> Verdict:
        self._note.request(head)
        if self._connection.refused is not None:
            return self._refuse(self._connection.refused)
        if self._slot is None:
            raise Stop(Reason.RECORDS_FULL, "verdicts cannot be recorded now, and nothing passes unrecorded")
        started = time.perf_counter()
        self._target = target = read(head, self._connection, self._gate.limits.head)
        overrides.check_end(head, end=end)
        ask = self._ask(target)
        self._note.asked(ask, target)
        verdict = self._memory.decide(target, ask, self._snapshot)
        self._note.decided(time.perf_counter() - started)
        for method in overrides.methods(head, target):
            if isinstance(verdict, Permit) and isinstance(other := self._decided_as(method, target), Deny):
                verdict = other
        if isinstance(verdict, Deny):
            return self._refuse(verdict)
        content = self._scan_head(head, end=end)
        self.upstream_headers = headers = hop.request_headers(head, target, tls=self._connection.tls)
        self.upstream_target = head.target
        if not content.findings:
            self._memory.keep(Reading(head, end, target, ask, verdict, self._note.inputs, headers))
        return verdict

    def _decided_as(self, method: str, target: Target) -> Verdict:
        as_that = replace(target, method=method)
        return self._memory.decide(as_that, self._ask(as_that), self._snapshot)

    @_total
    def data(self, chunk: bytes) -> Verdict:
        """A piece of the request's body, as it came, compressed or not."""
        self._note.bytes_up += len(chunk)
        self._opened().feed(chunk)
        return self.verdict

    @_total
    def end(self, trailers: Headers = ()) -> Verdict:
        """The request has ended; afterwards all of it may be taken."""
        content = self._opened()
        if trailers:
            content.trailers(trailers)
        content.finish()
        return self.verdict

    def take(self) -> bytes:
        """Body bytes that may go upstream now. Empty without a Permit."""
        if not self.ready or self._content is None:
            return b""
        try:
            return self._content.take()
        except Exception as error:  # noqa: BLE001 - as in every step
            self._crash("take", error)
            return b""

    def dialled(self, address: Address) -> None:
        """Tells which address is used, for the record."""
        self._note.dialled = address

    @_total
    def response(self, head: ResponseHead) -> Verdict:
        """The origin's head; `response_headers` are what the client is given of it."""
        self._note.first_byte()
        websocket = self._target is not None and self._target.websocket
        if head.status == 101 and not websocket:
            raise Stop(Reason.UPSTREAM_BROKE, "the origin switched protocols without being asked")
        self.response_headers = self._memory.response_headers(head, websocket=websocket)
        if self._gate.draining and head.status >= 200:
            self.response_headers += ((b"Connection", b"close"),)
        self._note.status = head.status
        self._note.coverage_response(Coverage.OPAQUE, _RESPONSES_ARE_NOT_SCANNED)
        return self.verdict

    @_total
    def response_data(self, chunk: bytes) -> Verdict:
        """A piece of the response's body."""
        self._note.bytes_down += len(chunk)
        return self.verdict

    @_total
    def response_end(self, trailers: Headers = ()) -> Verdict:  # noqa: ARG002 - the lanes hand over all they have
        """The response has ended."""
        return self.verdict

    @_total
    def message(self, from_client: bool, payload: bytes) -> Verdict:  # noqa: FBT001 - there are two directions
        """One whole WebSocket message. What the client says is scanned, what the origin says is counted."""
        if from_client:
            self._note.bytes_up += len(payload)
            self._opened().message(payload)
        else:
            self._note.bytes_down += len(payload)
        return self.verdict

    def fail(self, reason: Reason, detail: str) -> Deny:
        """The lane cannot go on. A client that left is no refusal: its record keeps the verdict and says so."""
        deny = Deny(reason, built_in("lane"), detail)
        if reason is Reason.CLIENT_GONE and isinstance(self.verdict, Permit):
            self._note.detail = detail
            self._client_gone = True  # what it still sent is not passed on: it would have no beginning
            if self._content is not None:
                self._content.drop()
            return deny
        return self._refuse(deny)

    def refuse(self, deny: Deny) -> Deny:
        """The dial's Deny: unlike fail's it says which list or rule refused the address."""
        return self._refuse(deny)

    def recheck(self, snapshot: Snapshot) -> None:
        """Decides again after a reload (Live), with the address that it goes to."""
        if not isinstance(self.verdict, Permit):
            return
        try:
            verdict = snapshot.decide(replace(self.verdict.ask, resolved=self._note.dialled))
        except Exception as error:  # noqa: BLE001 - as in every step
            self._crash("recheck", error)
        else:
            if isinstance(verdict, Deny):
                self._refuse(reloaded(verdict))
        if self._refused:
            self._stop()

    def refusal(self) -> Refusal:
        """Status, headers and body for the client; ends what was still permitted."""
        if isinstance(self.verdict, Permit):
            self._refuse(Deny(Reason.CRASH, built_in("refusal"), "the gateway could not go on with this request"))
        try:
            return self._rendered()
        except Exception as error:  # noqa: BLE001 - a refusal without words is one, too
            _log.error("refusal has no words", error=type(error).__name__, exchange=self.id)
            self._note.status = 503
            return 503, [("Content-Length", "0"), ("Connection", "close")], b""

    def _rendered(self) -> Refusal:
        assert isinstance(self.verdict, Deny)
        accept = kind = b""
        if self._head is not None:
            accept, kind = (b",".join(self._head.values(name)) for name in (b"accept", b"content-type"))
        wanted = kind if kind.lower().startswith(b"application/grpc") else accept
        status, headers, body = render(self.verdict, self.id, wanted.decode("latin-1"), self._note.host)
        self._note.status = status
        return status, headers, body

    def close(self, *, status: int | None = None) -> None:
        """Writes the record and frees what the scanner holds; a second call does nothing."""
        if self._note.closed:
            return
        self._note.closed = True
        self._gate.live.discard(self)
        if status is not None:
            self._note.status = status
        try:
            self._account()
        except Exception as error:  # noqa: BLE001 - the record is to be written in any case
            self._crash("close", error)
        self._note.write(self.verdict, self._gate, self._slot)

    def _account(self) -> None:
        """What the scanner has to say for the record; it is closed with that."""
        content = self._content or self._look()
        if content is None:
            return
        try:
            self._note.findings = tuple(content.findings)
            self._note.coverage_request(content.scanned if content is self._content else Coverage.NONE)
        finally:
            content.close()

    def _look(self) -> Content | None:
        """A head that was refused unscanned is scanned for its record, so that no secret in it is shown there."""
        head = self._head
        if head is None or self._refused_for_size():
            return None
        content = Content(self._snapshot.engine, self._gate.limits, self._gate.buffer)
        content.look(head)
        self._note.scanned_url()
        return content

    def _refused_for_size(self) -> bool:
        return isinstance(self.verdict, Deny) and self.verdict.reason is Reason.HEAD_TOO_LARGE

    def _ask(self, target: Target) -> Ask:
        connection = self._connection
        return Ask(
            identity=connection.identity,
            source=connection.source,
            name=target.name,
            destination=connection.destination,
            port=target.port,
            protocols=_HTTPS if connection.tls else _HTTP,
            request=Request(target.method, target.path.path, target.path.ambiguous, target.websocket),
        )

    def _scan_head(self, head: RequestHead, *, end: bool) -> Content:
        self._content = content = Content(self._snapshot.engine, self._gate.limits, self._gate.buffer)
        content.head(head)
        self._note.scanned_url()
        content.begin(head)
        if end:
            content.finish()
        return content

    def _opened(self) -> Content:
        if self._content is None:
            raise Stop(Reason.CRASH, "the body came before its head")
        return self._content

    def _crash(self, step: str, error: Exception) -> None:
        _log.error("exchange step failed", step=step, error=type(error).__name__, exchange=self.id)
        self._refuse(Deny(Reason.CRASH, built_in(step), "the gateway failed while it looked at this request"))

    def _stop(self) -> None:
        try:
            if self.on_stop is not None:
                self.on_stop()
        except Exception as error:  # noqa: BLE001 - the other connections are rechecked all the same
            _log.error("exchange could not be stopped", error=type(error).__name__, exchange=self.id)

    def _refuse(self, deny: Deny) -> Deny:
        if not self._refused:  # the first refusal is the one that counts
            self.verdict = deny
            self._refused = True
        if self._content is not None:
            self._content.drop()
        return deny


_UNDECIDED = Deny(Reason.CRASH, built_in("exchange"), "nothing was decided")
_HTTPS = frozenset({Protocol.HTTPS})
_HTTP = frozenset({Protocol.HTTP})
