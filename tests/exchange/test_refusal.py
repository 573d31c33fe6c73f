from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.exchange.answers import ANSWERS
from sluicegate.exchange.refusal import render, wants_html
from sluicegate.facts import Finding, ListHit
from sluicegate.verdict import Deny, Reason, Source, built_in

CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
HIT = ListHit("paste-sites", "pastebin.test", "paste.txt:7", "exfiltration", "lists@example.test")
FINDING = Finding("aws-key", "header:x-token", "f00d", "AKIA****")
DENY = Deny(
    Reason.LISTED,
    Source("Blocklist/paste-sites", "block", "secops@example.test", "policies/secret-folder/paste.yaml:3"),
    "pastebin.test is on the list paste-sites",
    HIT,
    (FINDING,),
)


def shown(deny: Deny = DENY, accept: str = "", host: str = "pastebin.test") -> tuple[int, dict[str, str], str]:
    status, headers, body = render(deny, "01J9", accept, host)
    names = [name for name, _ in headers]
    assert len(names) == len(set(names))
    return status, dict(headers), body.decode()


class TestJson:
    def test_all_of_it(self):
        status, headers, body = shown()
        assert status == 403
        assert headers["Content-Type"] == "application/json"
        assert json.loads(body) == {
            "error": "refused by the egress gateway",
            "reason": "listed",
            "detail": "pastebin.test is on the list paste-sites",
            "what_to_do": "if the entry is wrong, ask the list's owner for an exception",
            "incident": "01J9",
            "host": "pastebin.test",
            "rule": "block",
            "policy": "Blocklist/paste-sites",
            "owner": "lists@example.test",
            "list": {"name": "paste-sites", "entry": "pastebin.test", "category": "exfiltration"},
            "findings": [{"rule": "aws-key", "location": "header:x-token"}],
        }

    def test_what_is_not_known_is_left_out(self):
        _, _, body = shown(Deny(Reason.NO_RULE, built_in("default")), host="")
        assert set(json.loads(body)) == {"error", "reason", "what_to_do", "incident", "rule"}

    def test_neither_secrets_nor_places_are_told(self):
        for accept in ("", CHROME):
            _, headers, body = shown(accept=accept)
            told = body + repr(headers)
            for hidden in (FINDING.fingerprint, FINDING.masked, "secret-folder", "paste.txt"):
                assert hidden not in told


class TestHeaders:
    def test_of_every_answer(self):
        _, headers, body = shown()
        assert headers["Content-Length"] == str(len(body))
        assert headers["Cache-Control"] == "no-store"
        assert headers["Connection"] == "close"
        assert headers["X-Sluicegate-Incident"] == "01J9"
        assert headers["Proxy-Status"] == (
            'sluicegate; error=http_request_denied; details="listed: pastebin.test is on the list paste-sites"'
        )

    @pytest.mark.parametrize(
        ("detail", "quoted"),
        [
            pytest.param('say "no"', r"listed: say \"no\"", id="quotes"),
            pytest.param("a\\b", r"listed: a\\b", id="backslash"),
            pytest.param("a\r\nSet-Cookie: x=1", "listed: a??Set-Cookie: x=1", id="line ends"),
            pytest.param("bücher", "listed: b?cher", id="not ASCII"),
            pytest.param("", "listed", id="none"),
        ],
    )
    def test_details_are_a_quoted_string(self, detail: str, quoted: str):
        _, headers, _ = shown(Deny(Reason.LISTED, built_in("x"), detail))
        assert headers["Proxy-Status"].endswith(f'details="{quoted}"')

    @given(st.text(max_size=400), st.text(max_size=50), st.sampled_from(["", CHROME, "application/grpc"]))
    def test_no_text_breaks_out_of_a_field(self, detail: str, host: str, accept: str):
        _, headers, body = render(Deny(Reason.RULE_DENY, Source(host, detail, host, ""), detail), "01J9", accept, host)
        for _, value in headers:
            assert re.fullmatch(r"[ -~]*", value)
        assert ("Content-Length", str(len(body))) in headers or accept == "application/grpc"


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}


OWN_ELEMENTS = {"html", "head", "meta", "title", "style", "body", "h1", "p", "strong", "dl", "dt", "dd", "code"}


class TestHtml:
    def test_says_what_json_says(self):
        status, headers, body = shown(accept=CHROME)
        assert status == 403
        assert headers["Content-Type"] == "text/html; charset=utf-8"
        for text in ("listed", "pastebin.test", "01J9", "paste-sites", "lists@example.test", "aws-key", "What to do"):
            assert text in body

    def test_loads_nothing(self):
        _, headers, body = shown(accept=CHROME)
        elements = _Elements()
        elements.feed(body)
        assert elements.seen <= OWN_ELEMENTS
        assert not elements.attributes & {"src", "href", "onclick", "style"}
        assert headers["Content-Security-Policy"] == "default-src 'none'; style-src 'unsafe-inline'"
        assert "color-scheme:light dark" in body
        assert len(body) < 3000

    @given(st.sampled_from(["<script>alert(1)</script>", "\"'><img src=x onerror=y>", "</code></style>"]))
    def test_everything_is_escaped(self, evil: str):
        hit = ListHit(evil, evil, evil, evil, evil)
        finding = Finding(evil, evil, "", "")
        deny = Deny(Reason.LISTED, Source(evil, evil, evil, evil), evil, hit, (finding,))
        body = render(deny, evil, "text/html", evil)[2].decode()
        elements = _Elements()
        elements.feed(body)
        assert elements.seen <= OWN_ELEMENTS
        assert evil not in body


@pytest.mark.parametrize(
    ("accept", "html"),
    [
        pytest.param(CHROME, True, id="a browser"),
        pytest.param("*/*", False, id="curl"),
        pytest.param("", False, id="nothing said"),
        pytest.param("text/html", True, id="HTML alone"),
        pytest.param("TEXT/HTML", True, id="in capitals"),
        pytest.param("application/json", False, id="JSON alone"),
        pytest.param("application/json, text/html", False, id="both alike"),
        pytest.param("text/html;q=0.5, application/json;q=0.4", True, id="HTML rather"),
        pytest.param("text/html;q=0.4, application/json;q=0.5", False, id="JSON rather"),
        pytest.param("text/*, application/json;q=0.9", True, id="text of any kind"),
        pytest.param("text/html;q=0, */*", False, id="anything but HTML"),
        pytest.param("application/json;q=0, */*;q=0.1", True, id="anything but JSON"),
        pytest.param("image/png", False, id="neither"),
        pytest.param("text/html;q=2", False, id="a weight that is none"),
        pytest.param("text/html;level=1", True, id="another parameter"),
        pytest.param(",,;;q=,", False, id="nonsense"),
        pytest.param(" ," * 5000 + "text/html", False, id="longer than any client's"),
    ],
)
def test_accept(accept: str, html: bool):
    assert wants_html(accept) is html


@given(st.text(max_size=100))
def test_any_accept_gives_an_answer(accept: str):
    assert render(DENY, "01J9", accept, "a.test")[0] in {403, 200}


class TestGrpc:
    def test_a_trailers_only_answer(self):
        status, headers, body = shown(accept="application/grpc+proto")
        assert (status, body) == (200, "")
        assert headers["Content-Type"] == "application/grpc"
        assert headers["Grpc-Status"] == "7"
        assert headers["Grpc-Message"] == "listed: pastebin.test is on the list paste-sites (incident 01J9)"

    def test_the_message_is_percent_encoded(self):
        _, headers, _ = shown(Deny(Reason.LISTED, built_in("x"), "100% bücher\r\n"), accept="application/grpc")
        assert headers["Grpc-Message"] == "listed: 100%25 b%C3%BCcher%0D%0A (incident 01J9)"


STATUS = {
    400: {Reason.BAD_NAME, Reason.BAD_REQUEST, Reason.AMBIGUOUS_PATH, Reason.BAD_HELLO, Reason.NOT_HTTP,
          Reason.CLIENT_TLS, Reason.CLIENT_GONE},
    408: {Reason.HELLO_TIMEOUT, Reason.TIMEOUT},
    413: {Reason.MESSAGE_TOO_LARGE},
    421: {Reason.NAMES_DISAGREE},
    429: {Reason.TOO_MANY_CONNECTIONS},
    431: {Reason.HEAD_TOO_LARGE, Reason.HELLO_TOO_LARGE},
    502: {Reason.RESOLVE_FAILED, Reason.CONNECT_FAILED, Reason.UPSTREAM_TLS, Reason.UPSTREAM_BROKE},
    503: {Reason.CRASH, Reason.RECORDS_FULL, Reason.DRAINING},
}  # fmt: skip

# RFC 9209, 2.3, those that are used.
ERRORS = {
    "http_request_denied", "http_request_error", "destination_ip_prohibited", "dns_error", "destination_unavailable",
    "tls_certificate_error", "connection_terminated", "connection_limit_reached", "proxy_internal_error",
}  # fmt: skip


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_its_answer(reason: Reason):
    answer = ANSWERS[reason]
    expected = next((status for status, reasons in STATUS.items() if reason in reasons), 403)
    assert answer.status == expected
    assert answer.error in ERRORS
    assert 0 < answer.grpc < 17
    assert answer.remedy == answer.remedy.strip(". ")
    assert render(Deny(reason, built_in("x")), "01J9", "", "")[0] == expected
