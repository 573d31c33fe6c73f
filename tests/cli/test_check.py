from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cli.house import GATEWAY, POLICY, Run


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    made = Run(tmp_path)
    made.furnish()
    return made


class TestValid:
    def test_says_what_there_is(self, run: Run):
        done = run("check")

        assert done.exit_code == 0
        assert done.stdout.startswith("valid: 1 policies with 4 rules, 1 blocklists with 1 names and 0 ranges, ")
        assert done.stdout.endswith("DLP rules; default: deny\n")
        assert not done.stderr

    def test_in_json_too(self, run: Run):
        found = run.json("check")

        assert (found["valid"], found["errors"], found["warnings"]) == (True, [], [])
        assert (found["policies"], found["rules"], found["lists"], found["names"]) == (1, 4, 1, 1)
        assert found["dlp_rules"] > 60
        assert len(found["digest"]) == 64

    @pytest.mark.parametrize(
        ("more", "said"),
        [
            pytest.param("upstream: {unsafe_allow_addresses: [127.0.0.1/32]}", "127.0.0.1/32 can be reached past both", id="unsafe"),
            pytest.param("default: audit", "default: audit permits whatever no rule matches", id="audit"),
            pytest.param("records: {on_full: count}", "lets requests pass unrecorded", id="records"),
        ],
    )  # fmt: skip
    def test_doors_that_stand_open_are_said_loudly(self, run: Run, more: str, said: str):
        run.write("gateway.yaml", GATEWAY + more)
        done = run("check")

        assert (done.exit_code, done.stderr.startswith("warning: "), said in done.stderr) == (0, True, True)
        assert said in run.json("check")["warnings"][0]

    def test_nothing_is_written(self, run: Run):
        before = sorted(run.folder.rglob("*"))
        run("check")

        assert sorted(run.folder.rglob("*")) == before


class TestInvalid:
    def test_all_that_is_wrong_is_one_line_each_and_status_1(self, run: Run):
        run.write("policies/web.yaml", POLICY.replace("api.test, ", '"a*.test", ').replace("mode: audit", "mod: audit"))
        run.write("blocklists/sites.txt", "bad.test\nx_!\n")
        run.write("gateway.yaml", GATEWAY + "dlp: {packs: [secrets, no-such]}")
        done = run("check")

        lines = done.stderr.splitlines()
        assert (done.exit_code, done.stdout, lines[-1]) == (1, "", "4 errors")
        assert [line.partition(":")[0].rpartition("/")[2] for line in lines[:-1]] == [
            "dlp.packs", "web.yaml", "web.yaml", "sites.txt",
        ]  # fmt: skip
        assert "spec.rules[0].to.domains[0]: `a*.test`: " in done.stderr
        assert "`mod`: unknown key: did you mean `mode`?" in done.stderr
        found = run.json("check")
        assert (found["valid"], len(found["errors"]), set(found["errors"][0])) == (False, 4, {"place", "value", "fix"})

    def test_one_error_is_one(self, run: Run):
        run.write("policies/web.yaml", "[")

        assert run("check").stderr.splitlines()[-1] == "1 error"

    def test_a_text_that_would_eat_the_machine_is_an_error_like_another(self, run: Run):
        run.write("policies/deep.yaml", "[" * 300_000)
        done = run("check")

        assert (done.exit_code, "nested more than 100 deep" in done.stderr) == (1, True)


class TestUsage:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            pytest.param(["-c", "nowhere.yaml"], "nowhere.yaml: cannot be read: No such file", id="no such file"),
            pytest.param(["--nonsense"], "No such option", id="no such option"),
            pytest.param(["-c", "."], "is a directory", id="a folder"),
        ],
    )
    def test_is_status_2(self, run: Run, arguments: list[str], said: str):
        done = run("check", *arguments)

        assert (done.exit_code, said in done.stderr) == (2, True)

    def test_a_bad_gateway_file_is_status_2_and_one_line(self, run: Run):
        run.write("gateway.yaml", GATEWAY + "defalt: deny")
        done = run("check")

        assert done.exit_code == 2
        assert done.stderr == "sluicegate: gateway.yaml: defalt: `defalt`: unknown key: did you mean `default`?\n"

    def test_without_a_file_the_defaults_are_meant(self, tmp_path: Path, run: Run):
        (tmp_path / "gateway.yaml").unlink()

        assert run("check").exit_code == 0


def test_the_installed_command_says_the_same(run: Run):
    command = Path(sys.executable).parent / "sluicegate"
    done = subprocess.run([command, "check"], capture_output=True, text=True, check=False, cwd=run.folder)

    assert (done.returncode, done.stdout) == (0, run("check").stdout)
