"""The README's five minutes, as they are written: in a clone, in a network namespace where all its ports are free."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from net.bed import ROOT, Host, end, run, until

pytestmark = pytest.mark.net

_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# What differs from run to run: identifiers, times, fingerprints (keyed by the CA), the number of rules.
_CHANGING = (
    (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "ID"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z"), "TIME"),
    (re.compile(r'"fingerprint": "[0-9a-f]{16}"'), "FINGERPRINT"),
    (re.compile(r"\d+ DLP rules"), "N DLP rules"),
)
_CLONE = "/srv/sluicegate"


class Shell:
    """One bash that keeps its folder and variables between commands."""

    def __init__(self, host: Host, folder: Path) -> None:
        clean = {key: value for key, value in os.environ.items() if not key.upper().endswith("_PROXY")}
        self._bash = host.start(
            "bash", "--norc", cwd=folder, env=clean,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def say(self, command: str) -> str:
        """What the command prints."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        mark = uuid.uuid4().hex.encode()
        self._bash.stdin.write(command.encode() + b"\necho " + mark + b"\n")
        self._bash.stdin.flush()
        said = b""
        while not said.endswith(mark + b"\n"):
            line = self._bash.stdout.readline()
            assert line, f"the shell ended in `{command}`"
            said += line
        return said.removesuffix(mark + b"\n").decode()

    def close(self) -> None:
        for pipe in (self._bash.stdin, self._bash.stdout):
            assert pipe is not None
            pipe.close()
        end(self._bash)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """This tree as a clone would be, with what is not committed yet; its .venv is ours."""
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a clone")
    folder = tmp_path / "sluicegate"
    run(f"git clone -q {ROOT} {folder}")
    run(f"git ls-files -z | xargs -0 -I NAME sh -c '[ ! -e NAME ] || cp --parents NAME {folder}'", cwd=ROOT)
    run("git add -A && git -c user.name=test -c user.email=test@example.test commit -qm test --allow-empty", cwd=folder)
    (folder / ".venv").symlink_to(ROOT / ".venv")
    return folder


@pytest.fixture
def tour(clone: Path) -> Iterator[Shell]:
    """A shell beside a running `./dev run`."""
    locked = run("cat requirements.lock pyproject.toml | sha256sum", cwd=ROOT)
    if not (ROOT / ".venv/.locked").exists() or (ROOT / ".venv/.locked").read_text() != locked:
        pytest.skip("./dev setup has not run since the lock changed")
    host = Host(f"sg-r{os.getpid() % 100_000}")
    run(f"ip netns add {host.name} && ip -n {host.name} link set lo up")
    try:
        with (clone / "log").open("wb") as log:
            host.start("./dev", "run", cwd=clone, stdout=log, stderr=log, start_new_session=True)
        ready = clone / "log"
        until(lambda: '"ready"' in ready.read_text(), "the gateway to be ready", 30)
        shell = Shell(host, clone)
        yield shell
        shell.close()
    finally:
        for pid in run(f"ip netns pids {host.name}").split():
            subprocess.run(["kill", "-TERM", pid], check=False)
        host.stop()
        run(f"ip netns del {host.name}")


def _plain(text: str) -> list[str]:
    for pattern, word in _CHANGING:
        text = pattern.sub(word, text)
    return [line.rstrip() for line in text.splitlines()]


def _agrees(said: list[str], shown: list[str]) -> bool:
    """`…` stands for any lines."""
    if "…" not in (line.strip() for line in shown):
        return said == shown
    at = next(index for index, line in enumerate(shown) if line.strip() == "…")
    head, tail = shown[:at], shown[at + 1 :]
    return said[:at] == head and said[len(said) - len(tail) :] == tail


def test_the_five_minutes_are_as_written(tour: Shell, clone: Path) -> None:
    blocks = _BLOCK.findall((clone / "README.md").read_text(encoding="utf-8"))
    told = 0
    for step in (step for block in blocks for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]):
        command, _, shown = step.partition("\n")
        wanted, said = _plain(shown), []

        def as_shown(command: str = command, wanted: list[str] = wanted, said: list[str] = said) -> bool:
            said[:] = _plain(tour.say(command).replace(str(clone), _CLONE))
            return _agrees(said, wanted)

        try:  # a changed list is in force a moment later
            until(as_shown, "README.md to be right", 10 if command.startswith("curl") else 0.01)
        except AssertionError:
            raise AssertionError(f"`{command}` says\n" + "\n".join(said)) from None
        told += 1
    assert told > 15
