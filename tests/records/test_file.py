"""Rotation, renames, removals, crashes: every line is read once and in order by who follows."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
from pathlib import Path

import pytest

from sluicegate.records import lines
from sluicegate.records.file import LinesFile
from sluicegate.records.lines import rotated


def numbered(start: int, stop: int) -> list[bytes]:
    return [b'{"n":%d,"pad":"%s"}\n' % (number, b"x" * 80) for number in range(start, stop)]


def numbers(found: list[bytes]) -> list[int]:
    return [json.loads(line)["n"] for line in found]


def everything(path: Path) -> list[int]:
    files = lines.open_all(path)
    found = [line for file in files for line in lines.read(file)]
    for file in files:
        file.close()
    return numbers(found)


def opened(path: Path, **more: float) -> LinesFile:
    return LinesFile(path, **{"max_size": 1000, "max_age_s": 1e9, "keep": 3} | more)


class TestRotation:
    def test_by_size_keeping_so_many(self, tmp_path: Path):
        path = tmp_path / "v.jsonl"
        file = opened(path)
        for number in range(100):
            assert file.append(numbered(number, number + 1)) == 1
        file.close()
        assert sorted(each.name for each in tmp_path.iterdir()) == ["v.jsonl", "v.jsonl.1", "v.jsonl.2", "v.jsonl.3"]
        assert all(each.stat().st_size <= 1000 for each in tmp_path.iterdir())
        found = everything(path)
        assert found == list(range(found[0], 100))

    def test_by_age_also_of_a_file_from_before_a_restart(self, tmp_path: Path):
        path = tmp_path / "v.jsonl"
        path.write_bytes(b'{"time":"2026-01-01T00:00:00.000000Z","n":0}\n')
        made = 1_767_225_600.0
        now = [made + 3599]
        file = LinesFile(path, max_size=10**6, max_age_s=3600, keep=3, clock=lambda: now[0])
        file.append(numbered(1, 2))
        assert not rotated(path, 1).exists()
        now[0] = made + 3601
        file.append(numbered(2, 3))
        file.close()
        assert everything(path) == [0, 1, 2]
        assert rotated(path, 1).read_bytes().count(b"\n") == 2

    def test_a_line_that_is_longer_than_a_file_may_be_is_written(self, tmp_path: Path):
        file = opened(tmp_path / "v.jsonl", max_size=50)
        file.append(numbered(0, 1))
        file.append(numbered(1, 2))
        file.close()
        assert everything(tmp_path / "v.jsonl") == [0, 1]

    def test_what_cannot_be_rotated_is_written_on(self, tmp_path: Path):
        path = tmp_path / "v.jsonl"
        (rotated(path, 1) / "in the way").mkdir(parents=True)
        file = opened(path, keep=1)
        for number in range(30):
            assert file.append(numbered(number, number + 1)) == 1
        file.close()
        assert path.read_bytes().count(b"\n") == 30


class TestSharedFile:
    @pytest.mark.parametrize("act", ["rename", "remove", "remove the folder"])
    def test_a_file_that_went_away_is_made_again(self, tmp_path: Path, act: str):
        path = tmp_path / "var" / "v.jsonl"
        file = opened(path)
        file.append(numbered(0, 1))
        if act == "rename":
            path.rename(tmp_path / "elsewhere")
        else:
            path.unlink()
        if act == "remove the folder":
            path.parent.rmdir()
        file.append(numbered(1, 2))
        file.close()
        assert numbers(path.read_bytes().splitlines()) == [1]

    def test_half_a_line_of_a_crash_is_ended_first(self, tmp_path: Path):
        path = tmp_path / "v.jsonl"
        path.write_bytes(b'{"n":0}\n{"n":1,"cut')
        file = opened(path)
        file.append(numbered(2, 3))
        file.append(numbered(3, 4))
        file.close()
        found = path.read_bytes().split(b"\n")
        assert found[1] == b'{"n":1,"cut'
        assert numbers(found[2:4]) == [2, 3]

    def test_processes_share_it_without_tearing_or_rotating_twice(self, tmp_path: Path):
        path = tmp_path / "v.jsonl"
        context = multiprocessing.get_context("fork")
        writers = [context.Process(target=_write, args=(path, start, start + 300)) for start in (0, 1000, 2000)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(30)
            assert writer.exitcode == 0
        found = everything(path)
        assert sorted(found) == [number for start in (0, 1000, 2000) for number in range(start, start + 300)]
        for start in (0, 1000, 2000):
            ours = [number for number in found if start <= number < start + 1000]
            assert ours == sorted(ours)


def _write(path: Path, start: int, stop: int) -> None:
    file = opened(path, max_size=5000, keep=100)
    for number in range(start, stop, 3):
        batch = numbered(number, min(number + 3, stop))
        assert file.append(batch) == len(batch)
    file.close()


class TestFollower:
    def test_every_line_once_and_in_order_while_files_rotate(self, tmp_path: Path):
        path = tmp_path / "v.jsonl"
        file = opened(path, max_size=4000, keep=500)
        file.append(numbered(0, 20))
        files = lines.open_all(path)
        found = [line for each in files for line in lines.read(each)]
        follower = lines.Follower(path, files)
        writing = threading.Thread(target=lambda: [file.append(numbered(n, n + 7)) for n in range(20, 20 + 7 * 250, 7)])
        writing.start()
        while writing.is_alive():
            found += follower.poll()
        writing.join()
        for _ in range(3):
            found += follower.poll()
        follower.close()
        file.close()
        assert numbers(found) == list(range(20 + 7 * 250))

    def test_several_rotations_between_two_looks(self, tmp_path: Path):
        path = tmp_path / "v.jsonl"
        file = opened(path, keep=50)
        file.append(numbered(0, 5))
        follower = lines.Follower(path, lines.open_all(path))
        assert numbers(list(follower.poll())) == list(range(5))
        for number in range(5, 60):
            file.append(numbered(number, number + 1))
        found = [*follower.poll(), *follower.poll()]
        follower.close()
        file.close()
        assert numbers(found) == list(range(5, 60))

    def test_half_a_line_is_waited_for(self, tmp_path: Path):
        path = tmp_path / "v.jsonl"
        path.write_bytes(b'{"n":0}\n{"n"')
        follower = lines.Follower(path, lines.open_all(path))
        assert numbers(list(follower.poll())) == [0]
        with path.open("ab") as file:
            file.write(b':1}\n{"n":2}\n')
        assert numbers(list(follower.poll())) == [1, 2]
        follower.close()

    @pytest.mark.parametrize("first", [b"", b'{"n":0}\n'], ids=["no file yet", "a file that is removed"])
    def test_a_file_that_comes_later(self, tmp_path: Path, first: bytes):
        path = tmp_path / "v.jsonl"
        rotated(path, 1).write_bytes(b'{"n":-1}\n')
        if first:
            path.write_bytes(first)
        files = lines.open_all(path)
        for file in files:
            list(lines.read(file))
        follower = lines.Follower(path, files)
        assert list(follower.poll()) == []
        path.unlink(missing_ok=True)
        path.write_bytes(b'{"n":1}\n')
        found = [line for _ in range(3) for line in follower.poll()]
        follower.close()
        assert numbers(found) == [1]

    def test_a_file_that_was_emptied_in_place(self, tmp_path: Path):
        path = tmp_path / "v.jsonl"
        path.write_bytes(b'{"n":0}\n{"n":1}\n')
        follower = lines.Follower(path, lines.open_all(path))
        assert numbers(list(follower.poll())) == [0, 1]
        path.write_bytes(b'{"n":2}\n')
        assert numbers(list(follower.poll())) == [2]
        follower.close()

    def test_files_last_written_before_are_not_opened(self, tmp_path: Path):
        path = tmp_path / "v.jsonl"
        path.write_bytes(b'{"n":1}\n')
        rotated(path, 1).write_bytes(b'{"n":0}\n')
        os.utime(rotated(path, 1), (1000, 1000))
        files = lines.open_all(path, since=2000.0)
        assert [file.name for file in files] == [str(path)]
        files[0].close()
