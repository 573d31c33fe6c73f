from __future__ import annotations

from ipaddress import ip_address

import pytest

from sluicegate.exchange.heads import MAX_FIELDS, Connection, Headers, RequestHead, read
from sluicegate.exchange.stop import Stop
from sluicegate.facts import Endpoint, Hello, Lane, Wire, Workload
from sluicegate.names import HostName
from sluicegate.verdict import Reason

LIMIT = 64 << 10
SOURCE = Endpoint(ip_address("10.0.0.1"), 4000)
WEB = Workload("shop", "web-1")


def connection(*, tls: bool = True, name: str | None = "a.test", port: int = 443, explicit: bool = False) -> Connection:
    parsed = HostName.parse(name) if name else None
    hello = Hello(Wire.TLS if tls else Wire.HTTP1)
    return Connection("id", WEB, SOURCE, None, hello, parsed, port, tls=tls, lane=Lane.MITM, explicit=explicit)


PLAIN = connection(tls=False, name=None, port=80)


def head(
    *fields: tuple[bytes, bytes],
    method: bytes = b"GET",
    target: bytes = b"/",
    version: str = "HTTP/1.1",
    authority: bytes = b"",
    host: bytes | None = b"a.test",
    scheme: bytes = b"",
) -> RequestHead:
    hosts: Headers = () if host is None else ((b"Host", host),)
    return RequestHead(method, scheme, authority, target, version, (*hosts, *fields))


def test_a_plain_request_is_read() -> None:
    target = read(head(target=b"/v1/x?q=1"), connection(), LIMIT)

    assert (str(target.name), target.port, target.method) == ("a.test", 443, "GET")
    assert (target.path.path, target.path.query) == ("/v1/x", "q=1")
    assert not target.websocket


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(head(host=b"A.TEST"), id="case"),
        pytest.param(head(host=b"a.test."), id="trailing dot"),
        pytest.param(head(host=b"a.test:443"), id="the port of the connection"),
        pytest.param(head(authority=b"a.test"), id="absolute form that agrees"),
        pytest.param(head(version="HTTP/2.0", authority=b"a.test", host=None), id="HTTP/2 without Host"),
        pytest.param(head(version="HTTP/1.0"), id="HTTP/1.0 with Host"),
        pytest.param(head((b"Content-Length", b"5")), id="one length"),
        pytest.param(head((b"Transfer-Encoding", b"Chunked")), id="chunked in any case"),
        pytest.param(head(method=b"OPTIONS", target=b"*"), id="OPTIONS of the server"),
    ],
)
def test_one_name_in_any_spelling_is_the_same_name(made: RequestHead) -> None:
    assert read(made, connection(), LIMIT).name == HostName.parse("a.test")


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        pytest.param(head(host=None), Reason.BAD_REQUEST, id="no Host"),
        pytest.param(head(host=None, version="HTTP/1.0"), Reason.BAD_REQUEST, id="no Host in HTTP/1.0"),
        pytest.param(head(host=b""), Reason.BAD_NAME, id="an empty Host"),
        pytest.param(head((b"host", b"a.test")), Reason.BAD_REQUEST, id="two Hosts that agree"),
        pytest.param(head((b"Host", b"e.test")), Reason.BAD_REQUEST, id="two Hosts that do not"),
        pytest.param(head(host=b"a.test, e.test"), Reason.BAD_NAME, id="two names in one Host"),
        pytest.param(head(host=b"a.test@e.test"), Reason.BAD_NAME, id="userinfo"),
        pytest.param(head(host=b"a.test/e.test"), Reason.BAD_NAME, id="a slash in Host"),
        pytest.param(head(host=b"a.test\0"), Reason.BAD_REQUEST, id="NUL in Host"),
        pytest.param(head(host=b"[a.test]"), Reason.BAD_NAME, id="brackets around a name"),
        pytest.param(head(host=b"a.test.."), Reason.BAD_NAME, id="two trailing dots"),
        pytest.param(head(host=b"a.test:81"), Reason.NAMES_DISAGREE, id="another port"),
        pytest.param(head(host=b"a.test:0443x"), Reason.BAD_NAME, id="a port that is none"),
        pytest.param(head(host=b"e.test"), Reason.NAMES_DISAGREE, id="another name than the connection's"),
        pytest.param(head(host=b"b.a.test"), Reason.NAMES_DISAGREE, id="a name below the connection's"),
        pytest.param(head(authority=b"e.test"), Reason.BAD_REQUEST, id="absolute form that disagrees with Host"),
        pytest.param(head(version="HTTP/2.0", authority=b"a.test", host=b"e.test"), Reason.BAD_REQUEST, id=":authority and Host"),
        pytest.param(head(version="HTTP/2.0", authority=b"e.test", host=None), Reason.NAMES_DISAGREE, id=":authority and SNI"),
        pytest.param(head(version="HTTP/2.0", host=None), Reason.BAD_REQUEST, id="HTTP/2 with neither"),
        pytest.param(head(scheme=b"http"), Reason.NAMES_DISAGREE, id="a scheme that is not the connection's"),
        pytest.param(head(version="HTTP/1.2"), Reason.BAD_REQUEST, id="version 1.2"),
        pytest.param(head(version="HTTP/0.9"), Reason.BAD_REQUEST, id="version 0.9"),
        pytest.param(head(method=b"GE T"), Reason.BAD_REQUEST, id="a space in the method"),
        pytest.param(head(method=b""), Reason.BAD_REQUEST, id="no method"),
        pytest.param(head(method=b"CONNECT", target=b"/"), Reason.BAD_REQUEST, id="CONNECT inside"),
        pytest.param(head(target=b"/a b"), Reason.BAD_REQUEST, id="a space in the target"),
        pytest.param(head(target=b"/a#b"), Reason.BAD_REQUEST, id="a fragment"),
        pytest.param(head(target=b"a.test:443"), Reason.BAD_REQUEST, id="authority form"),
        pytest.param(head(target=b"*"), Reason.BAD_REQUEST, id="* with GET"),
        pytest.param(head((b"X y", b"1")), Reason.BAD_REQUEST, id="a space in a field name"),
        pytest.param(head((b"", b"1")), Reason.BAD_REQUEST, id="a field without a name"),
        pytest.param(head((b"X", b"a\rTransfer-Encoding: chunked")), Reason.BAD_REQUEST, id="a bare CR in a value"),
        pytest.param(head((b"X", b"a\nB: c")), Reason.BAD_REQUEST, id="a bare LF in a value"),
        pytest.param(head((b"X", b"a\r\n b")), Reason.BAD_REQUEST, id="a folded line"),
        pytest.param(head((b"Content-Length", b"1"), (b"Content-Length", b"1")), Reason.BAD_REQUEST, id="two lengths"),
        pytest.param(head((b"Content-Length", b"1, 1")), Reason.BAD_REQUEST, id="a list of lengths"),
        pytest.param(head((b"Content-Length", b"+5")), Reason.BAD_REQUEST, id="a signed length"),
        pytest.param(head((b"Content-Length", b"0_5")), Reason.BAD_REQUEST, id="an underscore in a length"),
        pytest.param(head((b"Content-Length", b"")), Reason.BAD_REQUEST, id="an empty length"),
        pytest.param(head((b"Content-Length", b"5"), (b"Transfer-Encoding", b"chunked")), Reason.BAD_REQUEST, id="CL and TE"),
        pytest.param(head((b"Transfer-Encoding", b"gzip, chunked")), Reason.BAD_REQUEST, id="two codings"),
        pytest.param(head((b"Transfer-Encoding", b"xchunked")), Reason.BAD_REQUEST, id="an unknown coding"),
        pytest.param(head((b"Transfer-Encoding", b"chunked"), version="HTTP/1.0"), Reason.BAD_REQUEST, id="chunked in 1.0"),
        pytest.param(head((b"Expect", b"200-ok")), Reason.BAD_REQUEST, id="an unknown expectation"),
        pytest.param(head(*[(b"x", b"y")] * MAX_FIELDS), Reason.HEAD_TOO_LARGE, id="one field too many"),
        pytest.param(head((b"x", b"y" * LIMIT)), Reason.HEAD_TOO_LARGE, id="a field too long"),
    ],
)  # fmt: skip
def test_what_two_servers_may_read_differently_is_refused(made: RequestHead, reason: Reason) -> None:
    with pytest.raises(Stop) as stop:
        read(made, connection(), LIMIT)

    assert stop.value.reason is reason


def test_plain_http_may_name_another_host_in_each_request() -> None:
    assert read(head(host=b"e.test"), PLAIN, LIMIT).name == HostName.parse("e.test")


def test_an_explicit_proxy_is_told_host_and_port_by_the_target() -> None:
    made = head(host=b"e.test:8080", authority=b"e.test:8080", scheme=b"http")

    assert read(made, connection(tls=False, name=None, port=80, explicit=True), LIMIT).port == 8080


@pytest.mark.parametrize(
    ("fields", "websocket"),
    [
        pytest.param((), True, id="the handshake of RFC 6455"),
        pytest.param(((b"Upgrade", b"h2c"),), False, id="two offers"),
    ],
)
def test_a_websocket_is_recognised(fields: Headers, websocket: bool) -> None:
    made = head(
        (b"Upgrade", b"websocket"), (b"Connection", b"keep-alive, Upgrade"), (b"Sec-WebSocket-Key", b"x"), *fields
    )

    assert read(made, connection(), LIMIT).websocket is websocket
