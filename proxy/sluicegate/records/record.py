"""The verdict record: what was asked, what was answered and why, once for each request (docs/records.md).

Ask + Verdict + what happened -> build -> Record -> encode -> one line. Every field that users script against is
always written, null where there is nothing to say; the optional ones have a default and are left out when they hold it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from sluicegate.facts import Address, Ask, Endpoint, Finding, Hello, Identity, Lane, ListHit, Protocol, Unknown
from sluicegate.records import redact
from sluicegate.records.ids import new_id
from sluicegate.records.text import shown
from sluicegate.records.times import timestamp
from sluicegate.verdict import Coverage, Deny, Permit, Verdict

REQUEST, CONNECTION, SUMMARY = "request", "connection", "summary"
"""`kind`: one HTTP request; a connection that was not decrypted, or died before its first request; several records."""

_HOST, _METHOD, _PATH, _DETAIL, _TYPE, _KEY, _KEYS, _FINDINGS = 300, 32, 2048, 500, 200, 64, 32, 50
"""Limits, in characters and entries. A record of hostile input stays below 16 KiB, and the queue with it."""


class Part(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Base of all: plain values, no cycles (hence gc=False: the collector need not look at them)."""


class Who(Part, frozen=True):
    """A workload, or why there is none: either `unknown` or all the others."""

    namespace: str | UnsetType = UNSET
    pod: str | UnsetType = UNSET
    service_account: str | UnsetType = UNSET
    labels: dict[str, str] | UnsetType = UNSET
    unknown: str | UnsetType = UNSET

    def __str__(self) -> str:
        return "unknown" if self.namespace is UNSET else f"{self.namespace}/{self.pod}"


class Where(Part, frozen=True):
    ip: str | None
    port: int


class Listed(Part, frozen=True):
    name: str
    entry: str
    place: str


class WouldDeny(Part, frozen=True):
    reason: str
    rule: str
    policy: str
    owner: str
    list: Listed | None = None


class Covered(Part, frozen=True):
    """How much of each direction was looked at, and why not all of it."""

    request: str = Coverage.NONE
    response: str = Coverage.NONE
    why: str = ""


class CoverageWritten(Part, frozen=True):
    """Covered, as it is written: nothing left out."""

    request: str
    response: str
    why: str


class Found(Part, frozen=True):
    rule: str
    location: str
    fingerprint: str
    masked: str
    severity: str
    action: str


class Inputs(Part, frozen=True):
    """What decide() was given beyond the path, so that a record can be decided again."""

    content_type: str | None = None
    content_length: int | None = None
    query_keys: tuple[str, ...] = ()


class Bytes(Part, frozen=True):
    """Of bodies, or of the connection where nothing was decrypted. up: to the server; down: to the client."""

    up: int
    down: int


class Timing(Part, frozen=True):
    decide_us: float | None
    first_byte_ms: float | None
    total_ms: float | None


class Count(Part, frozen=True):
    verdict: str
    reason: str
    records: int


class Summary(Part, frozen=True):
    """What a line of kind `summary` stands for; the line's other fields describe one of these records."""

    cause: str  # rate | queue-full
    records: int
    first: str
    last: str
    counts: tuple[Count, ...]
    findings: dict[str, int] = {}


class Record(Part, frozen=True, kw_only=True):
    time: str
    id: str
    seq: int
    kind: str
    workload: Who
    source: str
    destination: Where
    sni: str | None
    host: str | None
    method: str | None
    path: str | None
    protocol: str | None
    lane: str | None
    verdict: str
    would_deny: WouldDeny | None
    reason: str
    rule: str
    policy: str
    list: Listed | None
    owner: str
    coverage: CoverageWritten
    findings: tuple[Found, ...]
    status: int | None
    bytes: Bytes
    timing: Timing
    place: str = ""
    detail: str = ""
    dialled: str | None = None
    ja4: str = ""
    inputs: Inputs | None = None
    summary: Summary | None = None


next_seq = itertools.count(1).__next__
"""Numbers of this process, without a gap: what is missing in the file was summed up, or lost."""

NOTHING_COVERED = Covered()
NO_TIMING = Timing(None, None, None)


def build(
    *,
    ask: Ask,
    verdict: Verdict,
    kind: str = REQUEST,
    lane: Lane | None = None,
    protocol: Protocol | None = None,
    hello: Hello | None = None,
    host: str | bytes | None = None,
    dialled: str | None = None,
    detail: str = "",
    findings: tuple[Finding, ...] = (),
    coverage: Covered = NOTHING_COVERED,
    inputs: Inputs | None = None,
    status: int | None = None,
    up: int = 0,
    down: int = 0,
    timing: Timing = NO_TIMING,
    id: str = "",  # noqa: A002  # as the field is called
    began: float | None = None,
    url_scanned: bool = False,
) -> Record:
    """The record of one ask and its last verdict.

    host         as the client wrote it, where ask.name is None because it cannot be parsed
    detail       one sentence; where it is empty, the verdict's own
    dialled      as spelled_dialled says it
    findings     those beyond the verdict's own (alerts)
    status       what the client was answered; None: nothing
    up, down     bytes to the server and to the client
    id           from new_id(), where the client was already told one
    began        when it was asked, seconds since 1970; None is now
    url_scanned  DLP has looked at the URL; otherwise what looks like a token in it is masked
    """
    denied = verdict if isinstance(verdict, Deny) else None
    would = verdict.would_deny if isinstance(verdict, Permit) else None
    request, name, source = ask.request, ask.name, verdict.source
    if denied is not None and denied.findings:
        findings = tuple(dict.fromkeys(denied.findings + findings))
    detail = detail or ("" if denied is None else denied.detail)
    record = Record(
        time=timestamp(time.time() if began is None else began),
        id=id or new_id(),
        seq=next_seq(),
        kind=kind,
        workload=_who(ask.identity),
        source=_spelled(ask.source),
        destination=_destination(ask),
        sni=None if hello is None or hello.sni is None else hello.sni.ascii,
        host=name.ascii if name is not None else None if host is None else shown(host, _HOST),
        method=None if request is None else shown(request.method, _METHOD),
        path=None if request is None else _path(request.path, url_scanned),
        protocol=_plain(protocol or _only(ask.protocols)),
        lane=_plain(lane),
        verdict="allow" if denied is None else "deny",
        would_deny=None if would is None else _would_deny(would),
        reason=_str(verdict.reason),
        rule=source.rule,
        policy=source.policy,
        list=None if denied is None or denied.hit is None else _listed(denied.hit),
        owner=source.owner,
        coverage=CoverageWritten(_str(coverage.request), _str(coverage.response), coverage.why),
        findings=tuple(map(_found, findings[:_FINDINGS])) if findings else (),
        status=status,
        bytes=Bytes(up, down),
        timing=timing,
        place=source.place,
        detail=shown(detail, _DETAIL) if detail else "",
        dialled=dialled,
        ja4="" if hello is None else hello.ja4,
        inputs=None if inputs is None else _inputs(inputs, url_scanned),
    )
    secret = _secret(ask, url_scanned) if detail else ()
    return _redacted(record, redact.hidden(findings), secret) if findings or secret else record


def spelled_dialled(address: Address, port: int) -> str:
    return f"{_spelled_address(address)}:{port}"


def encode(record: Record) -> bytes:
    """One line of JSON with its newline. Never raises for what a field holds."""
    try:
        return _encoder.encode(record) + b"\n"
    except UnicodeEncodeError:  # half a surrogate pair: not worth a look at every field of every record
        return _encoder.encode(_clean(msgspec.to_builtins(record))) + b"\n"


def decode(line: bytes) -> Record:
    """A line as it was written, by this version or one that wrote more. Raises msgspec.DecodeError (a ValueError)."""
    return _decoder.decode(line)


_str = str.__str__
"""Of an enum's member the plain text, which is written and hashed at a fraction of its cost."""


def _plain(member: StrEnum | None) -> str | None:
    return None if member is None else _str(member)


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Record)


class _Once[K, V]:
    """What was made of a frozen value, found again by the value itself, and not by its hash: that of an address, or of a
    workload with its labels, costs more than the rest of a record.
    """

    def __init__(self, make: Callable[[K], V], most: int = 4096) -> None:
        self._make = make
        self._most = most
        self._made: dict[int, tuple[K, V]] = {}

    def __call__(self, key: K) -> V:
        found = self._made.get(id(key))
        if found is not None:  # the key is held, so that its id is nobody else's
            return found[1]
        if len(self._made) >= self._most:
            self._made.clear()
        made = self._make(key)
        self._made[id(key)] = (key, made)
        return made


_spelled: _Once[Endpoint, str] = _Once(str)
_spelled_address: _Once[Address, str] = _Once(lambda address: f"[{address}]" if address.version == 6 else str(address))
_where: _Once[Endpoint, Where] = _Once(lambda endpoint: Where(str(endpoint.address), endpoint.port))


def _destination(ask: Ask) -> Where:
    return Where(None, ask.port) if ask.destination is None else _where(ask.destination)


def _made_who(identity: Identity) -> Who:
    if isinstance(identity, Unknown):
        return Who(unknown=shown(identity.why, _DETAIL))
    return Who(identity.namespace, identity.pod, identity.service_account, dict(identity.labels))


_who: _Once[Identity, Who] = _Once(_made_who)


def _only(protocols: frozenset[Protocol]) -> Protocol | None:
    """The protocol, where it is settled."""
    if len(protocols) != 1:
        return None
    (protocol,) = protocols
    return protocol


def _path(raw: str, scanned: bool) -> str:  # noqa: FBT001  # two callers, both below `build`
    path = shown(raw, _PATH)
    return path if scanned else redact.unscanned(path)


def _inputs(inputs: Inputs, scanned: bool) -> Inputs:  # noqa: FBT001  # as above
    kind = inputs.content_type
    if not inputs.query_keys and (kind is None or shown(kind, _TYPE) is kind):
        return inputs
    keys = tuple([shown(key, _KEY) for key in inputs.query_keys[:_KEYS]])
    return Inputs(
        content_type=None if inputs.content_type is None else shown(inputs.content_type, _TYPE),
        content_length=inputs.content_length,
        query_keys=keys if scanned else tuple(map(redact.unscanned, keys)),
    )


def _listed(hit: ListHit) -> Listed:
    return Listed(hit.list, shown(hit.entry, _HOST), hit.place)


def _would_deny(denied: Deny) -> WouldDeny:
    source = denied.source
    hit = None if denied.hit is None else _listed(denied.hit)
    return WouldDeny(denied.reason, source.rule, source.policy, source.owner, hit)


def _found(finding: Finding) -> Found:
    return Found(
        rule=finding.rule,
        location=shown(finding.location, _TYPE),
        fingerprint=finding.fingerprint,
        masked=shown(finding.masked, _TYPE),
        severity=finding.severity,
        action=finding.action,
    )


def _secret(ask: Ask, scanned: bool) -> tuple[str, ...]:  # noqa: FBT001  # as above
    """What the detail must not repeat: a path that is not shown as it was."""
    if ask.request is None or scanned or redact.unscanned(ask.request.path) == ask.request.path:
        return ()
    return (ask.request.path,)


def _redacted(record: Record, hidden: dict[str, str], secret: tuple[str, ...]) -> Record:
    """The record without what `hidden` names; the detail repeats none of it."""
    gone = tuple(value for field in hidden if (value := getattr(record, field, None)))
    changes: dict[str, Any] = {field: text for field, text in hidden.items() if getattr(record, field, None)}
    if record.detail:
        changes["detail"] = redact.redact(record.detail, (*gone, *secret))
    if (inputs := record.inputs) is not None and hidden.keys() & {"query_keys", "content_type"}:
        changes["inputs"] = Inputs(
            content_type=hidden.get("content_type", inputs.content_type) if inputs.content_type else None,
            content_length=inputs.content_length,
            query_keys=(hidden["query_keys"],) if "query_keys" in hidden and inputs.query_keys else inputs.query_keys,
        )
    return msgspec.structs.replace(record, **changes) if changes else record


def _clean(value: Any) -> Any:
    match value:
        case str():
            return shown(value, _PATH)
        case dict():
            return {_clean(key): _clean(each) for key, each in value.items()}
        case list() | tuple():
            return [_clean(each) for each in value]
        case _:
            return value
