"""Blocklist documents."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from sluicegate import documents
from sluicegate.errors import ConfigErrors
from sluicegate.facts import ListHit
from sluicegate.lists.catalogue import Lists
from sluicegate.lists.load import load
from sluicegate.names import HostName

PASTE = """\
kind: Blocklist
metadata: {name: paste-sites}
spec:
  category: exfiltration
  owner: secops@example.com
  entries:
  - pastebin.test   # the usual one
  - "*.Paste.test"

  - 192.0.2.0/24
"""


def read(text: str, folder: Path = Path("policies"), *folders: Path) -> Lists:
    return load(folders, documents.read(text, str(folder / "lists.yaml")))


def test_entries_are_hit_with_the_line_they_stand_on():
    loaded = read(PASTE)
    (name,) = loaded.name_hits(HostName.parse("x.paste.test"))
    (address,) = loaded.address_hits(ip_address("192.0.2.1"))
    assert name == ListHit(
        list="paste-sites",
        entry="*.Paste.test",
        place="policies/lists.yaml:8",
        category="exfiltration",
        owner="secops@example.com",
    )
    assert (address.entry, address.place) == ("192.0.2.0/24", "policies/lists.yaml:10")
    assert [(info.name, info.format, info.entries) for info in loaded.lists] == [("paste-sites", "domains", 3)]


def test_several_entries_and_several_documents_share_a_file():
    loaded = read(
        "kind: Blocklist\nmetadata: {name: a}\nspec: {entries: [one.test, two.test]}\n---\n"
        "kind: Blocklist\nmetadata: {name: b}\nspec: {match: exact, mode: audit, entries: [two.test, x.one.test]}\n"
    )
    hits = loaded.name_hits(HostName.parse("two.test"))
    assert [(hit.list, hit.place, hit.audit) for hit in hits] == [
        ("a", "policies/lists.yaml:3", False),
        ("b", "policies/lists.yaml:7", True),
    ]
    assert [hit.list for hit in loaded.name_hits(HostName.parse("y.x.one.test"))] == ["a"]


def test_a_file_beside_the_document_is_its_list_and_not_one_of_its_own(tmp_path: Path):
    (tmp_path / "data.txt").write_text("# mode: audit\n# category: old\n0.0.0.0 a.test\n")
    loaded = read(
        "kind: Blocklist\nmetadata: {name: feed}\nspec: {file: data.txt, match: suffix, category: new}\n",
        tmp_path,
        tmp_path,
    )
    assert [info.name for info in loaded.lists] == ["feed"]
    (hit,) = loaded.name_hits(HostName.parse("x.a.test"))
    assert hit == ListHit("feed", "a.test", f"{tmp_path}/data.txt:3", category="new", audit=True)


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        pytest.param("{entries: []}", "policies/lists.yaml: the list is empty", id="no entries"),
        pytest.param("{}", "lists.yaml: spec: holds its list in `entries` or in `file`", id="neither"),
        pytest.param("{entries: [a.test], file: x.txt}", "write one of the two", id="both"),
        pytest.param("{file: none.txt}", "none.txt: is not there", id="a missing file"),
        pytest.param("{entries: [a.test], action: allow}", "spec.action: `allow`: expected deny", id="allow"),
        pytest.param("{entries: [a.test], mod: audit}", "`mod`: unknown key: did you mean `mode`?", id="unknown key"),
        pytest.param("{entries: [a.test], mode: off}", "spec.mode: `False`: expected", id="bad mode"),
        pytest.param("{entries: [a.test], format: hosts}", "spec.format: `hosts`: expected domains", id="hosts inline"),
        pytest.param("{entries: [a.test, 'b test']}", "spec.entries[1]: `b test`: expected one name", id="two words"),
        pytest.param("{entries: [a.test, '#b.test']}", "spec.entries[1]: `#b.test`: expected one", id="a comment"),
        pytest.param("{entries: [a.test, 5]}", "spec.entries[1]: `5`: expected text", id="a number"),
        pytest.param("{entries: [a.test, b..test]}", "lists.yaml:3: `b..test`: has an empty label", id="a bad name"),
    ],
)
def test_a_bad_document_is_named(spec: str, error: str):
    with pytest.raises(ConfigErrors) as caught:
        read(f"kind: Blocklist\nmetadata: {{name: a}}\nspec: {spec}\n")
    assert error in str(caught.value)


def test_a_document_and_a_file_may_not_share_a_name(tmp_path: Path):
    (tmp_path / "paste-sites.txt").write_text("a.test\n")
    with pytest.raises(ConfigErrors, match=r"another list has this name \(policies/lists.yaml\)"):
        read(PASTE, Path("policies"), tmp_path)
