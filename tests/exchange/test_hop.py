from __future__ import annotations

import pytest

from exchange.test_heads import LIMIT, PLAIN, connection, head
from sluicegate.exchange.heads import Headers, ResponseHead, read
from sluicegate.exchange.hop import request_headers, response_headers
from sluicegate.exchange.stop import Stop


def sent(*fields: tuple[bytes, bytes], host: bytes = b"A.test.") -> Headers:
    made = head(*fields, host=host)
    return request_headers(made, read(made, connection(), LIMIT), tls=True)


def test_host_comes_first_and_in_canonical_form() -> None:
    assert sent((b"Accept", b"*/*")) == ((b"Host", b"a.test"), (b"Accept", b"*/*"))


def test_the_port_stands_in_host_where_it_is_not_the_schemes_own() -> None:
    made = head(host=b"a.test:443")

    assert request_headers(made, read(made, connection(tls=False, port=443), LIMIT), tls=False)[0] == (
        b"Host",
        b"a.test:443",
    )
    assert request_headers(made, read(made, connection(), LIMIT), tls=True)[0] == (b"Host", b"a.test")


@pytest.mark.parametrize(
    "field",
    [
        (b"Proxy-Authorization", b"Basic eA=="),
        (b"Proxy-Connection", b"keep-alive"),
        (b"Keep-Alive", b"300"),
        (b"Upgrade", b"h2c"),
        (b"HTTP2-Settings", b"AAMAAABk"),
        (b"TE", b"gzip"),
        (b"Expect", b"100-continue"),
    ],
)
def test_fields_of_one_hop_stay_here(field: tuple[bytes, bytes]) -> None:
    assert sent(field) == ((b"Host", b"a.test"),)


def test_fields_that_connection_names_stay_here_but_never_those_that_frame() -> None:
    assert sent((b"Connection", b"X-Hop, Content-Length, close"), (b"X-Hop", b"1"), (b"Content-Length", b"3")) == (
        (b"Host", b"a.test"),
        (b"Content-Length", b"3"),
    )


def test_a_websocket_goes_on_without_compression() -> None:
    fields = (
        (b"Upgrade", b"websocket"), (b"Connection", b"Upgrade"), (b"Sec-WebSocket-Key", b"x"),
        (b"Sec-WebSocket-Extensions", b"permessage-deflate"),
    )  # fmt: skip

    assert sent(*fields)[1:] == (
        (b"Sec-WebSocket-Key", b"x"), (b"Connection", b"Upgrade"), (b"Upgrade", b"websocket"),
    )  # fmt: skip


def test_a_response_loses_what_would_lead_its_client_elsewhere() -> None:
    made = ResponseHead(200, ((b"Alt-Svc", b'h3=":443"'), (b"Connection", b"x-a"), (b"X-A", b"1"), (b"Server", b"n")))

    assert response_headers(made, websocket=False) == ((b"Server", b"n"),)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(((b"Content-Length", b"1"), (b"Content-Length", b"2")), id="two lengths"),
        pytest.param(((b"Content-Length", b"1"), (b"Transfer-Encoding", b"chunked")), id="CL and TE"),
        pytest.param(((b"Transfer-Encoding", b"gzip"),), id="an unknown coding"),
        pytest.param(((b"X", b"a\rb"),), id="a bare CR"),
    ],
)
def test_a_response_that_two_clients_may_frame_differently_is_refused(fields: Headers) -> None:
    with pytest.raises(Stop):
        response_headers(ResponseHead(200, fields), websocket=False)


def test_plain_http_keeps_no_upgrade_offer() -> None:
    made = head((b"Upgrade", b"h2c"), (b"Connection", b"Upgrade, HTTP2-Settings"), (b"HTTP2-Settings", b"x"))

    assert request_headers(made, read(made, PLAIN, LIMIT), tls=False) == ((b"Host", b"a.test"),)
