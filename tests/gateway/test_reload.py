"""Reloads: all of the new policy or none of it, and what it refuses ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import watchfiles

import story
from sluicegate import settings, snapshot
from sluicegate.authority import ca
from sluicegate.authority.leaves import Leaves
from sluicegate.authority.server_side import ServerSide
from sluicegate.authority.trust import Trust
from sluicegate.errors import ConfigError
from sluicegate.exchange import Exchange
from sluicegate.gateway import reload as reloading
from sluicegate.gateway.assemble import Parts
from sluicegate.gateway.reload import Reloads, recheck, stop
from sluicegate.identity.table import Table
from sluicegate.snapshot import Snapshot
from sluicegate.verdict import Deny, Reason
from story import Told, allow

BAD = allow("a.test").replace("domains", "domain")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> ca.Authority:
    folder = tmp_path_factory.mktemp("ca")
    files = settings.Authority(folder / "ca.pem", folder / "ca.key")
    ca.create(files.cert, files.key)
    return ca.load(files)


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    with story.told(tmp_path) as made:
        yield made


@pytest.fixture
def reloads(told: Told, authority: ca.Authority) -> Reloads:
    return Reloads(
        Parts(
            settings=told.settings,
            gate=told.gate,
            identities=Table.of(told.settings.identity),
            leaves=Leaves(authority),
            server_side=ServerSide(),
            trust=Trust.load(("certifi",)),
            resolver=told.resolver,
            guard=told.guard,
            warnings=(),
        )
    )


def write(told: Told, policy: str) -> None:
    (told.folder / "policies" / "policy.yaml").write_text(policy)


def going_on(told: Told) -> Exchange:
    made = told.exchange()
    made.head(story.head(method=b"POST"), end=False)
    return made


class TestReload:
    async def test_a_good_one_is_in_force_at_once(self, told: Told, reloads: Reloads):
        before, made = told.gate.snapshot, going_on(told)
        write(told, allow("b.test"))
        await reloads.reload()

        assert told.gate.snapshot.policy.digest != before.policy.digest
        assert told.gate.snapshot.engine is before.engine
        assert isinstance(made.verdict, Deny)
        assert made.verdict.reason is Reason.RELOADED
        assert told.counted("sluicegate_reloads_total", result="ok") == 1
        assert not reloads.failed

    async def test_a_bad_one_leaves_the_old_in_force_and_is_counted(self, told: Told, reloads: Reloads):
        before, made = told.gate.snapshot, going_on(told)
        write(told, BAD)
        await reloads.reload()

        assert told.gate.snapshot is before
        assert not isinstance(made.verdict, Deny)
        assert "did you mean `domains`?" in reloads.failed
        assert told.counted("sluicegate_reloads_total", result="error") == 1

    async def test_after_a_bad_one_a_good_one_is_taken(self, told: Told, reloads: Reloads):
        write(told, BAD)
        await reloads.reload()
        write(told, allow("b.test"))
        await reloads.reload()

        assert not reloads.failed

    @pytest.mark.parametrize("error", [RuntimeError("boom"), MemoryError(), RecursionError()], ids=repr)
    async def test_a_fault_leaves_the_old_in_force(
        self, told: Told, reloads: Reloads, monkeypatch: pytest.MonkeyPatch, error: Exception
    ):
        before = told.gate.snapshot

        def boom(*_: object) -> None:
            raise error

        monkeypatch.setattr(snapshot, "load", boom)
        await reloads.reload()
        assert told.gate.snapshot is before
        assert type(error).__name__ in reloads.failed

    @pytest.mark.parametrize(
        "damage",
        [
            pytest.param(lambda folder: (folder / "policies" / "x.yaml").write_text("["), id="no YAML"),
            pytest.param(lambda folder: (folder / "policies" / "x.yaml").write_text("[" * 200_000), id="a deep one"),
            pytest.param(lambda folder: (folder / "policies" / "x.yaml").write_bytes(b"\xff"), id="not UTF-8"),
            pytest.param(lambda folder: (folder / "policies").rename(folder / "away"), id="the folder is gone"),
            pytest.param(lambda folder: (folder / "blocklists").rmdir(), id="the lists are gone"),
        ],
    )
    async def test_all_of_it_or_none(self, told: Told, reloads: Reloads, damage: Callable[[Path], object]):
        before = told.gate.snapshot
        write(told, allow("b.test"))
        damage(told.folder)
        await reloads.reload()

        assert told.gate.snapshot is before

    async def test_the_same_policy_again_disturbs_nobody(
        self, told: Told, reloads: Reloads, monkeypatch: pytest.MonkeyPatch
    ):
        made = going_on(told)
        monkeypatch.setattr(Exchange, "recheck", lambda *_: pytest.fail("it was decided again"))
        write(told, "# a comment\n" + allow("a.test"))
        await reloads.reload()

        assert not isinstance(made.verdict, Deny)

    async def test_asked_for_while_one_runs_it_is_done_again(self, reloads: Reloads, monkeypatch: pytest.MonkeyPatch):
        done = []

        async def reload(_: Reloads) -> None:
            done.append(1)
            if len(done) == 1:
                reloads.ask()
                reloads.ask()

        monkeypatch.setattr(Reloads, "reload", reload)
        reloads.ask()
        task = asyncio.ensure_future(reloads.run())
        for _ in range(10):
            await asyncio.sleep(0)
        await stop([task])
        assert len(done) == 2


class TestRecheck:
    async def test_one_that_fails_does_not_save_the_others(self, told: Told):
        class Broken:
            def recheck(self, _: Snapshot) -> None:
                raise RuntimeError("boom")

        made = [going_on(told) for _ in range(20)]
        told.gate.live |= {Broken() for _ in range(5)}
        told.reload(allow("b.test"))
        await recheck(told.gate)

        assert all(isinstance(each.verdict, Deny) for each in made)

    async def test_others_have_their_turn_in_between(self, told: Told, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(reloading, "_SLICE_S", 0.0)
        made, turns = [going_on(told) for _ in range(20)], []

        async def other() -> None:
            while True:
                turns.append(1)
                await asyncio.sleep(0)

        task = asyncio.ensure_future(other())
        await recheck(told.gate)
        await stop([task])
        assert len(turns) >= len(made)


async def test_stop_ends_all_even_if_one_had_failed():
    async def boom() -> None:
        raise RuntimeError("boom")

    async def forever() -> None:
        await asyncio.Event().wait()

    tasks = [asyncio.ensure_future(boom()), asyncio.ensure_future(forever())]
    await asyncio.sleep(0)
    await stop(tasks)
    assert all(task.done() for task in tasks)


class TestWatch:
    """With inotify as it is. A change is made again until it is seen: nobody tells when the watch has begun."""

    @contextlib.asynccontextmanager
    async def watching(
        self, reloads: Reloads, change: Callable[[], object]
    ) -> AsyncIterator[Callable[[], Awaitable[None]]]:
        async def seen() -> None:
            async with asyncio.timeout(15):
                while not reloads._asked.is_set():
                    change()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(reloads._asked.wait(), 0.3)

        task = asyncio.ensure_future(reloads.watch())
        try:
            yield seen
        finally:
            await stop([task])

    @pytest.mark.parametrize(
        "file", ["policies/policy.yaml", "policies/new/deep.yaml", "blocklists/bad.txt"], ids=["policy", "deep", "list"]
    )
    async def test_a_change_is_noticed(self, told: Told, reloads: Reloads, file: str):
        (told.folder / file).parent.mkdir(exist_ok=True)
        async with self.watching(reloads, lambda: (told.folder / file).write_text("# x\n")) as seen:
            await seen()

    async def test_a_swapped_config_map_is_noticed(self, told: Told, reloads: Reloads):
        """As kubelet does it: a new folder, then the link ..data is renamed over the old one."""
        folder, number = told.folder / "policies", 0

        def swap() -> None:
            nonlocal number
            number += 1
            (folder / f"..{number}").mkdir()
            (folder / f"..{number}" / "policy.yaml").write_text(allow("b.test"))
            (folder / "..tmp").symlink_to(f"..{number}")
            (folder / "..tmp").rename(folder / "..data")

        swap()
        (folder / "policy.yaml").unlink()
        (folder / "policy.yaml").symlink_to("..data/policy.yaml")
        async with self.watching(reloads, swap) as seen:
            await seen()
            await reloads.reload()
        assert "b.test" in str(told.gate.snapshot.policy.members[0].rules)

    async def test_a_file_that_an_editor_replaces_is_noticed(self, tmp_path: Path):
        file = tmp_path / "one.yaml"
        file.write_text("")

        def replace() -> None:
            (tmp_path / "tmp").write_text("")
            (tmp_path / "tmp").rename(file)

        async def first() -> set[tuple[watchfiles.Change, str]]:
            async for changes in reloading._changes([file]):
                return changes
            return set()

        task = asyncio.ensure_future(first())
        async with asyncio.timeout(15):
            while not task.done():
                replace()
                await asyncio.wait([task], timeout=0.3)
        assert {path for _, path in task.result()} == {str(file)}

    def test_what_lies_beside_is_not_looked_at(self, tmp_path: Path):
        """A record that is written beside the policy must not be a reason to read the policy again."""
        (tmp_path / "policies").mkdir()
        ours = reloading._Ours([tmp_path / "policies", tmp_path / "one.yaml"])

        for path, seen in (
            ("policies/a", True),
            ("one.yaml", True),
            ("..data", True),
            ("v.jsonl", False),
            ("policies2", False),
        ):
            assert ours(watchfiles.Change.modified, str(tmp_path / path)) is seen, path

    async def test_a_watch_that_breaks_is_begun_again(self, reloads: Reloads, monkeypatch: pytest.MonkeyPatch):
        begun = []

        async def changes(_: object) -> AsyncIterator[object]:
            begun.append(1)
            if len(begun) < 3:
                raise OSError("no space left on device")
            await asyncio.Event().wait()
            yield

        monkeypatch.setattr(reloading, "_changes", changes)
        monkeypatch.setattr(reloading, "_WATCH_AGAIN_S", 0)
        task = asyncio.ensure_future(reloads.watch())
        async with asyncio.timeout(5):
            await reloads._asked.wait()  # something may have changed unseen
            while len(begun) < 3:  # noqa: ASYNC110 - a watch tells nobody that it begins
                await asyncio.sleep(0)
        await stop([task])


def test_errors_name_all_that_is_wrong_in_rules_and_policies(told: Told):
    from dataclasses import replace  # noqa: PLC0415

    from sluicegate.gateway.assemble import load_snapshot  # noqa: PLC0415

    write(told, BAD)
    broken = replace(told.settings, dlp=replace(told.settings.dlp, packs=("no-such-pack",)))
    with pytest.raises(ConfigError) as caught:
        load_snapshot(broken, b"k" * 32)
    assert [error.place.rpartition("/")[2] for error in caught.value.each] == [
        "dlp.packs", "policy.yaml: spec.rules[0].to.domain",
    ]  # fmt: skip
