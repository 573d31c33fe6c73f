"""What is counted, and how little a count costs the names of people: none of them is a label."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from records.making import FINDING, deny, made, records_settings
from sluicegate.facts import Lane
from sluicegate.records.journal import Journal
from sluicegate.records.metrics import LOST, Metrics
from sluicegate.verdict import Reason

NAMES = {
    "sluicegate_event_loop_lag_seconds",
    "sluicegate_open_connections",
    "sluicegate_connections",
    "sluicegate_verdicts",
    "sluicegate_bytes",
    "sluicegate_decide_seconds",
    "sluicegate_records_lost",
    "sluicegate_records_summed_up",
    "sluicegate_records_written",
    "sluicegate_records_queue",
    "sluicegate_records_reserved",
    "sluicegate_reloads",
    "sluicegate_reload_timestamp_seconds",
    "sluicegate_policy_info",
    "sluicegate_unsafe_allow_addresses",
    "sluicegate_dlp_findings",
}


def test_the_names_that_dashboards_use(metrics: Metrics):
    families = {family.name for family in text_string_to_metric_families(metrics.exposition().decode())}
    assert {name for name in families if name.startswith("sluicegate_")} == NAMES


def test_every_metric_is_in_the_docs(request: pytest.FixtureRequest):
    docs = (request.config.rootpath / "docs" / "metrics.md").read_text()
    assert [name for name in NAMES if name not in docs] == []
    assert [cause for cause in LOST if f"`{cause}`" not in docs] == []


def test_counts(metrics: Metrics, value):  # noqa: ANN001  # a fixture with one type, see conftest
    with metrics.connection(Lane.MITM):
        assert value("sluicegate_open_connections", lane="mitm") == 1
    with contextlib.suppress(RuntimeError), metrics.connection(Lane.MITM):
        raise RuntimeError
    assert value("sluicegate_open_connections", lane="mitm") == 0
    assert value("sluicegate_connections_total", lane="mitm") == 2
    metrics.verdict("deny", Reason.NO_RULE, Lane.MITM)
    metrics.verdict("deny", Reason.NO_RULE, Lane.MITM)
    metrics.verdict("deny", Reason.BAD_HELLO, None)
    assert value("sluicegate_verdicts_total", verdict="deny", reason="no-rule", lane="mitm") == 2
    assert value("sluicegate_verdicts_total", verdict="deny", reason="bad-hello", lane="none") == 1
    metrics.bytes("up", Lane.SPLICE, 10)
    metrics.bytes("up", Lane.SPLICE, 5)
    assert value("sluicegate_bytes_total", direction="up", lane="splice") == 15
    metrics.decided(7e-6)
    assert value("sluicegate_decide_seconds_bucket", le="5e-06") == 0
    assert value("sluicegate_decide_seconds_bucket", le="1e-05") == 1
    metrics.unsafe_addresses(2)
    assert value("sluicegate_unsafe_allow_addresses") == 2


def test_a_refused_reload_leaves_time_and_digest(metrics: Metrics, value):  # noqa: ANN001  # as above
    before = time.time()
    metrics.reloaded(ok=True, digest="aa")
    at = value("sluicegate_reload_timestamp_seconds")
    assert at >= before
    metrics.reloaded(ok=False, digest="aa")
    assert value("sluicegate_reload_timestamp_seconds") == at
    assert value("sluicegate_reloads_total", result="error") == value("sluicegate_reloads_total", result="ok") == 1
    assert value("sluicegate_policy_info", digest="aa") == 1
    metrics.reloaded(ok=True, digest="bb")
    assert value("sluicegate_policy_info", digest="aa") == 0


def test_no_label_holds_a_name(metrics: Metrics, file):  # noqa: ANN001  # as above
    journal = Journal(records_settings(file), metrics)
    journal.write_unreserved(made("secret-pod", deny(Reason.SENSITIVE_DATA, findings=(FINDING,))))
    journal.close()
    told = metrics.exposition().decode()
    assert 'sluicegate_dlp_findings_total{rule="aws-access-key"} 1.0' in told
    assert not any(name in told for name in ("secret-pod", "api.stripe.com", "charges", "10.1.2.3"))


async def test_a_blocked_loop_is_seen(metrics: Metrics, value):  # noqa: ANN001  # as above
    watching = asyncio.ensure_future(metrics.watch_loop_lag(0.001))
    await asyncio.sleep(0)
    time.sleep(0.06)  # noqa: ASYNC251  # the very thing that is to be seen
    for _ in range(50):
        await asyncio.sleep(0.001)
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    count = value("sluicegate_event_loop_lag_seconds_count")
    assert count - value("sluicegate_event_loop_lag_seconds_bucket", le="0.05") >= 1
