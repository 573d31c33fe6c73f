"""A cluster on one machine: a pod, a gateway and an origin, each in a network namespace of its own.

    pod  podnet 10.88.1.2, fd88:1::2  --  gateway 10.88.1.1, fd88:1::1 | 203.0.113.1, 2001:db8:9::1  --  origin .10, DNS .53

Only these namespaces are ever talked to. Origins live in documentation ranges, which the gateway under test is told to
permit (`unsafe_allow_addresses`), so that every other guard stays in force.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SLUICEGATE = Path(sys.executable).with_name("sluicegate")
NFT = ROOT / "deploy/examples/nftables"

POD_V4, POD_V6 = "10.88.1.2", "fd88:1::2"
GATE_V4, GATE_V6 = "203.0.113.1", "2001:db8:9::1"
ORIGIN_V4, ORIGIN_V6 = "203.0.113.10", "2001:db8:9::10"
LISTED_V4, LISTED_V6 = "203.0.113.66", "2001:db8:9::66"
DNS_V4 = "203.0.113.53"
NAMES = ("shop.test", "api.test", "mirror.test", "listed.test", "paste.test", "private.test", "meta.test", "mixed.test",
         "unruled.test", "grpc.test", "ws.test", "v4.test", "v6.test", "to-listed.test", "cname.test")  # fmt: skip

POLICY = """
apiVersion: sluicegate.dev/v1alpha1
kind: EgressPolicy
metadata: {name: shop, namespace: shop}
spec:
  owner: shop@example.test
  selector: {matchLabels: {app: web}}
  rules:
    - {name: web, to: {domains: [shop.test, listed.test, private.test, meta.test, mixed.test, v4.test, v6.test,
                                 grpc.test, ws.test, to-listed.test, cname.test]}}
    - name: api
      to: {domains: [api.test], ports: [443], protocol: https}
      http: [{methods: [GET], paths: ["/v1/*"]}]
    - {name: mirror, to: {domains: [mirror.test], ports: [443]}, inspect: sni}
---
apiVersion: sluicegate.dev/v1alpha1
kind: Blocklist
metadata: {name: addresses}
spec: {format: addresses, entries: ["203.0.113.66", "2001:db8:9::66"], owner: secops@example.test}
"""


def run(command: str, **more: Any) -> str:
    """A shell command that must succeed; its output."""
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False, **more)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def until(ready: Callable[[], Any], what: str, seconds: float = 15.0) -> Any:
    """Waits for a condition; fails with `what` when it does not come about."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := ready():
            return found
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds:g} s for {what}")


@dataclass
class Host:
    """One namespace."""

    name: str
    _children: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def exec(self, *command: str, timeout: float = 30, **more: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["ip", "netns", "exec", self.name, *command],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            **more,
        )

    def start(self, *command: str, **more: Any) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(["ip", "netns", "exec", self.name, *command], **more)
        self._children.append(child)
        return child

    def stop(self) -> None:
        for child in self._children:
            end(child)
        self._children.clear()


# All that the gateway itself sends to the world.
OURS = f"(tcp or udp) and (src host {GATE_V4} or src host {GATE_V6})"


def queries(seen: list[str]) -> list[str]:
    """The DNS queries in a capture."""
    return [line for line in seen if f"> {DNS_V4}.53" in line]


def syns(seen: list[str]) -> list[str]:
    """The attempts to connect in a capture."""
    return [line for line in seen if "Flags [S]" in line]


def end(child: subprocess.Popen[bytes], seconds: float = 10) -> int:
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(seconds)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    return child.returncode


class Bed:
    """The three namespaces with an origin that serves; `gateway()` starts the gateway under test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        tag = f"{os.getpid() % 100_000}"
        self.pod, self.gate, self.origin = Host(f"sg-p{tag}"), Host(f"sg-g{tag}"), Host(f"sg-o{tag}")
        self.hosts = (self.pod, self.gate, self.origin)
        self.www = folder / "www"

    def up(self) -> None:
        self._namespaces()
        self._certificates()
        self._serve()

    def down(self) -> None:
        for host in self.hosts:
            host.stop()
            subprocess.run(["ip", "netns", "del", host.name], capture_output=True, check=False)
            shutil.rmtree(f"/etc/netns/{host.name}", ignore_errors=True)

    def nft(self, file: str, *, device: str = "podnet") -> None:
        """Loads one of the shipped rule sets at the gateway."""
        run(f"ip netns exec {self.gate.name} nft -D pods={device} -f {NFT / file}")

    def flush(self) -> None:
        run(f"ip netns exec {self.gate.name} nft flush ruleset")

    def tproxy_routes(self) -> None:
        for family in ("-4", "-6"):
            run(f"ip -n {self.gate.name} {family} rule add fwmark 0x5c lookup 92")
            run(f"ip -n {self.gate.name} {family} route add local default dev lo table 92")

    def tproxy_routes_off(self) -> None:
        for family in ("-4", "-6"):
            run(f"ip -n {self.gate.name} {family} rule del fwmark 0x5c lookup 92")
            run(f"ip -n {self.gate.name} {family} route del local default dev lo table 92")

    def curl(self, *args: str, timeout: float = 20) -> subprocess.CompletedProcess[str]:
        """curl as the pod, trusting the cluster CA; stdout ends with the status on a line of its own."""
        ca = str(self.folder / "ca.pem")
        return self.pod.exec("curl", "-sS", "-m", "15", "--cacert", ca, "-w", "\n%{http_code}", *args, timeout=timeout)

    def status(self, *args: str) -> str:
        """Only the status that curl saw; 000 for none."""
        return self.curl("-o", os.devnull, *args).stdout.strip()

    def _namespaces(self) -> None:
        self.down()
        for host in self.hosts:
            run(f"ip netns add {host.name} && ip -n {host.name} link set lo up")
            etc = Path("/etc/netns") / host.name
            etc.mkdir(parents=True, exist_ok=True)
            (etc / "resolv.conf").write_text(f"nameserver {DNS_V4}\n")
        pod, gate, origin = (host.name for host in self.hosts)
        run(f"ip link add pod0 netns {pod} type veth peer name podnet netns {gate}")
        run(f"ip link add world netns {gate} type veth peer name origin0 netns {origin}")
        for ns, device, addresses in (
            (pod, "pod0", (f"{POD_V4}/24", f"{POD_V6}/64")),
            (gate, "podnet", ("10.88.1.1/24", "fd88:1::1/64")),
            (gate, "world", (f"{GATE_V4}/24", f"{GATE_V6}/64")),
            (
                origin,
                "origin0",
                (f"{ORIGIN_V4}/24", f"{LISTED_V4}/24", f"{DNS_V4}/24", f"{ORIGIN_V6}/64", f"{LISTED_V6}/64"),
            ),
        ):
            for address in addresses:
                run(f"ip -n {ns} addr add {address} dev {device}{' nodad' if ':' in address else ''}")
            run(f"ip -n {ns} link set {device} up")
        run(f"ip -n {pod} route add default via 10.88.1.1 && ip -n {pod} -6 route add default via fd88:1::1")
        run(f"ip -n {origin} route add default via {GATE_V4} && ip -n {origin} -6 route add default via {GATE_V6}")
        run(f"ip -n {gate} route add default via {ORIGIN_V4} && ip -n {gate} -6 route add default via {ORIGIN_V6}")
        run(f"ip netns exec {gate} sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
        lines = [f"{ORIGIN_V4} {name}\n{ORIGIN_V6} {name}\n" for name in NAMES if name not in {"v4.test", "v6.test"}]
        lines += [f"{ORIGIN_V4} v4.test\n{ORIGIN_V6} v6.test\n"]
        (Path("/etc/netns") / pod / "hosts").write_text("127.0.0.1 localhost\n" + "".join(lines))

    def _certificates(self) -> None:
        d = self.folder
        run(f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {d}/origin-ca.key "
            f"-out {d}/origin-ca.pem -days 9 -subj '/CN=Origin CA' -addext basicConstraints=critical,CA:TRUE "
            f"-addext keyUsage=critical,keyCertSign,cRLSign")  # fmt: skip
        names = ",".join(f"DNS:{name}" for name in NAMES)
        (d / "ext").write_text(f"subjectAltName={names},IP:{ORIGIN_V4},IP:{ORIGIN_V6}\nextendedKeyUsage=serverAuth\n")
        run(f"openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {d}/origin.key -out {d}/origin.csr "
            f"-subj /CN=shop.test && openssl x509 -req -in {d}/origin.csr -CA {d}/origin-ca.pem -CAkey {d}/origin-ca.key "
            f"-CAcreateserial -days 9 -out {d}/origin.pem -extfile {d}/ext")  # fmt: skip

    def _serve(self) -> None:
        self.www.mkdir(exist_ok=True)
        (self.www / "page").write_text("a real page\n")
        (self.www / "100k").write_bytes(os.urandom(100_000))
        (self.www / "v1").mkdir(exist_ok=True)
        (self.www / "v1" / "charges").write_text("charges\n")
        (self.folder / "nginx.conf").write_text(self._nginx())
        for path in (self.folder, *self.folder.rglob("*")):
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
        with (self.folder / "nginx.out").open("wb") as log:
            self.origin.start("nginx", "-c", str(self.folder / "nginx.conf"), stdout=log, stderr=log)
        dns = Path(__file__).with_name("dns_server.py")
        self.origin.start(sys.executable, "-P", str(dns), DNS_V4, str(self.folder / "dns.log"))
        until((self.folder / "dns.log").exists, "the DNS server")
        until(
            lambda: self.origin.exec("curl", "-s", "-o", os.devnull, f"http://{ORIGIN_V4}/page").returncode == 0,
            "nginx",
        )

    def _nginx(self) -> str:
        d = self.folder
        listens = "".join(
            f"listen {where}:80; listen {where}:443 ssl; listen {where}:9443 ssl http2;\n"
            for where in (ORIGIN_V4, f"[{ORIGIN_V6}]", LISTED_V4, f"[{LISTED_V6}]")
        )
        return textwrap.dedent(f"""
            worker_processes 1; daemon off; pid {d}/nginx.pid; error_log {d}/nginx.err warn; user root;
            events {{ worker_connections 1024; }}
            http {{
              log_format seen '$request_method $scheme://$host$request_uri $status $request_length';
              access_log {d}/seen.log seen; client_max_body_size 0; client_body_temp_path {d}/body;
              server {{
                {listens}
                ssl_certificate {d}/origin.pem; ssl_certificate_key {d}/origin.key; root {self.www};
                location /post {{ client_body_buffer_size 1m; proxy_pass http://unix:{d}/sink.sock:; }}
                location /move {{ return 302 http://169.254.169.254/latest/meta-data/; }}
              }}
              server {{ listen unix:{d}/sink.sock; location / {{ return 200 "stored\\n"; }} }}
            }}""")

    @contextmanager
    def gateway(self, **setup: Any) -> Iterator[Gateway]:
        """The gateway under test (see Setup), running and ready; ended and drained on exit."""
        gateway = Gateway(self, Setup(**setup))
        try:
            gateway.start()
            yield gateway
        finally:
            gateway.stop()

    @contextmanager
    def capture(self, expression: str) -> Iterator[list[str]]:
        """What the gateway sends to the world while this lasts, as tcpdump prints it; filled on exit."""
        file = self.folder / "capture.pcap"
        dump = self.gate.start(
            "tcpdump", "-i", "world", "-U", "--immediate-mode", "-w", str(file), expression, stderr=subprocess.PIPE
        )
        assert dump.stderr is not None
        line = b""
        while b"listening on" not in line:  # only now are packets seen
            line = dump.stderr.readline()
            assert line, "tcpdump did not start"
        seen: list[str] = []
        try:
            yield seen
        finally:
            time.sleep(0.3)  # a packet on its way through the capture buffer
            end(dump)
            dump.stderr.close()
            seen += run(f"tcpdump -nn -r {file} 2>/dev/null").splitlines()


@dataclass(frozen=True)
class Setup:
    """How the gateway under test is set up. extra: more of gateway.yaml; records: where they go, by default beside it."""

    policy: str = POLICY
    extra: str = ""
    tproxy: bool = False
    pods: tuple[str, ...] = (POD_V4, POD_V6)
    records: Path | None = None
    environment: dict[str, str] = field(default_factory=dict)


class Gateway:
    """The real command, in the gateway's namespace."""

    def __init__(self, bed: Bed, setup: Setup) -> None:
        self.bed = bed
        self.setup = setup
        self.folder = bed.folder / f"gateway-{time.monotonic_ns()}"
        self.records_file = setup.records or self.folder / "verdicts.jsonl"
        (self.folder / "policies").mkdir(parents=True)
        (self.folder / "blocklists").mkdir()
        (self.folder / "blocklists" / "paste-sites.txt").write_text(
            "# owner: secops@example.test\nlisted.test\npaste.test\n"
        )
        self.write_policy(setup.policy)
        (self.folder / "gateway.yaml").write_text(self._settings(setup))
        self.process: subprocess.Popen[bytes] | None = None

    def write_policy(self, text: str) -> None:
        fresh = self.folder / "policies" / ".fresh"
        fresh.write_text(text)
        fresh.rename(self.folder / "policies" / "policy.yaml")

    def command(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Another command of the program, with this configuration."""
        return self.bed.gate.exec(str(SLUICEGATE), *args, "-c", str(self.folder / "gateway.yaml"))

    def start(self) -> None:
        made = self.command("ca", "init")
        assert made.returncode == 0, made.stderr
        shutil.copy(self.folder / "ca.pem", self.bed.folder / "ca.pem")
        config = str(self.folder / "gateway.yaml")
        with (self.folder / "log").open("wb") as log:
            environment = {**os.environ, **self.setup.environment}
            self.process = self.bed.gate.start(
                str(SLUICEGATE), "run", "-c", config, stdout=log, stderr=log, env=environment
            )
        until(self._ready, f"the gateway to be ready; its log:\n{self.log()}", 30)

    def stop(self) -> int:
        return end(self.process, 45) if self.process else 0

    def _ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the gateway ended with {self.process.returncode}:\n{self.log()}")
        return self.http("/readyz").startswith("200")

    def http(self, path: str) -> str:
        """`status body` of the metrics listener."""
        done = self.bed.gate.exec("curl", "-s", "-w", "%{stderr}%{http_code}", f"http://127.0.0.1:9190{path}")
        return f"{done.stderr} {done.stdout}"

    def forget_names(self) -> None:
        """Waits until what the gateway remembers of failed or short-lived names is gone: the bed's DNS says 1 s."""
        time.sleep(1.2)

    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text() if path.exists() else ""

    def records(self) -> list[dict[str, Any]]:
        if not self.records_file.exists():
            return []
        # The last line may be half there: it is being written.
        return [
            json.loads(line) for line in self.records_file.read_text().splitlines(keepends=True) if line.endswith("\n")
        ]

    def record(self, seconds: float = 5, **wanted: Any) -> dict[str, Any]:
        """The newest record with these fields; waits for it."""

        def found() -> dict[str, Any] | None:
            fits = [row for row in self.records() if all(row.get(key) == value for key, value in wanted.items())]
            return fits[-1] if fits else None

        try:
            hit: dict[str, Any] = until(found, "a record", seconds)
        except AssertionError:
            raise AssertionError(
                f"no record with {wanted}; there are:\n" + "\n".join(map(str, self.records()))
            ) from None
        return hit

    def _settings(self, setup: Setup) -> str:
        static = ", ".join(
            f'{{cidr: "{pod}", namespace: shop, pod: web-1, service_account: web, labels: {{app: web}}}}'
            for pod in setup.pods
        )
        return textwrap.dedent(f"""
            apiVersion: sluicegate.dev/v1alpha1
            kind: Gateway
            listen:
              transparent: ["0.0.0.0:8443", "0.0.0.0:8080", "[::]:8443", "[::]:8080"]
              tproxy: {str(setup.tproxy).lower()}
              explicit: 0.0.0.0:3128
              metrics: 127.0.0.1:9190
            authority: {{cert: ca.pem, key: ca.key}}
            resolver: {{servers: ["{DNS_V4}"], timeout: 2s}}
            upstream:
              trust: {self.bed.folder}/origin-ca.pem
              connect_timeout: 3s
              unsafe_allow_addresses: [203.0.113.0/25, "2001:db8:9::/64"]
            policies: [policies]
            blocklists: [blocklists]
            identity:
              static: [{static}]
            records: {{file: {self.records_file}}}
        """) + textwrap.dedent(setup.extra)
