"""`sluicegate run` up to where it opens its ports; its life is tried in tests/net."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cli.house import GATEWAY, Run
from sluicegate.authority import ca
from sluicegate.cli import run as running

COMMAND = Path(sys.executable).parent / "sluicegate"
NOWHERE = "listen: {transparent: [], explicit: null, metrics: null}\n"


def ran(run: Run, *arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, as people start it."""
    return subprocess.run(
        [COMMAND, "run", *arguments], capture_output=True, text=True, check=False, cwd=run.folder, timeout=30
    )


@pytest.fixture
def run(tmp_path: Path) -> Run:
    made = Run(tmp_path)
    made.furnish()
    made.write("gateway.yaml", GATEWAY + NOWHERE)
    ca.create(tmp_path / "certs" / "ca.pem", tmp_path / "certs" / "ca.key")
    return made


def test_check_reads_everything_and_opens_nothing(run: Run):
    before = sorted(run.folder.rglob("*"))
    done = ran(run, "--check")

    assert (done.returncode, done.stdout) == (0, "ready to run\n"), done.stderr
    assert sorted(run.folder.rglob("*")) == before  # another gateway may be writing these records


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        pytest.param("policies/web.yaml", "[", "policies/web.yaml:2: not YAML", id="a bad policy"),
        pytest.param("gateway.yaml", GATEWAY + "x: y", "gateway.yaml: x: `x`: unknown key", id="a bad setting"),
        pytest.param(
            "gateway.yaml", GATEWAY.replace("}]", "}, {cidr: 127.0.0.0/8, namespace: a, pod: b}]") + NOWHERE,
            "identity.static: `127.0.0.0/8`: is shop/web-1 already", id="two pods for one address",
        ),
        pytest.param(
            "gateway.yaml", GATEWAY + NOWHERE + "upstream: {trust: nowhere.pem}", "nowhere.pem", id="no such trust"
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_a_line_and_status_2(
    run: Run, monkeypatch: pytest.MonkeyPatch, file: str, text: str, said: str
):
    monkeypatch.setattr(running, "harden", lambda: None)  # this process is to go on with its limits as they are
    run.write(file, text)
    done = run("run", "--check", "-c", str(run.folder / "gateway.yaml"))

    assert (done.exit_code, said in done.stderr, len(done.stderr.splitlines())) == (2, True, 1), done.stderr


def test_a_missing_ca_is_a_line_and_none_is_made(run: Run):
    (run.folder / "certs" / "ca.pem").unlink()
    done = ran(run)

    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr
    assert "ca.pem" in done.stderr
    assert not (run.folder / "certs" / "ca.pem").exists()


def test_records_that_cannot_be_written_are_a_line(run: Run):
    run.write("gateway.yaml", GATEWAY + NOWHERE + "records: {file: policies/web.yaml/verdicts.jsonl}")
    done = ran(run)

    assert (done.returncode, "cannot be written" in done.stderr) == (2, True), done.stderr
