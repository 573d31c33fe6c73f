from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from lanes.conftest import Run
from sluicegate.errors import ConfigError
from sluicegate.facts import Endpoint
from sluicegate.lanes.listen import accept_loop, open_socket, open_sockets

ANY_PORT = Endpoint(ip_address("127.0.0.1"), 0)


def endpoint_of(sock: socket.socket) -> Endpoint:
    host, port = sock.getsockname()[:2]
    return Endpoint(ip_address(host), port)


class TestOpening:
    @pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
    def test_options(self, address: str):
        with open_socket(Endpoint(ip_address(address), 0), transparent=False) as sock:
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            assert not sock.getblocking()
            assert not sock.get_inheritable()
            if sock.family == socket.AF_INET6:
                assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)

    def test_ipv4_and_ipv6_have_the_same_port_apart(self):
        with open_socket(Endpoint(ip_address("0.0.0.0"), 0), transparent=False) as four:
            port = four.getsockname()[1]
            with open_socket(Endpoint(ip_address("::"), port), transparent=False):
                pass

    @pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
    @pytest.mark.skipif(os.geteuid() != 0, reason="IP_TRANSPARENT needs CAP_NET_ADMIN")
    def test_transparent(self, address: str):
        with open_socket(Endpoint(ip_address(address), 0), transparent=True) as sock:
            level, option = (socket.SOL_IP, 19) if address == "127.0.0.1" else (socket.IPPROTO_IPV6, 75)
            assert sock.getsockopt(level, option)

    def test_one_for_each_worker(self):
        socks = open_sockets(ANY_PORT, transparent=False, count=3)
        with contextlib.ExitStack() as stack:
            for sock in socks:
                stack.enter_context(sock)
            assert len({sock.getsockname() for sock in socks}) == 1
            for _ in range(30):  # every queue is served: connections are spread by the kernel
                stack.enter_context(socket.create_connection(socks[0].getsockname()))
            taken = [_accepted(sock, stack) for sock in socks]
            assert sum(taken) == 30
            assert all(taken)


def _accepted(sock: socket.socket, stack: contextlib.ExitStack) -> int:
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            stack.enter_context(sock.accept()[0])
            count += 1
    return count


TAKEN = "`{}`: the port is taken by another program: stop it, or choose another port"

LISTENER = """
import socket, sys
sock = socket.socket()
sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, int(sys.argv[1]))
sock.bind(("127.0.0.1", 0))
sock.listen()
print(sock.getsockname()[1], flush=True)
sys.stdin.read()
"""


class TestATakenPort:
    @pytest.mark.parametrize("reuse", ["0", "1"], ids=["of a program that does not share", "of one that would share"])
    def test_another_process(self, reuse: str):
        other = subprocess.Popen(
            [sys.executable, "-c", LISTENER, reuse], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        with other:
            taken = Endpoint(ip_address("127.0.0.1"), int(other.stdout.readline()))
            with pytest.raises(ConfigError) as caught:
                open_socket(taken, transparent=False)
            other.stdin.close()
        assert str(caught.value) == f"listen: {TAKEN.format(taken)}"

    def test_another_gateway_of_the_same_user(self):
        with open_socket(ANY_PORT, transparent=False) as first, pytest.raises(ConfigError):
            open_socket(endpoint_of(first), transparent=False)

    def test_another_gateway_on_all_addresses(self):
        with open_socket(ANY_PORT, transparent=False) as first, pytest.raises(ConfigError):
            open_socket(Endpoint(ip_address("0.0.0.0"), first.getsockname()[1]), transparent=False)

    def test_a_port_whose_last_connections_are_not_forgotten_is_free(self):
        with open_socket(ANY_PORT, transparent=False) as first:
            where = endpoint_of(first)
            with socket.create_connection(first.getsockname()) as client:
                accepted, _ = first.accept()
                accepted.close()  # closed here first: TIME_WAIT stays with this port
                assert client.recv(1) == b""
        open_socket(where, transparent=False).close()

    def test_of_some_that_start_together_one_succeeds(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            where = endpoint_of(free)
        script = (
            "import sys; from ipaddress import ip_address; from sluicegate.facts import Endpoint\n"
            "from sluicegate.lanes.listen import open_socket; sys.stdin.readline()\n"
            f"sock = open_socket(Endpoint(ip_address('127.0.0.1'), {where.port}), transparent=False)\n"
            "print('open', flush=True); sys.stdin.read()"
        )
        racers = [
            subprocess.Popen(
                [sys.executable, "-c", script],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            )
            for _ in range(3)
        ]  # fmt: skip
        for racer in racers:
            racer.stdin.write("\n")
            racer.stdin.flush()
        said = [racer.stdout.readline() for racer in racers]
        for racer in racers:
            racer.stdin.close()
            racer.wait(10)
            racer.stdout.close()
        assert sorted(said) == ["", "", "open\n"]


class TestWhatCannotBeOpened:
    def test_an_address_of_another_machine(self):
        with pytest.raises(ConfigError) as caught:
            open_socket(Endpoint(ip_address("192.0.2.1"), 0), transparent=False)
        assert "this machine does not have the address" in str(caught.value)

    @pytest.mark.skipif(os.geteuid() != 0, reason="drops root's rights, so must have them")
    @pytest.mark.parametrize(
        ("port", "transparent", "says"), [(80, False, "CAP_NET_BIND_SERVICE"), (0, True, "CAP_NET_ADMIN")]
    )
    def test_without_rights(self, port: int, transparent: bool, says: str):
        script = (
            "import os; from ipaddress import ip_address; from sluicegate.facts import Endpoint\n"
            "from sluicegate.lanes.listen import open_socket; from sluicegate.errors import ConfigError\n"
            "os.setgid(65534); os.setuid(65534)\n"
            f"try: open_socket(Endpoint(ip_address('127.0.0.1'), {port}), transparent={transparent})\n"
            "except ConfigError as error: print(error)"
        )
        if port and int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text("ascii")) <= port:
            pytest.skip("low ports need no rights here")
        said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
        assert said.startswith("listen: `127.0.0.1:")
        assert says in said


class TestAccepting:
    def test_every_connection_is_given_away_non_blocking(self, run: Run):
        async def conversation() -> None:
            given: asyncio.Queue[socket.socket] = asyncio.Queue()
            with open_socket(ANY_PORT, transparent=False) as listener:
                accepting = asyncio.ensure_future(accept_loop(listener, given.put_nowait))
                clients = [socket.create_connection(listener.getsockname()) for _ in range(100)]
                for _ in clients:
                    with await given.get() as sock:
                        assert not sock.getblocking()
                for client in clients:
                    client.close()
                await _stop(accepting)

        run(conversation())

    def test_one_that_cannot_be_taken_up_is_closed_and_others_go_on(self, run: Run):
        async def conversation() -> None:
            given: asyncio.Queue[socket.socket] = asyncio.Queue()

            def handle(sock: socket.socket) -> None:
                if first := not given.qsize() and not seen:
                    seen.append(first)
                    raise RuntimeError
                given.put_nowait(sock)

            seen: list[bool] = []
            with open_socket(ANY_PORT, transparent=False) as listener:
                accepting = asyncio.ensure_future(accept_loop(listener, handle))
                with socket.create_connection(listener.getsockname(), timeout=5) as refused:
                    assert await asyncio.to_thread(refused.recv, 1) == b""
                with socket.create_connection(listener.getsockname()), await given.get():
                    pass
                await _stop(accepting)

        with capture_logs() as logs:
            run(conversation())
        assert [entry["event"] for entry in logs] == ["connection not taken up"]

    def test_when_stopped_it_lets_go_of_the_listener(self, run: Run):
        async def conversation() -> None:
            given: list[socket.socket] = []
            with open_socket(ANY_PORT, transparent=False) as listener:
                accepting = asyncio.ensure_future(accept_loop(listener, given.append))
                await asyncio.sleep(0)
                await _stop(accepting)
                with socket.create_connection(listener.getsockname()):
                    await asyncio.sleep(0.02)
            assert given == []

        run(conversation())

    def test_without_descriptors_connections_wait(self, run: Run):
        async def conversation() -> list[str]:
            given: asyncio.Queue[socket.socket] = asyncio.Queue()
            with open_socket(ANY_PORT, transparent=False) as listener, socket.socket() as client:
                accepting = asyncio.ensure_future(accept_loop(listener, given.put_nowait))
                await asyncio.sleep(0)
                with capture_logs() as logs, _no_more_descriptors():
                    client.connect(listener.getsockname())
                    while not logs:  # noqa: ASYNC110 - a log line sets no event
                        await asyncio.sleep(0.01)
                    await asyncio.sleep(0.25)  # two more attempts, about which nothing more is said
                    assert given.empty()
                (await given.get()).close()
                await _stop(accepting)
                return [entry["event"] for entry in logs]

        assert run(conversation()) == ["cannot accept: connections wait"]


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@contextlib.contextmanager
def _no_more_descriptors():
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
