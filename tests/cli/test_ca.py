"""`sluicegate ca`, as a person and as a script use it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography import x509

from sluicegate import settings
from sluicegate.authority import ca
from sluicegate.cli.ca import command
from sluicegate.settings import API_VERSION

type Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(command, arguments)


@pytest.fixture
def made(run: Run, tmp_path: Path):
    assert run("init").exit_code == 0
    return settings.Authority(tmp_path / "certs/ca.pem", tmp_path / "certs/ca.key")


def certificates(text: str):
    return x509.load_pem_x509_certificates(text.encode())


class TestInit:
    def test_it_makes_a_ca_that_loads_and_says_so(self, run: Run, tmp_path: Path):
        done = run("init", "--name", "Example CA", "--days", "100")

        loaded = ca.load(settings.Authority(tmp_path / "certs/ca.pem", tmp_path / "certs/ca.key"))
        assert done.exit_code == 0
        assert f"SHA-256      {ca.fingerprint(loaded.issuer)}" in done.output
        assert "subject      CN=Example CA" in done.output
        assert "next: " in done.output
        assert "PRIVATE" not in done.output

    def test_the_fingerprint_is_openssl_s(self, run: Run, made: settings.Authority):
        shown = subprocess.run(
            ["openssl", "x509", "-in", made.cert, "-noout", "-fingerprint", "-sha256"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert shown.stdout.strip().split("=")[1] in run("show").output

    def test_paths_come_from_the_configuration(self, run: Run, tmp_path: Path):
        (tmp_path / "etc").mkdir()
        (tmp_path / "etc/gw.yaml").write_text(
            f"apiVersion: {API_VERSION}\nkind: Gateway\nauthority: {{cert: pki/a.pem, key: pki/a.key}}\n"
        )
        assert run("init", "-c", "etc/gw.yaml").exit_code == 0
        assert (tmp_path / "etc/pki/a.key").stat().st_mode & 0o777 == 0o600

    def test_a_second_time_is_refused_and_changes_nothing(self, run: Run, made: settings.Authority):
        before = made.cert.read_bytes(), made.key.read_bytes()

        done = run("init")

        assert done.exit_code == 1
        assert "exists already and is never overwritten" in done.output
        assert (made.cert.read_bytes(), made.key.read_bytes()) == before

    @pytest.mark.parametrize("days", ["0", "7301", "ten"])
    def test_lives_that_make_no_sense(self, run: Run, days: int):
        assert run("init", "--days", days).exit_code == 2

    def test_an_unreadable_configuration(self, run: Run):
        assert run("init", "-c", "nowhere.yaml").exit_code == 2

    @pytest.mark.parametrize("name", ["init", "show", "bundle"])
    def test_help_has_examples(self, run: Run, name: str):
        assert "Examples:\n    sluicegate ca" in run(name, "--help").output


class TestShow:
    def test_for_people(self, run: Run, made: settings.Authority):
        done = run("show")
        assert done.exit_code == 0
        assert "key type     EC secp256r1" in done.output
        assert "days left    3649" in done.output

    def test_for_scripts(self, run: Run, made: settings.Authority):
        report = json.loads(run("show", "--json").stdout)
        assert report["usable"] is True
        assert report["subject"] == "CN=Sluicegate CA"
        assert report["days_left"] == 3649
        assert report["warnings"] == []
        assert len(report["fingerprint_sha256"]) == 95

    def test_warnings_do_not_change_the_status(self, run: Run, made: settings.Authority):
        made.key.chmod(0o644)
        done = run("show")
        assert done.exit_code == 0
        assert "warning: " in done.stderr
        assert "others may read" in done.stderr

    def test_none_yet(self, run: Run):
        done = run("show")
        assert done.exit_code == 1
        assert "make a CA with `sluicegate ca init`" in done.stderr

    def test_unusable_ones_are_still_described(self, run: Run, made: settings.Authority):
        made.key.unlink()

        done = run("show", "--json")

        report = json.loads(done.stdout)
        assert done.exit_code == 1
        assert report["usable"] is False
        assert "does not exist" in report["problem"]
        assert report["subject"] == "CN=Sluicegate CA"


class TestBundle:
    def test_the_certificate_and_never_the_key(self, run: Run, made: settings.Authority):
        done = run("bundle")
        assert done.exit_code == 0
        assert done.stdout == made.cert.read_text()

    def test_also_without_the_key_at_hand(self, run: Run, made: settings.Authority):
        made.key.unlink()
        assert run("bundle").exit_code == 0

    def test_a_key_in_the_same_file_is_left_out(self, run: Run, made: settings.Authority):
        made.cert.write_text(made.key.read_text() + made.cert.read_text())
        assert "PRIVATE" not in run("bundle").stdout

    @pytest.mark.parametrize("option", ["--with-system", "--with-certifi"])
    @pytest.mark.filterwarnings("ignore:Parsed a serial number")  # one public root has serial number 0
    def test_public_roots_after_ours(self, run: Run, made: settings.Authority, option: str):
        found = certificates(run("bundle", option).stdout)
        assert found[0].subject.rfc4514_string() == "CN=Sluicegate CA"
        assert len(found) > 50

    @pytest.mark.filterwarnings("ignore:Parsed a serial number")
    def test_each_root_once(self, run: Run, made: settings.Authority):
        found = certificates(run("bundle", "--with-system", "--with-certifi").stdout)
        assert len(found) == len(set(found))

    def test_a_file_in_one_step(self, run: Run, made: settings.Authority, tmp_path: Path):
        (tmp_path / "out.pem").write_text("old")
        done = run("bundle", "-o", "out.pem")
        assert (done.exit_code, done.stdout) == (0, "")
        assert (tmp_path / "out.pem").read_text() == made.cert.read_text()
        assert (tmp_path / "out.pem").stat().st_mode & 0o777 == 0o644
        assert sorted(path.name for path in tmp_path.iterdir()) == ["certs", "out.pem"]

    def test_a_folder_that_is_not_there(self, run: Run, made: settings.Authority):
        done = run("bundle", "-o", "nowhere/out.pem")
        assert done.exit_code == 1
        assert "nowhere/out.pem: cannot be written: No such file or directory" in done.stderr

    def test_no_ca_yet(self, run: Run):
        assert run("bundle").exit_code == 1
