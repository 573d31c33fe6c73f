"""What a head says beside its request line: other methods, and bodies that do not come."""

from __future__ import annotations

import pytest

from sluicegate import paths
from sluicegate.exchange.heads import Headers, RequestHead, Target
from sluicegate.exchange.overrides import check_end, methods
from sluicegate.exchange.stop import Stop
from sluicegate.names import HostName


def asked(*headers: tuple[bytes, bytes], target: bytes = b"/", method: str = "POST") -> list[str]:
    head = head_of(headers, target)
    return list(methods(head, Target(HostName.parse("a.test"), 443, method, paths.canonical(target), websocket=False)))


def head_of(headers: Headers, target: bytes = b"/") -> RequestHead:
    return RequestHead(b"POST", b"https", b"", target, "HTTP/1.1", headers)


@pytest.mark.parametrize(
    ("headers", "target", "expected"),
    [
        pytest.param((), b"/", [], id="none"),
        pytest.param(((b"X-HTTP-Method-Override", b"DELETE"),), b"/", ["DELETE"], id="the field most use"),
        pytest.param(((b"X-Method-Override", b" delete\t"),), b"/", ["DELETE"], id="lower case and blanks"),
        pytest.param(((b"x-http-method", b"MERGE"),), b"/", ["MERGE"], id="OData's"),
        pytest.param(((b"X-HTTP-Method", b"POST"),), b"/", [], id="the method that it has"),
        pytest.param(
            ((b"X-HTTP-Method", b"PUT"), (b"X-HTTP-Method", b"DELETE")), b"/", ["PUT", "DELETE"], id="all of several"
        ),
        pytest.param(((b"X-Method", b"DELETE"),), b"/", [], id="a field that nobody reads so"),
        pytest.param((), b"/?a=b&_method=delete", ["DELETE"], id="in the query"),
        pytest.param((), b"/?_%6dethod=put", ["PUT"], id="in the query, escaped"),
        pytest.param((), b"/?_method=get+list", [], id="a query that names no method"),
        pytest.param((), b"/_method=DELETE", [], id="in the path it is only text"),
        pytest.param((), b"/?my_method=DELETE", [], id="another key"),
    ],
)
def test_every_method_that_a_server_may_take_it_for_is_asked_about(
    headers: Headers, target: bytes, expected: list[str]
) -> None:
    assert asked(*headers, target=target) == expected


@pytest.mark.parametrize("value", [b"", b"DELETE, GET", b"DEL ETE", b"\xe9", b"X" * 33])
def test_a_field_that_names_no_method_is_malformed(value: bytes) -> None:
    with pytest.raises(Stop):
        asked((b"X-HTTP-Method-Override", value))


@pytest.mark.parametrize(
    ("length", "end", "fits"),
    [
        pytest.param(b"5", True, False, id="announced, and none comes"),
        pytest.param(b"5", False, True, id="announced, and it may come"),
        pytest.param(b"0", True, True, id="none announced"),
        pytest.param(b"00", True, True, id="zero in two digits"),
    ],
)
def test_a_length_without_a_body(length: bytes, end: bool, fits: bool) -> None:
    head = head_of(((b"Content-Length", length),))
    if fits:
        check_end(head, end=end)
    else:
        with pytest.raises(Stop):
            check_end(head, end=end)


def test_no_length_and_no_body() -> None:
    check_end(head_of(()), end=True)
