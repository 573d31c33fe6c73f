"""The address guards: every range, every costume, and their edge neighbours."""

import ipaddress
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.facts import Address
from sluicegate.names import HostName
from sluicegate.resolve.guard import Guard, faces
from sluicegate.resolve.ranges import HARD, METADATA, PRIVATE, networks
from sluicegate.verdict import Network

GUARD = Guard()


def costumes(v4: str) -> dict[str, IPv6Address]:
    """The address in every IPv6 form that carries one."""
    value = int(IPv4Address(v4))
    high, low = value >> 16, value & 0xFFFF
    return {
        "v4-mapped": IPv6Address(0xFFFF << 32 | value),
        "v4-compatible": IPv6Address(value),
        "v4-translated": IPv6Address(0xFFFF0000 << 32 | value),
        "NAT64": IPv6Address((0x64FF9B << 96) | value),
        "local NAT64 /48": IPv6Address(0x64FF9B0001 << 80 | high << 64 | low << 40),
        "local NAT64 /56": IPv6Address(0x64FF9B0001 << 80 | (value >> 24) << 64 | (value & 0xFFFFFF) << 32),
        "local NAT64 /64": IPv6Address(0x64FF9B0001 << 80 | value << 24),
        "local NAT64 /96": IPv6Address(0x64FF9B0001 << 80 | value),
        "6to4": IPv6Address(0x2002 << 112 | value << 80 | 1),
        "Teredo server": IPv6Address(0x20010000 << 96 | value << 64 | 0x1234),
        "Teredo client": IPv6Address(0x20010000 << 96 | 0x41010101 << 64 | value ^ 0xFFFFFFFF),
        "ISATAP": IPv6Address(0x2606_4700 << 96 | 0x5EFE << 32 | value),
        "ISATAP, universal bit": IPv6Address(0x2606_4700 << 96 | 0x02005EFE << 32 | value),
    }


@pytest.mark.parametrize(("text", "why"), [row for row in HARD + METADATA if row[1]])
def test_every_row_of_the_tables_is_hard_at_both_ends(text: str, why: str):
    network = ip_network(text)
    assert GUARD.hard(network[0])
    assert GUARD.hard(network[-1])
    if len(faces(network[-1])) == 1 and text != "::/0":
        assert why in {GUARD.hard(network[0]), GUARD.hard(network[-1])}


@pytest.mark.parametrize(
    ("address", "why"),
    [
        pytest.param("127.0.0.1", "loopback", id="loopback"),
        pytest.param("127.255.255.255", "loopback", id="the end of loopback"),
        pytest.param("::1", "loopback", id="loopback v6"),
        pytest.param("169.254.20.10", "link-local", id="link-local"),
        pytest.param("fe80::1", "link-local", id="link-local v6"),
        pytest.param("fe80::1%eth0", "link-local", id="link-local v6 with a zone"),
        pytest.param("febf::1", "link-local", id="the end of link-local v6"),
        pytest.param("fec0::1", "site-local", id="site-local"),
        pytest.param("224.0.0.1", "multicast", id="multicast"),
        pytest.param("ff02::1", "multicast", id="multicast v6"),
        pytest.param("0.0.0.0", "unspecified", id="unspecified"),
        pytest.param("::", "unspecified", id="unspecified v6"),
        pytest.param("0.1.2.3", "this network", id="this network"),
        pytest.param("255.255.255.255", "broadcast", id="broadcast"),
        pytest.param("240.0.0.1", "reserved", id="reserved"),
        pytest.param("192.0.2.1", "documentation", id="documentation"),
        pytest.param("2001:db8::1", "documentation", id="documentation v6"),
        pytest.param("3fff:fff::1", "documentation", id="new documentation v6"),
        pytest.param("198.19.255.255", "benchmarking", id="benchmarking"),
        pytest.param("2001:2::1", "benchmarking", id="benchmarking v6"),
        pytest.param("100::1", "discard", id="discard"),
        pytest.param("192.0.0.9", "protocol assignments", id="protocol assignments"),
        pytest.param("192.88.99.1", "6to4 relay", id="6to4 relay"),
        pytest.param("5f00::1", "segment routing", id="segment routing"),
        pytest.param("4000::1", "not global unicast", id="unallocated v6"),
        pytest.param("64:ff9b::1:0:0", "not global unicast", id="beside NAT64"),
        pytest.param("169.254.169.254", "metadata", id="metadata"),
        pytest.param("169.254.170.2", "metadata (AWS ECS", id="ECS"),
        pytest.param("169.254.170.23", "metadata (AWS EKS", id="EKS Pod Identity"),
        pytest.param("fd00:ec2::254", "metadata (AWS", id="AWS v6"),
        pytest.param("fd00:ec2::23", "metadata (AWS", id="EKS Pod Identity v6"),
        pytest.param("fd20:ce::254", "metadata (GCP", id="GCP v6"),
        pytest.param("168.63.129.16", "metadata (Azure", id="Azure WireServer"),
        pytest.param("100.100.100.200", "metadata (Alibaba", id="Alibaba"),
        pytest.param("192.0.0.192", "metadata (Oracle", id="Oracle Classic"),
        pytest.param("fd00:c1::a9fe:a9fe", "metadata (Oracle", id="Oracle v6"),
        pytest.param("fe80::a9fe:a9fe", "metadata (OpenStack", id="OpenStack v6"),
        pytest.param("::ffff:8.8.8.8", "IPv4-mapped", id="a mapped public address"),
        pytest.param("::8.8.8.8", "IPv4-compatible", id="a compatible public address"),
        pytest.param("2002:808:808::1", "6to4", id="a public address in 6to4"),
        pytest.param("2001:0:808:808::f7f7:f7f7", "Teredo", id="Teredo"),
    ],
)
def test_hard(address: str, why: str):
    assert why in (GUARD.hard(ip_address(address)) or "")


@pytest.mark.parametrize(
    ("address", "why"),
    [
        pytest.param("10.0.0.0", "RFC 1918", id="10"),
        pytest.param("172.31.255.255", "RFC 1918", id="the end of 172.16"),
        pytest.param("192.168.1.1", "RFC 1918", id="192.168"),
        pytest.param("100.64.0.1", "CGNAT", id="CGNAT"),
        pytest.param("fd12::1", "ULA", id="ULA"),
        pytest.param("64:ff9b::10.0.0.1", "RFC 1918", id="a private address in NAT64"),
        pytest.param("2606:4700::5efe:10.0.0.1", "RFC 1918", id="a private address in ISATAP"),
        pytest.param("64:ff9b:1::8.8.8.8", "local NAT64", id="a public address in local NAT64"),
        pytest.param("44.1.2.3", "cluster range", id="a cluster range of public addresses"),
        pytest.param("2a00:1::9", "cluster range", id="a cluster range v6"),
        pytest.param("64:ff9b::44.1.2.3", "cluster range", id="a cluster range in NAT64"),
    ],
)
def test_private_and_not_hard(address: str, why: str):
    guard = Guard(cluster=[ip_network("44.0.0.0/8"), ip_network("2a00:1::/32")])
    assert why in (guard.private(ip_address(address)) or "")
    assert guard.hard(ip_address(address)) is None


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
        "128.0.0.0", "168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0",
        "192.0.1.0", "192.0.3.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255",
        "2606:4700::1111", "2001:4860:4860::8888", "2001:200::1", "2001:db7:ffff::1", "2001:db9::1", "2003::1",
        "3ffe:ffff::1", "2a00::1", "64:ff9b::8.8.8.8", "2606:4700::5efe:8.8.8.8",
    ],
)  # fmt: skip
def test_public_addresses_and_the_neighbours_of_guarded_ones_pass(address: str):
    assert (GUARD.hard(ip_address(address)), GUARD.private(ip_address(address))) == (None, None)


@pytest.mark.parametrize("v4", ["169.254.169.254", "127.0.0.1", "100.100.100.200", "168.63.129.16", "224.0.0.1"])
@pytest.mark.parametrize("costume", costumes("127.0.0.1"))
def test_a_hard_address_is_hard_in_every_costume(v4: str, costume: str):
    dressed = costumes(v4)[costume]
    assert IPv4Address(v4) in faces(dressed)
    assert "inside of IPv6" in GUARD.hard(dressed)


@pytest.mark.parametrize("costume", costumes("127.0.0.1"))
def test_a_private_address_never_passes_in_any_costume(costume: str):
    dressed = costumes("10.1.2.3")[costume]
    assert IPv4Address("10.1.2.3") in faces(dressed)
    assert GUARD.hard(dressed) or GUARD.private(dressed)


def test_metadata_is_what_is_said_of_a_costume_with_two_faces():
    assert GUARD.hard(ip_address("2001:0:a9fe:a9fe::")).startswith("metadata")


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::", "::1", "fd00::1", "64:ff9c::808:808"])
def test_most_addresses_have_one_face(address: str):
    assert faces(ip_address(address)) == (ip_address(address),)


def test_our_own_addresses_are_hard_wherever_they_are():
    guard = Guard(
        own=[ip_address("10.0.0.5"), ip_address("2a00::5"), ip_address("93.184.216.34"), ip_address("fe80::5%lo")]
    )
    for address in ("10.0.0.5", "2a00::5", "93.184.216.34", "64:ff9b::93.184.216.34", "fe80::5"):
        assert "this gateway" in guard.hard(ip_address(address))
    assert guard.hard(ip_address("10.0.0.6")) is None
    assert guard.hard(ip_address("2a00::6")) is None


def test_unsafe_allow_lifts_both_guards_for_its_addresses_alone():
    guard = Guard(
        own=[ip_address("127.0.0.2")],
        cluster=[ip_network("10.0.0.0/8")],
        unsafe_allow=[ip_network("127.0.0.2/31"), ip_network("10.1.0.0/16"), ip_network("fd00::/64")],
    )
    for address in ("127.0.0.2", "127.0.0.3", "10.1.2.3", "fd00::1"):
        assert (guard.hard(ip_address(address)), guard.private(ip_address(address))) == (None, None)
    assert guard.hard(ip_address("127.0.0.1"))
    assert guard.hard(ip_address("127.0.0.4"))
    assert guard.private(ip_address("10.2.0.0"))
    assert guard.private(ip_address("fd00:0:0:1::"))
    for costume, dressed in costumes("127.0.0.2").items():
        assert guard.hard(dressed), costume


def test_a_cluster_range_does_not_open_what_is_hard():
    guard = Guard(cluster=[ip_network("169.254.0.0/16"), ip_network("0.0.0.0/0"), ip_network("::/0")])
    assert guard.hard(ip_address("169.254.169.254"))
    assert guard.private(ip_address("8.8.8.8")) == "cluster range"


def test_an_address_that_only_python_knows_to_be_special_is_hard(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(IPv4Address, "is_global", property(lambda self: str(self) != "8.8.4.4"))
    guard = Guard()
    assert guard.hard(ip_address("8.8.4.4")) == "not globally reachable (IANA)"
    assert guard.hard(ip_address("64:ff9b::8.8.4.4")) == "not globally reachable (IANA), inside of IPv6"
    assert guard.hard(ip_address("8.8.8.8")) is None


@given(st.ip_addresses())
def test_what_passes_is_global_to_python_too(address: Address):
    if GUARD.hard(address) is None and GUARD.private(address) is None:
        assert address.is_global
        assert not address.is_multicast


registry = [
    network
    for constants in (ipaddress._IPv4Constants, ipaddress._IPv6Constants)
    for network in constants._private_networks
]


@pytest.mark.parametrize("network", registry, ids=str)
def test_nothing_in_pythons_registry_passes(network: Network):
    for address in (network[0], network[-1]):
        assert GUARD.hard(address) or GUARD.private(address)


def slow_why(rows: list[tuple[Network, str]], address: Address) -> str | None:
    """The tables read naively: the longest prefix wins."""
    around = [(network.prefixlen, why) for network, why in rows if address in network]
    return (max(around)[1] if around else "") or None


@given(
    st.one_of(st.ip_addresses(v=4), st.sampled_from([n[at] for n, _ in networks(HARD + METADATA) for at in (0, -1)]))
)
def test_the_bisected_tables_say_what_a_naive_reading_says(address: Address):
    rows = [(network, why) for network, why in networks(HARD + METADATA) if network.version == address.version]
    private = [(network, why) for network, why in networks(PRIVATE) if network.version == address.version]
    if len(faces(address)) == 1:
        assert GUARD.hard(address) == slow_why(rows, address)
        assert GUARD.private(address) == slow_why(private, address)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        pytest.param("metadata.google.internal", "GCP", id="GCP"),
        pytest.param("METADATA.google.internal.", "GCP", id="GCP in capitals with a dot"),
        pytest.param("x.metadata.google.internal", "GCP", id="below GCP's"),
        pytest.param("metadata.goog", "GCP", id="GCP, short"),
        pytest.param("metadata", "GCP", id="GCP, shortest"),
        pytest.param("metadata.azure.internal", "Azure", id="Azure"),
        pytest.param("instance-data", "AWS", id="AWS"),
        pytest.param("instance-data.ec2.internal", "AWS", id="AWS, long"),
        pytest.param("metadata.tencentyun.com", "Tencent", id="Tencent"),
        pytest.param("localhost", "loopback", id="localhost"),
        pytest.param("a.b.localhost", "loopback", id="below localhost"),
        pytest.param("localhost.localdomain", "loopback", id="localhost.localdomain"),
        pytest.param("localtest.me", "loopback", id="a public name for loopback"),
        pytest.param("169.254.169.254.nip.io", "metadata", id="mirror, dots"),
        pytest.param("169-254-169-254.nip.io", "metadata", id="mirror, hyphens"),
        pytest.param("a9fea9fe.nip.io", "metadata", id="mirror, hexadecimal"),
        pytest.param("app-127-0-0-1.sslip.io", "loopback", id="mirror, behind a word"),
        pytest.param("www.100-100-100-200.sslip.io", "Alibaba", id="mirror, behind a label"),
        pytest.param("8.169.254.169.254.nip.io", "metadata", id="mirror, four of five numbers"),
        pytest.param("8-8-8-8.169-254-169-254.nip.io", "metadata", id="mirror, two addresses"),
        pytest.param("--1.sslip.io", "loopback", id="mirror, IPv6"),
        pytest.param("fd00-ec2--254.sslip.io", "AWS", id="mirror, IPv6 metadata"),
        pytest.param("--ffff-a9fe-a9fe.sslip.io", "metadata", id="mirror, IPv4-mapped"),
    ],
)
def test_names_that_are_refused_before_resolution(name: str, why: str):
    assert why in (GUARD.metadata_name(HostName.parse(name)) or "")


@pytest.mark.parametrize(
    "name",
    [
        "example.com", "google.internal", "xmetadata.google.internal", "metadata.google.internal.example.com",
        "notlocalhost", "localhost.example.com", "8-8-8-8.nip.io", "8.8.8.8.sslip.io", "nip.io", "x-y-z.nip.io",
        "300.254.169.254.nip.io", "169-254-169-254.example.com", "evilnip.io", "10-0-0-1.nip.io", "127.0.0.1",
        "2606-4700--1111.sslip.io", "metadata.example.com", "deadbeef.nip.io",
    ],
)  # fmt: skip
def test_names_that_are_not(name: str):
    assert GUARD.metadata_name(HostName.parse(name)) is None


def test_a_mirror_may_spell_what_unsafe_allow_opens():
    guard = Guard(unsafe_allow=[ip_network("127.0.0.1/32")])
    assert guard.metadata_name(HostName.parse("127-0-0-1.nip.io")) is None
