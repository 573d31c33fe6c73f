from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lanes.hellos import (
    alpn,
    extension,
    handshake,
    hello,
    message,
    numbers,
    openssl_hello,
    record,
    records,
    sni,
    u8,
    u16,
)  # fmt: skip
from sluicegate.lanes.client_hello import ClientHello
from sluicegate.lanes.hello_errors import BadHello, HelloTooLarge
from sluicegate.lanes.tls_records import NeedMore, Reassembly, parse
from sluicegate.names import HostName

NAME = HostName.parse("example.test")


def padding(size: int) -> bytes:
    return extension(21, bytes(size))


class TestWhatItSays:
    def test_openssl_says_all_of_it(self):
        found = parse(openssl_hello())
        assert isinstance(found, ClientHello)
        assert found.sni == NAME
        assert found.alpn == (b"h2", b"http/1.1")
        assert found.versions == (0x0304, 0x0303)
        assert 0x1301 in found.ciphers
        assert 0x0403 in found.signature_algorithms
        assert not found.ech
        assert not found.early_data

    def test_openssl_without_a_name(self):
        found = parse(openssl_hello(name=None, alpn=()))
        assert (found.sni, found.alpn) == (None, ())

    def test_the_end_of_tls_1_2_needs_no_extensions(self):
        body = numbers(0x0303) + bytes(32) + u8(b"") + u16(numbers(0xC02F)) + u8(b"\0")
        assert parse(record(handshake(body))) == ClientHello(0x0303, (0xC02F,), versions=(0x0303,))

    def test_grease_means_nothing(self):
        found = parse(hello(
            extension(0x2A2A, b""), extension(43, u8(numbers(0x7A7A, 0x0304))), extension(13, u16(numbers(0xDADA, 0x0403))),
            ciphers=(0x0A0A, 0x1301, 0xFAFA),
        ))  # fmt: skip
        assert found.ciphers == (0x1301,)
        assert found.extensions == (43, 13)
        assert found.versions == (0x0304,)
        assert found.signature_algorithms == (0x0403,)

    @pytest.mark.parametrize("number", [0x0A1A, 0x1A0A, 0x0B0B, 0xAAAB])
    def test_what_only_looks_like_grease_stays(self, number: int):
        assert number in parse(hello(ciphers=(number, 0x1301))).ciphers

    @pytest.mark.parametrize(
        "kind",
        [
            pytest.param(0xFE0D, id="encrypted_client_hello"),
            pytest.param(0xFE08, id="its draft 8"),
            pytest.param(0xFFCE, id="encrypted_server_name"),
        ],
    )
    def test_a_hidden_name_is_seen(self, kind: int):
        assert parse(hello(sni(b"example.test"), extension(kind, b"\0\1\2"))).ech
        assert not parse(hello(sni(b"example.test"), extension(kind - 1, b"\0\1\2"))).ech

    def test_early_data_is_seen(self):
        assert parse(hello(extension(42, b""))).early_data

    @pytest.mark.parametrize("name", [b"example.test", b"EXAMPLE.test", b"example.test."])
    def test_one_canonical_name(self, name: bytes):
        assert parse(hello(sni(name))).sni == NAME


BAD_NAMES = [
    pytest.param(b"", id="empty"),
    pytest.param(b"192.0.2.1", id="an IPv4 address"),
    pytest.param(b"0x7f.1", id="an IPv4 address in costume"),
    pytest.param(b"2130706433", id="an IPv4 address as a number"),
    pytest.param(b"2001:db8::1", id="an IPv6 address"),
    pytest.param(b"[2001:db8::1]", id="an IPv6 address in brackets"),
    pytest.param(b"evil.test\0.example.test", id="NUL"),
    pytest.param(b"ex%61mple.test", id="percent sign"),
    pytest.param(b"example.test:443", id="port"),
    pytest.param(b"b\xc3\xbccher.example", id="not an A-label"),
    pytest.param(b"*.example.test", id="wildcard"),
    pytest.param(b"example.test ", id="space"),
    pytest.param(b"a" * 64 + b".test", id="label of 64"),
    pytest.param(b".".join([b"a" * 49] * 5) + b"." + b"a" * 6, id="256 bytes"),
    pytest.param(b"..", id="dots"),
    pytest.param(b"example..test", id="empty label"),
]

BAD = [
    pytest.param(record(handshake(message()[4:], kind=2)), id="a ServerHello"),
    pytest.param(record(message()[:-1] + b"\0\0"), id="bytes follow in the record"),
    pytest.param(record(handshake(message()[4:] + b"\0")), id="bytes after the extensions"),
    pytest.param(record(message()[:20], kind=22) + record(b"\2\x28", kind=21), id="an alert in between"),
    pytest.param(record(message()[:20]) + record(b"\1", kind=20), id="change cipher spec in between"),
    pytest.param(record(b""), id="an empty record"),
    pytest.param(record(message()[:9]) + record(b""), id="an empty record in between"),
    pytest.param(b"\x16\x03\x01\x40\x01", id="a record above 2^14"),
    pytest.param(b"\x16\x02", id="a record of SSL 2"),
    pytest.param(b"\x17", id="application data"),
    pytest.param(hello(version=0x0203), id="a version of SSL 2"),
    pytest.param(hello(version=0xFEFF), id="a version of DTLS"),
    pytest.param(hello(ciphers=()), id="no ciphers"),
    pytest.param(hello(session=bytes(33)), id="a session id of 33"),
    pytest.param(hello(compression=b""), id="no compression method"),
    pytest.param(hello(compression=b"\1"), id="not the null compression"),
    pytest.param(hello(sni(b"a.test"), sni(b"b.test")), id="two server_name extensions"),
    pytest.param(hello(extension(0xFE0D, b""), extension(0xFE0D, b"")), id="two of any extension"),
    pytest.param(hello(extension(0, u16(b"\0" + u16(b"a.test") + b"\0" + u16(b"b.test")))), id="two names"),
    pytest.param(hello(sni(b"a.test", kind=1)), id="a name of another type"),
    pytest.param(hello(extension(0, u16(b""))), id="an empty list of names"),
    pytest.param(hello(extension(0, b"")), id="a server's empty server_name"),
    pytest.param(hello(extension(0, u16(b"\0" + u16(b"a.test")) + b"x")), id="bytes after the names"),
    pytest.param(hello(extension(16, u16(b""))), id="an empty ALPN"),
    pytest.param(hello(alpn(b"")), id="an empty ALPN name"),
    pytest.param(hello(extension(16, u16(b"\x09http/1.1"))), id="an ALPN name over its end"),
    pytest.param(hello(extension(43, u8(b""))), id="no version supported"),
    pytest.param(hello(extension(43, u8(b"\3\4\3"))), id="one and a half versions"),
    pytest.param(hello(extension(13, u16(b"\4"))), id="half a signature algorithm"),
    pytest.param(hello(extension(41, b"x"), sni(b"a.test")), id="pre_shared_key is not the last"),
    pytest.param(record(handshake(message()[4:][:34])), id="the body ends after random"),
    *(pytest.param(hello(sni(param.values[0])), id=f"server_name: {param.id}") for param in BAD_NAMES),
]  # fmt: skip


class TestWhatIsRefused:
    @pytest.mark.parametrize("data", BAD)
    def test_bad(self, data: bytes):
        with pytest.raises(BadHello):
            parse(data)

    @pytest.mark.parametrize("cut", range(1, len(message(sni(b"a.test"), alpn(b"h2"))) - 4))
    def test_a_body_that_ends_early_anywhere(self, cut: int):
        body = message(sni(b"a.test"), alpn(b"h2"))[4:]
        whole_without_extensions = 2 + 32 + 1 + 2 + 4 + 2
        if cut == whole_without_extensions:
            return
        with pytest.raises(BadHello):
            parse(record(handshake(body[:cut])))

    def test_the_largest_there_may_be(self):
        spare = (64 << 10) - len(records(message(sni(b"example.test"), padding(60_000)), 1 << 14))
        size = 60_000 + spare
        assert parse(records(message(sni(b"example.test"), padding(size - 5)), 1 << 14)).sni == NAME
        with pytest.raises(HelloTooLarge):
            parse(records(message(sni(b"example.test"), padding(size + 1)), 1 << 14))

    def test_a_large_one_is_refused_by_its_header(self):
        with pytest.raises(HelloTooLarge):
            parse(record(b"\1\1\0\0"))

    def test_framing_counts(self):
        with pytest.raises(HelloTooLarge):
            parse(records(message(sni(b"example.test"), padding(12_000)), 1))


class TestHoweverItIsCut:
    @pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 20, 1000])
    def test_over_records(self, size: int):
        data = openssl_hello()
        assert parse(records(data[5:], size)) == parse(data)

    @pytest.mark.parametrize("size", [1, 7, 20, 16384])
    def test_byte_by_byte(self, size: int):
        whole = openssl_hello()
        data = records(whole[5:], size)
        reassembly = Reassembly()
        for end in range(len(data)):
            found = reassembly.read(data[:end])
            assert isinstance(found, NeedMore)
            assert end < found.total <= len(data)
        assert reassembly.read(data) == parse(whole)

    @pytest.mark.parametrize("size", [1, 2, 20, 16384])
    def test_waiting_for_what_it_needs_takes_few_looks(self, size: int):
        data = records(message(sni(b"example.test"), padding(10_000)), size)
        reassembly, looks, have = Reassembly(), 0, 0
        while isinstance(found := reassembly.read(data[:have]), NeedMore):
            looks, have = looks + 1, found.total
        assert found.sni == NAME
        assert looks < 60

    def test_what_follows_the_hello_is_not_looked_at(self):
        data = openssl_hello()
        assert parse(data + record(b"early", kind=23)) == parse(data)
        assert parse(data + b"\xff\xff") == parse(data)

    def test_a_look_at_every_byte_of_the_largest_is_linear(self):
        data = records(message(sni(b"example.test"), padding(48_000)), 20)
        reassembly, view = Reassembly(), data
        for end in range(5, len(data), 5):
            found = reassembly.read(view[:end])
            assert isinstance(found, NeedMore)
        assert reassembly.read(data).sni == NAME


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=200))
@example(b"\x16\x03\x01\x00\x04\x01\x00\x00\x00")
def test_any_bytes_give_a_result(data: bytes):
    with contextlib.suppress(BadHello, HelloTooLarge):
        parse(data)


REAL = openssl_hello()


@settings(max_examples=1500, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(REAL) - 1), st.integers(0, 255)), min_size=1, max_size=6), st.integers(1, 600)
)
def test_any_mutation_gives_a_result(changes: list[tuple[int, int]], size: int):
    data = bytearray(REAL)
    for at, byte in changes:
        data[at] = byte
    for variant in (bytes(data), bytes(data[: len(data) - size]), records(bytes(data[5:]), size)):
        try:
            found = parse(variant)
        except (BadHello, HelloTooLarge):
            continue
        assert isinstance(found, ClientHello | NeedMore)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=64), st.sampled_from([0, 10, 13, 16, 43, 51, 0xFE0D]))
def test_any_body_of_an_extension_gives_a_result(body: bytes, kind: int):
    try:
        found = parse(hello(extension(kind, body)))
    except BadHello:
        return
    assert isinstance(found, ClientHello)
