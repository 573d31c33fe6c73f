"""`logs` on real files, in a process of its own where that matters."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from records.making import FINDING, ask, deny, permit
from sluicegate.cli import logs
from sluicegate.facts import ListHit, Unknown, Workload
from sluicegate.records.lines import rotated
from sluicegate.records.record import Count, Record, Summary, build, encode
from sluicegate.verdict import Reason

NOON = 1_767_268_800.0  # 2026-01-01T12:00:00Z


def several() -> list[Record]:
    stripe, paste = ask(Workload("pay", "api-1")), ask(Workload("ci", "job-7"), path="/raw/x", host="pastebin.com")
    listed = deny(Reason.LISTED, hit=ListHit("paste-sites", "pastebin.com", "local/paste.txt:3"))
    nobody = ask(Unknown("no workload has this address"), host="api.eu.stripe.com")
    leak = deny(Reason.SENSITIVE_DATA, findings=(FINDING,))
    return [
        build(ask=stripe, verdict=permit(stripe), began=NOON, id="id-allow", url_scanned=True),
        build(ask=paste, verdict=listed, began=NOON + 60, id="id-listed"),
        build(ask=paste, verdict=permit(paste, listed), began=NOON + 120, id="id-audit"),
        build(ask=nobody, verdict=deny(Reason.UNKNOWN_IDENTITY), began=NOON + 180, id="id-unknown"),
        build(ask=stripe, verdict=leak, began=NOON + 240, id="id-leak"),
    ]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Five records in two files, the older ones in the rotated one, with a broken line between."""
    path = tmp_path / "verdicts.jsonl"
    written = [encode(record) for record in several()]
    rotated(path, 1).write_bytes(b"".join(written[:2]) + b'{"time": "cut sho\n')
    path.write_bytes(b"".join(written[2:]))
    return path


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(logs.command, [str(each) for each in arguments])


def ids(result: Result) -> list[str]:
    return [json.loads(line)["id"].removeprefix("id-") for line in result.stdout.splitlines()]


ALL = ["allow", "listed", "audit", "unknown", "leak"]


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        pytest.param([], ALL, id="everything, oldest first"),
        pytest.param(["--blocked"], ["listed", "unknown", "leak"], id="blocked"),
        pytest.param(["--would-deny"], ["audit"], id="would deny"),
        pytest.param(["--blocked", "--would-deny"], ["listed", "audit", "unknown", "leak"], id="either"),
        pytest.param(["--namespace", "pay"], ["allow", "leak"], id="namespace"),
        pytest.param(
            ["--namespace", "pay", "--namespace", "ci"], ["allow", "listed", "audit", "leak"], id="two of them"
        ),
        pytest.param(["--namespace", "pa"], [], id="half a namespace is none"),
        pytest.param(["--host", "api.stripe.com"], ["allow", "leak"], id="host"),
        pytest.param(["--host", "API.Stripe.com."], ["allow", "leak"], id="host, otherwise written"),
        pytest.param(["--host", "stripe.com"], [], id="a domain is not its subdomains"),
        pytest.param(["--host", "*.stripe.com"], ["allow", "unknown", "leak"], id="subdomains"),
        pytest.param(["--host", "*.api.stripe.com"], [], id="the apex is no subdomain"),
        pytest.param(["--reason", "listed"], ["listed", "audit"], id="reason, also of an audit"),
        pytest.param(["--since", "2026-01-01T12:03:00Z"], ["unknown", "leak"], id="since"),
        pytest.param(["--since", "2026-01-01T13:03:00+01:00"], ["unknown", "leak"], id="since, elsewhere"),
        pytest.param(["--until", "2026-01-01T12:01:00"], ["allow", "listed"], id="until, in UTC"),
        pytest.param(["-n", "2"], ["unknown", "leak"], id="the latest"),
        pytest.param(["-n", "4"], ["listed", "audit", "unknown", "leak"], id="the latest, over two files"),
        pytest.param(["-n", "1", "--namespace", "ci"], ["audit"], id="the latest of those"),
        pytest.param(["--id", " ID-LEAK "], ["leak"], id="one incident"),
        pytest.param(["--blocked", "--namespace", "ci"], ["listed"], id="all must hold"),
    ],
)
def test_what_is_chosen(file: Path, options: list[str], shown: list[str]):
    result = run("--file", file, "--json", *options)
    assert ids(result) == shown
    assert result.exit_code == (0 if shown else 1)


def test_broken_lines_are_counted_not_shown(file: Path):
    assert run("--file", file).stderr == f"sluicegate: {file}: 1 line is no record: left out\n"


def test_a_moment_ago(file: Path):
    assert ids(run("--file", file, "--json", "--until", "1ms")) == ALL  # they are of 2026
    assert run("--file", file, "--since", "0.001s").exit_code == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        pytest.param(["--since", "yesterday"], "write a duration such as 10m", id="no time"),
        pytest.param(["--host", "a b"], "--host", id="no host"),
        pytest.param(["-f", "--until", "1m"], "leave --until out", id="an end of what has none"),
        pytest.param(["-n", "0"], "-n", id="none at all"),
        pytest.param(["--nonsense"], "--nonsense", id="no such option"),
    ],
)
def test_wrong_usage(file: Path, options: list[str], said: str):
    result = run("--file", file, *options)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_reason_of_another_version_is_looked_for_with_a_hint(file: Path):
    result = run("--file", file, "--reason", "no-rul")
    assert result.exit_code == 1
    assert "did you mean `no-rule`?" in result.stderr


def test_reasons_are_offered_for_completion():
    offered = logs.ReasonName().shell_complete(None, None, "hello")
    assert [item.value for item in offered] == ["hello-timeout", "hello-too-large"]


def test_no_records_yet(tmp_path: Path):
    result = run("--file", tmp_path / "none")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no records yet" in result.stderr


def test_lines_for_people_are_aligned(file: Path):
    lines = run("--file", file).stdout.splitlines()
    assert [line.split()[:3] for line in lines] == [
        ["2026-01-01T12:00:00.000Z", "pay/api-1", "allow"],
        ["2026-01-01T12:01:00.000Z", "ci/job-7", "deny"],
        ["2026-01-01T12:02:00.000Z", "ci/job-7", "audit"],
        ["2026-01-01T12:03:00.000Z", "unknown", "deny"],
        ["2026-01-01T12:04:00.000Z", "pay/api-1", "deny"],
    ]
    assert (
        len(
            {
                line.index(word)
                for line, word in zip(lines, ["rule ", "listed", "listed", "unknown-i", "sensi"], strict=True)
            }
        )
        == 1
    )
    assert "GET pastebin.com/raw/x" in lines[1]
    assert "paste-sites: pastebin.com" in lines[1]
    assert "paste-sites: pastebin.com" in lines[2]
    assert "aws-access-key" in lines[4]
    assert all(line.endswith("pay@example.com") for line in lines)


def test_a_summary_says_of_how_many(tmp_path: Path):
    counts = (Count("deny", "no-rule", 99), Count("allow", "rule", 1))
    made = msgspec.structs.replace(several()[1], kind="summary", summary=Summary("rate", 100, "", "", counts))
    path = tmp_path / "v.jsonl"
    path.write_bytes(encode(made))
    assert "(one of 100: 99 deny no-rule, 1 allow rule)" in run("--file", path, "--reason", "rule").stdout


def test_a_terminal_is_safe_from_what_a_record_holds(tmp_path: Path):
    path = tmp_path / "v.jsonl"
    path.write_bytes(encode(several()[0]).replace(b"/v1/charges", rb"/\u001b[2J\u202e\u009b31m\n"))
    told = run("--file", path).stdout
    assert told.count("\n") == 1
    assert "/\\x1b[2J\\u202e\\x9b31m\\x0a" in told


@pytest.fixture
def follow(file: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `logs` as a program."""
    started: list[subprocess.Popen[str]] = []

    def start(*options: str, **more: object) -> subprocess.Popen[str]:
        code = "from sluicegate.cli.logs import command; command()"
        ran = subprocess.Popen(
            [sys.executable, "-c", code, "--file", file, *options],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more,
        )  # fmt: skip
        started.append(ran)
        return ran

    yield start
    for each in started:
        each.kill()
        each.communicate()


def test_follow_shows_what_comes_over_a_rotation_and_ends_quietly(
    file: Path, follow: Callable[..., subprocess.Popen[str]]
):
    ran = follow("-f", "--json", "--blocked")
    before = [json.loads(ran.stdout.readline())["id"] for _ in range(3)]
    assert before == ["id-listed", "id-unknown", "id-leak"]
    with file.open("ab") as open_file:
        open_file.write(encode(build(ask=ask(), verdict=deny(), id="id-old-file")))
    rotated(file, 1).rename(rotated(file, 2))
    file.rename(rotated(file, 1))
    file.write_bytes(encode(build(ask=ask(), verdict=deny(), id="id-new-file")))
    assert json.loads(ran.stdout.readline())["id"] == "id-old-file"
    assert json.loads(ran.stdout.readline())["id"] == "id-new-file"
    ran.send_signal(signal.SIGINT)
    out, err = ran.communicate(timeout=10)
    assert (ran.returncode, out, err) == (0, "", f"sluicegate: {file}: 1 line is no record: left out\n")


def test_a_closed_pipe_ends_it_quietly(file: Path, follow: Callable[..., subprocess.Popen[str]]):
    with file.open("ab") as open_file:
        open_file.write(encode(several()[0]) * 2000)
    ran = follow("--json")
    ran.stdout.readline()
    ran.stdout.close()
    assert ran.wait(10) == 0
    assert "Traceback" not in ran.stderr.read()


@pytest.mark.parametrize(("environment", "colour"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colour_is_for_terminals_that_want_it(file: Path, environment: dict[str, str], colour: bool):
    ours, theirs = pty.openpty()
    plain = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    code = "from sluicegate.cli.logs import command; command()"
    subprocess.run(
        [sys.executable, "-c", code, "--file", file, "-n", "1"], stdout=theirs, env=plain | environment, check=True
    )
    os.close(theirs)
    told = os.read(ours, 4096).decode()
    os.close(ours)
    assert "pay/api-1" in told
    assert ("\x1b[" in told) == colour


def test_help_has_an_example():
    result = run("--help")
    assert result.exit_code == 0
    assert "sluicegate logs --blocked --since 1h" in result.stdout
