"""Nothing is lost unseen, and no workload stops another: the journal on real files and real full disks."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from records.making import FINDING, ask, deny, made, records_settings
from sluicegate.facts import Unknown, Workload
from sluicegate.records.file import LinesFile
from sluicegate.records.journal import Journal
from sluicegate.records.metrics import Metrics
from sluicegate.records.record import build
from sluicegate.verdict import Reason

type Value = Callable[..., float]
LONG_AGO = 0.0  # a clock that stands still: nothing is refilled


@pytest.fixture
def journal(file: Path, metrics: Metrics) -> Iterator[Callable[..., Journal]]:
    """Makes journals, and closes them."""
    opened: list[Journal] = []

    def make(path: Path = file, clock: Callable[[], float] = lambda: LONG_AGO, **more: Any) -> Journal:
        opened.append(Journal(records_settings(path, **more), metrics, clock))
        return opened[-1]

    yield make
    for each in opened:
        each.close(0.2)


def told(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_bytes().splitlines()]


def pods(file: Path) -> list[str]:
    return [line["workload"]["pod"] for line in told(file)]


class TestSlots:
    def test_what_is_written_is_in_the_file(self, journal: Any, file: Path, value: Value):
        opened = journal()
        for number in range(100):
            slot = opened.reserve()
            assert slot is not None
            assert slot.write(made(f"pod-{number}"))
        assert opened.flush()
        assert pods(file) == [f"pod-{number}" for number in range(100)]
        assert value("sluicegate_records_written_total") == 100
        assert value("sluicegate_records_queue") == value("sluicegate_records_reserved") == 0

    def test_the_file_is_for_its_owner_alone(self, journal: Any, file: Path):
        journal()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700

    def test_a_file_that_cannot_be_opened_is_said_at_once(self, metrics: Metrics, tmp_path: Path):
        (tmp_path / "file").write_text("")
        with pytest.raises(OSError):
            Journal(records_settings(tmp_path / "file" / "verdicts.jsonl"), metrics)

    def test_a_slot_counts_once(self, journal: Any, file: Path, value: Value):
        opened = journal(queue=10)
        slot = opened.reserve()
        slot.write(made("first"))
        slot.write(made("second"))
        slot.release()
        assert opened.flush()
        assert pods(file) == ["first"]
        slot = opened.reserve()
        slot.release()
        slot.release()
        slot.write(made("third"))
        assert opened.flush()
        assert pods(file) == ["first"]
        assert value("sluicegate_records_reserved") == 0

    def test_no_room_is_promised_twice(self, journal: Any):
        opened = journal(queue=10)
        slots = [opened.reserve() for _ in range(10)]
        assert None not in slots
        assert opened.reserve() is None
        assert "full" in opened.trouble
        slots[0].release()
        assert opened.healthy
        assert opened.reserve() is not None

    def test_one_workload_holds_a_quarter_at_most(self, journal: Any):
        opened = journal(queue=40)
        greedy, modest = Workload("a", "greedy"), Workload("a", "modest")
        assert [opened.reserve(greedy) is None for _ in range(12)] == [False] * 10 + [True] * 2
        assert opened.reserve(modest) is not None

    def test_a_slot_that_nobody_gave_back_is_counted_at_the_end(self, journal: Any, value: Value):
        opened = journal()
        opened.reserve()
        assert value("sluicegate_records_reserved") == 1
        assert opened.close() == 1
        assert value("sluicegate_records_lost_total", cause="abandoned") == 1

    def test_after_the_end_nothing_is_promised_and_what_comes_is_counted(self, journal: Any, value: Value):
        opened = journal()
        late = opened.reserve()
        opened.close()
        assert opened.reserve() is None
        assert not late.write(made())
        assert not opened.write_unreserved(made())
        assert value("sluicegate_records_lost_total", cause="closed") == 2
        assert "closed" in opened.trouble

    def test_threads_may_share_it(self, journal: Any, file: Path):
        opened = journal(per_workload=10**6)

        def write(name: str) -> None:
            for _ in range(500):
                assert opened.reserve().write(made(name))

        threads = [threading.Thread(target=write, args=(f"pod-{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert opened.flush()
        assert sorted(pods(file)) == sorted(f"pod-{n}" for n in range(4) for _ in range(500))


class TestFaults:
    def test_a_record_that_cannot_be_encoded_is_counted_and_its_room_is_free(
        self, journal: Any, file: Path, value: Value
    ):
        opened = journal(queue=10)
        odd = msgspec.structs.replace(made(), owner=object())
        assert not opened.reserve().write(odd)
        assert value("sluicegate_records_lost_total", cause="build") == 1
        assert value("sluicegate_records_reserved") == value("sluicegate_records_queue") == 0
        opened.reserve(Workload("pay", "api-1")).write(made())
        assert opened.flush()
        assert len(told(file)) == 1

    @pytest.mark.parametrize("step", ["append", "sync"])
    def test_a_writer_that_fails_goes_on_and_repeats_nothing(
        self, journal: Any, file: Path, monkeypatch: pytest.MonkeyPatch, step: str
    ):
        failed: list[str] = []
        real = getattr(LinesFile, step)

        def once(*arguments: Any) -> Any:
            if not failed:
                failed.append(step)
                raise RuntimeError
            return real(*arguments)

        monkeypatch.setattr(LinesFile, step, once)
        opened = journal()
        for number in range(5):
            assert opened.write_unreserved(made(f"pod-{number}"))  # a promise is not given meanwhile
            opened.flush()
        until(lambda: failed)
        until(lambda: opened.healthy)
        assert pods(file) == [f"pod-{number}" for number in range(5)]


class TestRates:
    def test_beyond_its_rate_a_workload_is_summed_up(self, journal: Any, file: Path, value: Value):
        opened = journal(per_workload=5)
        for number in range(30):
            opened.reserve().write(made(verdict=deny() if number % 3 else None))
        opened.reserve().write(made("quiet"))
        assert opened.flush()
        lines = told(file)
        assert [line["kind"] for line in lines] == ["request"] * 11 + ["summary"]  # twice five, the quiet one, the rest
        summary = lines[-1]["summary"]
        assert (summary["cause"], summary["records"]) == ("rate", 20)
        assert {(count["verdict"], count["reason"]): count["records"] for count in summary["counts"]} == {
            ("allow", "rule"): 6,
            ("deny", "no-rule"): 14,
        }
        assert summary["first"] < summary["last"]
        assert (lines[-1]["verdict"], lines[-1]["reason"]) == ("deny", "no-rule")
        assert value("sluicegate_records_summed_up_total", cause="rate") == 20
        assert value("sluicegate_records_lost_total", cause="queue-full") == 0

    def test_lines_summaries_and_losses_add_up(self, journal: Any, file: Path):
        opened = journal(per_workload=5)
        records = [made() for _ in range(50)]
        for record in records:
            opened.reserve().write(record)
        opened.flush()
        lines = told(file)
        single = [line for line in lines if line["kind"] != "summary"]
        assert len(single) + sum(line["summary"]["records"] for line in lines if line["kind"] == "summary") == 50

    def test_tokens_come_back_with_time(self, journal: Any, file: Path):
        now = [0.0]
        opened = journal(per_workload=5, clock=lambda: now[0])
        for second in (0.0, 1.0, 100.0):
            now[0] = second
            for _ in range(30):
                opened.reserve().write(made())
        opened.flush()
        assert len([line for line in told(file) if line["kind"] == "request"]) == 10 + 5 + 10

    def test_findings_have_a_rate_of_their_own(self, journal: Any, file: Path):
        opened = journal(per_workload=5)
        for _ in range(20):
            opened.reserve().write(made())
        for _ in range(20):
            opened.reserve().write(made(verdict=deny(Reason.SENSITIVE_DATA, findings=(FINDING,))))
        opened.flush()
        lines = told(file)
        assert len([line for line in lines if line["findings"] and line["kind"] == "request"]) == 10
        summary = lines[-1]["summary"]
        assert summary["findings"] == {"aws-access-key": 10}
        assert summary["records"] == 20

    def test_unknown_workloads_are_told_apart_by_address(self, journal: Any, file: Path):

        opened = journal(per_workload=5)

        for _ in range(30):
            opened.write_unreserved(build(ask=ask(Unknown("nobody")), verdict=deny(Reason.UNKNOWN_IDENTITY)))
        opened.flush()
        assert told(file)[-1]["summary"]["records"] == 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 KiB."""
    if os.geteuid():
        pytest.skip("mounting needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def until(condition: Callable[[], object]) -> None:
    """Waits for what another thread does."""
    turn = threading.Event()
    for _ in range(1000):
        if condition():
            return
        turn.wait(0.01)
    pytest.fail("it did not happen within ten seconds")


class TestFullDisk:
    def test_block_permits_nothing_more_and_loses_nothing(self, journal: Any, small_disk: Path, value: Value):
        file, other = small_disk / "verdicts.jsonl", small_disk / "other"
        opened = journal(file)
        written = 0
        while (slot := opened.reserve()) is not None:
            slot.write(made(f"pod-{written}"))
            written += 1
            assert written < 1000
            opened.flush(0.05)
        until(lambda: opened.trouble)
        assert "No space left" in opened.trouble
        assert opened.write_unreserved(made("denied", deny(Reason.RECORDS_FULL)))
        assert file.read_bytes().endswith(b"\n")
        assert not other.exists()
        subprocess.run(["mount", "-o", "remount,size=1m", small_disk], check=True)
        assert opened.flush()
        assert pods(file) == [f"pod-{number}" for number in range(written)] + ["denied"]
        until(lambda: opened.healthy)  # the writer says so a moment after the lines are there
        assert opened.reserve() is not None
        assert value("sluicegate_records_written_total") == written + 1

    def test_count_goes_on_and_counts(self, journal: Any, small_disk: Path, value: Value):
        file = small_disk / "verdicts.jsonl"
        opened = journal(file, on_full="count", queue=40, per_workload=10**6)
        kept = sum(opened.reserve().write(made(f"pod-{number % 8}")) for number in range(400))
        assert value("sluicegate_records_lost_total", cause="queue-full") == 400 - kept > 0
        until(lambda: opened.trouble)
        subprocess.run(["mount", "-o", "remount,size=1m", small_disk], check=True)
        assert opened.flush()
        lines = told(file)
        assert len([line for line in lines if line["kind"] == "request"]) == kept
        summed = [line["summary"] for line in lines if line["kind"] == "summary"]
        assert {summary["cause"] for summary in summed} == {"queue-full"}
        assert sum(summary["records"] for summary in summed) == 400 - kept

    def test_what_cannot_be_written_before_the_end_is_counted(self, journal: Any, value: Value):
        opened = journal(Path("/dev/full"))
        opened.reserve().write(made())
        opened.reserve().write(made())
        until(lambda: opened.trouble)
        assert opened.close(0.1) == 2
        assert value("sluicegate_records_lost_total", cause="shutdown") == 2

    def test_a_file_size_limit_leaves_whole_lines(self, tmp_path: Path):
        code = (
            "import resource, sys; from pathlib import Path; from sluicegate.records.file import LinesFile\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (250, 250))\n"
            "file = LinesFile(Path(sys.argv[1]), max_size=10**6, max_age_s=10**6, keep=1)\n"
            "print(file.append([b'x' * 99 + b'\\n'] * 5))\n"
            "try:\n    file.append([b'y' * 99 + b'\\n'])\nexcept OSError as error:\n    print(error.strerror)\n"
        )
        ran = subprocess.run([sys.executable, "-c", code, tmp_path / "f"], capture_output=True, text=True, check=True)
        assert ran.stdout.split("\n")[0] == "2"
        assert (tmp_path / "f").read_bytes() == (b"x" * 99 + b"\n") * 2
