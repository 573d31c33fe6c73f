"""Tricks inside HTTP: heads and bodies that two servers read differently, tunnels, floods, and what an origin may answer.

Each test says what the client got, what the origins saw, and which reason the record has.
"""

from __future__ import annotations

import json

import pytest

from net.attacker import GOOD_V4, Attacker, head, refused

pytestmark = pytest.mark.net

GET = b"GET /x HTTP/1.1\r\nHost: good.test\r\n\r\n"
EVIL = b"GET /stolen HTTP/1.1\r\nHost: evil.test\r\n\r\n"
SECRET = b"AKIA" + b"Z7VR5SNQ2LKX4WTD"
BOTH = pytest.mark.parametrize("clear", [False, True], ids=["in TLS", "in clear"])


def posted(*fields: bytes, body: bytes = b"") -> bytes:
    return head(b"POST /x HTTP/1.1", b"Host: good.test", *fields) + body


# -- 7 to 9: which host ----------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    ("fields", "status", "reason"),
    [
        pytest.param((b"Host: good.test", b"Host: evil.test"), 400, "bad-request", id="two"),
        pytest.param((b"Host: good.test", b"Host: good.test"), 400, "bad-request", id="twice the same"),
        pytest.param((b"Host: good.test", b"host : evil.test"), 400, "bad-request", id="a space before the colon"),
        pytest.param((b"Host: good.test, evil.test",), 400, "bad-name", id="a list"),
        pytest.param((b"Host: good.test@evil.test",), 400, "bad-name", id="user information"),
        pytest.param((b"Host: evil.test@good.test",), 400, "bad-name", id="user information first"),
        pytest.param((b"Host: good.test/evil.test",), 400, "bad-name", id="a path"),
        pytest.param((b"Host: good.test#.evil.test",), 400, "bad-name", id="a fragment"),
        pytest.param((b"Host: good.test\\.evil.test",), 400, "bad-name", id="a backslash"),
        pytest.param((b"Host: [good.test]",), 400, "bad-name", id="brackets"),
        pytest.param((b"Host: good.test:",), 400, "bad-name", id="a colon without a port"),
        pytest.param((b"Host: good.test:0443",), 400, "bad-name", id="a port with a zero first"),
        pytest.param((b"Host: good.test:81",), 421, "names-disagree", id="another port"),
        pytest.param((b"Host: good.test..",), 400, "bad-name", id="two dots"),
        pytest.param((b"Host: good%2etest",), 400, "bad-name", id="percent signs"),
        pytest.param((b"Host: g\xd0\xbe\xd0\xbed.test",), 400, "bad-name", id="UTF-8"),
        pytest.param((b"Host: good.test\0.evil.test",), 400, "bad-request", id="a NUL"),
        pytest.param((b"Host: good.test\rX: y",), 400, "bad-request", id="a bare CR"),
        pytest.param((b"Host: good.test", b" .evil.test"), 400, "bad-request", id="folded"),
        pytest.param((b"Host:", b"\tgood.test"), 400, "bad-request", id="folded onto an empty line"),
        pytest.param((b"Host: ",), 400, "bad-name", id="empty"),
        pytest.param((b"X: y",), 400, "bad-request", id="none"),
        pytest.param((b"X-Host: good.test", b"Hos\0t: good.test"), 400, "bad-request", id="nearly"),
    ],
)
def test_a_host_that_is_not_exactly_one_plain_host(
    attacker: Attacker, fields: tuple[bytes, ...], status: int, reason: str, clear: bool
) -> None:
    refused(attacker, head(b"GET /x HTTP/1.1", *fields), status, reason, clear=clear)


@pytest.mark.parametrize("host", [b"GOOD.test", b"good.test.", b"good.test:443", b"  good.test\t"])
def test_a_host_in_another_spelling_goes_out_canonical(attacker: Attacker, host: bytes) -> None:
    _line, answer = attacker.ask(head(b"GET /x HTTP/1.1", b"Host: " + host))
    assert answer.status == 200
    assert attacker.origin.data == GET


@BOTH
@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        pytest.param(b"://evil.test/x", b"good.test", 400, id="the target names another"),
        pytest.param(b"://good.test/x", b"evil.test", 400, id="Host names another"),
        pytest.param(b"://x@good.test/x", b"good.test", 400, id="user information"),
        pytest.param(b"://good.test:99/x", b"good.test", 400, id="another port"),
        pytest.param(b"://good.test\\@evil.test/x", b"good.test", 400, id="a backslash"),
        pytest.param(b":///x", b"good.test", 400, id="no host"),
    ],
)
def test_an_absolute_target_must_name_what_host_names(
    attacker: Attacker, target: bytes, host: bytes, status: int, clear: bool
) -> None:
    scheme = b"http" if clear else b"https"
    line, answer = attacker.ask(head(b"GET %b%b HTTP/1.1" % (scheme, target), b"Host: " + host), clear=clear)
    assert answer.status == status
    assert attacker.records(line)[0]["verdict"] == "deny"
    assert attacker.origin.seen == []


def test_an_absolute_target_goes_out_in_origin_form(attacker: Attacker) -> None:
    _line, answer = attacker.ask(head(b"GET https://good.test/x HTTP/1.1", b"Host: good.test"))
    assert answer.status == 200
    assert attacker.origin.data == GET


@pytest.mark.parametrize("scheme", [b"http", b"ftp", b"ws"])
def test_another_scheme_than_the_connections_is_misdirected(attacker: Attacker, scheme: bytes) -> None:
    refused(attacker, head(b"GET %b://good.test/x HTTP/1.1" % scheme, b"Host: good.test"), 421, "names-disagree")


# -- 10 to 20, 51: one connection, many requests ---------------------------------------------------------------------


@BOTH
def test_pipelined_requests_are_decided_one_by_one_and_answered_in_order(attacker: Attacker, clear: bool) -> None:
    line = attacker.tcp() if clear else attacker.tls()
    line.send(GET + EVIL + GET.replace(b"/x", b"/y"))
    first, second = line.answers(2)[:2]
    assert (first.status, first.body) == (200, b"ok")
    assert second.status == (403 if clear else 421)
    rows = attacker.records(line, 2)
    assert [row["verdict"] for row in rows[:2]] == ["allow", "deny"]
    assert b"stolen" not in attacker.origin.data
    assert attacker.origin.data.startswith(GET)


@BOTH
def test_a_kept_connection_is_not_a_pass(attacker: Attacker, clear: bool) -> None:
    line = attacker.tcp() if clear else attacker.tls()
    for raw, status in ((GET, 200), (EVIL, 403 if clear else 421)):
        line.send(raw)
        assert line.answers()[0].status == status
    assert attacker.origin.data == GET


def test_a_redirect_to_a_metadata_service_leads_nowhere(attacker: Attacker) -> None:
    to = b"http://169.254.169.254/latest/meta-data/"
    attacker.origin.answer = lambda _h, _b: b"HTTP/1.1 302 Found\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % to
    done = attacker.bed.curl("-L", "--resolve", f"good.test:80:{GOOD_V4}", "http://good.test/x")
    body, _, status = done.stdout.rpartition("\n")
    assert (status, json.loads(body)["reason"]) == ("403", "metadata")
    assert len(attacker.origin.heads) == 1


# -- 38 to 45: framing -----------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    "fields",
    [
        pytest.param((b"Content-Length: 5", b"Transfer-Encoding: chunked"), id="CL.TE"),
        pytest.param((b"Transfer-Encoding: chunked", b"Content-Length: 5"), id="TE.CL"),
        pytest.param((b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"), id="TE.TE"),
        pytest.param((b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), id="TE twice"),
        pytest.param((b"Transfer-Encoding: chunked, chunked",), id="chunked twice"),
        pytest.param((b"Transfer-Encoding: gzip, chunked",), id="gzip, chunked"),
        pytest.param((b"Transfer-Encoding: identity",), id="identity"),
        pytest.param((b"Transfer-Encoding: xchunked",), id="xchunked"),
        pytest.param((b"Transfer-Encoding: \x0bchunked",), id="a vertical tab"),
        pytest.param((b"Transfer-Encoding : chunked",), id="a space before the colon"),
        pytest.param((b"Transfer-Encoding:", b" chunked"), id="folded"),
        pytest.param((b"Transfer_Encoding: chunked", b"Content-Length: 5", b"Content-Length: 5"), id="CL twice"),
        pytest.param((b"Content-Length: 5", b"Content-Length: 6"), id="two lengths"),
        pytest.param((b"Content-Length: 5, 5",), id="a list of lengths"),
        pytest.param((b"Content-Length: +5",), id="+5"),
        pytest.param((b"Content-Length: -5",), id="-5"),
        pytest.param((b"Content-Length: 0_5",), id="0_5"),
        pytest.param((b"Content-Length: 0x5",), id="0x5"),
        pytest.param((b"Content-Length: 5 5",), id="two numbers"),
        pytest.param((b"Content-Length: ",), id="empty"),
        pytest.param((b"Content-Length: \xd9\xa5",), id="another digit"),
        pytest.param((b"Content-Length: 99999999999999999999999",), id="too many digits"),
        pytest.param((b"X: a\rTransfer-Encoding: chunked",), id="a bare CR in a value"),
        pytest.param((b"X: a\0b",), id="a NUL in a value"),
        pytest.param((b"X: a", b" b"), id="obs-fold"),
        pytest.param((b"X: a", b"\tb"), id="obs-fold with a tab"),
        pytest.param((b": a",), id="a field without a name"),
        pytest.param((b"no colon",), id="a field without a colon"),
        pytest.param((b"X(y): a",), id="a name that is no token"),
        pytest.param((b"Expect: 200-ok",), id="another expectation"),
    ],
)
def test_a_head_that_two_servers_frame_differently(attacker: Attacker, fields: tuple[bytes, ...], clear: bool) -> None:
    smuggled = b"0\r\n\r\n" + EVIL
    status = {b"Transfer-Encoding: gzip, chunked": 501, b"Expect: 200-ok": 417}.get(fields[0], 400)
    refused(attacker, posted(*fields, body=smuggled), status, "bad-request", clear=clear)


def test_a_get_with_a_body_is_framed_anew(attacker: Attacker) -> None:
    raw = head(b"GET /x HTTP/1.1", b"Host: good.test", b"Content-Length: 40") + EVIL
    _line, answer = attacker.ask(raw)
    assert answer.status == 200
    (seen,) = attacker.origin.seen
    assert [body for _, body in seen.requests] == [EVIL[:40]]


@pytest.mark.parametrize("version", [b"1.0"])
def test_chunked_in_http_1_0(attacker: Attacker, version: bytes) -> None:
    raw = head(b"POST /x HTTP/%b" % version, b"Host: good.test", b"Transfer-Encoding: chunked") + b"0\r\n\r\n"
    refused(attacker, raw, 400, "bad-request")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"5\nhello\r\n0\r\n\r\n", id="a bare LF after the size"),
        pytest.param(b"0x5\r\nhello\r\n0\r\n\r\n", id="0x5"),
        pytest.param(b"+5\r\nhello\r\n0\r\n\r\n", id="+5"),
        pytest.param(b"-5\r\nhello\r\n0\r\n\r\n", id="-5"),
        pytest.param(b"0_5\r\nhello\r\n0\r\n\r\n", id="0_5"),
        pytest.param(b" 5\r\nhello\r\n0\r\n\r\n", id="a space before the size"),
        pytest.param(b"\r\n5\r\nhello\r\n0\r\n\r\n", id="an empty line before the size"),
        pytest.param(b"5\r\nhelloXX0\r\n\r\n", id="no line break after the data"),
        pytest.param(b"5\r\nhello\n0\r\n\r\n", id="a bare LF after the data"),
        pytest.param(b"fffffffffffffffffffff\r\nhello", id="too large a size"),
        pytest.param(b"5;a\nb\r\nhello\r\n0\r\n\r\n", id="a bare LF in an extension"),
        pytest.param(b"0\r\nX: a\rb\r\n\r\n", id="a bare CR in a trailer"),
        pytest.param(b"0\r\nno colon\r\n\r\n", id="a trailer without a colon"),
    ],
)
def test_malformed_chunks_reach_nobody(attacker: Attacker, body: bytes) -> None:
    line = attacker.tls()
    line.send(posted(b"Transfer-Encoding: chunked", body=body + EVIL))
    said = line.answers(2)
    assert [answer.status for answer in said] in ([400], []), said
    assert attacker.records(line)[0]["verdict"] == "deny"
    assert b"stolen" not in attacker.origin.data
    assert attacker.origin.heads == []


def test_chunk_extensions_are_left_behind(attacker: Attacker) -> None:
    _line, answer = attacker.ask(
        posted(b"Transfer-Encoding: chunked", body=b'5;x="' + SECRET + b'"\r\nhello\r\n0\r\n\r\n')
    )
    assert answer.status == 200
    assert SECRET not in attacker.origin.data
    assert attacker.origin.data.endswith(b"\r\n5\r\nhello\r\n0\r\n\r\n")


def test_a_secret_in_a_trailer(attacker: Attacker) -> None:
    body = b"5\r\nhello\r\n0\r\nX-Note: " + SECRET + b"\r\n\r\n"
    refused(attacker, posted(b"Transfer-Encoding: chunked", b"Trailer: X-Note", body=body), 403, "sensitive-data")


def test_a_body_that_stops_in_the_middle_reaches_nobody(attacker: Attacker) -> None:
    for framing in (b"Transfer-Encoding: chunked", b"Content-Length: 30"):
        line = attacker.tcp()
        line.send(posted(framing, body=b"5\r\nhello\r\n5\r\nhe"))
        line.half_close()
        line.read()
        attacker.records(line)
    assert attacker.origin.heads == []


def test_bare_line_feeds_are_refused(attacker: Attacker) -> None:
    refused(attacker, b"GET /x HTTP/1.1\nHost: good.test\nX: y\n\n", 400, "bad-request")


def test_empty_lines_before_a_request_are_forgiven_and_not_passed_on(attacker: Attacker) -> None:
    _line, answer = attacker.ask(b"\r\n\r\n" + GET)
    assert answer.status == 200
    assert attacker.origin.data == GET


def test_a_denied_head_is_told_so_before_its_body_is_sent(attacker: Attacker) -> None:
    line = attacker.tls("narrow.test")
    line.send(head(b"POST /v2 HTTP/1.1", b"Host: narrow.test", b"Content-Length: 9", b"Expect: 100-continue"))
    raw = line.read(lambda data: b"no-rule" in data)
    assert raw.startswith(b"HTTP/1.1 403 ")
    assert b"100 Continue" not in raw
    assert attacker.origin.seen == []


# -- 44, 62: request lines -----------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"GET /x HTTP/1.2", id="1.2"),
        pytest.param(b"GET /x HTTP/0.9", id="0.9"),
        pytest.param(b"GET /x HTTP/1.10", id="1.10"),
        pytest.param(b"GET /x http/1.1", id="http in lower case"),
        pytest.param(b"GET /x RTSP/1.0", id="RTSP"),
        pytest.param(b"GET  /x HTTP/1.1", id="two spaces"),
        pytest.param(b"GET /x  HTTP/1.1", id="two spaces before the version"),
        pytest.param(b"GET /x y HTTP/1.1", id="a space in the target"),
        pytest.param(b"GET /x\tHTTP/1.1", id="a tab"),
        pytest.param(b"GET /x#y HTTP/1.1", id="a fragment"),
        pytest.param(b"GET /x\x7f HTTP/1.1", id="a control character"),
        pytest.param(b"GET x HTTP/1.1", id="a target that is no path"),
        pytest.param(b"GET * HTTP/1.1", id="an asterisk for GET"),
        pytest.param(b"G(T /x HTTP/1.1", id="a method that is no token"),
        pytest.param(b"GET /x", id="no version"),
    ],
)
def test_a_request_line_that_two_servers_read_differently(attacker: Attacker, line: bytes, clear: bool) -> None:
    attack = attacker.tcp() if clear else attacker.tls()
    attack.send(head(line, b"Host: good.test"))
    said = attack.answers()
    assert [answer.status for answer in said] in ([400], [505]) or (said == [] and attack.end in {"closed", "reset"})
    assert attacker.records(attack)[0]["verdict"] == "deny"
    assert attacker.origin.seen == []


@BOTH
def test_http_0_9_gets_nothing(attacker: Attacker, clear: bool) -> None:
    line = attacker.tcp() if clear else attacker.tls()
    line.send(b"GET /x\r\n")
    assert line.read() == b""
    assert line.end in {"closed", "reset"}
    assert attacker.origin.seen == []


def test_a_method_in_lower_case_is_refused(attacker: Attacker) -> None:
    """Another method to the RFC, the same one to some servers."""
    refused(attacker, head(b"get /v1/a HTTP/1.1", b"Host: narrow.test"), 400, "bad-request", sni="narrow.test")
    refused(attacker, head(b"get /x HTTP/1.1", b"Host: good.test"), 400, "bad-request")


def test_http_1_0_is_answered_once_and_goes_out_as_1_1(attacker: Attacker) -> None:
    line = attacker.tls()
    line.send(head(b"GET /x HTTP/1.0", b"Host: good.test", b"Connection: keep-alive") + EVIL)
    assert [answer.status for answer in line.answers(2)] == [200]
    assert line.end == "closed"
    assert attacker.origin.data == GET


def test_http_1_0_without_a_host_is_refused(attacker: Attacker) -> None:
    refused(attacker, b"GET /x HTTP/1.0\r\n\r\n", 400, "bad-request")


@pytest.mark.parametrize(
    "path",
    [b"/v1/../v2/x", b"/v1/%2e%2e/v2", b"//v1/../v2", b"/v1/..;/v2", b"/v1\\..\\v2", b"/v1/%2e%2e%2fv2", b"/v1/x%2f..%2f..",
     b"/v1/%252e%252e/v2", b"/v1/..%c0%af..", b"/v1/%00", b"/v1/./../v2", b"/v2/..;/v1/x"],
)  # fmt: skip
def test_paths_that_climb(attacker: Attacker, path: bytes) -> None:
    line, answer = attacker.ask(head(b"GET %b HTTP/1.1" % path, b"Host: narrow.test"), sni="narrow.test")
    assert answer.status in {400, 403}
    assert attacker.reason(line) in {"ambiguous-path", "no-rule"}
    assert attacker.origin.seen == []


@pytest.mark.parametrize(
    "path", [b"/V1/x", b"/v1", b"/v2/x?/v1/", b"/v2;/v1/x", b"/%76%32/x", b"/v1x/y", b"/x/v1/y", b"/v2/x#/v1/"]
)
def test_paths_that_only_resemble_a_permitted_one(attacker: Attacker, path: bytes) -> None:
    line, answer = attacker.ask(head(b"GET %b HTTP/1.1" % path, b"Host: narrow.test"), sni="narrow.test")
    assert answer.status in {400, 403}, attacker.records(line)
    assert attacker.origin.seen == []


@pytest.mark.parametrize("extra", [(b"Range: bytes=0-0",), (b"If-None-Match: *",), (b"X-HTTP-Method-Override: GET",)])
@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS"])
def test_a_denied_path_is_denied_however_little_of_it_is_asked_for(
    attacker: Attacker, method: bytes, extra: tuple[bytes, ...]
) -> None:
    line = attacker.tls("narrow.test")
    line.send(head(b"%b /v2 HTTP/1.1" % method, b"Host: narrow.test", *extra))
    assert line.read(lambda data: b"\r\n\r\n" in data).startswith(b"HTTP/1.1 403 ")
    assert attacker.origin.seen == []


@pytest.mark.parametrize(
    "field",
    [
        b"X-HTTP-Method-Override: DELETE",
        b"X-Method-Override: DELETE",
        b"X-HTTP-Method: DELETE",
        b"x-http-method-OVERRIDE:delete",
    ],
)
def test_a_method_in_a_field_needs_the_permit_of_that_method(attacker: Attacker, field: bytes) -> None:
    raw = head(b"POST /v1/a HTTP/1.1", b"Host: narrow.test", field, b"Content-Length: 0")
    refused(attacker, raw, 403, "no-rule", sni="narrow.test")


def test_a_method_in_a_field_passes_where_any_method_does(attacker: Attacker) -> None:
    _line, answer = attacker.ask(posted(b"X-HTTP-Method-Override: PATCH", b"Content-Length: 0"))
    assert answer.status == 200
    assert b"X-HTTP-Method-Override: PATCH" in attacker.origin.data


# -- 55: too much -----------------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize(
    "fields",
    [
        pytest.param((b"X: " + b"a" * 70_000,), id="70 KB"),
        pytest.param(tuple(b"X%d: a" % number for number in range(10_000)), id="10,000 lines"),
        pytest.param(tuple(b"X:" for _ in range(500)), id="500 tiny ones"),
    ],
)
def test_huge_heads(attacker: Attacker, fields: tuple[bytes, ...], clear: bool) -> None:
    refused(attacker, head(b"GET /x HTTP/1.1", b"Host: good.test", *fields), 431, "head-too-large", clear=clear)


def test_a_target_of_seventy_kilobytes(attacker: Attacker) -> None:
    refused(attacker, head(b"GET /%b HTTP/1.1" % (b"a" * 70_000), b"Host: good.test"), 431, "head-too-large")
