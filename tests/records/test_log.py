"""The process's own log, as another process sees it on standard error."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import pytest

START = "import logging, structlog; from sluicegate.records import log; log.configure({level!r}); own = structlog.get_logger('own')\n"
FAIL = """
def carry(body):
    local = b'SECRET-in-a-local'
    raise {error}
try:
    carry(b'SECRET-in-an-argument')
except Exception:
    {logger}.exception('it failed')
"""


def run(code: str, level: str = "info") -> list[dict]:
    ran = subprocess.run(
        [sys.executable, "-c", START.format(level=level) + code], capture_output=True, text=True, check=True
    )
    assert ran.stdout == ""
    return [json.loads(line) for line in ran.stderr.splitlines()]


def test_json_lines_from_both_ways_of_logging():
    ours, theirs = run("own.info('ready', port=1)\nlogging.getLogger('aiohttp.server').warning('odd %s', 'thing')")
    assert (ours["message"], ours["port"], ours["level"], ours["logger"]) == ("ready", 1, "info", "own")
    assert ours["timestamp"].endswith("Z")
    assert (theirs["message"], theirs["level"], theirs["logger"]) == ("odd thing", "warning", "aiohttp.server")


def test_level():
    told = run("own.info('no')\nown.warning('yes')\nlogging.info('no')", level="warning")
    assert [line["message"] for line in told] == ["yes"]


@pytest.mark.parametrize("name", ["hpack.hpack", "h2.connection", "mitmproxy.proxy.server"])
def test_libraries_that_say_too_much_are_quiet_even_at_debug(name: str):
    told = run(f"logging.getLogger({name!r}).debug('Decoded authorization: SECRET')\nown.debug('ours')", level="debug")
    assert [line["message"] for line in told] == ["ours"]


@pytest.mark.parametrize("logger", ["own", "logging.getLogger('theirs')"])
@pytest.mark.parametrize(
    "error", ["ValueError(b'SECRET')", "KeyError('SECRET')", "type('Odd', (Exception,), {})('SECRET')"]
)
def test_a_traceback_has_lines_but_neither_locals_nor_what_the_error_quotes(logger: str, error: str):
    (told,) = run(FAIL.format(error=error, logger=logger))
    assert "SECRET" not in json.dumps(told)
    assert told["message"] == "it failed"
    assert told["trace"][-1].endswith(" carry")


def test_errors_of_files_and_types_are_told():
    (told,) = run(FAIL.format(error="OSError(28, 'No space left on device')", logger="own"))
    assert (told["error_type"], told["error"]) == ("OSError", "[Errno 28] No space left on device")


def test_text_of_others_cannot_forge_a_line_nor_hold_a_key():
    (told,) = run(
        "own.info('hello\\n{\\\"level\\\":\\\"info\\\"}', host='\\x1b[2J', body=b'SECRET',"
        " pem='x -----BEGIN EC PRIVATE KEY-----\\nSECRET')"
    )
    assert told["message"] == 'hello\\x0a{"level":"info"}'
    assert told["host"] == "\\x1b[2J"
    assert told["body"] == "6 bytes"
    assert told["pem"] == "x [redacted]"


@pytest.mark.parametrize(("environment", "colour"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_a_terminal_gets_lines_for_people(environment: dict[str, str], colour: bool):
    ours, theirs = pty.openpty()
    plain = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    subprocess.run(
        [sys.executable, "-c", START.format(level="info") + "own.info('ready', port=1)"],
        stderr=theirs, env=plain | environment, check=True,
    )  # fmt: skip
    os.close(theirs)
    told = os.read(ours, 4096).decode()
    os.close(ours)
    assert "ready" in told
    assert not told.startswith("{")
    assert ("\x1b[" in told) == colour
