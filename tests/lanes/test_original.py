"""Against the kernel: a client's and a gateway's network namespace, made and removed here."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from sluicegate.facts import Endpoint
from sluicegate.lanes.original import DirectConnection, endpoint, original_destination

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("nft"), reason="needs root, ip and nft"
)

RULES = """
table inet t {
  chain nat {
    type nat hook prerouting priority dstnat;
    tcp dport 443 redirect to :8443
  }
  chain mangle {
    type filter hook prerouting priority mangle;
    meta nfproto ipv4 tcp dport {80, 9443, 9444} tproxy ip to :9443 meta mark set 1
    meta nfproto ipv6 tcp dport {80, 9443, 9444} tproxy ip6 to :9443 meta mark set 1
  }
}
"""

SETUP = """
ip netns add {a}
ip netns add {b}
ip -n {b} link add up0 type veth peer name dn0 netns {a}
ip -n {a} link set lo up
ip -n {b} link set lo up
ip -n {a} address add 10.99.0.2/24 dev dn0
ip -n {a} address add fd99::2/64 dev dn0 nodad
ip -n {b} address add 10.99.0.1/24 dev up0
ip -n {b} address add fd99::1/64 dev up0 nodad
ip -n {a} link set dn0 up
ip -n {b} link set up0 up
ip -n {a} route add default via 10.99.0.1
ip -n {a} -6 route add default via fd99::1
ip -n {b} rule add fwmark 1 table 100
ip -n {b} route add local default dev lo table 100
ip -n {b} -6 rule add fwmark 1 table 100
ip -n {b} -6 route add local default dev lo table 100
"""

GATEWAY = """
import socket, sys
from ipaddress import ip_address
from sluicegate.facts import Endpoint
from sluicegate.lanes.listen import open_socket
from sluicegate.lanes.original import DirectConnection, endpoint, original_destination

def listener(kind):
    if kind == "mapped":
        return socket.create_server(("::", 8443), family=socket.AF_INET6, dualstack_ipv6=True)
    address, port = {"redirect4": ("0.0.0.0", 8443), "redirect6": ("::", 8443),
                     "tproxy4": ("0.0.0.0", 9443), "tproxy6": ("::", 9443)}[kind]
    return open_socket(Endpoint(ip_address(address), port), transparent=port == 9443)

with listener(sys.argv[1]) as sock:
    sock.settimeout(10)
    print("ready", flush=True)
    for _ in sys.stdin:
        accepted, peer = sock.accept()
        with accepted:
            try:
                print(original_destination(accepted), endpoint(peer).address, flush=True)
            except DirectConnection:
                print("direct", flush=True)
"""

CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=5).close()"


@pytest.fixture(scope="module")
def namespaces() -> Iterator[tuple[str, str]]:
    client, gateway = f"sg-o-{os.getpid()}-a", f"sg-o-{os.getpid()}-b"
    try:
        for line in SETUP.format(a=client, b=gateway).strip().splitlines():
            subprocess.run(line.split(), check=True, capture_output=True)
        in_gateway = ["ip", "netns", "exec", gateway]
        subprocess.run([*in_gateway, "nft", "-f", "-"], input=RULES, check=True, text=True, capture_output=True)
        yield client, gateway
    finally:
        for name in (client, gateway):
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


@pytest.fixture
def ask(request: pytest.FixtureRequest, namespaces: tuple[str, str]):
    """Connects from the client's namespace and says what the gateway of the kind of `request` saw."""
    client, gateway = namespaces
    command = ["ip", "netns", "exec", gateway, sys.executable, "-c", GATEWAY, request.param]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"

        def connect(address: str, port: int) -> str:
            process.stdin.write("next\n")
            process.stdin.flush()
            subprocess.run(
                ["ip", "netns", "exec", client, sys.executable, "-c", CONNECT, address, str(port)], check=True
            )
            return process.stdout.readline().strip()

        yield connect
        process.stdin.close()


@needs_root
@pytest.mark.net
class TestKernel:
    @pytest.mark.parametrize("ask", ["redirect4", "mapped"], indirect=True)
    def test_redirect_ipv4(self, ask: Callable[[str, int], str]):
        assert ask("198.51.100.7", 443) == "198.51.100.7:443 10.99.0.2"
        assert ask("10.99.0.1", 8443) == "direct"
        assert ask("10.99.0.1", 443) == "10.99.0.1:443 10.99.0.2"  # ourselves by another port: for the guard

    @pytest.mark.parametrize("ask", ["redirect6"], indirect=True)
    def test_redirect_ipv6(self, ask: Callable[[str, int], str]):
        assert ask("2001:db8::7", 443) == "[2001:db8::7]:443 fd99::2"
        assert ask("fd99::1", 8443) == "direct"

    @pytest.mark.parametrize("ask", ["tproxy4"], indirect=True)
    def test_tproxy_ipv4(self, ask: Callable[[str, int], str]):
        assert ask("198.51.100.7", 80) == "198.51.100.7:80 10.99.0.2"
        assert ask("198.51.100.7", 9443) == "198.51.100.7:9443 10.99.0.2"  # the listener's port, elsewhere
        assert ask("10.99.0.1", 9443) == "direct"
        assert ask("10.99.0.1", 9444) == "direct"  # redirected, and still to ourselves

    @pytest.mark.parametrize("ask", ["tproxy6"], indirect=True)
    def test_tproxy_ipv6(self, ask: Callable[[str, int], str]):
        assert ask("2001:db8::7", 80) == "[2001:db8::7]:80 fd99::2"
        assert ask("2001:db8::7", 9443) == "[2001:db8::7]:9443 fd99::2"
        assert ask("fd99::1", 9443) == "direct"


def test_a_plain_connection_is_direct(pair: tuple[socket.socket, socket.socket]):
    with pytest.raises(DirectConnection):
        original_destination(pair[1])


def test_a_dead_socket_is_an_os_error(pair: tuple[socket.socket, socket.socket]):
    pair[1].close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        original_destination(pair[1])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param(("192.0.2.1", 443), "192.0.2.1:443", id="IPv4"),
        pytest.param(("2001:db8::1", 443, 0, 0), "[2001:db8::1]:443", id="IPv6"),
        pytest.param(("::ffff:192.0.2.1", 443, 0, 0), "192.0.2.1:443", id="v4-mapped is IPv4"),
        pytest.param(("fe80::1%eth0", 443, 0, 2), "[fe80::1]:443", id="the zone is left out"),
    ],
)
def test_endpoint(name: tuple[str, int], expected: str):
    assert isinstance(endpoint(name), Endpoint)
    assert str(endpoint(name)) == expected
