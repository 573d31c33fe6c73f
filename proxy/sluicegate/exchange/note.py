"""What is noted while a request or a connection goes on, and becomes its one record at the end."""

from __future__ import annotations

import socket
import time
from dataclasses import replace
from ipaddress import ip_address
from urllib.parse import parse_qsl

import msgspec
import structlog

from sluicegate.exchange.gate import Gate
from sluicegate.exchange.heads import Connection, RequestHead, Target
from sluicegate.exchange.memory import Reading
from sluicegate.facts import Address, Ask, Finding, Protocol, Request
from sluicegate.names import HostName
from sluicegate.records import record, redact
from sluicegate.records.ids import new_id
from sluicegate.records.journal import Slot
from sluicegate.records.metrics import Metrics
from sluicegate.verdict import Coverage, Deny, Permit, Verdict

_log = structlog.get_logger("sluicegate.record")


class Note:
    """Collects; `write` makes the record. Holds no content, only what a record may show."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._began = time.time()
        self._clock = time.perf_counter()
        self._asked: Ask | None = None
        self._kind = record.CONNECTION
        self._protocol: Protocol | None = None
        self.inputs: record.Inputs | None = None
        self._decide_us: float | None = None
        self._first_byte_ms: float | None = None
        self._request_coverage = self._response_coverage = Coverage.NONE
        self._why = ""
        self._raw_host: bytes | None = None
        self._scanned_url = False
        self.id = new_id()
        self.findings: tuple[Finding, ...] = ()
        self.dialled: Address | None = None
        self.status: int | None = None
        self.bytes_up = 0
        self.bytes_down = 0
        self.detail = ""
        self.closed = False

    @property
    def _ask(self) -> Ask:
        return self._asked if self._asked is not None else _ask(self._connection)

    @property
    def host(self) -> str:
        """The name asked for, for the page that a refused person reads; "" where it is not known."""
        return self._ask.name.ascii if self._ask.name is not None else ""

    def request(self, head: RequestHead) -> None:
        """A request was read; from now on this is the note of a request."""
        self._kind = record.REQUEST
        self._raw_host = head.authority or next(iter(head.values(b"host")), None)
        length = next(iter(head.values(b"content-length")), b"")
        kind = next(iter(head.values(b"content-type")), None)
        query = head.target.partition(b"?")[2]
        self.inputs = record.Inputs(
            content_type=None if kind is None else kind.decode("latin-1"),
            content_length=int(length) if length.isdigit() and len(length) < 19 else None,
            query_keys=_query_keys(query) if query else (),
        )

    def again(self, reading: Reading) -> None:
        """In place of `request`, `asked` and `scanned_url`, for a head that went through them before."""
        self._kind = record.REQUEST
        self.inputs = reading.inputs
        self._asked = reading.ask
        self._protocol = Protocol.HTTPS if self._connection.tls else Protocol.HTTP
        self._scanned_url = True

    def asked(self, ask: Ask, target: Target | None) -> None:
        """What was put to decide()."""
        self._asked = ask
        if target is not None:
            self._protocol = Protocol.HTTPS if self._connection.tls else Protocol.HTTP

    def told(self, method: str, path: str, name: HostName | None) -> None:
        """What was asked of a connection that was refused as a whole: the record of it is that of a request."""
        self._kind = record.REQUEST
        self._asked = replace(self._ask, name=self._ask.name or name, request=Request(method, path))

    def decided(self, seconds: float) -> None:
        self._decide_us = round(seconds * 1e6, 1)

    def scanned_url(self) -> None:
        """The head was scanned: what findings do not name was found clean, and may be shown."""
        self._scanned_url = True

    def first_byte(self) -> None:
        if self._first_byte_ms is None:
            self._first_byte_ms = self._elapsed_ms()

    def connected(self, upstream: socket.socket) -> None:
        """Which address was dialled."""
        self.dialled = ip_address(upstream.getpeername()[0].partition("%")[0])

    def coverage_request(self, coverage: Coverage) -> None:
        self._request_coverage = coverage

    def coverage_response(self, coverage: Coverage, why: str) -> None:
        self._response_coverage, self._why = coverage, why

    def write(self, verdict: Verdict, gate: Gate, slot: Slot | None) -> None:
        """Makes the record and hands it over. Never raises: what cannot be recorded is counted as lost."""
        try:
            made = self._made(verdict)
            if slot is not None:
                slot.write(made)
            else:
                gate.journal.write_unreserved(made)
        except Exception as error:  # noqa: BLE001 - the connection is over, and somebody else may wait for its end
            _log.error("record lost", error=type(error).__name__, record=self.id)
            gate.metrics.record_lost("build")
            if slot is not None:
                slot.release()
        self._count(verdict, gate.metrics)

    def _count(self, verdict: Verdict, metrics: Metrics) -> None:
        lane = str.__str__(self._connection.lane)  # plain text is hashed at a fraction of an enum's cost
        metrics.verdict("allow" if isinstance(verdict, Permit) else "deny", str.__str__(verdict.reason), lane)
        if self._decide_us is not None:
            metrics.decided(self._decide_us / 1e6)
        if self.bytes_up:
            metrics.bytes("up", lane, self.bytes_up)
        if self.bytes_down:
            metrics.bytes("down", lane, self.bytes_down)

    def _made(self, verdict: Verdict) -> record.Record:
        """The record, or where something in it cannot be said, what is known of the connection alone."""
        try:
            return self._record(verdict)
        except Exception as error:  # noqa: BLE001 - a poor record is better than none
            _log.error("record is incomplete", error=type(error).__name__, record=self.id)
            why = f"the record could not be made in full ({type(error).__name__})"
            bare = replace(verdict, detail=why) if isinstance(verdict, Deny) else verdict
            return record.build(
                ask=_ask(self._connection),
                verdict=bare,
                kind=self._kind,
                lane=self._connection.lane,
                detail=why,
                id=self.id,
                began=self._began,
            )

    def _shown(self, raw: bytes) -> str:
        """Raw bytes of a head: as they are once they were scanned, else without what looks like a token."""
        text = raw.decode("latin-1")
        return text if self._scanned_url else redact.unscanned(text)

    def _record(self, verdict: Verdict) -> record.Record:
        connection = self._connection
        return record.build(
            ask=self._ask,
            verdict=verdict,
            kind=self._kind,
            lane=connection.lane,
            protocol=self._protocol,
            hello=connection.hello,
            host=None if self._raw_host is None else self._shown(self._raw_host),
            dialled=None if self.dialled is None else record.spelled_dialled(self.dialled, self._ask.port),
            detail=self.detail,
            findings=self.findings,
            coverage=record.Covered(self._request_coverage, self._response_coverage, self._why),
            inputs=self._inputs_shown(),
            status=self.status,
            up=self.bytes_up,
            down=self.bytes_down,
            timing=record.Timing(self._decide_us, self._first_byte_ms, self._elapsed_ms()),
            id=self.id,
            began=self._began,
            url_scanned=self._scanned_url,
        )

    def _inputs_shown(self) -> record.Inputs | None:
        inputs = self.inputs
        if inputs is None or inputs.content_type is None or self._scanned_url:
            return inputs
        return msgspec.structs.replace(inputs, content_type=redact.unscanned(inputs.content_type))

    def _elapsed_ms(self) -> float:
        return round((time.perf_counter() - self._clock) * 1e3, 3)


def _ask(connection: Connection) -> Ask:
    """What is known of a connection before anything was asked on it."""
    return Ask(
        identity=connection.identity,
        source=connection.source,
        name=connection.name,
        destination=connection.destination,
        port=connection.port,
        protocols=frozenset(),
        ech=connection.hello.ech,
    )


def _query_keys(query: bytes) -> tuple[str, ...]:
    try:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=100)
    except ValueError:  # more fields than are worth a note
        return ()
    return tuple(dict.fromkeys(key for key, _ in pairs))
