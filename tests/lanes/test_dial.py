"""The second lock. A listener on loopback stands for every origin: what may not be dialled, it must never see."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

import story
from lanes.conftest import Run
from resolve.nameserver import NameServer
from sluicegate.exchange import DialRefused
from sluicegate.facts import Ask, Endpoint, Protocol
from sluicegate.lanes import dial as dialling
from sluicegate.lanes.dial import Dialler
from sluicegate.names import HostName
from sluicegate.resolve.resolver import Resolver
from sluicegate.snapshot import Snapshot
from sluicegate.verdict import Deny, Permit, Reason
from story import Told, allow

MAY = "127.0.0.2/31"
"""Reached in these tests; all other loopback is as hard as ever."""


@pytest.fixture
def origin() -> Iterator[socket.socket]:
    """Listens on all of loopback, so that it would see a SYN to any address."""
    with socket.create_server(("0.0.0.0", 0)) as listener:
        listener.setblocking(False)
        yield listener


def seen(origin: socket.socket) -> list[str]:
    """The addresses that were connected to."""
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            accepted, _ = origin.accept()
            with accepted:
                found.append(accepted.getsockname()[0])
    return found


def port(origin: socket.socket) -> int:
    return origin.getsockname()[1]


@pytest.fixture
def tell(tmp_path: Path) -> Iterator[Callable[..., Told]]:
    with contextlib.ExitStack() as stack:
        yield lambda policy="", **more: stack.enter_context(
            story.told(tmp_path, policy or allow("a.test", "b.test"), **{"unsafe": MAY, **more})
        )


def asked(number: int, name: str = "a.test") -> Ask:
    return Ask(story.WEB, story.HERE, HostName.parse(name), None, number, frozenset({Protocol.HTTPS}))


def permit(told: Told, ask: Ask) -> Permit:
    verdict = told.gate.snapshot.decide(ask)
    assert isinstance(verdict, Permit), verdict
    return verdict


async def refused(told: Told, given: Permit) -> Deny:
    with pytest.raises(DialRefused) as caught:
        await told.gate.dial(given)
    return caught.value.deny


class TestWithoutAPermit:
    @pytest.mark.parametrize("given", [None, "permit", object()], ids=["nothing", "text", "something"])
    async def test_nothing_is_opened(self, tell: Callable[..., Told], given: object):
        told = tell()

        assert (await refused(told, given)).reason is Reason.CRASH  # type: ignore[arg-type]  # that is the fault

    async def test_a_deny_is_none(self, tell: Callable[..., Told], origin: socket.socket):
        told = tell(hosts={"c.test": "127.0.0.2"})
        verdict = told.gate.snapshot.decide(asked(port(origin), "c.test"))

        assert isinstance(verdict, Deny)
        assert (await refused(told, verdict)).reason is Reason.CRASH  # type: ignore[arg-type]  # that is the fault
        assert not seen(origin)


class TestAddresses:
    def test_the_permitted_one_is_connected_to(self, run: Run, tell: Callable[..., Told], origin: socket.socket):
        told = tell(hosts={"a.test": "127.0.0.2"})

        async def main() -> None:
            with await told.gate.dial(permit(told, asked(port(origin)))) as sock:
                assert sock.getpeername()[0] == "127.0.0.2"
                assert not sock.getblocking()
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

        run(main())

    @pytest.mark.parametrize(
        ("address", "why"),
        [
            pytest.param("127.0.0.1", Reason.HARD_ADDRESS, id="loopback"),
            pytest.param("127.0.0.4", Reason.HARD_ADDRESS, id="the neighbour of what may be reached"),
            pytest.param("0.0.0.0", Reason.HARD_ADDRESS, id="unspecified, which is loopback"),
            pytest.param("::ffff:127.0.0.2", Reason.HARD_ADDRESS, id="v4-mapped costume of what may be reached"),
            pytest.param("169.254.169.254", Reason.METADATA, id="metadata"),
            pytest.param("10.0.0.1", Reason.PRIVATE_ADDRESS, id="private"),
        ],
    )
    async def test_a_guarded_one_is_not(
        self, tell: Callable[..., Told], origin: socket.socket, address: str, why: Reason
    ):
        told = tell(hosts={"a.test": address})

        assert (await refused(told, permit(told, asked(port(origin))))).reason is why
        assert not seen(origin)

    async def test_a_listed_one_is_not(self, tell: Callable[..., Told], origin: socket.socket):
        told = tell(hosts={"a.test": "127.0.0.2"}, listed="127.0.0.2\n")
        deny = await refused(told, permit(told, asked(port(origin))))

        assert deny.reason is Reason.LISTED
        assert deny.hit is not None
        assert not seen(origin)

    async def test_guarded_ones_are_left_out(self, tell: Callable[..., Told], origin: socket.socket):
        told = tell(hosts={"a.test": ["127.0.0.1", "10.0.0.1", "127.0.0.3"]})

        with await told.gate.dial(permit(told, asked(port(origin)))):
            assert seen(origin) == ["127.0.0.3"]

    async def test_after_one_that_refuses_the_next_is_tried(self, tell: Callable[..., Told]):
        told = tell(hosts={"a.test": ["127.0.0.2", "127.0.0.3"]})
        with (
            socket.create_server(("127.0.0.3", 0)) as second,
            await told.gate.dial(permit(told, asked(port(second)))) as sock,
        ):
            assert sock.getpeername()[0] == "127.0.0.3"

    async def test_where_none_answers_it_says_so(self, tell: Callable[..., Told]):
        told = tell(hosts={"a.test": ["127.0.0.2", "127.0.0.3"]})
        with socket.socket() as closed:  # bound, so that nobody else listens there
            closed.bind(("", 0))
            deny = await refused(told, permit(told, asked(port(closed))))

            assert deny.reason is Reason.CONNECT_FAILED
            assert deny.detail == f"a.test:{port(closed)} cannot be reached: connection refused"

    async def test_an_address_for_a_name_is_dialled_itself(self, tell: Callable[..., Told], origin: socket.socket):
        policy = allow().replace("domains: []", "addresses: [127.0.0.2]")
        told = tell(policy)
        literal = asked(port(origin), "127.0.0.2")

        with await told.gate.dial(permit(told, literal)):
            assert seen(origin) == ["127.0.0.2"]
        nameless = replace(literal, name=None, destination=Endpoint(ip_address("127.0.0.2"), port(origin)))
        with await told.gate.dial(permit(told, nameless)):
            assert seen(origin) == ["127.0.0.2"]

    async def test_where_the_client_went_does_not_matter(self, tell: Callable[..., Told], origin: socket.socket):
        """A client may send its packets anywhere: the address is that of our own resolution of the name."""
        told = tell(hosts={"a.test": "127.0.0.2"})
        ask = replace(asked(port(origin)), destination=Endpoint(ip_address("127.0.0.3"), port(origin)))

        with await told.gate.dial(permit(told, ask)):
            assert seen(origin) == ["127.0.0.2"]

    async def test_a_splice_is_not_dialled_where_the_address_wants_inspection(
        self, tell: Callable[..., Told], origin: socket.socket
    ):
        inspected = '    - {name: full, to: {domains: ["a.test"], ports: ["1024-65535"]}}\n'
        policy = allow("a.test", inspect="sni").replace("ports:", "addresses: [127.0.0.3], ports:") + inspected
        told = tell(policy, hosts={"a.test": "127.0.0.2"})
        given = permit(told, replace(asked(port(origin)), protocols=frozenset({Protocol.TLS, Protocol.HTTPS})))

        assert given.inspect == "sni"
        assert (await refused(told, given)).reason is Reason.NOT_HTTP
        assert not seen(origin)


class TestReload:
    async def test_the_newest_policy_decides_on_the_address(self, tell: Callable[..., Told], origin: socket.socket):
        told = tell(hosts={"a.test": "127.0.0.2"})
        given = permit(told, asked(port(origin)))
        told.reload(allow("b.test"))

        assert (await refused(told, given)).reason is Reason.NO_RULE
        assert not seen(origin)


class TestNames:
    """With a DNS server of its own, which is asked for what is permitted and nothing else."""

    @contextlib.asynccontextmanager
    async def named(self, tell: Callable[..., Told], server: NameServer, **more: object):
        async with server.serve() as number:
            told = tell(**more)
            servers = replace(told.settings.resolver, servers=(Endpoint(ip_address("127.0.0.1"), number),))
            resolver = Resolver(servers)
            told.gate.dial = Dialler(resolver, lambda: told.gate.snapshot, 2.0).dial
            try:
                yield told
            finally:
                await resolver.close()

    async def test_without_an_address_it_says_so(self, tell: Callable[..., Told]):
        async with self.named(tell, NameServer()) as told:
            deny = await refused(told, permit(told, asked(443)))

        assert deny.reason is Reason.RESOLVE_FAILED
        assert "a.test has no address" in deny.detail

    async def test_a_guarded_answer_is_asked_for_and_not_dialled(
        self, tell: Callable[..., Told], origin: socket.socket
    ):
        server = NameServer()
        server.add("a.test", "A", "127.0.0.1")
        async with self.named(tell, server) as told:
            assert (await refused(told, permit(told, asked(port(origin))))).reason is Reason.HARD_ADDRESS

        assert server.asked("a.test")
        assert not seen(origin)

    async def test_no_permit_means_no_query(self, tell: Callable[..., Told]):
        server = NameServer()
        async with self.named(tell, server) as told:
            await refused(told, None)  # type: ignore[arg-type]  # that is the fault

        assert not server.queries

    async def test_rebinding_reaches_only_what_was_judged(self, tell: Callable[..., Told], origin: socket.socket):
        """The first answer is fine and each later one is not: one query, one judgement, one connection."""
        server = NameServer()
        server.add("a.test", "A", "127.0.0.2", "127.0.0.1", ttl=0)
        async with self.named(tell, server) as told:
            with await told.gate.dial(permit(told, asked(port(origin)))):
                assert seen(origin) == ["127.0.0.2"]
            assert [kind for _, kind, _ in server.asked("a.test")].count("A") == 1

    async def test_an_alias_to_a_listed_name_is_denied(self, tell: Callable[..., Told], origin: socket.socket):
        server = NameServer()
        server.add("a.test", "CNAME", "x.bad.test.")
        server.add("x.bad.test", "A", "127.0.0.2")
        async with self.named(tell, server, listed="bad.test\n") as told:
            deny = await refused(told, permit(told, asked(port(origin))))

        assert deny.reason is Reason.LISTED
        assert deny.hit is not None
        assert deny.hit.entry == "bad.test"
        assert not seen(origin)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def silent() -> Iterator[tuple[str, int]]:
    """A listener whose queue is full: a SYN to it gets no answer."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.2", 0))
        listener.listen(0)
        for _ in range(2):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()


class TestFaults:
    @pytest.mark.parametrize(
        ("where", "what"),
        [
            pytest.param(Resolver, "resolve", id="resolving"),
            pytest.param(Snapshot, "decide", id="deciding"),
            pytest.param(dialling, "_connect", id="connecting"),
            pytest.param(Dialler, "_permitted", id="judging"),
        ],
    )
    async def test_inside_open_nothing(
        self,
        tell: Callable[..., Told],
        origin: socket.socket,
        monkeypatch: pytest.MonkeyPatch,
        where: object,
        what: str,
    ):
        told = tell(hosts={"a.test": "127.0.0.2"})
        given = permit(told, asked(port(origin)))

        def boom(*_: object, **__: object) -> None:
            raise RuntimeError("boom")

        monkeypatch.setattr(where, what, boom)
        deny = await refused(told, given)
        assert (deny.reason, deny.detail) == (Reason.CRASH, "the gateway failed while it dialled (RuntimeError)")
        assert not seen(origin)

    def test_silence_has_an_end_and_leaks_nothing(self, run: Run, tell: Callable[..., Told], silent: tuple[str, int]):
        told = tell(hosts={"a.test": "127.0.0.2"}, connect_timeout="200ms")

        async def main() -> None:
            given, before = permit(told, asked(silent[1])), descriptors()
            deny = await refused(told, given)
            assert deny.reason is Reason.CONNECT_FAILED
            assert descriptors() == before

        run(main())

    def test_an_answer_comes_after_a_silent_address(self, run: Run, tell: Callable[..., Told], silent: tuple[str, int]):
        told = tell(hosts={"a.test": ["127.0.0.2", "127.0.0.3"]}, connect_timeout="600ms")
        with socket.create_server(("127.0.0.3", silent[1])):

            async def main() -> None:
                with await told.gate.dial(permit(told, asked(silent[1]))) as sock:
                    assert sock.getpeername()[0] == "127.0.0.3"

            run(main())

    def test_who_gives_up_leaves_nothing_behind(self, run: Run, tell: Callable[..., Told], silent: tuple[str, int]):
        told = tell(hosts={"a.test": "127.0.0.2"})

        async def main() -> None:
            given, before = permit(told, asked(silent[1])), descriptors()
            task = asyncio.ensure_future(told.gate.dial(given))
            while descriptors() == before:  # noqa: ASYNC110 - nobody tells when a socket is opened
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert descriptors() == before

        run(main())
