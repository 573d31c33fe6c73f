from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sluicegate.cli.dlp import command

AWS = b"AKIA" + b"IOSFODNN7EXAMPLE"


@pytest.fixture(autouse=True)
def _no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)


def run(*args: str, stdin: bytes = b"") -> Result:
    return CliRunner().invoke(command, args, input=stdin)


def test_a_finding_is_one_line_without_the_secret(tmp_path: Path):
    Path("up.json").write_bytes(b'{"key": "' + AWS + b'"}')
    result = run("scan", "up.json")
    assert result.exit_code == 1
    assert result.stdout == (
        "up.json: body: aws-access-key-id (critical, block): AKIA...LE (20 bytes): AWS access key id\n"
    )


def test_nothing_found():
    result = run("scan", stdin=b"nothing here")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "-: nothing found in 12 bytes\n"


def test_json_and_a_content_encoding():
    result = run("scan", "--json", "--content-encoding", "gzip", "-", stdin=gzip.compress(AWS))
    (answer,) = json.loads(result.stdout)
    assert result.exit_code == 1
    assert AWS.decode() not in result.stdout
    assert answer["unscannable"] is None
    assert {finding["location"] for finding in answer["findings"]} >= {"body:gzip"}


def test_what_cannot_be_scanned_is_no_pass():
    result = run("scan", "--content-encoding", "lzma", stdin=b"x")
    assert result.exit_code == 1
    assert result.stdout == "-: cannot be scanned in full: content-encoding 'lzma' is not known\n"


@pytest.mark.parametrize(("args", "error"), [
    pytest.param(("scan", "gone.txt"), "sluicegate: gone.txt: No such file or directory: name a file that can be read, or -", id="no file"),
    pytest.param(("scan", "--pack", "secret"), "sluicegate: dlp.packs: `secret`: no such pack: use pii, secrets or the path of a .yaml file", id="no pack"),
    pytest.param(("rules", "-c", "gone.yaml"), "sluicegate: gone.yaml", id="no configuration"),
])  # fmt: skip
def test_wrong_usage_is_one_line(args: tuple[str, ...], error: str):
    result = run(*args)
    assert result.exit_code == 2
    assert result.stderr.startswith(error)
    assert result.stderr.count("\n") == 1


def test_a_pack_can_be_left_out():
    assert run("scan", "--pack", "pii", stdin=AWS).exit_code == 0


def test_rules():
    result = run("rules", "--pack", "pii")
    assert result.exit_code == 0
    assert "payment-card" in result.stdout
    rules = json.loads(run("rules", "--json").stdout)
    assert len(rules) > 100
    assert {"id", "description", "severity", "confidence", "action", "place"} == set(rules[0])


@pytest.mark.parametrize("args", [(), ("scan",), ("rules",)])
def test_help_shows_an_example(args: tuple[str, ...]):
    assert "sluicegate dlp" in run(*args, "--help").stdout
