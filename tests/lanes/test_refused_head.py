from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.lanes.refused_head import Head, complete, read
from sluicegate.names import HostName

A = HostName.parse("a.test")


def head(line: bytes, *fields: bytes) -> bytes:
    return b"\r\n".join([line, *fields]) + b"\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(head(b"GET /x HTTP/1.1", b"Host: a.test"), Head("GET", A, "/x"), id="plain"),
        pytest.param(head(b"GET /x?token=s3cret#f HTTP/1.1", b"Host: a.test"), Head("GET", A, "/x"), id="no query"),
        pytest.param(head(b"GET http://b.test/x?y HTTP/1.1", b"Host: a.test"), Head("GET", A, "/x"), id="absolute"),
        pytest.param(head(b"GET http://b.test HTTP/1.1", b"Host: a.test"), Head("GET", A), id="absolute without path"),
        pytest.param(head(b"OPTIONS * HTTP/1.1", b"Host: a.test"), Head("OPTIONS", A), id="asterisk"),
        pytest.param(head(b"GET / HTTP/1.0"), Head("GET", None, "/"), id="no host"),
        pytest.param(head(b"GET / HTTP/1.1", b"Host: a.test", b"host: b.test"), Head("GET", None, "/"), id="two hosts"),
        pytest.param(head(b"GET / HTTP/1.1", b"Host: a.test, b.test"), Head("GET", None, "/"), id="a list of hosts"),
        pytest.param(head(b"GET / HTTP/1.1", b"Host: a.test:8443"), Head("GET", A, "/"), id="host and port"),
        pytest.param(
            head(b"GET / HTTP/1.1", b"Accept: a/b", b"ACCEPT:c/d"), Head("GET", None, "/", "a/b,c/d"), id="two accepts"
        ),
        pytest.param(
            head(b"GET /" + b"x" * 2000 + b" HTTP/1.1"), Head("GET", None, "/" + "x" * 1023), id="a long path"
        ),
        pytest.param(head(b"GET / HTTP/2.0"), Head(), id="another version"),
        pytest.param(head(b"GET  / HTTP/1.1"), Head(), id="two spaces"),
        pytest.param(head(b"GET /\xff HTTP/1.1"), Head(), id="not ASCII"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a.test", Head("GET", A, "/"), id="cut"),
        pytest.param(b"", Head(), id="nothing"),
    ],
)
def test_read(data: bytes, expected: Head):
    assert read(data) == expected


@given(st.binary(max_size=200) | st.binary(max_size=80).map(lambda more: b"GET / HTTP/1.1\r\nHost: " + more))
def test_any_bytes_give_a_head(data: bytes):
    found = read(data)
    assert found.path is None or found.path.isprintable()


@pytest.mark.parametrize("cut", range(1, 8))
def test_the_end_is_seen_wherever_it_is_cut(cut: int):
    whole = head(b"GET / HTTP/1.1")
    assert not complete(bytearray(whole[:-1]), 0)
    assert complete(bytearray(whole), len(whole) - cut)
