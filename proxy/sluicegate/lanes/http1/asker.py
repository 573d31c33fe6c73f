"""Who asks: the client's connection, as a request on it sees it."""

from __future__ import annotations

from typing import Protocol

from sluicegate.exchange import Connection
from sluicegate.exchange.memory import Memory
from sluicegate.lanes.http1.pool import Place
from sluicegate.lanes.http1.upstream import Upstream
from sluicegate.lanes.http1.written import Written


class Client(Protocol):
    """The client's connection, as a request on it sees it."""

    connection: Connection
    memory: Memory
    pinned: Upstream | None
    written: Written
    active: float

    def write(self, data: bytes) -> None: ...
    def place(self, name: str, port: int) -> Place: ...

    def answered(self, *, keep: bool) -> None:
        """The answer is complete. keep: another request may come."""

    def cut(self) -> None:
        """An answer breaks off: a reset, so that nobody takes it for the whole."""

    def hang_up(self) -> None:
        """Closes in order."""

    def wait(self) -> None:
        """No more of the request's body can be taken now."""

    def read_on(self) -> None:
        """More can be taken."""

    def switch(self) -> bytes:
        """What comes from now on is not HTTP. Returns what came already."""

    def crash(self, error: Exception) -> None: ...
