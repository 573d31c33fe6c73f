"""The CA is made so that the strictest clients believe it, and loaded only where they would."""

from __future__ import annotations

import subprocess
import traceback
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from authority import forge
from sluicegate import settings
from sluicegate.authority import ca
from sluicegate.authority.ca import Authority
from sluicegate.authority.leaves import Leaves
from sluicegate.errors import ConfigError
from sluicegate.names import HostName

NAME = HostName("example.com")


def brought(tmp_path: Path, private: Any, *certs: Any):
    return settings.Authority(
        forge.write(tmp_path / "own.pem", *certs), forge.write(tmp_path / "own.key", forge.key_pem(private))
    )


def with_locals(error: BaseException):
    """The traceback as the worst of crash reporters prints it, without the frame of the test itself."""
    frames = error.__traceback__.tb_next
    return "".join(traceback.TracebackException(type(error), error, frames, capture_locals=True).format())


class TestCreate:
    def test_what_stands_in_it(self, paths: settings.Authority):
        made = ca.create(paths.cert, paths.key, name="Example CA", days=10)

        basic = made.extensions.get_extension_for_class(x509.BasicConstraints)
        usage = made.extensions.get_extension_for_class(x509.KeyUsage)
        assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 0)
        assert (usage.critical, usage.value.key_cert_sign, usage.value.crl_sign) == (True, True, True)
        assert not usage.value.digital_signature
        assert made.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        assert made.subject.rfc4514_string() == "CN=Example CA"
        assert made.not_valid_after_utc - made.not_valid_before_utc == timedelta(days=10, hours=1)

    def test_openssl_reads_both_files(self, paths: settings.Authority):
        ca.create(paths.cert, paths.key)

        shown = subprocess.run(
            ["openssl", "x509", "-in", paths.cert, "-noout", "-text"], capture_output=True, text=True, check=True
        ).stdout
        checked = subprocess.run(
            ["openssl", "pkey", "-in", paths.key, "-check", "-noout"], capture_output=True, check=False
        )
        assert "NIST CURVE: P-256" in shown
        assert "CA:TRUE, pathlen:0" in shown
        assert checked.returncode == 0
        assert paths.key.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")

    def test_only_the_owner_reads_the_key(self, paths: settings.Authority):
        ca.create(paths.cert, paths.key)

        assert paths.key.stat().st_mode & 0o777 == 0o600
        assert paths.cert.stat().st_mode & 0o777 == 0o644

    def test_folders_are_made_and_no_draft_is_left(self, tmp_path: Path):
        ca.create(tmp_path / "a/b/ca.pem", tmp_path / "a/c/ca.key")

        assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["ca.key", "ca.pem"]

    @pytest.mark.parametrize("present", ["cert", "key"])
    def test_nothing_is_overwritten(self, paths: settings.Authority, present: str):
        there = getattr(paths, present)
        there.write_text("precious")

        with pytest.raises(ConfigError, match="exists already and is never overwritten"):
            ca.create(paths.cert, paths.key)

        assert there.read_text() == "precious"
        assert list(there.parent.iterdir()) == [there]

    def test_a_dangling_link_is_not_followed(self, paths: settings.Authority, tmp_path: Path):
        paths.key.symlink_to(tmp_path / "elsewhere")

        with pytest.raises(ConfigError, match="exists already"):
            ca.create(paths.cert, paths.key)

        assert not (tmp_path / "elsewhere").exists()

    def test_a_key_without_its_certificate_is_not_left_behind(self, paths: settings.Authority, tmp_path: Path):
        (tmp_path / "file").touch()

        with pytest.raises(ConfigError, match="cannot be written"):
            ca.create(tmp_path / "file" / "ca.pem", paths.key)

        assert not paths.key.exists()

    def test_a_file_that_appears_meanwhile_is_kept(self, paths: settings.Authority, monkeypatch: pytest.MonkeyPatch):
        before = iter([False, False])
        monkeypatch.setattr(ca.os.path, "lexists", lambda _path: next(before, True))
        paths.cert.write_text("precious")

        with pytest.raises(ConfigError, match="exists already"):
            ca.create(paths.cert, paths.key)

        assert (paths.cert.read_text(), paths.key.exists()) == ("precious", False)

    @pytest.mark.parametrize("name", [pytest.param("", id="empty"), pytest.param("x" * 65, id="65 characters")])
    def test_names_that_no_certificate_holds(self, paths: settings.Authority, name: str):
        with pytest.raises(ConfigError, match="1 to 64 characters"):
            ca.create(paths.cert, paths.key, name=name)

    def test_the_longest_name(self, paths: settings.Authority):
        assert ca.create(paths.cert, paths.key, name="x" * 64)


class TestLoad:
    def test_what_was_made_has_no_warnings(self, authority: Authority):
        assert authority.warnings == ()
        assert authority.sent == ()

    @pytest.mark.parametrize("kind", ["p256", "p384", "p521", "rsa2048"])
    def test_kinds_of_keys(self, tmp_path: Path, kind: str):
        private = forge.key(kind)
        root = forge.ca(private)

        leaf = Leaves(ca.load(brought(tmp_path, private, root))).leaf(NAME)

        leaf.cert.verify_directly_issued_by(root)

    def test_a_strength_of_hash_for_each_key(self, tmp_path: Path):
        used = {}
        for kind in ("p256", "p384", "p521", "rsa2048"):
            private = forge.key(kind)
            leaf = Leaves(ca.load(brought(tmp_path, private, forge.ca(private)))).leaf(NAME)
            used[kind] = leaf.cert.signature_hash_algorithm.name
        assert used == {"p256": "sha256", "p384": "sha384", "p521": "sha512", "rsa2048": "sha256"}

    def test_an_intermediate_is_sent_and_its_root_is_not(self, tmp_path: Path):
        top, middle = forge.key(), forge.key()
        root = forge.ca(top, "Root")
        below = forge.ca(middle, "Middle", by=(root, top))

        loaded = ca.load(brought(tmp_path, middle, below, root))

        assert loaded.chain == (below, root)
        assert loaded.sent == (below,)
        assert loaded.warnings == ()

    def test_the_chain_s_shortest_life_counts(self, tmp_path: Path):
        top, middle = forge.key(), forge.key()
        root = forge.ca(top, "Root", ends=40 * forge.DAY)
        below = forge.ca(middle, "Middle", by=(root, top), ends=90 * forge.DAY)

        assert ca.load(brought(tmp_path, middle, below, root)).ends == root.not_valid_after_utc

    def test_missing(self, paths: settings.Authority):
        with pytest.raises(ConfigError, match=r"ca\.pem: does not exist: make a CA with `sluicegate ca init`"):
            ca.load(paths)

    def test_missing_key(self, paths: settings.Authority):
        ca.create(paths.cert, paths.key)
        paths.key.unlink()
        with pytest.raises(ConfigError, match=r"ca\.key: does not exist"):
            ca.load(paths)

    def test_unreadable(self, paths: settings.Authority):
        paths.cert.mkdir()
        with pytest.raises(ConfigError, match=r"ca\.pem: cannot be read: Is a directory"):
            ca.load(paths)

    @pytest.mark.parametrize(
        ("options", "fix"),
        [
            pytest.param({"ends": -forge.DAY / 24, "begins": -2 * forge.DAY}, "has expired", id="expired an hour ago"),
            pytest.param({"begins": forge.DAY / 24}, "is not valid yet", id="begins in an hour"),
            pytest.param({"is_ca": False}, "is not a CA", id="CA:FALSE"),
            pytest.param({"usage": False}, "is not a CA", id="may not sign certificates"),
        ],
    )
    def test_certificates_that_clients_would_refuse(self, tmp_path: Path, options: Any, fix: str):
        private = forge.key()
        with pytest.raises(ConfigError, match=fix):
            ca.load(brought(tmp_path, private, forge.ca(private, **options)))

    def test_a_server_certificate_is_no_ca(self, tmp_path: Path):
        private = forge.key()
        with pytest.raises(ConfigError, match="is not a CA"):
            ca.load(brought(tmp_path, private, forge.server(private, ["example.com"])))

    @pytest.mark.parametrize("kind", ["rsa1024", "ed25519", "k256"])
    def test_keys_that_clients_would_refuse(self, tmp_path: Path, kind: str):
        private = forge.key(kind)
        with pytest.raises(ConfigError, match="is of a kind that clients refuse"):
            ca.load(brought(tmp_path, private, forge.ca(private)))

    def test_a_passphrase(self, tmp_path: Path):
        private = forge.key()
        paths = brought(tmp_path, private, forge.ca(private))
        forge.write(paths.key, forge.key_pem(private, b"secret"))
        with pytest.raises(ConfigError, match=r"has a passphrase.*`openssl pkey -in"):
            ca.load(paths)

    def test_two_halves_that_do_not_belong_together(self, tmp_path: Path):
        with pytest.raises(ConfigError, match=r"own\.key: is not the key of .*own\.pem"):
            ca.load(brought(tmp_path, forge.key(), forge.ca(forge.key())))

    def test_a_chain_upside_down(self, tmp_path: Path):
        top, middle = forge.key(), forge.key()
        root = forge.ca(top, "Root")
        below = forge.ca(middle, "Middle", by=(root, top))
        with pytest.raises(ConfigError, match="CN=Middle`: did not issue certificate 1: put the signing CA first"):
            ca.load(brought(tmp_path, middle, root, below))

    def test_an_expired_issuer_is_named_by_its_place(self, tmp_path: Path):
        top, middle = forge.key(), forge.key()
        root = forge.ca(top, "Root", begins=-9 * forge.DAY, ends=-forge.DAY)
        below = forge.ca(middle, "Middle", by=(root, top))
        with pytest.raises(ConfigError, match=r"own\.pem: certificate 2: .* has expired"):
            ca.load(brought(tmp_path, middle, below, root))

    @pytest.mark.parametrize(
        ("mode", "warns"),
        [(0o600, False), (0o400, False), (0o640, True), (0o644, True), (0o604, True)],
        ids=oct,
    )
    def test_a_key_that_others_may_read_is_a_warning(self, paths: settings.Authority, mode: int, warns: bool):
        ca.create(paths.cert, paths.key)
        paths.key.chmod(mode)
        assert any("others may read" in warning for warning in ca.load(paths).warnings) is warns

    @pytest.mark.parametrize(("days", "warns"), [(29, True), (31, False)])
    def test_the_last_month_is_a_warning(self, paths: settings.Authority, days: int, warns: bool):
        ca.create(paths.cert, paths.key, days=days)
        assert any("expires on" in warning for warning in ca.load(paths).warnings) is warns

    def test_what_strict_clients_refuse_is_a_warning(self, tmp_path: Path):
        private = forge.key()
        (warning,) = ca.load(brought(tmp_path, private, forge.ca(private, bare=True))).warnings
        assert "lacks critical basic constraints and a key usage and a subject key identifier" in warning


class TestSecrecy:
    """What a log, a crash report or a debugger's repr would show."""

    def test_repr_and_str(self, paths: settings.Authority, authority: Authority):
        leaf = Leaves(authority).leaf(NAME)
        for value in (authority, leaf):
            assert "_key" not in repr(value) + str(value)
        assert b"PRIVATE" not in leaf.pem

    @pytest.mark.parametrize("tail", [b"", b"garbage"], ids=["garbled", "passphrase missing"])
    def test_a_traceback_with_locals_does_not_show_the_key(self, paths: settings.Authority, tail: bytes):
        ca.create(paths.cert, paths.key)
        lines = paths.key.read_bytes().splitlines()
        secret = lines[1].decode()
        if tail:
            paths.key.write_bytes(b"\n".join(lines[:2]) + tail)
        else:
            paths.key.write_bytes(paths.key.read_bytes().replace(b"PRIVATE KEY", b"ENCRYPTED PRIVATE KEY"))

        with pytest.raises(ConfigError) as caught:
            ca.load(paths)

        shown = with_locals(caught.value)
        assert secret not in shown

    def test_nor_does_one_of_a_full_disk(self, paths: settings.Authority, monkeypatch: pytest.MonkeyPatch):
        def full(*_: Any):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(ca.files, "write_new", full)
        with pytest.raises(ConfigError, match="No space left") as caught:
            ca.create(paths.cert, paths.key)

        shown = with_locals(caught.value)
        assert "PRIVATE KEY" not in shown
