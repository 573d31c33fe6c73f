"""Host names in every costume, and what is none."""
# ruff: noqa: RUF001 - characters that look like others are what is tested here

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

import ada_url
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate import names
from sluicegate.names import BadName, HostName, parse_authority

METADATA_COSTUMES = (
    "169.254.169.254",
    "169.254.169.254.",
    "2852039166",
    "0xA9FEA9FE",
    "0xa9.0xfe.0xa9.0xfe",
    "0251.0376.0251.0376",
    "025177524776",
    "169.254.43518",
    "169.16689662",
    "0xa9.254.169.254",
    "0xA9.16689662",
    "①⑥⑨.②⑤④.①⑥⑨.②⑤④",
    "１６９.２５４.１６９.２５４",
    "169。254。169。254",
    "0Xa9fea9fe",
)


@pytest.mark.parametrize("raw", METADATA_COSTUMES)
def test_every_spelling_of_the_metadata_address_is_that_address(raw: str | bytes):
    assert HostName.parse(raw) == HostName("169.254.169.254")
    assert HostName.parse(raw).address == ip_address("169.254.169.254")


@pytest.mark.parametrize(
    ("raw", "ascii_name"),
    [
        pytest.param("example.com", "example.com", id="plain"),
        pytest.param(b"example.com", "example.com", id="bytes"),
        pytest.param("EXAMPLE.Com", "example.com", id="case is folded"),
        pytest.param("example.com.", "example.com", id="one trailing dot goes"),
        pytest.param("example.com。", "example.com", id="an ideographic full stop is a dot"),
        pytest.param("_dmarc.example.com", "_dmarc.example.com", id="underscore"),
        pytest.param("a.b_c", "a.b_c", id="underscore in the last label"),
        pytest.param(
            "r3---sn-abc.googlevideo.com", "r3---sn-abc.googlevideo.com", id="hyphens in places three and four"
        ),
        pytest.param("-a-.example", "-a-.example", id="hyphens at the ends, as clients take them"),
        pytest.param("localhost", "localhost", id="one label"),
        pytest.param("1.2.3.example", "1.2.3.example", id="numbers are names where the last label is none"),
        pytest.param("1e100.net", "1e100.net", id="a label that begins with a digit"),
        pytest.param("x.0x1g", "x.0x1g", id="0x and no hexadecimal digits is a name"),
        pytest.param("bücher.example", "xn--bcher-kva.example", id="umlaut"),
        pytest.param("bücher.example".encode(), "xn--bcher-kva.example", id="UTF-8 bytes"),
        pytest.param("BÜCHER.example", "xn--bcher-kva.example", id="umlaut in capitals"),
        pytest.param("faß.de", "xn--fa-hia.de", id="non-transitional: sharp s stays"),
        pytest.param("XN--BCHER-KVA.example", "xn--bcher-kva.example", id="A-label in capitals"),
        pytest.param("аpple.com", "xn--pple-43d.com", id="a Cyrillic letter is another name"),
        pytest.param("ex\u00adample.com", "example.com", id="a soft hyphen is nothing"),
        pytest.param("Ｅxample.com", "example.com", id="full-width letters"),
        pytest.param("💩.la", "xn--ls8h.la", id="emoji"),
        pytest.param("a" * 63 + ".com", "a" * 63 + ".com", id="63 characters in a label"),
        pytest.param(".".join(["a" * 49] * 5) + ".com", ".".join(["a" * 49] * 5) + ".com", id="253 characters"),
        pytest.param(".".join(["a" * 49] * 5) + ".com.", ".".join(["a" * 49] * 5) + ".com", id="253 and a dot"),
    ],
)
def test_names(raw: str | bytes, ascii_name: str):
    name = HostName.parse(raw)
    assert (name.ascii, name.address, str(name), name.url) == (ascii_name, None, ascii_name, ascii_name)


@pytest.mark.parametrize(
    ("raw", "address"),
    [
        pytest.param("127.1", "127.0.0.1", id="two parts"),
        pytest.param("0", "0.0.0.0", id="zero"),
        pytest.param("0x", "0.0.0.0", id="0x alone is zero"),
        pytest.param("1.2.3", "1.2.0.3", id="three parts"),
        pytest.param("169.254.169.0254", "169.254.169.172", id="a zero in front makes it octal"),
        pytest.param("4294967295", "255.255.255.255", id="the greatest number"),
        pytest.param("::1", "::1", id="IPv6"),
        pytest.param("[::1]", "::1", id="IPv6 in brackets"),
        pytest.param("2001:DB8:0:0::1", "2001:db8::1", id="IPv6 is compressed and lower case"),
        pytest.param("0:0:0:0:0:ffff:a9fe:a9fe", "::ffff:169.254.169.254", id="IPv4-mapped in hexadecimal"),
        pytest.param("[::ffff:169.254.169.254]", "::ffff:169.254.169.254", id="IPv4-mapped in decimal"),
        pytest.param("64:ff9b::169.254.169.254", "64:ff9b::a9fe:a9fe", id="NAT64 in decimal"),
    ],
)
def test_addresses(raw: str | bytes, address: str):
    name = HostName.parse(raw)
    assert name.address == ip_address(address)
    assert name.ascii == str(ip_address(address))
    assert HostName.parse(name.url) == name


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        pytest.param("", "empty", id="empty"),
        pytest.param(b"", "empty", id="empty bytes"),
        pytest.param(".", "empty label", id="the root"),
        pytest.param("example.com..", "empty label", id="two trailing dots"),
        pytest.param("1.2.3.4..", "empty label", id="two trailing dots after an address"),
        pytest.param("a..b", "empty label", id="empty label"),
        pytest.param(".a", "empty label", id="leading dot"),
        pytest.param("a" * 64 + ".com", "64 characters", id="64 characters in a label"),
        pytest.param(".".join(["a" * 49] * 5) + ".comm", "254 characters", id="254 characters"),
        pytest.param("ü" * 60 + ".example", "at most 63", id="long only as an A-label"),
        pytest.param("a" * 1025, "1025 characters", id="too long to look at"),
        pytest.param(b"\xff" * 1025, "1025 characters", id="too many bytes to look at"),
        pytest.param("a.com:443", "port", id="port"),
        pytest.param("a.com:", "port", id="colon"),
        pytest.param("%65xample.com", "percent", id="percent-encoding"),
        pytest.param("user@example.com", "after the @", id="user information"),
        pytest.param("a.com/b", "before the /", id="path"),
        pytest.param("a.com\\b", "before the", id="backslash"),
        pytest.param("a.com?b", "before the", id="query"),
        pytest.param("a.com#b", "before the", id="fragment"),
        pytest.param("a.com, b.com", "one host", id="list"),
        pytest.param("*.example.com", "wildcard", id="wildcard"),
        pytest.param(" a.com", "spaces", id="leading space"),
        pytest.param("a.com ", "spaces", id="trailing space"),
        pytest.param("a\x00.com", r"\x00", id="NUL"),
        pytest.param("a.com\n", r"\n", id="newline at the end"),
        pytest.param("exa\tmple.com", r"\t", id="tab, which URL parsers strip"),
        pytest.param("a\x7f.com", r"\x7f", id="DEL"),
        pytest.param("a!b.com", "'!'", id="a character that URLs allow and DNS names do not have"),
        pytest.param("a\u3000b.com", "neither", id="an ideographic space"),
        pytest.param("a／b.com", "neither", id="a full-width slash"),
        pytest.param("a％41.com", "neither", id="a full-width percent sign"),
        pytest.param("℀.com", "neither", id="a letter that maps to one with a slash"),
        pytest.param("bücher～.de", "other characters", id="a full-width tilde, which maps to one of ASCII"),
        pytest.param("a\u200db.com", "neither", id="a joiner out of place"),
        pytest.param("\ud800.com", "neither", id="a lone surrogate"),
        pytest.param(b"\xff.com", "UTF-8", id="bytes that are not UTF-8"),
        pytest.param("xn--a.com", "IDNA", id="punycode of nothing"),
        pytest.param("xn--.com", "IDNA", id="empty punycode"),
        pytest.param("xn--i-x.de", "IDNA", id="invalid punycode"),
        pytest.param("xn--xn---epa.com", "IDNA", id="punycode in punycode"),
        pytest.param("a.1", "neither", id="a number as last label"),
        pytest.param("example.0x7f", "neither", id="a hexadecimal number as last label"),
        pytest.param("foo.0x", "neither", id="0x as last label"),
        pytest.param("256.256.256.256", "neither", id="octets too great"),
        pytest.param("1.2.3.4.5", "neither", id="five parts"),
        pytest.param("4294967296", "neither", id="a number too great"),
        pytest.param("1.2.3.08", "neither", id="no octal number"),
        pytest.param("fe80::1%eth0", "zone", id="zone id"),
        pytest.param("[fe80::1%25eth0]", "zone", id="zone id as in a URL"),
        pytest.param("[::1", "brackets", id="one bracket"),
        pytest.param("::1]", "port", id="the other bracket"),
        pytest.param("[[::1]]", "IPv6", id="two pairs of brackets"),
        pytest.param("[]", "IPv6", id="nothing in brackets"),
        pytest.param("[example.com]", "IPv6", id="a name in brackets"),
        pytest.param("[127.0.0.1]", "IPv6", id="IPv4 in brackets"),
        pytest.param("[::1]:80", "brackets", id="brackets and port"),
        pytest.param("1::2::3", "IPv6", id="two gaps"),
        pytest.param("12345::", "IPv6", id="five digits"),
        pytest.param("::256.1.1.1", "IPv6", id="no IPv4 inside"),
        pytest.param("::１", "IPv6", id="full-width digits in IPv6"),
    ],
)
def test_what_is_no_host(raw: str | bytes, says: str):
    with pytest.raises(BadName) as caught:
        HostName.parse(raw)
    assert says in str(caught.value)
    assert str(caught.value).isascii()


@pytest.mark.parametrize(
    ("raw", "host", "port"),
    [
        pytest.param(b"example.com", "example.com", None, id="host alone"),
        pytest.param("example.com:443", "example.com", 443, id="port"),
        pytest.param("EXAMPLE.com.:65535", "example.com", 65535, id="case, dot and the last port"),
        pytest.param("[::1]", "::1", None, id="IPv6"),
        pytest.param("[2001:db8::1]:8443", "2001:db8::1", 8443, id="IPv6 and port"),
        pytest.param("0x7f.1:80", "127.0.0.1", 80, id="an address in costume"),
    ],
)
def test_authorities(raw: str | bytes, host: str, port: int | None):
    assert parse_authority(raw) == (HostName(host), port)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        pytest.param("", "empty", id="empty"),
        pytest.param(":80", "empty", id="port alone"),
        pytest.param("a.com:", "no port", id="empty port"),
        pytest.param("a.com:0", "no port", id="port 0"),
        pytest.param("a.com:65536", "no port", id="port too great"),
        pytest.param("a.com:0443", "no port", id="port with a zero in front"),
        pytest.param("a.com:+80", "no port", id="port with a sign"),
        pytest.param("a.com:80 ", "no port", id="port and a space"),
        pytest.param("a.com:80\n", "no port", id="port and a newline"),
        pytest.param("a.com:http", "no port", id="a word for a port"),
        pytest.param("a.com:80:81", "more than one colon", id="two ports"),
        pytest.param("::1", "brackets", id="IPv6 without brackets"),
        pytest.param("[::1]80", "pair", id="no colon after the bracket"),
        pytest.param("[::1]:", "no port", id="empty port after brackets"),
        pytest.param("[::1", "pair", id="one bracket"),
        pytest.param("[a.com]:80", "IPv6", id="a name in brackets"),
        pytest.param("u:p@a.com", "no port", id="user and password"),
        pytest.param("u@a.com", "after the @", id="user"),
        pytest.param("a.com, b.com", "one host", id="list"),
        pytest.param("bücher.example:443", "write xn--bcher-kva.example:443", id="not ASCII, with what to write"),
        pytest.param("a.com:４４３", "ASCII", id="full-width port"),
        pytest.param(b"\xff", "UTF-8", id="not UTF-8"),
        pytest.param("a" * 2000, "2000 characters", id="too long"),
    ],
)
def test_what_is_no_authority(raw: str | bytes, says: str):
    with pytest.raises(BadName, match=says):
        parse_authority(raw)


def test_parents_go_up_label_by_label():
    assert [str(name) for name in HostName.parse("a.b.example.com").parents()] == [
        "a.b.example.com", "b.example.com", "example.com", "com",
    ]  # fmt: skip


@pytest.mark.parametrize("literal", ["1.2.3.4", "2001:db8::1", "::ffff:1.2.3.4"])
def test_an_address_has_no_parents(literal: str):
    assert list(HostName.parse(literal).parents()) == []


@pytest.mark.parametrize(
    ("name", "suffix", "under"),
    [
        pytest.param("example.com", "example.com", True, id="itself"),
        pytest.param("a.example.com", "example.com", True, id="subdomain"),
        pytest.param("evilexample.com", "example.com", False, id="no label border"),
        pytest.param("example.com.evil", "example.com", False, id="a prefix is no suffix"),
        pytest.param("com", "example.com", False, id="the parent is not under the child"),
        pytest.param("1.2.3.4", "1.2.3.4", True, id="an address is under itself"),
        pytest.param("11.2.3.4", "1.2.3.4", False, id="another address"),
    ],
)
def test_under(name: str, suffix: str, under: bool):
    assert HostName.parse(name).under(HostName.parse(suffix)) is under


def test_equal_names_are_one_key_however_they_were_written():
    table = {HostName.parse("127.0.0.1"): 1, HostName.parse("Example.com."): 2}
    assert (table[HostName.parse("0x7f.1")], table[HostName("example.com")]) == (1, 2)


hostish = st.text(alphabet=st.sampled_from("aAzx09-_.:[]%@/\\üß１。①xn\x00 \u00ad"), max_size=40)
labels = st.from_regex(r"(?:[a-z0-9_-]{1,12}\.){0,4}[a-z0-9_-]{1,12}", fullmatch=True)


@given(st.one_of(st.text(), st.binary(), hostish, hostish.map(str.encode), labels))
def test_parse_raises_nothing_but_bad_name_and_is_idempotent(raw: str | bytes):
    try:
        name = HostName.parse(raw)
    except BadName:
        return
    assert HostName.parse(str(name)) == name
    assert HostName.parse(name.url) == name
    assert HostName.parse(str(name)).address == name.address
    assert parse_authority(f"{name.url}:443") == (name, 443)


@given(st.one_of(st.text(), st.binary(), hostish, hostish.map(lambda text: text + ":80")))
def test_parse_authority_raises_nothing_but_bad_name(raw: str | bytes):
    try:
        name, port = parse_authority(raw)
    except BadName:
        return
    assert parse_authority(name.url if port is None else f"{name.url}:{port}") == (name, port)


@given(st.one_of(labels, labels.map(str.upper), hostish))
def test_the_fast_path_agrees_with_the_long_one(raw: str):
    def outcome(parse: Callable[[str], HostName]):
        try:
            name = parse(raw)
        except BadName:
            return None
        return name.ascii, name.address

    assert outcome(HostName.parse) == outcome(names._parse_any)


@given(labels)
def test_what_is_a_name_to_us_is_the_same_host_to_a_browser(raw: str):
    try:
        name = HostName.parse(raw)
    except BadName:
        return
    assert ada_url.URL(f"https://{raw}/").hostname == name.ascii


@given(st.ip_addresses(v=6))
def test_every_ipv6_address_reads_as_in_a_browser(address: IPv6Address):
    exploded = HostName.parse(address.exploded)
    browser = ada_url.URL(f"https://[{address.exploded}]/").hostname
    assert exploded.address == address == IPv6Address(browser[1:-1])


@given(st.ip_addresses(v=4), st.sampled_from([str, int, lambda a: hex(int(a)), lambda a: f"0{int(a):o}"]))
def test_every_ipv4_address_reads_in_every_radix(address: IPv4Address, write: Callable[[IPv4Address], object]):
    assert HostName.parse(str(write(address))).address == address
