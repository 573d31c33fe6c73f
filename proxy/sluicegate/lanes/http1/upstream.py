"""One connection to an origin: a request at a time, and its answer read as it comes."""

from __future__ import annotations

import asyncio
from typing import Protocol

from sluicegate.exchange.heads import Headers
from sluicegate.facts import Address, Ask
from sluicegate.lanes.channel import Channel
from sluicegate.lanes.http1.events import Data, End, Fault
from sluicegate.lanes.http1.pool import Place, Pool
from sluicegate.lanes.http1.responses import CUT_SHORT, Before, Head, Interim, ResponseReader
from sluicegate.lanes.tls import TlsChannel
from sluicegate.lanes.tls_fault import TlsFault
from sluicegate.lanes.tls_sessions import TlsSessions
from sluicegate.snapshot import Snapshot


class Asker(Protocol):
    """Who waits for the answer."""

    def response(self, head: Head) -> None: ...
    def response_data(self, data: bytes) -> None: ...
    def response_end(self, trailers: Headers) -> None: ...
    def relayed(self, data: bytes, *, from_client: bool) -> None:
        """Bytes after a 101."""

    def upstream_broke(self, detail: str) -> None:
        """The connection is of no use any more, and the answer is not complete."""

    def upstream_disbelieves(self, detail: str) -> None:
        """As upstream_broke, by an alert: in TLS 1.3 a server may refuse us after the handshake."""

    def upstream_held(self) -> None:
        """More waits to be sent than the origin takes."""

    def upstream_freed(self) -> None:
        """It takes more."""

    def crash(self, error: Exception) -> None:
        """A fault of ours; both sides are to end."""


class Upstream:
    """A Conversation with an origin. `used`: it has carried a request before; `alive`: it may be written to."""

    __slots__ = (
        "_asker", "_before", "_keep", "_limit", "_pool", "_reader", "_session_key", "_sessions", "_switched", "address", "alive",
        "born", "channel", "connected", "idle_since", "place", "proven", "snapshot", "used",
    )  # fmt: skip

    def __init__(
        self,
        place: Place,
        address: Address,
        snapshot: Snapshot,
        pool: Pool[Upstream],
        before: Before,
        *,
        born: float,
        limit: int,
    ) -> None:
        self.place = place
        self.address = address
        self.snapshot = snapshot
        self.proven: Ask | None = None
        self.born = self.idle_since = born
        self.used = False
        self.alive = False
        self.channel: Channel | None = None
        self.connected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pool = pool
        self._limit = limit
        self._asker: Asker | None = None
        self._reader: ResponseReader | None = None
        self._before = before
        self._keep = True
        self._switched = False
        self._sessions: TlsSessions | None = None
        self._session_key: Place | None = None

    # -- towards the request -------------------------------------------------------------------------------------

    def begin(self, asker: Asker, method: bytes) -> None:
        """A request is about to be written."""
        self._asker = asker
        self._reader = ResponseReader(method, head_limit=self._limit, before=self._before)

    def write(self, data: bytes) -> None:
        if self.channel is not None:
            self.channel.write(data)

    @property
    def answered(self) -> bool:
        """Whether a byte of the answer came."""
        return self._reader is not None and self._reader.began

    def pause(self) -> None:
        if self.channel is not None:
            self.channel.pause()

    def resume(self) -> None:
        if self.channel is not None:
            self.channel.resume()

    def release(self, *, keep: bool, pool: bool) -> None:
        """The answer was passed on. keep: the request was sent whole; pool: anybody of this place may use it now."""
        reader, self._asker = self._reader, None
        if keep and self.alive and self._keep and reader is not None and reader.complete and not reader.leftover:
            self.used, self._reader = True, None
            if pool:
                self._pool.put(self)
        else:
            self.abort()

    def retire(self) -> None:
        """Closes in order: nothing is under way."""
        self.alive, self._asker = False, None
        if self.channel is not None:
            self.channel.pause()
            self.channel.end()

    def abort(self) -> None:
        self.alive, self._asker = False, None
        if self.channel is not None:
            self.channel.abort()

    def remember(self, sessions: TlsSessions, key: Place) -> None:
        """Where the TLS session is to be kept, once there is an answer."""
        self._sessions, self._session_key = sessions, key

    def switch(self) -> bytes:
        """After a 101: what comes is not HTTP any more. Returns what came already."""
        self._switched, self._keep = True, False
        assert self._reader is not None
        return self._reader.release()

    # -- Conversation ----------------------------------------------------------------------------------------------

    def opened(self, channel: Channel) -> None:
        self.channel, self.alive = channel, True
        if not self.connected.done():
            self.connected.set_result(None)

    def heard(self, data: bytes | memoryview) -> None:
        asker, reader = self._asker, self._reader
        if asker is None or reader is None:  # nobody asked
            self._pool.drop(self)
            self.abort()
            return
        try:
            if self._switched:
                asker.relayed(bytes(data), from_client=False)
            else:
                reader.feed(data)
                self._read(asker, reader)
        except Exception as error:  # noqa: BLE001 - nothing more of this may pass, in either direction
            asker.crash(error)

    def ended(self) -> None:
        asker, reader = self._asker, self._reader
        if asker is None or reader is None:
            self._pool.drop(self)
            self.retire()
            return
        try:
            self._eof(asker, reader)
        except Exception as error:  # noqa: BLE001 - whatever it is, this upstream carries nothing more
            asker.crash(error)

    def lost(self, error: Exception | None) -> None:
        asker, self._asker = self._asker, None
        self.alive, self.channel = False, None
        if not self.connected.done():
            self.connected.set_exception(error or ConnectionResetError())
            self.connected.exception()  # whoever waits may have given up
        if asker is None:
            self._pool.drop(self)
            return
        try:
            if isinstance(error, TlsFault):
                asker.upstream_disbelieves(error.reason)
            else:
                asker.upstream_broke("the connection to the origin broke")
        except Exception as fault:  # noqa: BLE001 - whatever it is, this upstream carries nothing more
            asker.crash(fault)

    def hold(self) -> None:
        if self._asker is not None:
            self._asker.upstream_held()

    def go_on(self) -> None:
        asker = self._asker
        if asker is None:
            return
        try:
            asker.upstream_freed()
        except Exception as error:  # noqa: BLE001 - whatever it is, this upstream carries nothing more
            asker.crash(error)

    # -- the answer ------------------------------------------------------------------------------------------------

    def _read(self, asker: Asker, reader: ResponseReader) -> None:
        while self._asker is asker and not self._switched:
            event = reader.next()
            match event:
                case None:
                    return
                case Data():
                    asker.response_data(event.data)
                case Head():
                    self._head(asker, event)
                case End():
                    asker.response_end(event.trailers)
                case Fault():
                    self._broke(asker, event.detail)
                case Interim():
                    pass  # 100 was answered by us, and of the others nothing is lost (RFC 9110, 15.2)

    def _head(self, asker: Asker, head: Head) -> None:
        self._keep = self._keep and head.keep_alive
        if self._sessions is not None and isinstance(self.channel, TlsChannel) and self._session_key is not None:
            self._sessions.learn(self._session_key, self.channel)
            self._sessions = None
        asker.response(head)

    def _eof(self, asker: Asker, reader: ResponseReader) -> None:
        self._keep = False
        if self._switched:
            asker.relayed(b"", from_client=False)
            return
        if self.channel is not None and self.channel.truncated and not reader.complete:
            self._broke(asker, CUT_SHORT)  # nobody has said that this was the end (RFC 9112, 9.8)
            return
        fault = reader.eof()
        if fault is not None:
            self._broke(asker, fault.detail)
        else:
            self._read(asker, reader)

    def _broke(self, asker: Asker, detail: str) -> None:
        self.abort()
        asker.upstream_broke(detail)
