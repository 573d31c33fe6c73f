"""Tricks of HTTP/2: heads that are no heads, names that change between streams, and floods."""

from __future__ import annotations

import pytest
from hyperframe.frame import ContinuationFrame, DataFrame, Frame, HeadersFrame

from net.attacker import Attacker
from net.frames import Frames

pytestmark = pytest.mark.net

GET = b"GET /x HTTP/1.1\r\nHost: good.test\r\n\r\n"
EVIL = b"GET /stolen HTTP/1.1\r\nHost: evil.test\r\n\r\n"
SECRET = b"AKIA" + b"Z7VR5SNQ2LKX4WTD"


def test_http_2_goes_out_as_the_same_request(attacker: Attacker) -> None:
    client = Frames(attacker)
    client.send(client.head(1, client.block()))
    assert client.wait(1) == 200
    assert attacker.origin.heads == [b"GET /x HTTP/1.1\r\nHost: good.test"]


def test_another_authority_on_a_second_stream_is_misdirected_and_the_first_goes_on(attacker: Attacker) -> None:
    client = Frames(attacker)
    client.send(client.head(1, client.block()))
    assert client.wait(1) == 200
    client.send(client.head(3, client.block(authority=b"evil.test", path=b"/stolen")))
    assert client.wait(3) == 421
    client.send(client.head(5, client.block(path=b"/again")))
    assert client.wait(5) == 200
    assert [row["reason"] for row in attacker.records(client.line, 3)] == ["rule", "names-disagree", "rule"]
    assert b"stolen" not in attacker.origin.data


@pytest.mark.parametrize(
    ("fields", "instead"),
    [
        pytest.param([(b"host", b"evil.test")], {}, id="host is another"),
        pytest.param([(b"host", b"evil.test"), (b"host", b"good.test")], {}, id="two hosts, the last one matching"),
        pytest.param([(b"host", b"good.test"), (b"host", b"good.test")], {}, id="host twice"),
        pytest.param([(b"host", b"evil.test")], {"authority": b""}, id="host in place of authority"),
        pytest.param([], {"authority": b""}, id="no authority"),
        pytest.param([], {"authority": b"good.test,evil.test"}, id="a list"),
        pytest.param([], {"authority": b"x@good.test"}, id="user information"),
        pytest.param([], {"authority": b"good.test:81"}, id="another port"),
        pytest.param([], {"scheme": b"http"}, id="another scheme"),
        pytest.param([], {"scheme": b"https://evil.test/?"}, id="a scheme that is more"),
        pytest.param([(b"x", b"a\r\nhost: evil.test")], {}, id="a line break in a value"),
        pytest.param([(b"x", b"a\nhost: evil.test")], {}, id="a bare LF in a value"),
        pytest.param([(b"x", b"a\rb")], {}, id="a bare CR in a value"),
        pytest.param([(b"x", b"a\0b")], {}, id="a NUL in a value"),
        pytest.param([(b"x\r\nhost", b"evil.test")], {}, id="a line break in a name"),
        pytest.param([(b"x: y", b"z")], {}, id="a colon in a name"),
        pytest.param([(b"X-Upper", b"z")], {}, id="an upper-case name"),
        pytest.param([(b"", b"z")], {}, id="an empty name"),
        pytest.param([(b":path", b"/stolen")], {}, id="two paths"),
        pytest.param([(b":evil", b"x")], {}, id="an unknown pseudo-field"),
        pytest.param([(b"x", b"y"), (b":authority", b"evil.test")], {}, id="a pseudo-field after the others"),
        pytest.param([], {"path": b"/x HTTP/1.1\r\nHost: evil.test\r\nX:"}, id="a line break in the path"),
        pytest.param([], {"path": b"/x HTTP/1.1"}, id="a space in the path"),
        pytest.param([], {"path": b"https://evil.test/x"}, id="an absolute path"),
        pytest.param([], {"path": b""}, id="no path"),
        pytest.param([], {"method": b"GET /stolen HTTP/1.1\r\nHost: evil.test\r\n\r\nGET"}, id="a head in the method"),
        pytest.param([], {"method": b"CONNECT"}, id="CONNECT with a path"),
        pytest.param([], {"method": b"CONNECT", "path": b"", "scheme": b""}, id="CONNECT"),
        pytest.param([(b"transfer-encoding", b"chunked")], {}, id="transfer-encoding"),
        pytest.param([(b"connection", b"x")], {}, id="connection"),
        pytest.param([(b"upgrade", b"h2c")], {}, id="upgrade"),
        pytest.param([(b"te", b"gzip")], {}, id="te"),
        pytest.param([(b"content-length", b"5")], {}, id="a length, and no body"),
        pytest.param([(b"content-length", b"0"), (b"content-length", b"5")], {}, id="two lengths"),
        pytest.param([(b"content-length", b"+0")], {}, id="+0"),
    ],
)
def test_heads_of_http_2_that_are_no_heads(
    attacker: Attacker, fields: list[tuple[bytes, bytes]], instead: dict[str, bytes]
) -> None:
    client = Frames(attacker)
    client.send(client.head(1, client.block(*fields, **instead)))
    assert client.wait(1) in {None, 400, 421}, client.bodies
    assert attacker.records(client.line)[0]["verdict"] == "deny"
    assert attacker.origin.seen == []


def test_extended_connect_is_no_tunnel(attacker: Attacker) -> None:
    client = Frames(attacker)
    for stream, protocol in ((1, b"websocket"), (3, b"connect-udp")):
        client.send(client.head(stream, client.block(method=b"CONNECT", protocol=protocol), end=False))
        assert client.wait(stream) in {None, 400}
    assert attacker.origin.seen == []


@pytest.mark.parametrize("said", [3, 9], ids=["less than is sent", "more than is sent"])
def test_a_length_that_lies(attacker: Attacker, said: int) -> None:
    client = Frames(attacker)
    block = client.block((b"content-length", b"%d" % said), method=b"POST")
    client.send(client.head(1, block, end=False), DataFrame(1, b"hello", flags=["END_STREAM"]))
    assert client.wait(1) in {None, 400}
    client.line.close()
    attacker.records(client.line)
    assert attacker.origin.heads == []


def test_a_secret_in_http_2_trailers(attacker: Attacker) -> None:
    client = Frames(attacker)
    block = client.block(method=b"POST")
    client.send(client.head(1, block, end=False), DataFrame(1, b"hello"), client.trailers(1, (b"x-note", SECRET)))
    assert client.wait(1) == 403
    assert attacker.reason(client.line) == "sensitive-data"
    assert SECRET not in attacker.origin.data


def test_continuation_without_end(attacker: Attacker) -> None:
    client = Frames(attacker)
    client.send(HeadersFrame(1, client.block()))
    for _ in range(500):
        client.send(ContinuationFrame(1, b"\x40\x01x\x01y"))
        if client.line.end != "open":
            break
    client.wait_for_the_end()
    assert client.gone is not None or client.line.end in {"closed", "reset"}
    assert attacker.origin.seen == []
    assert attacker.ask(GET)[1].status == 200, "others are served"


def test_a_head_that_swells_when_it_is_decoded(attacker: Attacker) -> None:
    client = Frames(attacker)
    block = client.block((b"x", b"y" * 4000)) + b"\xbe" * 16_000  # 16,000 times the field just learnt: 64 MB
    data = block
    pieces = [data[at : at + 16_000] for at in range(0, len(data), 16_000)]
    send: list[Frame] = [HeadersFrame(1, pieces[0], flags=["END_STREAM"])]
    send += [ContinuationFrame(1, piece) for piece in pieces[1:]]
    send[-1].flags.add("END_HEADERS")
    client.send(*send)
    assert client.wait(1) in {None, 431}
    assert attacker.origin.seen == []
    assert attacker.ask(GET)[1].status == 200, "others are served"


@pytest.mark.parametrize(
    "opening",
    [
        pytest.param(GET, id="HTTP/1"),
        pytest.param(b"SSH-2.0-x\r\n", id="SSH"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", id="a preface with an error in it"),
    ],
)
def test_who_asks_for_http_2_must_speak_it(attacker: Attacker, opening: bytes) -> None:
    line = attacker.tls(context=attacker.context(["h2"]))
    line.send(opening)
    line.read()
    assert line.end in {"closed", "reset"}
    assert attacker.reason(line) == "not-http"
    assert attacker.origin.seen == []
