"""Tricks below HTTP: how a ClientHello is cut, what it hides, what is said instead of it, and who answers upstream.

Each test says what the client got, what the origins saw, and which reason the record has.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import ssl
import time
import warnings

import pytest

from lanes import hellos
from net.attacker import GOOD_V4, Attacker

pytestmark = pytest.mark.net

GET = b"GET /x HTTP/1.1\r\nHost: good.test\r\n\r\n"
EVIL = b"GET /x HTTP/1.1\r\nHost: evil.test\r\n\r\n"


def cut(data: bytes, *at: int) -> list[bytes]:
    return [data[start:end] for start, end in itertools.pairwise([0, *at, len(data)])]


def in_records(hello: bytes, size: int) -> bytes:
    """The handshake message of a one-record flight, in records of this size."""
    return hellos.records(hello[5:], size)


# -- 21 to 23: how it is cut --------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [(1,), (2,), (3,), (5,), (6,), (60,), (1, 2, 3, 4, 5, 6, 7, 8)])
@pytest.mark.parametrize("name", ["good.test", "evil.test"])
def test_a_first_segment_of_few_bytes_hides_nothing(attacker: Attacker, name: str, at: tuple[int, ...]) -> None:
    line = attacker.unshaken(name)
    assert line.handshake(*cut(line.hello(), *at), gap=0.03), line.end
    assert line.leaf_names == [name], "decrypted: the leaf is ours"
    line.send(GET if name == "good.test" else EVIL)
    assert line.answers()[0].status == (200 if name == "good.test" else 403)
    line.half_close()
    assert attacker.records(line)[0]["sni"] == name
    assert attacker.origin.data == (GET if name == "good.test" else b"")


@pytest.mark.parametrize("name", ["good.test", "evil.test"])
def test_a_hello_in_segments_of_one_byte(attacker: Attacker, name: str) -> None:
    line = attacker.unshaken(name)
    hello = line.hello()
    assert line.handshake(*cut(hello, *range(1, len(hello)))), line.end
    line.send(GET if name == "good.test" else EVIL)
    assert line.answers()[0].status == (200 if name == "good.test" else 403)
    assert attacker.origin.data == (GET if name == "good.test" else b"")


@pytest.mark.parametrize("size", [1, 20])
@pytest.mark.parametrize("name", ["good.test", "evil.test"])
def test_a_hello_over_many_records(attacker: Attacker, name: str, size: int) -> None:
    line = attacker.unshaken(name)
    assert line.handshake(in_records(line.hello(), size)), line.end
    line.send(GET if name == "good.test" else EVIL)
    assert line.answers()[0].status == (200 if name == "good.test" else 403)
    assert attacker.origin.data == (GET if name == "good.test" else b"")


def test_a_hello_over_many_records_in_small_segments_is_spliced_whole(attacker: Attacker) -> None:
    line = attacker.unshaken("sealed.test", context=attacker.undecrypted())
    flight = in_records(line.hello(), 20)
    assert line.handshake(*cut(flight, 1, 2, 7, 30, 31)), line.end
    assert {"sealed.test", "evil.test"} <= set(line.leaf_names), "the origin's own certificate"
    line.send(GET)
    assert line.answers()[0].status == 200
    line.close()
    assert attacker.records(line)[0]["lane"] == "splice"
    assert attacker.origin.seen[0].raw.startswith(flight[:100]), "the very bytes that were decided on"


@pytest.mark.parametrize("pad", [2_000, 15_000, 40_000])
def test_a_large_hello(attacker: Attacker, pad: int) -> None:
    names = [f"x{number:04}" + "y" * 200 for number in range(pad // 206)]
    for name, status in (("good.test", 200), ("evil.test", 403)):
        line = attacker.tls(name, context=attacker.context([*names, "http/1.1"]))
        line.send(GET.replace(b"good.test", name.encode()))
        assert line.answers()[0].status == status
        line.half_close()
        assert attacker.records(line)[0]["sni"] == name
    assert attacker.origin.data == GET


def test_a_hello_above_the_limit_is_reset(attacker: Attacker) -> None:
    line = attacker.tcp(443)
    huge = hellos.message(hellos.sni(b"good.test"), *(hellos.extension(9000 + n, bytes(30_000)) for n in range(2)),
                          session=bytes(32), ciphers=tuple(range(0xC000, 0xF000)))  # fmt: skip
    line.send(hellos.records(huge, 16_000))
    assert line.read() == b""
    assert line.end == "reset"
    assert attacker.reason(line) == "hello-too-large"
    assert attacker.origin.seen == []


def test_a_hello_that_announces_sixteen_megabytes(attacker: Attacker) -> None:
    line = attacker.tcp(443)
    line.send(hellos.record(b"\x01\xff\xff\xff\x03\x03"))
    assert (line.read(), line.end) == (b"", "reset")
    assert attacker.reason(line) == "hello-too-large"


# -- 27: silence ----------------------------------------------------------------------------------------------------


def test_who_says_nothing_whole_is_refused_in_time_and_nothing_is_dialled(attacker: Attacker) -> None:
    said = (b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00", b"GET")
    started = time.monotonic()
    lines = [attacker.tcp(443) for _ in said]
    shaken = attacker.tls()
    for line, beginning in zip(lines, said, strict=True):
        if beginning:
            line.send(beginning)
    for line in lines:
        assert (line.read(), line.end) == (b"", "reset")
        assert attacker.reason(line) == "hello-timeout"
    shaken.read()
    assert shaken.end in {"closed", "reset"}
    assert attacker.reason(shaken) == "hello-timeout"
    assert time.monotonic() - started > 1, "the bed's hello_timeout is 2 s"
    assert attacker.origin.seen == []


# -- 24: hidden names -----------------------------------------------------------------------------------------------

_ECH = 0xFE0D
_ADD = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_void_p,
    ctypes.c_uint,
    ctypes.POINTER(ctypes.c_void_p),
    ctypes.POINTER(ctypes.c_size_t),
    ctypes.POINTER(ctypes.c_int),
    ctypes.c_void_p,
)
_GREASE = ctypes.create_string_buffer(
    b"\0" + (1).to_bytes(2) + (1).to_bytes(2) + b"\x2a" + hellos.u16(os.urandom(32)) + hellos.u16(os.urandom(144))
)  # RFC 9849, 6.2: an outer ECH of random bytes, which no server can tell from a real one


@_ADD
def _add(_ssl: int, _kind: int, out: object, size: object, _alert: object, _arg: int) -> int:
    out[0] = ctypes.addressof(_GREASE)  # type: ignore[index]  # ctypes pointers are typed by what they point to
    size[0] = len(_GREASE) - 1  # type: ignore[index]  # as above
    return 1


def with_ech(context: ssl.SSLContext) -> ssl.SSLContext:
    """The same, offering ECH: Python's ssl has no way to say so, OpenSSL beneath it has."""
    libssl = ctypes.CDLL("libssl.so.3")
    pointer = ctypes.c_void_p.from_address(id(context) + object.__basicsize__)
    add = libssl.SSL_CTX_add_client_custom_ext
    add.argtypes = [ctypes.c_void_p, ctypes.c_uint, _ADD] + [ctypes.c_void_p] * 4
    assert add(pointer, _ECH, _add, None, None, None, None) == 1
    return context


def test_a_greased_ech_is_of_no_consequence_where_we_decrypt(attacker: Attacker) -> None:
    for name, status in (("good.test", 200), ("evil.test", 403)):
        line = attacker.tls(name, context=with_ech(attacker.context()))
        line.send(GET.replace(b"good.test", name.encode()))
        assert line.answers()[0].status == status
    assert [seen.sni for seen in attacker.origin.seen] == ["good.test"]
    assert _ECH.to_bytes(2) + (len(_GREASE) - 1).to_bytes(2) not in attacker.origin.seen[0].raw


def test_a_hidden_name_is_not_spliced(attacker: Attacker) -> None:
    line = attacker.tls("sealed.test", context=with_ech(attacker.context()))
    assert line.leaf_names == ["sealed.test"], "ours, to say no with"
    line.send(GET)
    assert line.answers()[0].status == 403
    assert attacker.reason(line) == "ech"
    assert attacker.origin.seen == []


def test_a_hidden_name_is_spliced_where_a_rule_says_so(attacker: Attacker) -> None:
    line = attacker.tls("veiled.test", context=with_ech(attacker.undecrypted()))
    line.send(GET)
    assert line.answers()[0].status == 200
    line.close()
    assert attacker.records(line)[0]["lane"] == "splice"


# -- 25: resumption and early data ----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("other", ["evil.test", "other.test"])
def test_a_ticket_of_one_name_opens_no_other(attacker: Attacker, other: str, version: ssl.TLSVersion) -> None:
    context = attacker.context()
    context.minimum_version = context.maximum_version = version
    first = attacker.tls(context=context)
    first.send(GET)
    assert first.answers()[0].status == 200
    session = first.tls.session
    assert session is not None
    assert session.has_ticket
    again = attacker.tls(context=context, session=session)
    again.send(GET)
    assert again.answers()[0].status == 200

    second = attacker.tls(other, context=context, session=session)
    # A resumed session shows no certificate, and changes no verdict: the name is that of the new ClientHello.
    assert second.tls.session_reused or second.leaf_names == [other]
    second.send(GET)
    refused = second.answers()[0]
    assert refused.status == (403 if other == "evil.test" else 421)
    assert attacker.reason(second) == ("no-rule" if other == "evil.test" else "names-disagree")
    assert attacker.origin.data == GET * 2


def test_early_data_is_not_taken(attacker: Attacker) -> None:
    folder = attacker.bed.folder
    (folder / "early").write_bytes(GET)
    base = ("openssl", "s_client", "-connect", f"{GOOD_V4}:443", "-servername", "good.test", "-tls1_3", "-quiet")
    session = ("-sess_out", str(folder / "session"))
    attacker.bed.pod.exec(*base, *session, "-ign_eof", input=GET.decode().replace("Host", "Connection: close\r\nHost"))
    attacker.origin.forget()
    resumed = ("-sess_in", str(folder / "session"), "-early_data", str(folder / "early"))
    done = attacker.bed.pod.exec(*(part for part in base if part != "-quiet"), *resumed, input="")
    assert "Early data was not sent" in done.stdout or "Early data was rejected" in done.stdout, done
    assert attacker.origin.data == b""


def test_application_data_before_the_handshake_is_over(attacker: Attacker) -> None:
    line = attacker.unshaken()
    line.raw(line.hello() + hellos.record(GET, kind=23, version=0x0303))
    line.read()
    assert line.end != "open"
    assert attacker.origin.seen == []


# -- 26, 28, 29, 30, 36: other things than HTTP in TLS -----------------------------------------------------------------


@pytest.mark.parametrize("port", [443, 80, 22])
@pytest.mark.parametrize(
    "said",
    [
        pytest.param(b"SSH-2.0-OpenSSH_9.6\r\n", id="SSH"),
        pytest.param(b"EHLO mail.test\r\n", id="SMTP"),
        pytest.param(b"a1 STARTTLS\r\n", id="IMAP"),
        pytest.param(b"\0\0\0\x08\x04\xd2\x16\x2f", id="PostgreSQL's SSLRequest"),
        pytest.param(b"\x00\x01secret and more of it", id="raw bytes"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", id="HTTP/2 by prior knowledge"),
        pytest.param(b"GET\t/x\tHTTP/1.1\r\nHost: good.test\r\n\r\n", id="tabs for spaces"),
        pytest.param(b"\r\n\r\nGET /x HTTP/1.1\r\nHost: good.test\r\n\r\n", id="empty lines first"),
        pytest.param(b"\x16\xfe\xff\0\0\0\0\0\0\0\0\0\x10" + bytes(16), id="DTLS"),
        pytest.param(b"\x80\x2e\x01\x03\x01" + bytes(41), id="SSLv2's hello"),
        pytest.param(b"\x17\x03\x03\x00\x10" + bytes(16), id="TLS application data"),
    ],
)
def test_what_is_neither_tls_nor_http_is_reset(attacker: Attacker, said: bytes, port: int) -> None:
    line = attacker.tcp(port)
    line.send(said)
    assert (line.read(), line.end) == (b"", "reset")
    assert attacker.records(line)[0]["verdict"] == "deny"
    assert attacker.origin.seen == []


@pytest.mark.parametrize("said", [b"SSH-2.0-x\r\n", b"\x00\x01secret", b"GET\t/x\tHTTP/1.1\r\n\r\n", b"EHLO a\r\n"])
@pytest.mark.parametrize("piecewise", [False, True], ids=["at once", "byte by byte"])
def test_what_is_not_http_inside_tls_is_reset(attacker: Attacker, said: bytes, piecewise: bool) -> None:
    line = attacker.tls()
    line.send(*(cut(said, *range(1, len(said))) if piecewise else [said]))
    assert line.read() == b""
    assert line.end in {"closed", "reset"}
    assert attacker.reason(line) == "not-http"
    assert attacker.origin.seen == []


@pytest.mark.parametrize("inner", ["good.test", "evil.test"])
def test_tls_in_tls_is_reset(attacker: Attacker, inner: str) -> None:
    line = attacker.tls()
    line.send(hellos.openssl_hello(inner))
    assert line.read() == b""
    assert line.end in {"closed", "reset"}
    assert attacker.reason(line) == "not-http"
    assert attacker.origin.seen == []


@pytest.mark.parametrize("target", [b"good.test:443", b"evil.test:443", b"203.0.113.78:22"])
@pytest.mark.parametrize("clear", [False, True], ids=["in TLS", "in clear"])
def test_connect_is_no_request_to_a_transparent_gateway(attacker: Attacker, target: bytes, clear: bool) -> None:
    line, answer = attacker.ask(b"CONNECT %b HTTP/1.1\r\nHost: good.test\r\n\r\n" % target, clear=clear)
    line.send(hellos.openssl_hello("evil.test"))
    assert answer.status == 400
    assert attacker.reason(line) == "bad-request"
    assert attacker.origin.seen == []


def test_bytes_in_clear_after_the_handshake(attacker: Attacker) -> None:
    line = attacker.tls()
    line.raw(GET)
    assert b"HTTP" not in line.read()
    assert line.end != "open"
    assert attacker.origin.seen == []


def test_urgent_bytes_in_a_hello_are_no_way_to_show_two(attacker: Attacker) -> None:
    """What MSG_PEEK skips as out of band could come back in what is spliced: such a hello is never whole."""
    lines = [attacker.unshaken(name) for name in ("good.test", "sealed.test")]
    for line in lines:
        hello = line.hello()
        line.raw(hello[:50])
        line.urgent(b"!")
        line.raw(hello[50:80])
        line.urgent(b"!")
        line.raw(hello[80:])
    for line in lines:
        assert (line.read(), line.end) == (b"", "reset")
        assert attacker.reason(line) == "hello-timeout"
    assert attacker.origin.seen == []


# -- 32 to 34: who answers upstream, and old versions -------------------------------------------------------------


@pytest.mark.parametrize("name", ["self-signed.test", "expired.test", "wrong-host.test", "strange-ca.test", "old.test"])
def test_an_origin_that_cannot_prove_its_name_is_not_shown(attacker: Attacker, name: str) -> None:
    attacker.origin.answer = lambda _head, _body: b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nphished"
    line, answer = attacker.ask(GET.replace(b"good.test", name.encode()), sni=name)
    assert answer.status == 502
    assert b"phished" not in answer.body
    assert attacker.reason(line) == "upstream-tls"
    assert attacker.origin.data == b"", "no byte of the request"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
@pytest.mark.parametrize("name", ["good.test", "evil.test"])
def test_old_versions_of_tls_are_refused(attacker: Attacker, name: str, version: ssl.TLSVersion) -> None:
    context = attacker.context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # that it is old is the point
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, version
    line = attacker.unshaken(name, context=context)
    assert not line.handshake()
    assert "version" in line.end, line.end
    assert attacker.records(line)[0]["verdict"] == "deny"
    assert attacker.origin.seen == []


@pytest.mark.parametrize("ciphers", ["NULL:@SECLEVEL=0", "RC4-SHA:DES-CBC3-SHA:@SECLEVEL=0", "ADH:AECDH:@SECLEVEL=0"])
def test_weak_ciphers_are_refused(attacker: Attacker, ciphers: str) -> None:
    context = attacker.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.set_ciphers(ciphers)
    except ssl.SSLError:
        pytest.skip("this OpenSSL cannot even offer them")
    line = attacker.unshaken(context=context)
    assert not line.handshake()
    assert attacker.origin.seen == []
