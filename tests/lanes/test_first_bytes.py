from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.facts import Wire
from sluicegate.lanes.first_bytes import wire


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b"\x16\x03\x01", Wire.TLS, id="a TLS record"),
        pytest.param(b"\x16\x41", Wire.OTHER, id="0x16 alone is not TLS"),
        pytest.param(b"GET / HTTP/1.1\r\n", Wire.HTTP1, id="GET"),
        pytest.param(b"get / HTTP/1.1\r\n", Wire.HTTP1, id="a method in small letters is for the lane to refuse"),
        pytest.param(b"OPTIONS * HTTP/1.1\r\n", Wire.HTTP1, id="asterisk form"),
        pytest.param(b"GET HTTP://a.test/ HTTP/1.1\r\n", Wire.HTTP1, id="absolute form"),
        pytest.param(b"CONNECT a.test:443 HTTP/1.1\r\n", Wire.HTTP1, id="authority form"),
        pytest.param(b"M-SEARCH * HTTP/1.1\r\n", Wire.HTTP1, id="a method with a hyphen"),
        pytest.param(b"SSHX / HTTP/1.1", Wire.HTTP1, id="a method like SSH"),
        pytest.param(b"PRI /x HTTP/1.1", Wire.HTTP1, id="a method like the preface"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Wire.HTTP2, id="the preface"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2 Debian\r\n", Wire.SSH, id="SSH"),
        pytest.param(b"EHLO mail.test\r\n", Wire.OTHER, id="SMTP"),
        pytest.param(b"USER anonymous\r\n", Wire.OTHER, id="FTP"),
        pytest.param(b"USER httpd\r\n", Wire.OTHER, id="FTP with a name like a scheme"),
        pytest.param(b"*1\r\n$4\r\nPING\r\n", Wire.OTHER, id="Redis"),
        pytest.param(b"\r\nGET / HTTP/1.1\r\n", Wire.OTHER, id="an empty line first"),
        pytest.param(b"GET\x0b/x\x0cHTTP/1.1\n", Wire.OTHER, id="vertical tab for a space"),
        pytest.param(b"GET  / HTTP/1.1", Wire.OTHER, id="two spaces"),
        pytest.param(b"A" * 33, Wire.OTHER, id="a method of 33 letters"),
        pytest.param(b"A" * 32 + b" /", Wire.HTTP1, id="a method of 32 letters"),
        pytest.param(b" GET /", Wire.OTHER, id="a space first"),
        pytest.param(b"\0\0\0\x08\x04\xd2\x16\x2f", Wire.OTHER, id="Postgres SSLRequest"),
        pytest.param(b"\x80\x2e\x01\x00\x02", Wire.OTHER, id="a ClientHello of SSL 2"),
        pytest.param(b"", None, id="nothing"),
        pytest.param(b"\x16", None, id="one byte of TLS"),
        pytest.param(b"G", None, id="one byte of GET"),
        pytest.param(b"GET ", None, id="a method and no target"),
        pytest.param(b"GET htt", None, id="half a scheme"),
        pytest.param(b"SSH", None, id="SSH or a method"),
        pytest.param(b"PRI * HTTP/2.", None, id="a preface or a request"),
    ],
)
def test_table(data: bytes, expected: Wire | None):
    assert wire(data) is expected


@pytest.mark.parametrize(
    "data",
    [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM", b"SSH-2.0-x\r\n", b"\x16\x03\x01\x00\x05", b"EHLO a\r\n"],
)
def test_byte_by_byte_it_is_decided_once(data: bytes):
    answers = [wire(data[:end]) for end in range(len(data) + 1)]
    decided = [answer for answer in answers if answer is not None]
    assert set(decided) == {wire(data)}
    assert answers[: answers.index(decided[0])] == [None] * answers.index(decided[0])
    assert answers[0] is None


@settings(max_examples=1000)
@given(st.binary(max_size=12) | st.text("GETSHPRI*/ -0x\r\n", max_size=16).map(str.encode), st.binary(max_size=12))
def test_more_bytes_never_change_an_answer(beginning: bytes, more: bytes):
    answer = wire(beginning)
    if answer is not None:
        assert wire(beginning + more) is answer


@given(st.binary(min_size=60, max_size=80))
def test_sixty_bytes_are_enough(data: bytes):
    assert wire(data) is not None
