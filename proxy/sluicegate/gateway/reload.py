"""Reloads: on SIGHUP and when a file changes. All of the new policy or none of it; what it refuses is ended at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path

import structlog
import watchfiles

from sluicegate import snapshot
from sluicegate.errors import ConfigError
from sluicegate.exchange import Gate
from sluicegate.gateway.assemble import Parts

_log = structlog.get_logger("sluicegate.reload")
_WATCH_AGAIN_S = 10.0
_SLICE_S = 0.005
"""How long re-deciding may hold the loop before others get a turn."""


class Reloads:
    """Watches, reads, swaps. One per worker."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._asked = asyncio.Event()
        self.failed = ""
        """Why the last reload was refused; "" after one that was taken."""

    def ask(self) -> None:
        """Reload soon (signal handler)."""
        self._asked.set()

    async def watch(self) -> None:
        """Asks for a reload when a policy or list changes, until cancelled."""
        settings = self._parts.settings
        paths = [path for path in (*settings.policies, *settings.blocklists) if path.exists()]
        if not paths:
            return
        # A mounted ConfigMap is swapped by renaming a symlink: inotify sees that on the folder.
        while True:
            try:
                async for _ in _changes(paths):
                    self.ask()
            except Exception as error:  # noqa: BLE001 - out of inotify watches, say: SIGHUP still works, and it may pass
                _log.error("files are not watched: reloads need a SIGHUP", error=str(error) or type(error).__name__)
            await asyncio.sleep(_WATCH_AGAIN_S)
            self.ask()  # something may have changed unseen

    async def run(self) -> None:
        """Reloads whenever asked, until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self.reload()

    async def reload(self) -> None:
        """Reads everything anew in a thread; a fault leaves the old policy in force, logged and counted."""
        parts, gate = self._parts, self._parts.gate
        started = time.monotonic()
        try:
            fresh = await asyncio.to_thread(snapshot.load, parts.settings, parts.guard, gate.snapshot.engine)
        except ConfigError as error:
            self._refused(str(error))
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, the old policy stays in force and someone is told
            self._refused(f"the gateway failed while it read the policy ({type(error).__name__})")
            return
        self.failed = ""
        changed = (fresh.policy.digest, fresh.lists.digest) != (gate.snapshot.policy.digest, gate.snapshot.lists.digest)
        gate.snapshot = fresh
        gate.metrics.reloaded(ok=True, digest=fresh.policy.digest)
        _log.info(
            "policy reloaded", changed=changed, digest=fresh.policy.digest, seconds=round(time.monotonic() - started, 3)
        )
        if changed:
            await recheck(gate)

    def _refused(self, why: str) -> None:
        self.failed = why
        self._parts.gate.metrics.reloaded(ok=False, digest=self._parts.gate.snapshot.policy.digest)
        for line in why.splitlines():
            _log.error("reload refused: the old policy stays in force", error=line)


class _Ours(watchfiles.DefaultFilter):
    """Changes of what is loaded, and not of the records or keys that may lie beside it."""

    def __init__(self, paths: Iterable[Path]) -> None:
        super().__init__()
        self._folders = tuple(f"{path}/" for path in paths if path.is_dir())
        # A mounted file is a link to ..data/name, and ..data what is swapped.
        files = [path for path in paths if not path.is_dir()]
        self._files = {str(name) for path in files for name in (path, path.parent / "..data")}

    def __call__(self, change: watchfiles.Change, path: str) -> bool:
        return (path in self._files or path.startswith(self._folders)) and super().__call__(change, path)


def _changes(paths: Sequence[Path]) -> AsyncIterator[object]:
    """Folders are watched with all below them; of a single file its folder is, since editors put a new file there."""
    folders = {path if path.is_dir() else path.parent for path in paths}
    return watchfiles.awatch(*folders, step=200, debounce=1000, watch_filter=_Ours(paths))


async def recheck(gate: Gate) -> None:
    """Decides again all that goes on, in slices, so that 10,000 connections do not hold up the rest."""
    until = time.monotonic() + _SLICE_S
    for live in tuple(gate.live):
        try:
            live.recheck(gate.snapshot)
        except Exception as error:  # noqa: BLE001 - the others are to be decided all the same
            _log.error("recheck failed", error=type(error).__name__)
        if time.monotonic() > until:
            await asyncio.sleep(0)
            until = time.monotonic() + _SLICE_S


async def stop(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancels and waits."""
    tasks = tuple(tasks)
    for task in tasks:
        task.cancel()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(ended, Exception):
            _log.error("a task of the gateway had failed", error=type(ended).__name__)
