"""Who may use an upstream connection again: the same workload, for what is permitted to that address, for a while."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from ipaddress import ip_address
from types import SimpleNamespace
from typing import Any

import pytest

from sluicegate.facts import Address, Ask, Endpoint, Protocol, Request, Workload
from sluicegate.lanes.http1.pool import IDLE_S, OLDEST_S, PER_PLACE, Place, Pool
from sluicegate.names import HostName
from sluicegate.verdict import Deny, Inspect, Permit, Reason, built_in

WEB = Workload("shop", "web-0")
PLACE = Place(("shop", "web-0", "default", "10.0.0.1"), "a.test", 443, tls=True)
ASK = Ask(
    identity=WEB,
    source=Endpoint(ip_address("10.0.0.1"), 40_000),
    name=HostName("a.test"),
    destination=Endpoint(ip_address("203.0.113.9"), 443),
    port=443,
    protocols=frozenset({Protocol.HTTPS}),
    request=Request("GET", "/a"),
)


class Rules:
    """A snapshot that keeps what it was asked, and refuses some paths."""

    def __init__(self, *refused: str) -> None:
        self.refused = refused
        self.asked: list[Ask] = []

    def decide(self, ask: Ask, aliases: Any = ()) -> Permit | Deny:
        self.asked.append(ask)
        if ask.request is not None and ask.request.path in self.refused:
            return Deny(Reason.RULE_DENY, built_in("test"))
        return permit(ask)


@dataclass(eq=False)
class Kept:
    snapshot: Any
    place: Place = PLACE
    address: Address = ip_address("203.0.113.9")
    proven: Ask | None = None
    born: float = 0.0
    idle_since: float = 0.0
    retired: int = 0

    def retire(self) -> None:
        self.retired += 1


class House:
    def __init__(self) -> None:
        self.rules = Rules()
        self.gate: Any = SimpleNamespace(snapshot=self.rules, draining=False, live=set())
        self.clock: Any = SimpleNamespace(now=0.0, watch=lambda _: None, forget=lambda _: None)
        self.pool: Pool[Any] = Pool(self.gate, self.clock)

    def put(self, **more: Any) -> Kept:
        kept = Kept(self.gate.snapshot, **more)
        self.pool.put(kept)
        return kept


def permit(ask: Ask) -> Permit:
    return Permit(Reason.RULE, built_in("test"), ask, Inspect.FULL)


@pytest.fixture
async def house() -> House:
    return House()


async def test_what_was_put_is_taken_the_newest_first(house: House):
    first, second = house.put(), house.put()
    assert [house.pool.take(PLACE, permit(ASK)) for _ in range(3)] == [second, first, None]
    assert len(house.pool) == 0


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(replace(PLACE, workload=("shop", "web-1", "default", "10.0.0.1")), id="another pod"),
        pytest.param(replace(PLACE, workload=("shop", "web-0", "admin", "10.0.0.1")), id="another service account"),
        pytest.param(
            replace(PLACE, workload=("shop", "web-0", "default", "10.0.0.2")), id="a pod of the same name elsewhere"
        ),
        pytest.param(replace(PLACE, name="b.test"), id="another name"),
        pytest.param(replace(PLACE, port=8443), id="another port"),
        pytest.param(replace(PLACE, tls=False), id="in clear"),
    ],
)
async def test_another_place_has_others(house: House, other: Place):
    house.put()
    assert house.pool.take(other, permit(ASK)) is None
    assert len(house.pool) == 1


async def test_each_other_request_is_decided_with_the_address(house: House):
    kept = house.put()
    wanted = permit(replace(ASK, request=Request("GET", "/b")))
    assert house.pool.take(PLACE, wanted) is kept
    assert [(ask.request, ask.resolved) for ask in house.rules.asked] == [(wanted.ask.request, kept.address)]


async def test_what_was_permitted_last_is_not_put_again(house: House):
    kept = house.put()
    for port in (1, 2, 3):
        assert house.pool.take(PLACE, permit(replace(ASK, source=Endpoint(ASK.source.address, port)))) is kept
        house.pool.put(kept)
    assert len(house.rules.asked) == 1


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"request": Request("POST", "/a")}, id="method"),
        pytest.param({"request": Request("GET", "/a", websocket=True)}, id="websocket"),
        pytest.param({"identity": Workload("shop", "web-0", labels={"app": "web"})}, id="labels"),
        pytest.param({"destination": Endpoint(ip_address("203.0.113.10"), 443)}, id="where the packet went"),
        pytest.param({"source": Endpoint(ip_address("10.0.0.2"), 1)}, id="address of the client"),
        pytest.param({"ech": True}, id="ech"),
    ],
)
async def test_whatever_a_rule_can_look_at_is_decided_anew(house: House, change: dict[str, Any]):
    kept = house.put(proven=ASK)
    assert house.pool.take(PLACE, permit(replace(ASK, **change))) is kept
    assert len(house.rules.asked) == 1


async def test_what_is_refused_to_that_address_gets_none(house: House):
    house.rules.refused = ("/a",)
    kept = house.put()
    assert house.pool.take(PLACE, permit(ASK)) is None
    assert kept.retired == 1


async def test_a_reload_forgets_all(house: House):
    kept = house.put()
    assert house.gate.live == {house.pool}
    house.gate.snapshot = Rules()
    house.pool.recheck(house.gate.snapshot)
    assert (kept.retired, len(house.pool)) == (1, 0)


async def test_what_was_dialled_under_an_old_policy_is_not_kept(house: House):
    kept = house.put()
    house.gate.snapshot = Rules()
    assert house.pool.take(PLACE, permit(ASK)) is None
    late = Kept(house.rules)
    house.pool.put(late)
    assert (kept.retired, late.retired, len(house.pool)) == (1, 1, 0)


async def test_what_is_old_is_not_used_however_busy_it_was(house: House):
    kept = house.put()
    house.clock.now = OLDEST_S
    assert house.pool.take(PLACE, permit(ASK)) is None
    assert kept.retired == 1


async def test_what_nobody_wants_is_closed(house: House):
    kept, later = house.put(), house.put()
    later.idle_since = 1.0
    house.pool.tick(IDLE_S)
    assert (kept.retired, later.retired, len(house.pool)) == (1, 0, 1)


async def test_an_empty_pool_rests(house: House):
    house.put()
    house.pool.take(PLACE, permit(ASK))
    house.pool.tick(1.0)
    assert house.gate.live == set()


async def test_there_are_no_more_than_so_many(house: House):
    kept = [house.put() for _ in range(PER_PLACE + 1)]
    assert [each.retired for each in kept] == [0] * PER_PLACE + [1]


async def test_a_draining_gateway_keeps_none(house: House):
    kept = house.put()
    house.gate.draining = True
    late = house.put()
    house.pool.tick(1.0)
    assert (kept.retired, late.retired, len(house.pool)) == (1, 1, 0)


async def test_one_that_is_gone_is_dropped_once(house: House):
    kept = house.put()
    house.pool.drop(kept)
    house.pool.drop(kept)
    assert (kept.retired, len(house.pool)) == (0, 0)


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def get(port: int, more: str = "", method: str = "GET") -> bytes:
    return f"{method} / HTTP/1.1\r\nHost: origin.test:{port}\r\n{more}\r\n".encode()


async def answers(bed: Any, port: int, *requests: bytes) -> list[bytes]:
    """The answers on one client connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    said = []
    for request in requests:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
        said.append(head.split(b"\r\n")[0])
    writer.close()
    await bed.settle()
    return said


def always(answer: bytes):
    async def talk(reader: Any, writer: Any):
        while True:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)

    return talk


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
async def test_clients_of_a_workload_share(bed: Any, tls: bool):
    async with bed.origin(always(OK), tls=tls) as origin, bed.door(origin.port) as port:
        for _ in range(3):
            context = {"ssl": bed.client_context(), "server_hostname": "origin.test"} if tls else {}
            reader, writer = await asyncio.open_connection("127.0.0.1", port, **context)
            writer.write(get(origin.port))
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
            writer.close()
            await bed.settle()
    assert origin.connections == 1
    assert len({record["dialled"] for record in bed.records(3)}) == 1


async def test_workloads_do_not_share(bed: Any):
    async with bed.origin(always(OK)) as origin:
        for pod in ("web-0", "web-1"):
            async with bed.door(origin.port, identity=Workload("shop", pod)) as port:
                await answers(bed, port, get(origin.port))
    assert origin.connections == 2


@pytest.mark.parametrize("scheme", ["NTLM", "Negotiate"])
async def test_what_was_authenticated_stays_with_its_client(bed: Any, scheme: str):
    """NTLM authenticates connections: its three steps need the same one, and nobody else may have it."""
    challenge = f"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: {scheme} abc\r\nContent-Length: 2\r\n\r\nno".encode()
    async with bed.origin(always(challenge)) as origin, bed.door(origin.port) as port:
        authorized = get(origin.port, f"Authorization: {scheme} xyz\r\n")
        await answers(bed, port, get(origin.port), authorized, authorized)
        assert origin.connections == 1
        await asyncio.wait_for(origin.ended.wait(), 2)
        await answers(bed, port, get(origin.port))
    assert origin.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", id="close"),
        pytest.param(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", id="HTTP/1.0"),
        pytest.param(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", id="an answer to nothing"),
    ],
)
async def test_what_cannot_be_used_again_is_not(bed: Any, answer: bytes):
    async with bed.origin(always(answer)) as origin, bed.door(origin.port) as port:
        said = await answers(bed, port, get(origin.port), get(origin.port))
    assert said == [b"HTTP/1.1 200 OK"] * 2
    assert origin.connections == 2


async def test_words_that_nobody_asked_for_end_it(bed: Any):
    async def talk(reader: Any, writer: Any):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await said.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        await reader.read()

    said = asyncio.Event()
    async with bed.origin(talk) as origin, bed.door(origin.port) as port:
        await answers(bed, port, get(origin.port))
        said.set()
        await asyncio.wait_for(origin.ended.wait(), 2)
        assert await answers(bed, port, get(origin.port)) == [b"HTTP/1.1 200 OK"]
    assert origin.connections == 2


@pytest.mark.parametrize(
    ("method", "status"), [("GET", b"200 OK"), ("POST", b"502 Bad Gateway"), ("DELETE", b"502 Bad Gateway")]
)
async def test_a_stale_connection_is_replaced_only_where_twice_is_as_good_as_once(bed: Any, method: str, status: bytes):
    async def once(reader: Any, writer: Any):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await reader.readuntil(b"\r\n\r\n")  # and closes without an answer

    async with bed.origin(once) as origin, bed.door(origin.port) as port:
        said = await answers(bed, port, get(origin.port), get(origin.port, method=method))
    assert said[1] == b"HTTP/1.1 " + status


async def test_it_is_not_replaced_twice(bed: Any):
    served = 0

    async def talk(reader: Any, writer: Any):
        nonlocal served
        await reader.readuntil(b"\r\n\r\n")
        served += 1
        if served == 1:
            writer.write(OK)
            await reader.readuntil(b"\r\n\r\n")

    async with bed.origin(talk) as origin, bed.door(origin.port) as port:
        said = await answers(bed, port, get(origin.port), get(origin.port))
    assert said == [b"HTTP/1.1 200 OK", b"HTTP/1.1 502 Bad Gateway"]
    assert origin.connections == 2
