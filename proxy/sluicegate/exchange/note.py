"""What is noted while a request or a connection goes on, and becomes its one record at the end."""

from __future__ import annotations

import socket
import time
from dataclasses import replace
from ipaddress import ip_address
from urllib.parse import parse_qsl

import structlog

from sluicegate.exchange.gate import Gate
from sluicegate.exchange.heads import Connection, RequestHead, Target
from sluicegate.facts import Address, Ask, Endpoint, Finding, Protocol, Request
from sluicegate.names import HostName
from sluicegate.records import record
from sluicegate.records.ids import new_id
from sluicegate.records.journal import Slot
from sluicegate.verdict import Coverage, Permit, Verdict

_log = structlog.get_logger("sluicegate.record")


class Note:
    """Collects; `write` makes the record. Holds no content, only what a record may show."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._began = time.time()
        self._clock = time.perf_counter()
        self._ask = _ask(connection)
        self._kind = record.CONNECTION
        self._protocol: Protocol | None = None
        self._inputs: record.Inputs | None = None
        self._decide_us: float | None = None
        self._first_byte_ms: float | None = None
        self._coverage = {"request": Coverage.NONE, "response": Coverage.NONE}
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
        self._inputs = record.Inputs(
            content_type=None if kind is None else kind.decode("latin-1"),
            content_length=int(length) if length.isdigit() and len(length) < 19 else None,
            query_keys=_query_keys(query) if query else (),
        )

    def asked(self, ask: Ask, target: Target | None) -> None:
        """What was put to decide()."""
        self._ask = ask
        if target is not None:
            self._protocol = Protocol.HTTPS if self._connection.tls else Protocol.HTTP

    def told(self, method: str, path: str, name: HostName | None) -> None:
        """What was asked of a connection that was refused as a whole: the record of it is that of a request."""
        self._kind = record.REQUEST
        self._ask = replace(self._ask, name=self._ask.name or name, request=Request(method, path))

    def decided(self, seconds: float) -> None:
        self._decide_us = round(seconds * 1e6, 1)

    def scanned_url(self) -> None:
        """The URL was scanned: what is left of it in the record was found clean."""
        self._scanned_url = True

    def first_byte(self) -> None:
        if self._first_byte_ms is None:
            self._first_byte_ms = self._elapsed_ms()

    def connected(self, upstream: socket.socket) -> None:
        """Which address was dialled."""
        self.dialled = ip_address(upstream.getpeername()[0].partition("%")[0])

    def coverage_request(self, coverage: Coverage) -> None:
        self._coverage["request"] = coverage

    def coverage_response(self, coverage: Coverage, why: str) -> None:
        self._coverage["response"], self._why = coverage, why

    def write(self, verdict: Verdict, gate: Gate, slot: Slot | None) -> None:
        """Makes the record and hands it over. Never raises: the slot is given back and the loss counted."""
        metrics, lane = gate.metrics, self._connection.lane
        try:
            made = self._record(verdict)
        except Exception as error:  # noqa: BLE001 - a record that cannot be made is a lost record, and is counted as one
            _log.error("record lost", error=type(error).__name__)
            metrics.record_lost("abandoned")
            if slot is not None:
                slot.release()
            return
        metrics.verdict("allow" if isinstance(verdict, Permit) else "deny", verdict.reason, lane)
        if self._decide_us is not None:
            metrics.decided(self._decide_us / 1e6)
        metrics.bytes("up", lane, self.bytes_up)
        metrics.bytes("down", lane, self.bytes_down)
        if slot is not None:
            slot.write(made)
        else:
            gate.journal.write_unreserved(made)

    def _record(self, verdict: Verdict) -> record.Record:
        connection = self._connection
        return record.build(
            ask=self._ask,
            verdict=verdict,
            kind=self._kind,
            lane=connection.lane,
            protocol=self._protocol,
            hello=connection.hello,
            host=self._raw_host,
            dialled=None if self.dialled is None else Endpoint(self.dialled, self._ask.port),
            detail=self.detail,
            findings=self.findings,
            coverage=record.Covered(self._coverage["request"], self._coverage["response"], self._why),
            inputs=self._inputs,
            status=self.status,
            up=self.bytes_up,
            down=self.bytes_down,
            timing=record.Timing(self._decide_us, self._first_byte_ms, self._elapsed_ms()),
            id=self.id,
            began=self._began,
            url_scanned=self._scanned_url,
        )

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
