"""Note: what a record says of connections that never came to a request, and that nothing is counted twice."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

import story
from sluicegate.exchange.note import Note
from sluicegate.facts import Endpoint, Lane
from sluicegate.names import HostName
from sluicegate.verdict import Deny, Reason, built_in
from story import SECRET, Told, head

DENY = Deny(Reason.BAD_HELLO, built_in("connection"), "it makes no sense")


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    with story.told(tmp_path) as made:
        yield made


def test_a_connection_is_recorded_with_what_was_known(told: Told):
    where = Endpoint(ip_address("2001:db8::1"), 443)
    Note(told.connection(None, destination=where, lane=Lane.REFUSE)).write(DENY, told.gate, None)

    found = told.record()
    assert (found["kind"], found["host"], found["method"]) == ("connection", None, None)
    assert (found["destination"], found["detail"]) == ({"ip": "2001:db8::1", "port": 443}, "it makes no sense")


def test_a_refused_connection_that_asked_something_is_recorded_as_a_request(told: Told):
    note = Note(told.connection(None))
    note.told("GET", f"/v1/{SECRET}", HostName("b.test"))
    note.write(DENY, told.gate, None)

    found = told.record()
    assert (found["kind"], found["host"], found["method"]) == ("request", "b.test", "GET")
    assert SECRET not in told.raw()


def test_the_name_of_the_connection_stands_before_the_one_that_was_said(told: Told):
    note = Note(told.connection("a.test"))
    note.told("GET", "/", HostName("b.test"))

    assert note.host == "a.test"


@pytest.mark.parametrize(
    ("target", "keys"),
    [
        pytest.param(b"/?a=1&b=2&a=3", ["a", "b"], id="each once"),
        pytest.param(b"/?a", ["a"], id="without a value"),
        pytest.param(b"/?" + b"&".join(b"k%d=1" % n for n in range(101)), None, id="more than are worth a note"),
        pytest.param(b"/?a\xff=1", ["a\ufffd"], id="no text"),
    ],
)
def test_query_keys_are_kept_and_values_are_not(told: Told, target: bytes, keys: list[str] | None):
    made = told.exchange()
    made.head(head(target=target), end=True)
    made.close()

    assert told.record()["inputs"].get("query_keys") in ([keys] if keys != ["a\ufffd"] else [["a\ufffd"], ["aÿ"]])


@pytest.mark.parametrize(
    ("length", "noted"),
    [(b"12", 12), (b"-1", None), (b"9" * 19, None), (b"", None)],
    ids=["a number", "a sign", "too long", "empty"],
)
def test_an_announced_length_is_noted_if_it_is_one(told: Told, length: bytes, noted: int | None):
    made = told.exchange()
    made.head(head((b"Content-Length", length)), end=True)
    made.close()

    assert told.record()["inputs"].get("content_length") == noted


def test_each_finding_and_each_verdict_is_counted_once(told: Told):
    made = told.exchange()
    made.head(head((b"X", SECRET.encode())), end=True)
    made.close()

    assert told.counted("sluicegate_dlp_findings_total", rule="github-pat") == 1
    assert told.counted("sluicegate_verdicts_total", verdict="deny", reason="sensitive-data", lane="mitm") == 1
