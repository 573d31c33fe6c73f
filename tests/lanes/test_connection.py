"""The way of a connection, on loopback through the explicit listener, which needs no address translation."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

import story
from lanes.conftest import Run
from sluicegate.exchange import Connection
from sluicegate.exchange.note import Note
from sluicegate.identity.table import Table
from sluicegate.lanes import connection as receiving
from sluicegate.lanes import explicit, spliced
from sluicegate.lanes.connection import Lanes, Reception
from sluicegate.lanes.dial import Dialler
from sluicegate.records.journal import Journal
from sluicegate.settings import StaticIdentity
from sluicegate.snapshot import Snapshot
from story import Told, allow

type Pair = tuple[socket.socket, socket.socket]

SPLICED = allow("origin.test", inspect="sni")


class Origin:
    """A TLS server in a thread: greets, then sends back what it gets, in capitals, to the end."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._listener = socket.create_server(("127.0.0.2", 0))
        self._listener.settimeout(10)
        self.accepted = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return self._listener.getsockname()[1]

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.accepted += 1
                with contextlib.suppress(OSError), self._context.wrap_socket(sock, server_side=True) as tls:
                    while data := tls.recv(65536):
                        tls.sendall(data.upper())

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)


@pytest.fixture
def origin(server_context: ssl.SSLContext) -> Iterator[Origin]:
    made = Origin(server_context)
    yield made
    made.close()


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    with story.told(
        tmp_path,
        SPLICED,
        hosts={"origin.test": "127.0.0.2"},
        unsafe="127.0.0.2",
        limits={"hello_timeout": "300ms", "connections_per_workload": 2, "head": "4KiB"},
    ) as made:
        yield made


class House:
    """A Reception, and clients of it."""

    def __init__(self, told: Told, pairs: Callable[[], Pair], run: Run) -> None:
        self.told = told
        self.pairs = pairs
        self.run = run
        self.http: list[Connection] = []
        self.lanes = Lanes(self._http, self._http, self._leaf)
        self.identities: Any = Table.of(told.settings.identity)
        self._reception: Reception | None = None

    async def _http(self, _: socket.socket, connection: Connection) -> None:
        self.http.append(connection)

    async def _leaf(self, name: object) -> ssl.SSLContext:
        raise AssertionError(f"nobody is told anything here, and {name} has no leaf")

    @property
    def reception(self) -> Reception:
        if self._reception is None:
            self._reception = Reception(self.told.gate, self.identities, self.lanes, frozenset())
        return self._reception

    def visit(self, client: Callable[[socket.socket], Any], *, transparent: bool = False) -> Any:
        """What the client, in a thread, makes of a connection."""
        mine, theirs = self.pairs()

        async def main() -> Any:
            way = self.reception.transparent if transparent else self.reception.explicit
            carried = asyncio.ensure_future(way(theirs))
            asked = asyncio.get_running_loop().run_in_executor(None, client, mine)
            done = await asked
            await asyncio.wait_for(carried, 5)
            return done

        return self.run(main())


@pytest.fixture
def house(told: Told, pairs: Callable[[], Pair], run: Run) -> House:
    return House(told, pairs, run)


def ending(sock: socket.socket) -> str:
    """How the other side ends, after whatever it says."""
    sock.settimeout(5)
    try:
        while sock.recv(65536):
            pass
    except ConnectionResetError:
        return "reset"
    return "end"


def first_line(sock: socket.socket) -> bytes:
    with sock, sock.makefile("rb") as file:
        return file.readline()


def says(data: bytes) -> Callable[[socket.socket], str]:
    def client(sock: socket.socket) -> str:
        try:
            sock.sendall(data)
        except ConnectionResetError:  # it was refused before it was heard
            return "reset"
        return ending(sock)

    return client


def tunnel(sock: socket.socket, host: str, port: int) -> bytes:
    sock.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += sock.recv(1)
    return answer


def last(told: Told) -> tuple[str, str]:
    found = told.record()
    return found["verdict"], found["reason"]


class TestRefusals:
    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            pytest.param(b"\x16\x03\x01\x00\x05hello", "bad-hello", id="a broken ClientHello"),
            pytest.param(b"SSH-2.0-x\r\n", "not-http", id="SSH to a proxy"),
            pytest.param(b"\x00\x01\x02\x03", "not-http", id="bytes"),
            pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "not-http", id="HTTP/2 to a proxy"),
            pytest.param(b"", "hello-timeout", id="silence"),
            pytest.param(b"CONNECT a.test:443 HTTP/1.1\r\n", "hello-timeout", id="half a CONNECT"),
            pytest.param(b"CONNECT a.test HTTP/1.1\r\n\r\n", "bad-request", id="CONNECT without a port"),
            pytest.param(b"CONNECT a:1 HTTP/1.1\r\nX: " + b"y" * 5000, "bad-request", id="CONNECT too large"),
        ],
    )
    def test_of_what_is_no_request_are_a_reset_and_one_record(self, house: House, data: bytes, reason: str):
        assert house.visit(says(data)) == "reset"
        assert last(house.told) == ("deny", reason)
        assert not house.http

    def test_of_one_that_left_are_recorded(self, house: House):
        house.visit(lambda sock: sock.close())

        assert last(house.told) == ("deny", "client-gone")

    def test_of_one_that_resets_within_are_no_crash(self, house: House):
        def client(sock: socket.socket) -> None:
            tunnel(sock, "origin.test", 443)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()

        house.visit(client)
        assert last(house.told) == ("deny", "client-gone")

    def test_of_a_connection_to_the_gateway_itself(self, house: House):
        """Nobody redirected it, so there is no destination but us."""
        assert house.visit(says(b"GET / HTTP/1.1\r\n\r\n"), transparent=True) == "reset"
        assert last(house.told) == ("deny", "hard-address")

    def test_of_names_that_disagree(self, house: House, origin: Origin, client_context: ssl.SSLContext):
        def client(sock: socket.socket) -> str:
            assert tunnel(sock, "origin.test", origin.port).startswith(b"HTTP/1.1 200")
            with pytest.raises(ConnectionResetError):
                client_context.wrap_socket(sock, server_hostname="other.test")
            return "reset"

        assert house.visit(client) == "reset"
        assert last(house.told) == ("deny", "names-disagree")
        assert not origin.accepted

    def test_of_unknown_workloads(self, house: House):
        house.identities = Table.of(())

        def client(sock: socket.socket) -> bytes:
            tunnel(sock, "origin.test", 443)
            sock.sendall(b"GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n")
            return first_line(sock)

        assert house.visit(client) == b"HTTP/1.1 403 Forbidden\r\n"
        assert last(house.told) == ("deny", "unknown-identity")
        assert "unknown" in house.told.record()["workload"]

    def test_of_ports_that_no_rule_names(self, house: House):
        def client(sock: socket.socket) -> bytes:
            tunnel(sock, "origin.test", 25)
            sock.sendall(b"GET /x HTTP/1.1\r\nHost: origin.test\r\n\r\n")
            return first_line(sock)

        assert house.visit(client) == b"HTTP/1.1 403 Forbidden\r\n"
        found = house.told.record()
        assert (found["reason"], found["method"], found["path"]) == ("no-rule", "GET", "/x")

    def test_of_more_connections_than_a_workload_may_have(self, house: House):
        pairs = [house.pairs() for _ in range(3)]

        async def main() -> None:
            tasks = [asyncio.ensure_future(house.reception.explicit(theirs)) for _, theirs in pairs]
            assert await asyncio.get_running_loop().run_in_executor(None, ending, pairs[2][0]) == "reset"
            await asyncio.gather(*tasks)

        house.run(main())
        assert [found["reason"] for found in house.told.records()].count("too-many-connections") == 1
        assert house.visit(says(b"SSH-")) == "reset"  # the others have ended: there is room again
        assert house.told.records()[-1]["reason"] == "not-http"
        assert not house.reception._open

    def test_at_the_end_of_a_drain_are_recorded(self, house: House):
        mine, theirs = house.pairs()

        async def main() -> None:
            task = asyncio.ensure_future(house.reception.explicit(theirs))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])

        house.run(main())
        assert ending(mine) == "reset"
        assert last(house.told) == ("deny", "draining")


class TestLanes:
    def test_an_absolute_form_request_goes_to_the_http_lane(self, house: House):
        house.visit(says(b"GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n"))

        (found,) = house.http
        assert (found.explicit, found.port, found.tls, found.name) == (True, 80, False, None)

    def test_a_tunnel_that_is_inspected_goes_there_too(self, house: House, client_context: ssl.SSLContext):
        house.told.reload(allow("origin.test"))

        def client(sock: socket.socket) -> None:
            tunnel(sock, "origin.test", 443)
            with contextlib.suppress(OSError):
                client_context.wrap_socket(sock, server_hostname="origin.test")

        house.visit(client)
        (found,) = house.http
        assert (found.explicit, found.port, found.tls, str(found.name)) == (False, 443, True, "origin.test")

    def test_what_is_permitted_and_no_http_is_refused(self, house: House):
        house.told.reload(allow("origin.test"))

        def client(sock: socket.socket) -> str:
            tunnel(sock, "origin.test", 443)
            sock.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            return ending(sock)

        assert house.visit(client) == "reset"
        assert house.told.record()["verdict"] == "deny"


class Splice:
    """A client that speaks to the origin through the gateway, with its own eyes on the certificate."""

    def __init__(self, context: ssl.SSLContext, origin: Origin) -> None:
        self.context = context
        self.context.check_hostname = False  # the leaf is for another name; that it is the origin's is what counts
        self.origin = origin

    def open(self, sock: socket.socket) -> ssl.SSLSocket:
        assert tunnel(sock, "origin.test", self.origin.port) == explicit.ESTABLISHED
        return self.context.wrap_socket(sock, server_hostname="origin.test")

    def echo(self, sock: socket.socket) -> bytes:
        with self.open(sock) as tls:
            tls.sendall(b"hello")
            return tls.recv(100)


@pytest.fixture
def splice(client_context: ssl.SSLContext, origin: Origin) -> Splice:
    return Splice(client_context, origin)


class TestSplice:
    def test_carries_tls_to_the_origin_and_back(self, house: House, splice: Splice):
        assert house.visit(splice.echo) == b"HELLO"

        found = house.told.record()
        assert (found["verdict"], found["lane"], found["kind"]) == ("allow", "splice", "connection")
        assert (found["sni"], found["dialled"]) == ("origin.test", f"127.0.0.2:{splice.origin.port}")
        assert found["coverage"] == {
            "request": "opaque", "response": "opaque", "why": "passed on undecrypted, as the rule says",
        }  # fmt: skip
        assert min(found["bytes"].values()) > 100
        assert not house.told.gate.live

    @pytest.mark.parametrize(
        ("policy", "reason"),
        [
            pytest.param(allow("other.test"), "reloaded", id="no rule any more"),
            pytest.param(allow("origin.test"), "reloaded", id="to be inspected now"),
        ],
    )
    def test_ends_when_a_reload_refuses_it(self, house: House, splice: Splice, policy: str, reason: str):
        opened = threading.Event()

        def client(sock: socket.socket) -> str:
            with splice.open(sock) as tls:
                tls.sendall(b"hello")
                assert tls.recv(100) == b"HELLO"
                opened.set()
                return ending(tls)

        def reload() -> None:
            opened.wait(5)
            snapshot = house.told.reload(policy)
            for live in tuple(house.told.gate.live):
                loop.call_soon_threadsafe(live.recheck, snapshot)

        mine, theirs = house.pairs()

        async def main() -> str:
            nonlocal loop
            loop = asyncio.get_running_loop()
            carried = asyncio.ensure_future(house.reception.explicit(theirs))
            threading.Thread(target=reload).start()
            ended = await loop.run_in_executor(None, client, mine)
            await asyncio.wait_for(carried, 5)
            return ended

        loop: asyncio.AbstractEventLoop
        assert house.run(main()) == "reset"
        assert last(house.told) == ("deny", reason)
        assert house.told.record()["bytes"]["down"] > 0

    def test_a_reload_while_it_is_dialled_ends_it_too(self, house: House, splice: Splice):
        dial = house.told.gate.dial

        async def slow(permit: Any) -> socket.socket:
            upstream = await dial(permit)
            snapshot = house.told.reload(allow("other.test"))
            for live in tuple(house.told.gate.live):
                live.recheck(snapshot)
            return upstream

        house.told.gate.dial = slow

        def client(sock: socket.socket) -> None:
            with pytest.raises(ConnectionResetError):
                splice.open(sock)

        house.visit(client)
        assert last(house.told) == ("deny", "reloaded")

    def test_records_that_are_full_permit_none(self, house: House, splice: Splice, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(Journal, "reserve", lambda *_: None)

        def client(sock: socket.socket) -> None:
            with pytest.raises(ConnectionResetError):
                splice.open(sock)

        house.visit(client)
        assert last(house.told) == ("deny", "records-full")
        assert not splice.origin.accepted


class TestFaults:
    """Every step made to raise, once each: a reset within a second, one record, nothing upstream."""

    @pytest.mark.parametrize(
        ("where", "what"),
        [
            pytest.param(Table, "lookup", id="identity"),
            pytest.param(receiving, "peek", id="the hello"),
            pytest.param(explicit, "is_connect", id="telling a CONNECT"),
            pytest.param(explicit, "read_connect", id="reading it"),
            pytest.param(Snapshot, "decide", id="deciding"),
            pytest.param(receiving, "_ask", id="asking"),
            pytest.param(Reception, "_counted", id="counting"),
            pytest.param(Note, "asked", id="noting the ask"),
            pytest.param(Dialler, "_dial", id="dialling"),
            pytest.param(spliced, "_only_spliced", id="deciding on the splice"),
            pytest.param(Reception, "_splice", id="the splice lane"),
            pytest.param(Journal, "reserve", id="room for the record"),
        ],
    )
    def test_a_fault_ends_it(
        self, house: House, splice: Splice, monkeypatch: pytest.MonkeyPatch, where: object, what: str
    ):
        def boom(*_: object, **__: object) -> None:
            raise RuntimeError("boom")

        monkeypatch.setattr(where, what, boom)

        def client(sock: socket.socket) -> None:
            sock.settimeout(1.0)
            with pytest.raises((ConnectionResetError, BrokenPipeError)):
                splice.echo(sock)

        house.visit(client)
        found = house.told.record()
        assert (found["verdict"], found["reason"]) == ("deny", "records-full" if what == "reserve" else "crash")
        assert not splice.origin.accepted

    def test_a_splice_that_fails_ends_it_too(self, house: House, splice: Splice, monkeypatch: pytest.MonkeyPatch):
        async def boom(*_: object, **__: object) -> None:
            raise RuntimeError("boom")

        monkeypatch.setattr(spliced, "splice", boom)

        def client(sock: socket.socket) -> None:
            with pytest.raises(ConnectionResetError):
                splice.echo(sock)

        house.visit(client)
        assert last(house.told) == ("deny", "crash")

    def test_a_refusal_that_fails_is_a_reset_with_its_own_reason(self, house: House, monkeypatch: pytest.MonkeyPatch):
        async def boom(*_: object, **__: object) -> None:
            raise RuntimeError("boom")

        monkeypatch.setattr(receiving, "refuse", boom)

        def client(sock: socket.socket) -> str:
            tunnel(sock, "other.test", 443)
            sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
            return ending(sock)

        assert house.visit(client) == "reset"
        assert last(house.told) == ("deny", "no-rule")

    def test_a_lane_that_fails_is_recorded(self, house: House):
        async def boom(*_: object) -> None:
            raise RuntimeError("boom")

        house.lanes = Lanes(boom, boom, house._leaf)
        assert house.visit(says(b"GET http://a.test/ HTTP/1.1\r\n\r\n")) == "reset"
        assert last(house.told) == ("deny", "crash")


def test_workloads_are_told_apart_by_address(told: Told, pairs: Callable[[], Pair], run: Run):
    """The longest prefix says who it is: the record names it."""
    entries = (*told.settings.identity, replace(told.settings.identity[0], network=ip_network("127.0.0.1/32"),
               workload=replace(story.WEB, pod="web-2")))  # fmt: skip
    house = House(told, pairs, run)
    house.identities = Table.of(entries)
    assert isinstance(entries[0], StaticIdentity)

    house.visit(says(b"SSH-"))
    assert told.record()["workload"]["pod"] == "web-2"
