"""A connection that is passed on undecrypted: permitted, dialled, spliced by the kernel, recorded when it ends."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

from sluicegate.exchange import Connection, DialRefused, Gate
from sluicegate.exchange.note import Note
from sluicegate.exchange.stop import reloaded
from sluicegate.facts import Ask
from sluicegate.lanes import reset
from sluicegate.lanes.splice import Moved, SpliceBroke, splice
from sluicegate.snapshot import Snapshot
from sluicegate.verdict import Coverage, Deny, Inspect, Permit, Reason, Verdict, built_in


class Spliced:
    """One spliced connection (Live: a reload that refuses it ends it)."""

    def __init__(self, connection: Connection, gate: Gate) -> None:
        self._gate = gate
        self._note = Note(connection)
        self._task: asyncio.Task[tuple[int, int]] | None = None
        self._verdict: Verdict = Deny(Reason.CRASH, built_in("splice"), "nothing was decided")

    async def carry(self, client: socket.socket, ask: Ask) -> None:
        """Decides on `ask` (narrowed to what the connection is), then carries it to its end."""
        slot = self._gate.reserve(ask.identity)
        try:
            self._verdict = self._decide(ask) if slot is not None else _unrecordable()
            if isinstance(self._verdict, Permit):
                await self._run(client, self._verdict)
        except DialRefused as refused:
            self._verdict = refused.deny
        except Exception as error:  # noqa: BLE001 - recorded as a crash, and both sides are closed
            self._verdict = Deny(Reason.CRASH, built_in("splice"), f"the splice failed ({type(error).__name__})")
        finally:
            self._gate.live.discard(self)
            if isinstance(self._verdict, Deny):
                reset.arm(client)
            self._note.write(self._verdict, self._gate, slot)

    def recheck(self, snapshot: Snapshot) -> None:
        if not isinstance(self._verdict, Permit):
            return
        try:
            verdict = _only_spliced(snapshot.decide(replace(self._verdict.ask, resolved=self._note.dialled)))
        except Exception as error:  # noqa: BLE001 - what cannot be decided does not go on
            self._verdict = Deny(Reason.CRASH, built_in("recheck"), f"the gateway failed ({type(error).__name__})")
        else:
            if isinstance(verdict, Deny):
                self._verdict = reloaded(verdict)
        if isinstance(self._verdict, Deny) and self._task is not None:
            self._task.cancel()

    def _decide(self, ask: Ask) -> Verdict:
        self._note.asked(ask, None)
        return _only_spliced(self._gate.snapshot.decide(ask))

    async def _run(self, client: socket.socket, permit: Permit) -> None:
        self._gate.live.add(self)  # before the dial, which takes time: a reload may come while it lasts
        upstream = await self._gate.dial(permit)
        with upstream:
            self._note.connected(upstream)
            if isinstance(self._verdict, Deny):
                return
            self._note.coverage_request(Coverage.OPAQUE)
            self._note.coverage_response(Coverage.OPAQUE, "passed on undecrypted, as the rule says")
            moved, idle_s = Moved(), self._gate.limits.idle_timeout_s
            self._task = asyncio.ensure_future(splice(client, upstream, idle_s=idle_s, moved=moved))
            try:
                await self._task
            except SpliceBroke as broke:
                self._note.detail = f"the connection did not end cleanly: {broke.reason}"
            except asyncio.CancelledError:
                if isinstance(self._verdict, Permit):
                    raise  # not a reload: the gateway is stopping
            finally:
                self._note.bytes_up, self._note.bytes_down = moved.up, moved.down


def _only_spliced(verdict: Verdict) -> Verdict:
    """A Permit that asks for decryption is none for a connection that was not decrypted."""
    if isinstance(verdict, Permit) and verdict.inspect is not Inspect.SNI:
        return Deny(Reason.NOT_HTTP, verdict.source, "the policy wants this inspected, and it cannot be")
    return verdict


def _unrecordable() -> Deny:
    return Deny(
        Reason.RECORDS_FULL, built_in("records"), "verdicts cannot be recorded now, and nothing passes unrecorded"
    )
