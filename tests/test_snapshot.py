from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

import story
from sluicegate import snapshot
from sluicegate.errors import ConfigError
from sluicegate.facts import Ask, Protocol
from sluicegate.names import HostName
from sluicegate.verdict import Deny, Permit, Reason, Verdict
from story import Told, allow

BLOCKLIST = """
apiVersion: sluicegate.dev/v1alpha1
kind: Blocklist
metadata: {name: inline}
spec: {entries: [c.test], action: deny}
"""


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    with story.told(tmp_path, allow("*.test"), listed="b.test\n198.51.100.0/24\n") as made:
        yield made


def ask(name: str, **more: object) -> Ask:
    parsed = HostName.parse(name)
    return Ask(story.WEB, story.HERE, parsed, None, 443, frozenset({Protocol.HTTPS}), **more)


def reason(verdict: Verdict) -> Reason | None:
    return verdict.reason if isinstance(verdict, Deny) else None


class TestHits:
    def test_a_name_on_a_list_is_denied(self, told: Told):
        verdict = told.gate.snapshot.decide(ask("x.b.test"))

        assert reason(verdict) is Reason.LISTED
        assert isinstance(verdict, Deny)
        assert verdict.source.place == f"{told.folder}/blocklists/bad.txt:1"

    def test_so_is_one_that_leads_there_by_an_alias(self, told: Told):
        aliases = (HostName("ok.test"), HostName("x.b.test"))

        assert isinstance(told.gate.snapshot.decide(ask("a.test")), Permit)
        assert reason(told.gate.snapshot.decide(ask("a.test"), aliases)) is Reason.LISTED

    def test_so_is_one_whose_address_is_listed(self, told: Told):
        resolved = ip_address("198.51.100.9")
        # Documentation addresses are hard, and that comes first: so the list is asked by itself.
        assert told.gate.snapshot._hits(ask("a.test", resolved=resolved), ())

    def test_an_explanation_sees_the_same(self, told: Told):
        for name in ("a.test", "x.b.test", "nowhere.example"):
            assert told.gate.snapshot.explain(ask(name)).verdict == told.gate.snapshot.decide(ask(name))


class TestLoad:
    def errors(self, told: Told) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            snapshot.load(told.settings, told.guard, story.engine())
        return [str(each).replace(str(told.folder), "") for each in caught.value.each]

    def test_names_all_that_is_wrong_in_all_files(self, told: Told):
        (told.folder / "policies" / "1.yaml").write_text("kind: EgressPolicy\napiVersion: x")
        (told.folder / "policies" / "2.yaml").write_text("a: [")
        (told.folder / "policies" / "3.yaml").write_bytes(b"\xff")
        (told.folder / "policies" / "4.yaml").write_text(allow("a*.test").replace("name: web", "name: other"))
        (told.folder / "policies" / "5.yaml").write_text("apiVersion: sluicegate.dev/v1alpha1\nkind: Policy")
        (told.folder / "blocklists" / "bad.txt").write_text("b.test\n!!\n")

        found = self.errors(told)
        assert [error.partition(":")[0] for error in found] == [
            "/policies/1.yaml", "/policies/2.yaml", "/policies/3.yaml", "/policies/5.yaml", "/policies/4.yaml",
            "/blocklists/bad.txt",
        ]  # fmt: skip

    def test_a_folder_that_is_not_there_is_an_error(self, told: Told):
        (told.folder / "policies").rename(told.folder / "elsewhere")

        assert self.errors(told) == ["/policies: does not exist: create it, or name another folder in `policies`"]

    def test_a_link_to_nowhere_is_an_error(self, told: Told):
        (told.folder / "policies" / "x.yaml").symlink_to("nowhere.yaml")

        assert self.errors(told) == ["/policies/x.yaml: cannot be read: No such file or directory"]

    def test_blocklists_may_stand_among_policies(self, told: Told):
        (told.folder / "policies" / "list.yaml").write_text(BLOCKLIST)
        loaded = snapshot.load(told.settings, told.guard, story.engine())

        assert reason(loaded.decide(ask("c.test"))) is Reason.LISTED


class TestFiles:
    def found(self, folder: Path) -> list[str]:
        return [str(path.relative_to(folder)) for path in snapshot.yaml_files(folder)]

    def test_a_file_names_itself(self, tmp_path: Path):
        (tmp_path / "p.txt").touch()

        assert snapshot.yaml_files(tmp_path / "p.txt") == [tmp_path / "p.txt"]

    def test_are_found_at_any_depth_and_sorted(self, tmp_path: Path):
        (tmp_path / "z" / "y").mkdir(parents=True)
        for name in ("b.yaml", "a.yml", "z/y/c.yaml", "z/readme.md", ".hidden.yaml"):
            (tmp_path / name).touch()

        assert self.found(tmp_path) == ["a.yml", "b.yaml", "z/y/c.yaml"]

    def test_of_a_mounted_config_map_are_found_once(self, tmp_path: Path):
        (tmp_path / "..2026").mkdir()
        (tmp_path / "..2026" / "p.yaml").touch()
        (tmp_path / "..data").symlink_to("..2026")
        (tmp_path / "p.yaml").symlink_to("..data/p.yaml")

        assert self.found(tmp_path) == ["p.yaml"]

    def test_below_a_linked_folder_are_found(self, tmp_path: Path):
        """A checkout that is linked in must not be passed over in silence: its denials would be missing."""
        (tmp_path / "checkout").mkdir()
        (tmp_path / "checkout" / "deny.yaml").touch()
        (tmp_path / "policies").mkdir()
        (tmp_path / "policies" / "current").symlink_to(tmp_path / "checkout")
        (tmp_path / "policies" / "loop").symlink_to(tmp_path / "policies")

        assert self.found(tmp_path / "policies") == ["current/deny.yaml"]

    def test_in_a_folder_that_cannot_be_read_are_an_error(self, told: Told, monkeypatch: pytest.MonkeyPatch):
        (told.folder / "policies" / "closed").mkdir(mode=0)
        real = Path.iterdir

        def iterdir(path: Path) -> Iterator[Path]:
            if path.name == "closed":  # root may read everything, so what others get is said by hand
                raise PermissionError(13, "Permission denied", str(path))
            return real(path)

        if os.geteuid() == 0:
            monkeypatch.setattr(Path, "iterdir", iterdir)
        assert TestLoad().errors(told) == ["/policies/closed: cannot be read: Permission denied"]
