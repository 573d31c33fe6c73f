"""Every field that is promised, whatever the facts hold; and no secret in any of them."""

from __future__ import annotations

import json
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.making import FINDING, SOURCE, ask, deny, made, permit
from sluicegate.facts import Finding, Hello, Lane, ListHit, Protocol, Unknown, Wire, Workload
from sluicegate.names import HostName
from sluicegate.records import record
from sluicegate.records.record import Covered, Inputs, Timing, build, encode, spelled_dialled
from sluicegate.verdict import Reason, Source

ALWAYS = {
    "time", "id", "seq", "kind", "workload", "source", "destination", "sni", "host", "method", "path", "protocol", "lane",
    "verdict", "would_deny", "reason", "rule", "policy", "list", "owner", "coverage", "findings", "status", "bytes", "timing",
}  # fmt: skip


def written(made: record.Record) -> dict:
    line = encode(made)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    return json.loads(line)


class TestFields:
    def test_a_full_record(self):
        asked = ask()
        told = written(
            build(
                ask=asked,
                verdict=permit(asked),
                lane=Lane.MITM,
                hello=Hello(Wire.TLS, HostName("api.stripe.com"), ja4="t13d1516h2_8daaf6152771_e5627efa2ab1"),
                dialled=spelled_dialled(ip_address("2001:db8::6"), 443),
                coverage=Covered("full", "opaque", "responses are not scanned"),
                inputs=Inputs("application/json", 17, ("expand",)),
                status=200,
                up=17,
                down=1000,
                timing=Timing(11.5, 3.0, 4.25),
                began=1_767_225_600.000_001,
                id="0190",
            )
        )
        assert told.pop("seq") > 0
        assert told == {
            "time": "2026-01-01T00:00:00.000001Z",
            "id": "0190",
            "kind": "request",
            "workload": {"namespace": "pay", "pod": "api-1", "service_account": "api", "labels": {"app": "api"}},
            "source": "10.1.2.3:40000",
            "destination": {"ip": "2001:db8::5", "port": 443},
            "dialled": "[2001:db8::6]:443",
            "sni": "api.stripe.com",
            "host": "api.stripe.com",
            "method": "GET",
            "path": "/v1/charges",
            "protocol": "https",
            "lane": "mitm",
            "ja4": "t13d1516h2_8daaf6152771_e5627efa2ab1",
            "verdict": "allow",
            "would_deny": None,
            "reason": "rule",
            "rule": "stripe",
            "policy": "EgressPolicy/pay/pay",
            "place": "pay.yaml:12",
            "list": None,
            "owner": "pay@example.com",
            "coverage": {"request": "full", "response": "opaque", "why": "responses are not scanned"},
            "findings": [],
            "inputs": {"content_type": "application/json", "content_length": 17, "query_keys": ["expand"]},
            "status": 200,
            "bytes": {"up": 17, "down": 1000},
            "timing": {"decide_us": 11.5, "first_byte_ms": 3.0, "total_ms": 4.25},
        }

    def test_what_scripts_match_on_is_there_when_nothing_is_known(self):
        bare = ask(Unknown("no workload has the address 10.9.9.9"))
        bare = type(bare)(bare.identity, bare.source, None, None, 443, frozenset())
        told = written(build(ask=bare, verdict=deny(Reason.BAD_HELLO, detail="cut short"), kind=record.CONNECTION))
        assert set(told) >= ALWAYS
        assert told["workload"] == {"unknown": "no workload has the address 10.9.9.9"}
        assert told["destination"] == {"ip": None, "port": 443}
        assert told["detail"] == "cut short"
        assert (told["host"], told["method"], told["path"], told["protocol"]) == (None, None, None, None)

    def test_labels_are_written_when_there_are_none(self):
        assert written(made())["workload"] == {
            "namespace": "pay", "pod": "api-1", "service_account": "default", "labels": {},
        }  # fmt: skip

    def test_an_open_protocol_is_not_guessed(self):
        asked = ask()
        asked = type(asked)(
            asked.identity, asked.source, None, asked.destination, 443, frozenset({Protocol.TLS, Protocol.HTTPS})
        )
        assert build(ask=asked, verdict=deny()).protocol is None
        assert build(ask=asked, verdict=deny(), protocol=Protocol.TLS).protocol == "tls"

    def test_a_list_hit_and_what_audit_would_have_denied(self):
        hit = ListHit("paste-sites", "pastebin.com", "local/paste.txt:3", owner="secops@example.com")
        source = Source("Blocklist/paste-sites", "lists", "secops@example.com", "")
        denied = type(deny())(Reason.LISTED, source, "", hit)
        told = written(made(verdict=denied))
        assert told["list"] == {"name": "paste-sites", "entry": "pastebin.com", "place": "local/paste.txt:3"}
        told = written(made(verdict=permit(ask(), denied)))
        assert told["verdict"] == "allow"
        assert told["would_deny"] == {
            "reason": "listed", "rule": "lists", "policy": "Blocklist/paste-sites", "owner": "secops@example.com",
            "list": {"name": "paste-sites", "entry": "pastebin.com", "place": "local/paste.txt:3"},
        }  # fmt: skip

    def test_findings_of_the_verdict_and_alerts_stand_once(self):
        alert = Finding("card", "body", "00ff", "************1111", action="alert")
        told = written(made(verdict=deny(Reason.SENSITIVE_DATA, findings=(FINDING,)), findings=(FINDING, alert)))
        assert [found["rule"] for found in told["findings"]] == ["aws-access-key", "card"]
        assert told["findings"][0] == {
            "rule": "aws-access-key", "location": "body", "fingerprint": "f1a2b3c4d5e6f708", "masked": "AKIA…LE",
            "severity": "critical", "action": "block",
        }  # fmt: skip

    def test_numbers_have_no_gap_and_ids_are_in_order(self):
        several = [made() for _ in range(2000)]
        assert [one.seq - several[0].seq for one in several] == list(range(2000))
        assert [one.id for one in several] == sorted({one.id for one in several})

    def test_what_was_written_can_be_read_also_by_an_older_version(self):
        one = made()
        assert record.decode(encode(one)) == one
        assert record.decode(encode(one).replace(b'{"time"', b'{"later":{"x":1},"time"')) == one

    @pytest.mark.parametrize("line", [b"", b"{", b"[]", b"null", b'{"time":"x"}', b"\x00" * 50, b'{"time":'])
    def test_what_is_no_record_is_a_value_error(self, line: bytes):
        with pytest.raises(ValueError):
            record.decode(line)


HOSTILE = st.text(st.characters(), max_size=200) | st.sampled_from(
    [
        "a\nb",
        "\x1b[31m",
        "\u202egpj",
        "\u2028",
        "\x9b31m",
        "\ud800",
        "\udcff",
        "\x00",
        '","verdict":"allow',
        "x" * 100_000,
    ]
)


class TestHostileText:
    @given(
        host=HOSTILE | st.binary(max_size=50), path=HOSTILE, method=HOSTILE, detail=HOSTILE, why=HOSTILE, key=HOSTILE
    )
    def test_no_text_breaks_the_line_or_raises(
        self, *, host: str | bytes, path: str, method: str, detail: str, why: str, key: str
    ):
        asked = ask(Unknown(why), path=path)
        asked = type(asked)(
            asked.identity,
            asked.source,
            None,
            asked.destination,
            443,
            asked.protocols,
            type(asked.request)(method, path),
        )
        line = encode(
            build(
                ask=asked,
                verdict=deny(Reason.LISTED, detail=detail, hit=ListHit(why, why, why)),
                host=host,
                findings=(Finding(why, key, why, detail),),
                inputs=Inputs(why, 1, (key, path)),
                url_scanned=True,
            )
        )
        assert len(line.splitlines()) == 1
        assert json.loads(line)["verdict"] == "deny"
        told = json.loads(line)
        assert all(text is None or text.isprintable() for text in (told["host"], told["path"], told["method"]))

    def test_text_that_nobody_cleaned_is_cleaned_at_the_end(self):
        asked = ask(Workload("n\ud800s", "pod", labels={"a\udfff": "b"}))
        told = written(build(ask=asked, verdict=permit(asked)))
        assert told["workload"]["namespace"] == "n\\ud800s"
        assert told["workload"]["labels"] == {"a\\udfff": "b"}

    def test_a_record_of_hostile_size_is_bounded(self):
        long = "é" * 200_000
        line = encode(
            build(
                ask=ask(path="/" + long),
                verdict=deny(detail=long),
                host=long,
                findings=tuple(Finding(f"r{n}", long, "f", long) for n in range(5000)),
                inputs=Inputs(long, 1, (long,) * 5000),
                url_scanned=True,
            )
        )
        assert len(line) < 64 << 10

    @pytest.mark.parametrize(
        ("raw", "shown"),
        [
            pytest.param(b"ex\xffample", "ex\\xffample", id="bytes that are not UTF-8"),
            pytest.param("a\x1b[2Jb", "a\\x1b[2Jb", id="a terminal's escape"),
            pytest.param("a\x9b2Jb", "a\\x9b2Jb", id="the same in one character"),
            pytest.param("invoice\u202egpj.exe", "invoice\\u202egpj.exe", id="text turned round"),
            pytest.param("bücher.example", "bücher.example", id="letters stay"),
        ],
    )
    def test_what_a_reader_sees(self, raw: str | bytes, shown: str):
        asked = ask()
        asked = type(asked)(asked.identity, asked.source, None, None, 443, frozenset())
        assert build(ask=asked, verdict=deny(), host=raw).host == shown


SECRET = "AKIAQ3EGRYXZTN5VLM2A"  # made up


class TestSecrets:
    @pytest.mark.parametrize(
        ("location", "hides"),
        [
            pytest.param("url", {"path", "keys"}, id="url"),
            pytest.param("url:percent", {"path", "keys"}, id="url, decoded"),
            pytest.param("query", {"path", "keys"}, id="query"),
            pytest.param("host", {"host"}, id="host"),
            pytest.param("header:content-type", {"type"}, id="content type"),
            pytest.param("header:x-urls", set(), id="a header whose name begins like one"),
            pytest.param("body", set(), id="body"),
        ],
    )
    def test_a_finding_hides_the_fields_it_points_at(self, location: str, hides: set[str]):
        found = Finding("aws-access-key", location, "f1", "AKIA…2A")
        asked = ask(path=f"/p/{SECRET}", host=f"{SECRET.lower()}.example.com")
        told = build(
            ask=asked,
            verdict=deny(Reason.SENSITIVE_DATA, findings=(found,), detail=f"found in /p/{SECRET}"),
            hello=Hello(Wire.TLS, asked.name),
            inputs=Inputs(f"x/{SECRET}", 1, (SECRET,)),
            url_scanned=True,
        )
        shows = {
            "path": SECRET in told.path,
            "keys": SECRET in told.inputs.query_keys[0],
            "host": SECRET.lower() in f"{told.host} {told.sni}",
            "type": SECRET in told.inputs.content_type,
        }
        assert {field for field, shown in shows.items() if not shown} == hides
        assert (SECRET in told.detail) == ("path" not in hides)

    def test_the_path_says_why_it_is_gone(self):
        found = Finding("aws-access-key", "url", "f1", "AKIA…2A", action="alert")
        assert made(findings=(found,)).path == "[redacted: url holds aws-access-key]"

    @pytest.mark.parametrize(
        ("path", "shown"),
        [
            pytest.param("/v1/charges/123", "/v1/charges/123", id="plain words and numbers"),
            pytest.param(f"/k/{SECRET}/x", "/k/…/x", id="a key"),
            pytest.param("/ghp_16C7e42F292c6912E7710c838347Ae178B4a", "/…", id="a token"),
            pytest.param("/p/4111111111111111", "/p/…", id="a card's number"),
            pytest.param("/repositories-of-the-house/readme", "/repositories-of-the-house/readme", id="a long word"),
            pytest.param("/v1/abc123def456789", "/v1/abc123def456789", id="one letter short of a token"),
        ],
    )
    def test_a_path_that_was_not_scanned_shows_no_token(self, path: str, shown: str):
        told = build(
            ask=ask(path=path), verdict=deny(detail=f"GET {path} is in no rule"), inputs=Inputs(None, None, (path,))
        )
        assert told.path == shown
        assert told.inputs.query_keys == (shown,)
        assert (path in told.detail) == (path == shown)

    def test_a_path_that_was_scanned_and_found_clean_is_shown(self):
        assert build(ask=ask(path=f"/k/{SECRET}"), verdict=permit(ask()), url_scanned=True).path == f"/k/{SECRET}"

    def test_the_owner_and_rule_are_never_touched(self):
        found = Finding("r", "url", "f", "m")
        told = build(ask=ask(path="/stripe"), verdict=deny(findings=(found,), detail="no"), url_scanned=True)
        assert (told.rule, told.owner, told.detail) == (SOURCE.rule, SOURCE.owner, "no")
