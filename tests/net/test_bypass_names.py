"""Tricks with names and addresses: metadata in every costume, resolvers that lie, and ways around the gateway."""

from __future__ import annotations

import json
import socket
import time

import pytest

from net.attacker import EVIL_V4, GOOD_V4, Attacker, inside
from net.bed import DNS_V4, OURS, POD_V4, POD_V6, syns, until

pytestmark = pytest.mark.net

GET = b"GET /x HTTP/1.1\r\nHost: %b\r\n\r\n"

V4_COSTUMES = (
    b"169.254.169.254", b"2852039166", b"0xa9fea9fe", b"0XA9.0xFE.0xA9.0xFE", b"0251.0376.0251.0376", b"025177524776",
    b"169.254.43518", b"169.16689662", b"169.0xfe.43518", b"0169.254.169.254", b"169.254.169.254.", b"169.254.169.0376",
    b"%31%36%39.254.169.254", "\uff11\uff16\uff19.254.169.254".encode(), "169\u3002254\u3002169\u3002254".encode(), b"169.254.169.254.nip.io",
    b"a9fea9fe.nip.io", b"metadata.google.internal", b"METADATA.google.internal.", b"meta.test",
)  # fmt: skip
V6_COSTUMES = (
    b"[::ffff:169.254.169.254]", b"[::ffff:a9fe:a9fe]", b"[::169.254.169.254]", b"[64:ff9b::169.254.169.254]",
    b"[64:ff9b::a9fe:a9fe]", b"[2002:a9fe:a9fe::1]", b"[2001:0:a9fe:a9fe::1]", b"[2001:0:1:2:3:4:5601:5601]",
    b"[fd00:ec2::254]", b"[FD00:0EC2:0:0:0:0:0:0254]", b"[fd20:ce::254]", b"[fe80::5efe:a9fe:a9fe]",
    b"[::ffff:0:169.254.169.254]", b"[64:ff9b:1::a9fe:a9fe]", b"[fe80::a9fe:a9fe%25eth0]",
)  # fmt: skip
OTHER_METADATA = (b"169.254.170.2", b"169.254.170.23", b"100.100.100.200", b"168.63.129.16", b"192.0.0.192")
HARD = (
    b"127.0.0.1",
    b"127.1",
    b"0",
    b"0.0.0.0",
    b"[::1]",
    b"[::]",
    b"localhost",
    b"224.0.0.1",
    b"10.88.1.1",
    b"[fd88:1::1]",
)
PRIVATE = (b"10.0.0.1", b"192.168.0.1", b"172.16.0.1", b"100.64.0.1", b"[fc00::1]", b"[::ffff:10.0.0.1]", b"0x0a000001")

GUARDED = (*V4_COSTUMES, *V6_COSTUMES, *OTHER_METADATA, *HARD, *PRIVATE)
_REASONS = {"metadata", "hard-address", "private-address", "bad-name", "no-rule"}


def spoken(raw: bytes) -> str:
    return raw.decode()


@pytest.mark.parametrize("host", GUARDED, ids=spoken)
def test_a_guarded_address_in_host(attacker: Attacker, host: bytes) -> None:
    line, answer = attacker.ask(GET % host, clear=True, address=EVIL_V4)
    assert answer.status in {400, 403}
    assert attacker.reason(line) in _REASONS
    assert attacker.origin.seen == []


@pytest.mark.parametrize("host", [*V4_COSTUMES[:10], *V6_COSTUMES[:9]], ids=spoken)
def test_a_guarded_address_in_connect_and_in_an_absolute_target(attacker: Attacker, host: bytes) -> None:
    for raw in (
        b"CONNECT %b:80 HTTP/1.1\r\nHost: %b:80\r\n\r\n" % (host, host),
        b"GET http://%b/x HTTP/1.1\r\nHost: %b\r\n\r\n" % (host, host),
    ):
        line = attacker.tcp(3128, "10.88.1.1")
        line.send(raw)
        if raw.startswith(b"CONNECT"):
            opened = line.read(bool)
            if opened.startswith(b"HTTP/1.1 200"):
                line.send(GET % host)  # why, is told inside
                assert line.answers()[0].status in {400, 403}
        else:
            assert line.answers()[0].status in {400, 403}
        assert attacker.reason(line) in _REASONS | {"bad-request"}
    assert attacker.origin.seen == []


REAL = [
    "169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192", "10.9.9.9", "192.168.1.1",
    "fd00:ec2::254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "2001:0:a9fe:a9fe::1", "fd20:ce::254",
    "64:ff9b:1::a9fe:a9fe", "2001:db8:1234::5efe:a9fe:a9fe",
]  # fmt: skip


@pytest.mark.parametrize("address", REAL)
@pytest.mark.parametrize("host", ["itself", "good.test"])
def test_a_guarded_address_as_the_real_destination(attacker: Attacker, address: str, host: str) -> None:
    name = host if host != "itself" else f"[{address}]" if ":" in address else address
    line, answer = attacker.ask(GET % name.encode(), clear=True, address=address)
    if answer.status == 200:  # the name goes to its own address, whatever the pod thinks it is
        assert host == "good.test"
        assert {seen.address for seen in attacker.origin.seen} == {GOOD_V4}
        return
    assert answer.status == 403
    assert attacker.reason(line) in _REASONS
    assert attacker.origin.seen == []


@pytest.mark.parametrize("address", ["169.254.169.254", "fd00:ec2::254", "2002:a9fe:a9fe::1", "10.9.9.9"])
def test_a_guarded_address_in_tls_without_a_name(attacker: Attacker, address: str) -> None:
    line, answer = attacker.ask(GET % b"good.test", sni=None, address=address)
    assert answer.status == 403
    assert attacker.reason(line) in _REASONS
    assert attacker.origin.seen == []


@pytest.mark.parametrize(
    ("address", "port"), [("10.88.1.1", 8443), ("10.88.1.1", 8080), ("203.0.113.1", 8443), ("fd88:1::1", 8080)]
)
def test_the_gateways_own_ports_lead_nowhere(attacker: Attacker, address: str, port: int) -> None:
    before = [row["reason"] for row in attacker.gateway.records()].count("hard-address")
    try:
        line = attacker.tcp(port, address)
    except ConnectionResetError:
        pass  # as quick as that
    else:
        line.send(GET % b"good.test")
        assert (line.read(), line.end) == (b"", "reset")
    until(lambda: [r["reason"] for r in attacker.gateway.records()].count("hard-address") > before, "the record")


def test_the_gateways_metrics_are_not_for_pods(attacker: Attacker) -> None:
    for address in ("10.88.1.1", "203.0.113.1"):
        with pytest.raises(OSError, match="refused"):
            attacker.tcp(9190, address)
    for host in (b"10.88.1.1:9190", b"127.0.0.1:9190", b"203.0.113.1:9190"):
        line = attacker.tcp(3128, "10.88.1.1")
        line.send(b"GET http://%b/metrics HTTP/1.1\r\nHost: %b\r\n\r\n" % (host, host))
        assert line.answers()[0].status == 403
        assert attacker.reason(line) in {"hard-address", "no-rule"}


# -- 10, 11, 16, 66, 68, 81: what the resolver says ---------------------------------------------------------------


def test_a_name_that_turns_private_is_pinned_and_then_refused(attacker: Attacker) -> None:
    name = f"x{time.monotonic_ns()}.rebind.test".encode()
    kept = attacker.tcp()
    kept.send(GET % name)
    assert kept.answers()[0].status == 200
    attacker.gateway.forget_names()
    with attacker.bed.capture(OURS) as seen:
        # In TLS: in clear the connection to the old address is still there, and may be used.
        line, answer = attacker.ask(GET % name, sni=name.decode())
    assert (answer.status, attacker.reason(line)) == (403, "private-address")
    assert syns(seen) == []
    kept.send(GET % name)
    assert kept.answers()[0].status in {200, 403}
    assert {seen.address for seen in attacker.origin.seen} == {GOOD_V4}


def test_an_alias_of_a_listed_name_is_refused_with_that_name(attacker: Attacker) -> None:
    line, answer = attacker.ask(GET % b"cloaked.test", sni="cloaked.test")
    assert (answer.status, attacker.reason(line)) == (403, "listed")
    assert attacker.records(line)[-1]["list"]["entry"] == "paste.test"
    assert attacker.origin.seen == []


@pytest.mark.parametrize("clear", [False, True], ids=["in TLS", "in clear"])
def test_a_refused_name_is_never_asked_for(attacker: Attacker, clear: bool) -> None:
    name = f"c2VjcmV0x{time.monotonic_ns()}.evil.test"
    with attacker.bed.capture(OURS) as seen:
        line, answer = attacker.ask(GET % name.encode(), clear=clear, sni=name)
    assert (answer.status, attacker.reason(line)) == (403, "no-rule")
    assert seen == []
    assert f"{name}." not in attacker.queries()


def test_names_are_asked_for_as_they_are(attacker: Attacker) -> None:
    attacker.ask(GET % b"other.test")
    attacker.ask(GET % b"other.test", clear=True)
    asked = {name for name in attacker.queries() if "other" in name}
    assert asked <= {"other.test."}, "no search domain is tried"


@pytest.mark.parametrize("clear", [False, True], ids=["in TLS", "in clear"])
def test_whatever_address_the_pod_was_told_a_name_goes_to_its_own(attacker: Attacker, clear: bool) -> None:
    """A Service's externalIPs, a poisoned cache, a hosts file of the pod's: 3, 4, 20, 80 and 81 of the catalogue."""
    line, answer = attacker.ask(GET % b"good.test", clear=clear, address=EVIL_V4)
    assert answer.status == 200
    assert {seen.address for seen in attacker.origin.seen} == {GOOD_V4}
    assert attacker.records(line)[0]["dialled"].startswith(f"{GOOD_V4}:")


@pytest.mark.parametrize("path", [b"/cert/pem", b"/mitmproxy-0.crl", b"/"])
def test_there_is_no_onboarding_host(attacker: Attacker, path: bytes) -> None:
    raw = b"GET %b HTTP/1.1\r\nHost: mitm.it\r\n\r\n" % path
    line, answer = attacker.ask(raw, clear=True)
    assert (answer.status, attacker.reason(line)) == (403, "no-rule")
    _line, answer = attacker.ask(raw.replace(b"mitm.it", b"good.test"))
    assert answer.body == b"ok", "and no path is answered by the gateway itself"


# -- 64, 67, 69 to 71: ways around the gateway --------------------------------------------------------------------


def test_nothing_but_tcp_leaves_the_pod(attacker: Attacker) -> None:
    """UDP to any port, DNS by UDP, ICMP, SCTP, GRE, IP in IP, ESP, over both versions of IP."""

    def send() -> None:
        for family, target in (
            (socket.AF_INET, GOOD_V4),
            (socket.AF_INET, DNS_V4),
            (socket.AF_INET6, "2001:db8:9::10"),
        ):
            with socket.socket(family, socket.SOCK_DGRAM) as udp:
                for port in (443, 53, 80, 123, 784, 853, 8853, 51820):
                    try:
                        udp.sendto(b"\x12\x34\x01\0\0\1\0\0\0\0\0\0\4evil\4test\0\0\1\0\1", (target, port))
                    except ConnectionRefusedError:
                        udp.sendto(b"again: the first told of the reject", (target, port))
            for protocol in (1, 4, 33, 47, 50, 58, 94, 132, 136, 253):
                with socket.socket(family, socket.SOCK_RAW, protocol) as raw:
                    raw.sendto(b"\x08\0\xf7\xff" + b"secret in another protocol", (target, 0))

    with attacker.bed.capture(f"src host {POD_V4} or src host {POD_V6}") as leaked, attacker.bed.capture(OURS) as ours:
        inside(attacker.bed.pod.name, send)
    assert leaked == []
    assert ours == [], "nor in the gateway's name"


@pytest.mark.parametrize("port", [1, 21, 22, 25, 53, 587, 853, 3128, 5432, 6379, 8080, 8443, 9418, 65535])
@pytest.mark.parametrize("family", ["v4", "v6"])
def test_another_port_is_refused(attacker: Attacker, port: int, family: str) -> None:
    line = attacker.tcp(port, GOOD_V4 if family == "v4" else "2001:db8:9::10")
    line.send(GET % b"good.test:%d" % port)
    answers = line.answers()
    assert [answer.status for answer in answers] in ([403], [400], [])
    assert attacker.reason(line) in {"no-rule", "not-http"}
    assert attacker.origin.seen == []


def test_dns_over_tcp_and_tls_is_no_http(attacker: Attacker) -> None:
    for port in (53, 853, 443):
        line = attacker.tcp(port, DNS_V4)
        line.send(b"\0\x1b\x12\x34\x01\0\0\1\0\0\0\0\0\0\4evil\4test\0\0\1\0\1")
        assert (line.read(), line.end) == (b"", "reset")
        assert attacker.records(line)[0]["verdict"] == "deny"


def test_six_is_inspected_as_four_is(attacker: Attacker) -> None:
    for clear in (True, False):
        line, answer = attacker.ask(GET % b"evil.test", clear=clear, sni="evil.test", address="2001:db8:9::10")
        assert (answer.status, attacker.reason(line)) == (403, "no-rule")
    line, answer = attacker.ask(GET % b"good.test", address="2001:db8:9::10")
    assert answer.status == 200, "resolved by us: to the address it has, of whatever family"


@pytest.mark.usefixtures("attacked")
def test_a_record_names_every_refusal(attacked: Attacker) -> None:
    """Last of all: no refusal above was without one, and no crash was among them."""
    rows = attacked.gateway.records()
    assert not [row for row in rows if row["reason"] == "crash"]
    assert "lane crashed" not in attacked.gateway.log()
    assert all(json.dumps(row) for row in rows)
