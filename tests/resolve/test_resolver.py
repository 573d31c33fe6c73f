"""The resolver against a real DNS server on loopback."""

import asyncio
import math
import socket
from ipaddress import ip_address
from pathlib import Path

import dns.rcode
import pytest

from resolve.nameserver import NameServer
from sluicegate import settings
from sluicegate.facts import Endpoint
from sluicegate.names import HostName
from sluicegate.resolve import resolver as module
from sluicegate.resolve.resolver import Answer, ResolveFailed, Resolver

LOOPBACK = ip_address("127.0.0.1")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def server():
    server = NameServer()
    async with server.serve() as port:
        server.port = port
        yield server


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def resolver(server: NameServer, clock: Clock):
    resolver = Resolver(settings.Resolver(servers=(Endpoint(LOOPBACK, server.port),), timeout_s=5), clock)
    yield resolver
    await resolver.close()


def name(text: str):
    return HostName.parse(text)


def addresses(*texts: str):
    return tuple(ip_address(text) for text in texts)


async def test_both_families_in_one_answer(server: NameServer, resolver: Resolver, clock: Clock):
    server.add("a.test", "A", ["192.0.2.1", "192.0.2.2"], ttl=30)
    server.add("a.test", "AAAA", "2001:db8::1", ttl=30)
    answer = await resolver.resolve(name("A.test."))
    v4, v6 = answer.addresses[:2], answer.addresses[2:]
    assert (set(v4), v6) == (set(addresses("192.0.2.1", "192.0.2.2")), addresses("2001:db8::1"))
    assert answer == Answer(name("a.test"), v4 + v6, (), clock.now + 30)
    assert sorted(server.queries) == [("a.test", "A", "udp"), ("a.test", "AAAA", "udp")]


async def test_one_family_is_enough(server: NameServer, resolver: Resolver):
    server.add("six.test", "AAAA", "2001:db8::1")
    assert (await resolver.resolve(name("six.test"))).addresses == addresses("2001:db8::1")


async def test_a_family_without_an_answer_does_not_hold_the_other_up(server: NameServer, resolver: Resolver):
    server.add("a.test", "A", "192.0.2.1")
    server.silent.add("AAAA")
    assert (await resolver.resolve(name("a.test"))).addresses == addresses("192.0.2.1")


async def test_a_family_that_fails_does_not_fail_the_other(server: NameServer, resolver: Resolver):
    server.add("a.test", "A", "192.0.2.1")
    server.rcodes["a.test", "AAAA"] = dns.rcode.SERVFAIL
    answer = await resolver.resolve(name("a.test"))
    assert answer.addresses == addresses("192.0.2.1")
    assert answer.expires == resolver._clock() + 10


async def test_no_address_in_one_family_and_failure_in_the_other_is_failure_not_knowledge(
    server: NameServer, resolver: Resolver, clock: Clock
):
    server.add("a.test", "AAAA", "2001:db8::1")
    server.rcodes["a.test", "AAAA"] = dns.rcode.SERVFAIL
    with pytest.raises(ResolveFailed, match="SERVFAIL"):
        await resolver.resolve(name("a.test"))
    del server.rcodes["a.test", "AAAA"]
    clock.now += 1
    assert (await resolver.resolve(name("a.test"))).addresses == addresses("2001:db8::1")


async def test_names_are_absolute(server: NameServer, resolver: Resolver):
    with pytest.raises(ResolveFailed):
        await resolver.resolve(name("kubernetes"))
    assert {query[0] for query in server.queries} == {"kubernetes"}


@pytest.mark.parametrize("literal", ["192.0.2.7", "2001:db8::7", "0x7f.1"])
async def test_literals_answer_themselves(server: NameServer, resolver: Resolver, literal: str):
    answer = await resolver.resolve(name(literal))
    assert (answer.addresses, answer.expires, server.queries) == ((name(literal).address,), math.inf, [])


async def test_the_hosts_table_comes_first(server: NameServer):
    server.add("a.test", "A", "192.0.2.1")
    table = {name("a.test"): addresses("192.0.2.9"), name("none.test"): ()}
    resolver = Resolver(settings.Resolver(servers=(Endpoint(LOOPBACK, server.port),), hosts=table))
    assert (await resolver.resolve(name("a.test"))).addresses == addresses("192.0.2.9")
    with pytest.raises(ResolveFailed, match="hosts table"):
        await resolver.resolve(name("none.test"))
    assert server.queries == []


async def test_the_chain_of_aliases_is_told(server: NameServer, resolver: Resolver):
    server.add("a.test", "CNAME", "b.test.", ttl=5)
    server.add("b.test", "CNAME", "Tracker.example.", ttl=50)
    server.add("Tracker.example", "A", "192.0.2.1", ttl=50)
    server.records["tracker.example", "A"] = server.records["Tracker.example", "A"]
    answer = await resolver.resolve(name("a.test"))
    assert [str(each) for each in answer.chain] == ["b.test", "tracker.example"]
    assert answer.expires == resolver._clock() + 5


async def test_a_chain_that_the_server_leaves_unfinished_is_followed(server: NameServer, resolver: Resolver):
    server.bare_aliases, server.soa = True, False
    server.add("a.test", "CNAME", "b.test.")
    server.add("b.test", "CNAME", "c.test.")
    server.add("c.test", "A", "192.0.2.1")
    answer = await resolver.resolve(name("a.test"))
    assert (answer.addresses, [str(each) for each in answer.chain]) == (addresses("192.0.2.1"), ["b.test", "c.test"])


@pytest.mark.parametrize("bare", [True, False])
async def test_aliases_in_a_circle_are_a_failure(server: NameServer, resolver: Resolver, bare: bool):
    server.bare_aliases = bare
    server.soa = False
    server.add("a.test", "CNAME", "b.test.")
    server.add("b.test", "CNAME", "a.test.")
    with pytest.raises(ResolveFailed, match="alias"):
        await resolver.resolve(name("a.test"))


@pytest.mark.parametrize("target", ["1.2.3.4.", "a\\000b.test.", "x\\.y\\@z.test."])
async def test_an_alias_to_what_is_no_name_is_a_failure(server: NameServer, resolver: Resolver, target: str):
    server.bare_aliases, server.soa = True, False
    server.add("a.test", "CNAME", target)
    with pytest.raises(ResolveFailed, match="alias"):
        await resolver.resolve(name("a.test"))


async def test_an_answer_cut_short_is_asked_for_over_tcp(server: NameServer, resolver: Resolver):
    server.truncate.add("big.test")
    server.add("big.test", "A", [f"192.0.2.{n}" for n in range(1, 60)])
    answer = await resolver.resolve(name("big.test"))
    assert len(answer.addresses) == 59
    assert ("big.test", "A", "tcp") in server.queries


async def test_at_most_64_addresses(server: NameServer, resolver: Resolver):
    server.truncate.add("big.test")
    server.add("big.test", "A", [f"10.0.{n // 256}.{n % 256}" for n in range(1000)])
    assert len((await resolver.resolve(name("big.test"))).addresses) == 64


async def test_no_such_name_is_remembered_as_the_soa_says_but_at_most_30_s(
    server: NameServer, resolver: Resolver, clock: Clock
):
    server.minimum = 3600
    for after, queries in ((0, 2), (29.9, 2), (0.2, 4)):
        clock.now += after
        with pytest.raises(ResolveFailed, match="does not exist"):
            await resolver.resolve(name("no.test"))
        assert len(server.queries) == queries


async def test_no_such_name_is_remembered_as_short_as_the_soa_says(
    server: NameServer, resolver: Resolver, clock: Clock
):
    server.minimum = 2
    for after, queries in ((0, 2), (1.9, 2), (0.2, 4)):
        clock.now += after
        with pytest.raises(ResolveFailed, match="does not exist"):
            await resolver.resolve(name("no.test"))
        assert len(server.queries) == queries


async def test_a_name_without_addresses(server: NameServer, resolver: Resolver):
    server.add("txt.test", "TXT", '"x"')
    with pytest.raises(ResolveFailed, match="has no address"):
        await resolver.resolve(name("txt.test"))


@pytest.mark.parametrize(("ttl", "kept"), [(0, 1), (30, 30), (86400, 300)])
async def test_how_long_an_answer_is_kept(server: NameServer, resolver: Resolver, clock: Clock, ttl: int, kept: int):
    server.add("a.test", "A", "192.0.2.1", ttl=ttl)
    for after, queries in ((0, 2), (kept - 0.1, 2), (0.2, 4)):
        clock.now += after
        await resolver.resolve(name("a.test"))
        assert len(server.queries) == queries


async def test_rebinding_does_not_reach_an_answer_that_was_given(server: NameServer, resolver: Resolver, clock: Clock):
    server.add("rebind.test", "A", "93.184.216.34", "10.0.0.1", ttl=0)
    first = await resolver.resolve(name("rebind.test"))
    clock.now += 2
    second = await resolver.resolve(name("rebind.test"))
    assert first.addresses == addresses("93.184.216.34")
    assert second.addresses == addresses("10.0.0.1")


async def test_callers_for_one_name_share_one_lookup(server: NameServer, resolver: Resolver):
    server.add("a.test", "A", "192.0.2.1")
    server.gate.clear()
    waiting = [asyncio.ensure_future(resolver.resolve(name("a.test"))) for _ in range(50)]
    await server.arrived.wait()
    waiting[0].cancel()
    server.gate.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert {result.addresses for result in results[1:]} == {addresses("192.0.2.1")}
    assert len(server.queries) == 2


async def test_a_lookup_that_all_gave_up_leaves_nothing_behind(server: NameServer, resolver: Resolver):
    server.gate.clear()
    waiting = asyncio.ensure_future(resolver.resolve(name("a.test")))
    await server.arrived.wait()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await resolver.close()
    assert resolver._under_way == {}


async def test_silence_ends_in_time(server: NameServer):
    server.silent |= {"A", "AAAA"}
    resolver = Resolver(settings.Resolver(servers=(Endpoint(LOOPBACK, server.port),), timeout_s=0.2))
    async with asyncio.timeout(2):
        with pytest.raises(ResolveFailed, match="no answer"):
            await resolver.resolve(name("a.test"))


async def test_a_failing_server_hands_on_to_the_next(server: NameServer):
    server.add("a.test", "A", "192.0.2.1")
    broken = NameServer()
    broken.rcodes["a.test"] = dns.rcode.REFUSED
    async with broken.serve() as port:
        servers = (Endpoint(LOOPBACK, port), Endpoint(LOOPBACK, server.port))
        resolver = Resolver(settings.Resolver(servers=servers))
        assert (await resolver.resolve(name("a.test"))).addresses == addresses("192.0.2.1")
        assert broken.asked("a.test")


async def test_a_failure_is_remembered_for_a_second(server: NameServer, resolver: Resolver, clock: Clock):
    server.rcodes["a.test"] = dns.rcode.SERVFAIL
    for after, queries in ((0, 2), (0.9, 2), (0.2, 4)):
        clock.now += after
        with pytest.raises(ResolveFailed, match="SERVFAIL"):
            await resolver.resolve(name("a.test"))
        assert len(server.queries) == queries


async def test_a_lost_datagram_is_sent_again(server: NameServer, resolver: Resolver, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_PATIENCE_S", (0.05, 2.0))
    server.add("a.test", "A", "192.0.2.1")
    server.lose = 2
    assert (await resolver.resolve(name("a.test"))).addresses == addresses("192.0.2.1")
    assert len(server.queries) > 2


async def test_a_closed_port_is_a_failure_with_the_servers_name():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))  # bound and never read
        port = taken.getsockname()[1]
        resolver = Resolver(settings.Resolver(servers=(Endpoint(LOOPBACK, port),), timeout_s=0.2))
        with pytest.raises(ResolveFailed, match="no answer"):
            await resolver.resolve(name("a.test"))


async def test_forged_datagrams_do_not_end_the_wait_for_the_true_one(server: NameServer, resolver: Resolver):
    server.add("a.test", "A", "192.0.2.1")
    wrong_id = lambda wire: bytes([wire[0] ^ 1]) + wire[1:]  # noqa: E731
    server.forge = lambda wire: [b"", b"\x00", b"\xff" * 40, wrong_id(wire), wire[:2] + b"\x81\x80" + b"\xff" * 30]
    assert (await resolver.resolve(name("a.test"))).addresses == addresses("192.0.2.1")


async def test_too_many_names_at_once_are_a_failure(
    server: NameServer, resolver: Resolver, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "_MOST_LOOKUPS", 2)
    server.gate.clear()
    waiting = [asyncio.ensure_future(resolver.resolve(name(f"{n}.test"))) for n in "ab"]
    await server.arrived.wait()
    with pytest.raises(ResolveFailed, match="already"):
        await resolver.resolve(name("c.test"))
    server.gate.set()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_the_cache_is_bounded(server: NameServer, resolver: Resolver, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(resolver._cache, "_most", 2)
    for letter in "abc":
        server.add(f"{letter}.test", "A", "192.0.2.1")
        await resolver.resolve(name(f"{letter}.test"))
    assert len(resolver._cache) == 2
    await resolver.resolve(name("c.test"))
    assert len(server.asked("c.test")) == 2
    await resolver.resolve(name("a.test"))
    assert len(server.asked("a.test")) == 4


async def test_close_ends_what_is_under_way(server: NameServer, resolver: Resolver):
    server.gate.clear()
    waiting = asyncio.ensure_future(resolver.resolve(name("a.test")))
    await server.arrived.wait()
    await resolver.close()
    with pytest.raises(ResolveFailed, match="shutting down"):
        await waiting
    with pytest.raises(ResolveFailed, match="shutting down"):
        await resolver.resolve(name("b.test"))


async def test_without_servers_every_name_fails(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "_system_servers", lambda: ())
    with pytest.raises(ResolveFailed, match="no DNS server"):
        await Resolver(settings.Resolver()).resolve(name("a.test"))


def test_system_servers_are_those_of_resolv_conf_and_no_search_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "resolv.conf"
    file.write_text("search evil.example\noptions ndots:5\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n")
    monkeypatch.setattr(module, "_RESOLV_CONF", file)
    assert Resolver(settings.Resolver())._servers == (
        Endpoint(ip_address("192.0.2.53"), 53),
        Endpoint(ip_address("2001:db8::53"), 53),
    )


@pytest.mark.parametrize("text", [None, "search x\n", "nameserver rubbish\n"])
def test_a_resolv_conf_without_servers_is_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None):
    file = tmp_path / "resolv.conf"
    if text is not None:
        file.write_text(text)
    monkeypatch.setattr(module, "_RESOLV_CONF", file)
    assert Resolver(settings.Resolver())._servers == ()
