"""Which files are lists, and their names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sluicegate.errors import ConfigErrors
from sluicegate.lists.load import load


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("a.test\n")


def names(*folders: Path) -> list[str]:
    return [info.name for info in load(folders, []).lists]


def test_lists_are_found_below_a_folder_in_order_and_named_after_their_path(tmp_path: Path):
    write(tmp_path, "z.txt", "local/paste-sites.txt", "local/deep/er.txt", "README.md", "old.txt.bak", ".hidden.txt")
    write(tmp_path, ".git/x.txt")
    assert names(tmp_path) == ["local/deep/er", "local/paste-sites", "z"]


def test_a_mounted_configmap_gives_each_list_once(tmp_path: Path):
    write(tmp_path, "..2026_01_01/paste.txt", "..2026_01_01/ads.txt")
    (tmp_path / "..data").symlink_to("..2026_01_01")
    for name in ("paste.txt", "ads.txt"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    loaded = load([tmp_path], [])
    assert [(info.name, info.place) for info in loaded.lists] == [
        ("ads", f"{tmp_path}/ads.txt"),
        ("paste", f"{tmp_path}/paste.txt"),
    ]


def test_linked_folders_are_followed_once(tmp_path: Path):
    write(tmp_path, "in/a.txt", "elsewhere/b.txt")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "again").symlink_to(tmp_path / "elsewhere")
    assert names(tmp_path / "in") == ["a", "again/b"]


def test_a_file_that_two_folders_reach_is_one_list(tmp_path: Path):
    write(tmp_path, "all/local/a.txt")
    assert names(tmp_path / "all", tmp_path / "all/local") == ["local/a"]


def test_a_single_file_is_a_list(tmp_path: Path):
    write(tmp_path, "million.list")
    assert names(tmp_path / "million.list") == ["million"]


@pytest.mark.parametrize("name", ["gone.txt", "gone"])
def test_a_link_to_nowhere_is_an_error(tmp_path: Path, name: str):
    (tmp_path / name).symlink_to(tmp_path / "lost")
    with pytest.raises(ConfigErrors, match=f"{name}: is not there or is no plain file"):
        names(tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(ConfigErrors, match="is no plain file"):
        names(tmp_path)


def test_a_file_name_that_no_rule_could_name_is_an_error(tmp_path: Path):
    write(tmp_path, "paste sites.txt")
    with pytest.raises(ConfigErrors, match="the name of a list is letters"):
        names(tmp_path)
