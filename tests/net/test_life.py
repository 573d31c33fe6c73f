"""Start, reload, drain and end of the real command."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from net.bed import ORIGIN_V4, POLICY, Bed, Gateway, until

pytestmark = pytest.mark.net


@pytest.fixture
def gateway(bed: Bed) -> Iterator[Gateway]:
    bed.nft("redirect.nft")
    with bed.gateway(extra="limits: {drain: 3s, hello_timeout: 1s}\n") as gateway:
        yield gateway
    bed.flush()


def signalled(gateway: Gateway, number: signal.Signals) -> None:
    assert gateway.process is not None
    gateway.process.send_signal(number)


def test_a_changed_policy_is_in_force_without_a_signal(bed: Bed, gateway: Gateway) -> None:
    assert bed.status("https://unruled.test/page") == "403"
    gateway.write_policy(POLICY.replace("domains: [shop.test,", "domains: [unruled.test, shop.test,"))
    until(lambda: bed.status("https://unruled.test/page") == "200", "the new policy")
    assert 'sluicegate_reloads_total{result="ok"} 2.0' in gateway.http("/metrics")


def test_a_broken_policy_leaves_the_old_one_in_force(bed: Bed, gateway: Gateway) -> None:
    gateway.write_policy(POLICY.replace("inspect: sni", "inspect: nothing"))
    until(lambda: 'sluicegate_reloads_total{result="error"} 1.0' in gateway.http("/metrics"), "the refused reload")
    assert bed.status("https://shop.test/page") == "200"
    assert "inspect: `nothing`" in gateway.log()
    gateway.write_policy(POLICY)
    signalled(gateway, signal.SIGHUP)
    until(lambda: 'sluicegate_reloads_total{result="ok"} 2.0' in gateway.http("/metrics"), "the mended policy")


def test_a_listed_name_is_refused_from_the_next_request_on(bed: Bed, gateway: Gateway) -> None:
    assert bed.status("https://shop.test/page") == "200"
    with (gateway.folder / "blocklists" / "paste-sites.txt").open("a") as file:
        file.write("shop.test\n")
    until(lambda: bed.status("https://shop.test/page") == "403", "the new entry")


def test_a_reload_ends_a_splice_that_it_refuses(bed: Bed, gateway: Gateway) -> None:
    program = (
        "import socket,ssl\n"
        f"c=ssl.create_default_context(cafile='{bed.folder}/origin-ca.pem')\n"
        f"s=c.wrap_socket(socket.create_connection(('{ORIGIN_V4}',443),5),server_hostname='mirror.test')\n"
        "print('open',flush=True); s.settimeout(20)\n"
        "try: print('ended' if not s.recv(1) else 'data')\nexcept OSError as e: print(type(e).__name__)\n"
    )
    child = bed.pod.start(sys.executable, "-c", program, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"open\n"
    gateway.write_policy(POLICY.replace("mirror.test", "mirror.example"))
    assert child.stdout.readline() == b"ConnectionResetError\n"
    child.stdout.close()
    assert gateway.record(sni="mirror.test", reason="reloaded")["verdict"] == "deny"


def test_a_kept_connection_goes_nowhere_that_a_new_policy_denies(bed: Bed, gateway: Gateway) -> None:
    program = (
        "import sys,requests\ns=requests.Session()\n"
        "print(s.get('https://v4.test/page').status_code,flush=True)\nsys.stdin.readline()\n"
        "r=s.get('https://v4.test/page'); print(r.status_code, r.json()['reason'])\n"
    )
    child = bed.pod.start(
        "env", f"REQUESTS_CA_BUNDLE={bed.folder}/ca.pem", sys.executable, "-c", program,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stdout.readline() == b"200\n"
    gateway.write_policy(
        f"{POLICY}---\napiVersion: sluicegate.dev/v1alpha1\nkind: ClusterEgressPolicy\nmetadata: {{name: closed}}\n"
        f"spec: {{tier: security, rules: [{{name: origin, action: deny, to: {{addresses: [{ORIGIN_V4}]}}}}]}}\n"
    )
    until(lambda: 'sluicegate_reloads_total{result="ok"} 2.0' in gateway.http("/metrics"), "the reload")
    child.stdin.write(b"\n")
    child.stdin.close()
    assert child.stdout.readline() == b"403 rule-deny\n"
    child.stdout.close()


def test_sigterm_lets_a_download_finish_and_takes_no_new_connection(bed: Bed, gateway: Gateway) -> None:
    slow = bed.pod.start(
        "curl", "-sS", "--limit-rate", "60k", "--cacert", f"{bed.folder}/ca.pem", "-o", "/dev/null",
        "-w", "%{http_code} %{size_download}", "https://shop.test/100k", stdout=subprocess.PIPE,
    )  # fmt: skip
    assert slow.stdout is not None
    until(lambda: 'sluicegate_open_connections{lane="http1"} 1.0' in gateway.http("/metrics"), "the download")
    signalled(gateway, signal.SIGTERM)
    until(lambda: bed.status("-m", "2", "https://shop.test/page") == "000", "the closed door")
    assert slow.stdout.read() == b"200 100000"
    slow.stdout.close()
    assert gateway.process is not None
    assert gateway.process.wait(20) == 0
    assert gateway.records()[0]["path"] == "/100k"


def test_sigterm_ends_what_does_not_finish(bed: Bed, gateway: Gateway) -> None:
    stuck = bed.pod.start(
        "curl",
        "-sS",
        "--limit-rate",
        "1k",
        "--cacert",
        f"{bed.folder}/ca.pem",
        "-o",
        "/dev/null",
        "https://shop.test/100k",
    )
    until(lambda: 'sluicegate_open_connections{lane="http1"} 1.0' in gateway.http("/metrics"), "the download")
    before = time.monotonic()
    assert gateway.stop() == 0
    assert time.monotonic() - before < 20
    stuck.kill()
    stuck.wait()
    assert len(gateway.records()) == 1


def test_a_port_in_use_is_one_line_and_status_2(bed: Bed, gateway: Gateway) -> None:
    done = gateway.command("run")
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.startswith("sluicegate: ")]
    assert len(lines) == 1
    assert "8443" in lines[0]


def test_a_missing_ca_is_one_line_and_status_2_and_nothing_is_made(bed: Bed, gateway: Gateway) -> None:
    gateway.stop()
    (gateway.folder / "ca.pem").unlink()
    done = gateway.command("run")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "ca init" in done.stderr
    assert not (gateway.folder / "ca.pem").exists()


def test_a_broken_policy_at_the_start_is_no_start(bed: Bed, gateway: Gateway) -> None:
    gateway.stop()
    gateway.write_policy("kind: Nonsense\n")
    assert gateway.command("run").returncode == 2
    checked = gateway.command("check")
    assert checked.returncode == 1
    assert "policy.yaml" in checked.stderr


def test_a_silent_client_is_refused(bed: Bed, gateway: Gateway) -> None:
    program = (
        "import socket,time\n"
        f"s=socket.create_connection(('{ORIGIN_V4}',443),5); t=time.time(); s.settimeout(8)\n"
        "try: s.recv(1)\nexcept OSError: pass\nprint(time.time()-t<5)\n"
    )
    assert bed.pod.exec(sys.executable, "-c", program).stdout == "True\n"
    assert gateway.record(reason="hello-timeout")["verdict"] == "deny"


def fill(file: Path) -> None:
    """Takes all the room that there is."""
    out = os.open(file, os.O_WRONLY | os.O_CREAT)
    with contextlib.suppress(OSError):
        while os.write(out, b"x" * 512):
            pass
    os.close(out)


def test_a_full_disk_of_records_denies_and_ends_when_there_is_room(bed: Bed) -> None:
    disk = bed.folder / "small"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k,nr_inodes=64", "tmpfs", str(disk)], check=True)
    bed.nft("redirect.nft")
    try:
        with bed.gateway(records=disk / "verdicts.jsonl") as gateway:
            assert bed.status("http://shop.test/page") == "200"
            filler = disk / "filler"
            fill(filler)
            until(lambda: bed.status("http://shop.test/page") == "503", "the refusal")
            assert gateway.http("/readyz").startswith("503")
            filler.unlink()
            until(lambda: bed.status("http://shop.test/page") == "200", "room again")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
        bed.flush()


def test_a_terminated_notify_socket_hears_ready(bed: Bed) -> None:
    address = bed.folder / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(address))
        sock.settimeout(20)
        with bed.gateway(environment={"NOTIFY_SOCKET": str(address)}):
            assert sock.recv(100) == b"READY=1"
        assert sock.recv(100) == b"STOPPING=1"
