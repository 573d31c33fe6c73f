"""Tricks with the name in a ClientHello: forms of it, two of it, none of it, and others than the one in Host."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from lanes import hellos
from net.attacker import EVIL_V4, GOOD_V4, Attacker, Line

pytestmark = pytest.mark.net

GET = b"GET /x HTTP/1.1\r\nHost: good.test\r\n\r\n"
EVIL = b"GET /x HTTP/1.1\r\nHost: evil.test\r\n\r\n"


def cut(data: bytes, *at: int) -> list[bytes]:
    return [data[start:end] for start, end in itertools.pairwise([0, *at, len(data)])]


def in_records(hello: bytes, size: int) -> bytes:
    """The handshake message of a one-record flight, in records of this size."""
    return hellos.records(hello[5:], size)


# -- 3, 31, 35: the name and the address ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["good.test", "sealed.test"])
def test_a_good_name_at_an_evil_address_goes_to_the_good_address(attacker: Attacker, name: str) -> None:
    context = attacker.undecrypted()
    line = attacker.tls(name, address=EVIL_V4, context=context)
    line.send(GET.replace(b"good.test", name.encode()))
    assert line.answers()[0].status == 200
    line.close()
    assert {seen.address for seen in attacker.origin.seen} == {GOOD_V4}
    assert attacker.records(line)[0]["dialled"] == f"{GOOD_V4}:443"


def test_a_secret_in_the_name_asks_nobody(attacker: Attacker) -> None:
    line = attacker.tls("c2VjcmV0.evil.test")
    line.send(EVIL)
    assert line.answers()[0].status == 403
    assert attacker.reason(line) == "no-rule"
    assert not [name for name in attacker.queries() if name.endswith("evil.test.")]
    assert attacker.origin.seen == []


# -- 5, 6, 18, 19: the name itself --------------------------------------------------------------------------------


def raw_hello(attacker: Attacker, sni: bytes | None, *more: bytes) -> Line:
    """A hello by hand, for names that no TLS library would send; its handshake cannot be completed."""
    line = attacker.tcp(443)
    extensions = [*([] if sni is None else [hellos.sni(sni)]), *more]
    line.raw(hellos.hello(*extensions, hellos.extension(43, b"\x02\x03\x03")))
    return line


@pytest.mark.parametrize(
    "sni",
    [
        pytest.param(b"203.0.113.77", id="an address"),
        pytest.param(b"0xcb00714d", id="an address in hexadecimal"),
        pytest.param(b"[2001:db8:9::10]", id="an IPv6 address"),
        pytest.param(b"evil.test\0.good.test", id="a NUL"),
        pytest.param(b"good.test\0", id="a NUL at the end"),
        pytest.param(b"good.test\r\n", id="a line break"),
        pytest.param(b"good.test:443", id="a port"),
        pytest.param(b"good.test,evil.test", id="a list"),
        pytest.param(b"x@good.test", id="user information"),
        pytest.param(b"good..test", id="an empty label"),
        pytest.param(b".good.test", id="a dot first"),
        pytest.param(b"good.test..", id="two dots last"),
        pytest.param(b"*.test", id="a wildcard"),
        pytest.param(b"g\xd0\xbe\xd0\xbed.test", id="UTF-8"),
        pytest.param(b"g%6fod.test", id="percent signs"),
        pytest.param(b"xn--a.test", id="an A-label that is none"),
        pytest.param(b"a" * 64 + b".test", id="a label of 64"),
        pytest.param(b"a." * 127 + b"test", id="more than 253 characters"),
        pytest.param(b"a." * 200 + b"test", id="more than 255 bytes"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_a_name_that_two_servers_could_read_differently_is_reset(attacker: Attacker, sni: bytes) -> None:
    line = raw_hello(attacker, sni)
    line.read()
    assert line.end == "reset"
    assert attacker.reason(line) == "bad-hello"
    assert attacker.origin.seen == []


@pytest.mark.parametrize(
    "more",
    [
        pytest.param((hellos.sni(b"evil.test"),), id="the extension twice"),
        pytest.param((hellos.extension(41, b""), hellos.sni(b"evil.test")), id="a pre-shared key in the middle"),
    ],
)
def test_two_names_are_reset(attacker: Attacker, more: tuple[bytes, ...]) -> None:
    line = raw_hello(attacker, b"good.test", *more)
    line.read()
    assert (line.end, attacker.reason(line)) == ("reset", "bad-hello")


def test_two_names_in_one_extension_are_reset(attacker: Attacker) -> None:
    both = b"".join(b"\0" + hellos.u16(name) for name in (b"good.test", b"evil.test"))
    line = raw_hello(attacker, None, hellos.extension(0, hellos.u16(both)))
    line.read()
    assert (line.end, attacker.reason(line)) == ("reset", "bad-hello")


@pytest.mark.parametrize("sni", ["GOOD.test", "gOOD.TEST"])
def test_upper_case_is_the_same_name_and_goes_out_canonical(attacker: Attacker, sni: str) -> None:
    line, answer = attacker.ask(GET.replace(b"good.test", b"Good.TEST"), sni=sni)
    assert answer.status == 200
    assert attacker.records(line)[0]["sni"] == "good.test"
    assert attacker.origin.data == GET
    assert attacker.origin.seen[0].sni == "good.test"


def test_one_trailing_dot_is_the_same_name_and_goes_out_without_it(attacker: Attacker) -> None:
    line = attacker.tcp(443)
    line.send(hellos.openssl_hello("good.testx").replace(b"good.testx", b"good.test."))
    assert line.read(bool)[:1] == b"\x16", "our ServerHello"
    line.close()
    assert attacker.records(line)[0]["sni"] == "good.test"


def test_an_underscore_is_a_letter_like_any_other(attacker: Attacker) -> None:
    line, answer = attacker.ask(GET.replace(b"good.test", b"under_score.test"), sni="under_score.test")
    assert (answer.status, attacker.records(line)[0]["host"]) == (200, "under_score.test")


@pytest.mark.parametrize(
    "sni",
    ["evilgood.test", "good.test.evil.test", "good.testx", "xn--gd-emcb.test", "test", "agood.test", "a.good.test"],
)
def test_a_name_that_only_resembles_a_permitted_one(attacker: Attacker, sni: str) -> None:
    line, answer = attacker.ask(GET, sni=sni)
    assert answer.status == 403
    assert attacker.reason(line) == "no-rule"
    assert attacker.origin.seen == []


@pytest.mark.parametrize(
    ("address", "host", "status", "reason"),
    [
        pytest.param(GOOD_V4, b"good.test", 421, "names-disagree", id="Host is not what was decided on"),
        pytest.param(EVIL_V4, b"good.test", 403, "no-rule", id="nor does it open another address"),
        pytest.param(EVIL_V4, b"203.0.113.77", 403, "no-rule", id="nor does another address in Host"),
    ],
)
def test_without_sni_the_address_is_the_name(
    attacker: Attacker, address: str, host: bytes, status: int, reason: str
) -> None:
    line, answer = attacker.ask(GET.replace(b"good.test", host), sni=None, address=address)
    assert (answer.status, attacker.reason(line)) == (status, reason)
    assert attacker.origin.data == b""


def test_an_address_that_a_rule_opens_opens_no_name_there(attacker: Attacker) -> None:
    line, answer = attacker.ask(EVIL, sni="evil.test", address=GOOD_V4)
    assert (answer.status, attacker.reason(line)) == (403, "no-rule")
    assert attacker.origin.seen == []


# -- 1: fronting ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", [b"evil.test", b"other.test", b"a.good.test", b"203.0.113.77", b"good.test:8443"])
def test_a_host_that_is_not_the_sni_is_misdirected(attacker: Attacker, host: bytes) -> None:
    line, answer = attacker.ask(GET.replace(b"good.test", host))
    assert (answer.status, attacker.reason(line)) == (421, "names-disagree")
    assert attacker.origin.seen == []


type _Cut = Callable[[bytes], list[bytes]]


@pytest.mark.parametrize(
    "cutting",
    [
        pytest.param(lambda raw: cut(raw, *range(1, len(raw))), id="byte by byte"),
        pytest.param(lambda raw: cut(raw, raw.index(b"evil")), id="in the middle of Host"),
    ],
)
def test_however_a_head_is_cut_it_is_read_whole(attacker: Attacker, cutting: _Cut) -> None:
    line, answer = attacker.ask(*cutting(EVIL))
    assert (answer.status, attacker.reason(line)) == (421, "names-disagree")
    assert attacker.origin.seen == []
