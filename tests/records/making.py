"""Facts to make records of."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Any

from sluicegate import settings
from sluicegate.facts import Ask, Endpoint, Finding, Identity, Protocol, Request, Workload
from sluicegate.names import HostName
from sluicegate.records import record
from sluicegate.records.record import Record
from sluicegate.verdict import Deny, Inspect, Permit, Reason, Source, Verdict

SOURCE = Source("EgressPolicy/pay/pay", "stripe", "pay@example.com", "pay.yaml:12")
FINDING = Finding("aws-access-key", "body", "f1a2b3c4d5e6f708", "AKIA…LE", "critical", "block")


def ask(identity: Identity | None = None, path: str = "/v1/charges", host: str = "api.stripe.com") -> Ask:
    return Ask(
        identity or Workload("pay", "api-1", "api", {"app": "api"}),
        Endpoint(ip_address("10.1.2.3"), 40000),
        HostName(host),
        Endpoint(ip_address("2001:db8::5"), 443),
        443,
        frozenset({Protocol.HTTPS}),
        Request("GET", path),
    )


def permit(of: Ask, would_deny: Deny | None = None) -> Permit:
    return Permit(Reason.RULE, SOURCE, of, Inspect.FULL, would_deny)


def deny(reason: Reason = Reason.NO_RULE, **more: Any) -> Deny:
    return Deny(reason, SOURCE, **more)


def made(pod: str = "api-1", verdict: Verdict | None = None, **more: Any) -> Record:
    asked = ask(Workload("pay", pod))
    return record.build(ask=asked, verdict=permit(asked) if verdict is None else verdict, **more)


def records_settings(file: Path, **more: Any) -> settings.Records:
    return settings.Records(file=file, **more)
