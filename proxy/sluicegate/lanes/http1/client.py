"""One client connection: requests in, one at a time and in their order, and all that ends it."""

from __future__ import annotations

import asyncio
import socket
import traceback
from typing import Final

import structlog

from sluicegate.exchange import Connection
from sluicegate.exchange.memory import Memory
from sluicegate.facts import Unknown
from sluicegate.lanes.channel import Channel
from sluicegate.lanes.http1.events import Data, End, Fault
from sluicegate.lanes.http1.passage import Passage
from sluicegate.lanes.http1.pool import Place
from sluicegate.lanes.http1.requests import Head, RequestReader
from sluicegate.lanes.http1.shared import Shared
from sluicegate.lanes.http1.upstream import Upstream
from sluicegate.lanes.http1.written import Written
from sluicegate.lanes.tls_fault import TlsFault
from sluicegate.verdict import Reason

HEAD_S: Final = 30.0
"""Seconds a head may take once its first byte is there."""
_AHEAD: Final = 64 << 10
"""Bytes of pipelined requests that may wait for their turn."""
_TCP_CLOSE: Final = 7  # include/net/tcp_states.h
_BODY, _PIPELINE = 1, 2  # why the client is not read

_log = structlog.get_logger("sluicegate.http1")


class Client:
    """A Conversation with a client. `finished` is set when all is over."""

    __slots__ = (
        "_advancing", "_channel", "_closing", "_gone", "_head_of", "_head_since", "_passage", "_place", "_reader", "_relaying",
        "_requests", "_shared", "_sock", "_unread", "_why", "active", "connection", "finished", "memory", "pinned", "written",
    )  # fmt: skip

    def __init__(self, shared: Shared, connection: Connection, sock: socket.socket) -> None:
        self._shared = shared
        self._sock = sock
        self.connection = connection
        self.memory = Memory()
        self.written = Written()
        self.pinned: Upstream | None = None
        self.active = shared.clock.now
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._channel: Channel | None = None
        self._reader = RequestReader(tls=connection.tls, head_limit=shared.gate.limits.head)
        self._passage: Passage | None = None
        self._place: Place | None = None
        self._requests = 0
        self._unread = 0
        self._advancing = self._closing = self._relaying = self._gone = False
        self._head_since, self._head_of = 0.0, -1
        self._why: tuple[Reason, str] | None = None

    # -- Conversation ----------------------------------------------------------------------------------------------

    def opened(self, channel: Channel) -> None:
        self._channel = channel
        self.active = self._shared.clock.now

    def heard(self, data: bytes | memoryview) -> None:
        if self._closing:
            return  # an upload that was refused, say
        self.active = self._shared.clock.now
        try:
            if self._relaying:
                if self._passage is not None:
                    self._passage.relayed(bytes(data), from_client=True)
                return
            self._reader.feed(data)
            self._advance()
        except Exception as error:  # noqa: BLE001 - nothing more of this may pass, in either direction
            self.crash(error)

    def ended(self) -> None:
        """A client that ends its side is taken to be gone: an answer that nobody reads would be paid for otherwise."""
        try:
            if self._relaying and self._passage is not None:
                self._passage.relayed(b"", from_client=True)
            elif self._passage is not None:
                self._passage.fail(Reason.CLIENT_GONE, "the client left before its answer was complete")
                self._passage = None
                self.cut()
            else:
                self.hang_up()
        except Exception as error:  # noqa: BLE001 - nothing may go on after a fault
            self.crash(error)

    def lost(self, error: Exception | None) -> None:
        if self._gone:
            return
        self._gone, self._channel = True, None
        self._shared.clock.forget(self)
        try:
            self._last_words(error)
        finally:
            if not self.finished.done():
                self.finished.set_result(None)

    def hold(self) -> None:
        if self._passage is not None:
            self._passage.held()

    def go_on(self) -> None:
        if self._passage is not None:
            self._passage.freed()

    # -- what a request asks of its connection -----------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        if self._channel is not None:
            self._channel.write(data)

    def place(self, name: str, port: int) -> Place:
        place = self._place
        if place is None or place.name != name or place.port != port:
            identity = self.connection.identity
            assert not isinstance(identity, Unknown)  # such a one is permitted nothing
            workload = (identity.namespace, identity.pod, identity.service_account, str(self.connection.source.address))
            self._place = place = Place(workload, name, port, self.connection.tls)
        return place

    def answered(self, *, keep: bool) -> None:
        self._passage = None
        self._unread = 0
        if not keep:
            self.hang_up()
            return
        self._reader.proceed()
        if self._channel is not None:
            self._channel.resume()
        self._advance()

    def cut(self) -> None:
        self._closing = True
        self._passage = None
        if self._channel is not None:
            self._channel.abort()

    def hang_up(self) -> None:
        self._closing = True
        self._passage = None
        if self._channel is not None:
            self._channel.end()

    def wait(self) -> None:
        self._stop_reading(_BODY)

    def read_on(self) -> None:
        self._read_again(_BODY)
        self._advance()

    def switch(self) -> bytes:
        self._relaying = True
        return self._reader.release()

    def crash(self, error: Exception) -> None:
        """A fault of ours: said in the log without a value of any variable, for those may be bodies and keys."""
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else ""
        _log.error("lane crashed", error=type(error).__name__, place=place, connection=self.connection.id)
        self.abort(Reason.CRASH, "the gateway failed while it carried this request")

    def abort(self, reason: Reason, detail: str) -> None:
        """Resets both sides; the record says why."""
        passage, self._passage = self._passage, None
        if self._why is None:
            self._why = (reason, detail)
        try:
            if passage is not None:
                passage.fail(reason, detail)
        finally:
            self.cut()

    # -- reading -----------------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Takes what was read, as far as the request in progress lets it."""
        if self._advancing:  # called from within: the loop below goes on with what changed
            return
        self._advancing = True
        try:
            while not self._closing and not self._relaying:
                passage = self._passage
                if passage is not None and (passage.request_ended or passage.opening):
                    break
                event = self._reader.next()
                if event is None:
                    break
                self._take(event, passage)
        finally:
            self._advancing = False
        if self._passage is not None and self._reader.pending > _AHEAD:
            self._stop_reading(_PIPELINE)

    def _take(self, event: Head | Data | End | Fault, passage: Passage | None) -> None:
        if isinstance(event, Data):
            assert passage is not None
            passage.data(event.data)
            return
        if passage is None:
            passage = self._begin()
        match event:
            case Head():
                passage.begin(event)
            case End():
                passage.end(event.trailers)
            case Fault():
                passage.refuse(passage.exchange.fail(event.reason, event.detail), event.status)

    def _begin(self) -> Passage:
        self._requests += 1
        self._passage = passage = Passage(self, self._shared)
        return passage

    def _stop_reading(self, why: int) -> None:
        self._unread |= why
        if self._channel is not None:
            self._channel.pause()

    def _read_again(self, why: int) -> None:
        self._unread &= ~why
        if not self._unread and self._channel is not None:
            self._channel.resume()

    # -- time and ends -----------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        if self._channel is None or self._closing:
            return
        limits = self._shared.gate.limits
        if self._unread and _was_reset(self._sock):  # nothing tells us of it while we do not read
            self.abort(Reason.CLIENT_GONE, "the client left before its answer was complete")
        elif self._passage is not None:
            if now - self.active > limits.idle_timeout_s:
                self.abort(Reason.TIMEOUT, f"nothing came from either side for {limits.idle_timeout_s:g} s")
        elif self._reader.started:
            self._tick_head(now)
        elif self._shared.gate.draining or now - self.active > limits.idle_timeout_s:
            self.hang_up()
        elif not self._requests and now - self.active > limits.hello_timeout_s:
            self.abort(Reason.HELLO_TIMEOUT, f"no request came for {limits.hello_timeout_s:g} s")

    def _tick_head(self, now: float) -> None:
        """The time of a head is counted from its beginning: bytes that trickle in are no excuse."""
        if self._head_of != self._requests:
            self._head_of, self._head_since = self._requests, now
        elif now - self._head_since > HEAD_S:
            passage = self._begin()
            passage.refuse(passage.exchange.fail(Reason.TIMEOUT, f"the head was not complete after {HEAD_S:g} s"))

    def _last_words(self, error: Exception | None) -> None:
        """Closes what is live, and records the connection itself where it held no request."""
        self._closing = True
        pinned, self.pinned = self.pinned, None
        if pinned is not None:
            pinned.retire()
        passage, self._passage = self._passage, None
        if passage is not None:
            passage.fail(Reason.CLIENT_GONE, "the client left before its answer was complete")
        elif not self._requests:
            reason, detail = self._why or _why_lost(error)
            exchange = self._shared.new_exchange(self.connection, self._shared.gate, self.memory)
            exchange.fail(reason, detail)
            exchange.close()


def _why_lost(error: Exception | None) -> tuple[Reason, str]:
    if isinstance(error, TlsFault):
        return Reason.CLIENT_TLS, error.reason.replace("the peer", "the client")
    return Reason.CLIENT_GONE, "the client left before it sent a request"


def _was_reset(sock: socket.socket) -> bool:
    try:
        state: int = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    except OSError:
        return True
    return state == _TCP_CLOSE
