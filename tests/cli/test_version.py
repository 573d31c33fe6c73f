from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from click.testing import CliRunner

from sluicegate import cli
from sluicegate.cli import main

PARTS = {"sluicegate", "python", "openssl", "mitmproxy", "hyperscan", "uvloop", "dnspython", "cryptography", "certifi"}


def test_version_names_itself_first():
    done = CliRunner().invoke(main, ["version"])

    assert (done.exit_code, done.stdout.splitlines()[0]) == (0, f"sluicegate {version('sluicegate')}")


def test_version_in_json_names_all_parts():
    found = json.loads(CliRunner().invoke(main, ["version", "--json"]).stdout)

    assert set(found) == PARTS
    assert all(found.values())


def test_the_installed_command_is_quick_to_start_and_needs_no_engine():
    """Only what is used is imported: `logs` in a script must not pay for an HTTP engine."""
    command = Path(sys.executable).parent / "sluicegate"
    done = subprocess.run([command, "version", "--json"], capture_output=True, text=True, check=True)
    assert set(json.loads(done.stdout)) == PARTS

    program = "import sys; from sluicegate.cli import main; main(['version'], standalone_mode=False); print('\\n--', *sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"mitmproxy", "hyperscan", "uvloop", "aiohttp"} & set(loaded.stdout.rpartition("--")[2].split())


@pytest.mark.parametrize("name", [name for name in cli._COMMANDS if name != "ca"])  # which has commands of its own
def test_every_command_has_help_with_an_example(name: str):
    done = CliRunner().invoke(main, [name, "--help"])

    assert done.exit_code == 0
    assert f"sluicegate {name}" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["nonsense"], "No such command"), (["__init__"], "No such command"), (["options"], "No such command")],
)
def test_what_is_no_command_is_status_2(arguments: list[str], said: str):
    done = CliRunner().invoke(main, arguments)

    assert (done.exit_code, said in done.stderr) == (2, True)
