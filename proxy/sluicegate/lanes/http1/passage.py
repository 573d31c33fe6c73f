"""One request on its way up and its answer on its way down: what is read goes through the exchange, and as it says.

The order is fixed here: no upstream connection before `Exchange.ready`, no upstream byte that `Exchange.take` did not
give, no byte to the client that the exchange has not seen. A Deny at any point ends both directions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from sluicegate.exchange import DialRefused
from sluicegate.exchange.heads import Headers
from sluicegate.lanes.http1 import writing
from sluicegate.lanes.http1.asker import Client
from sluicegate.lanes.http1.opening import open_upstream
from sluicegate.lanes.http1.pool import Place
from sluicegate.lanes.http1.requests import Head as Asked
from sluicegate.lanes.http1.responses import Head as Answered
from sluicegate.lanes.http1.shared import Shared
from sluicegate.lanes.http1.upstream import Upstream
from sluicegate.lanes.http1.websocket import Closed, Out, Relay, accepted
from sluicegate.lanes.http1.written import binds
from sluicegate.verdict import Deny, Permit, Reason

_RETRIED = frozenset({b"GET", b"HEAD", b"OPTIONS"})
_BODILESS = frozenset({b"GET", b"HEAD", b"OPTIONS", b"TRACE"})
"""Methods of which a length of nothing says nothing (RFC 9110, 8.6)."""
_SILENT = frozenset({Reason.NOT_HTTP, Reason.CLIENT_GONE, Reason.CLIENT_TLS})
"""Refusals that are not answered: there is nobody who would understand."""
_LAST = frozenset({Reason.BAD_REQUEST, Reason.BAD_NAME, Reason.HEAD_TOO_LARGE, Reason.CRASH, Reason.TIMEOUT})
"""Refusals after which nothing more is read: where a malformed request ends is anybody's guess."""
_ASKS_WHO = frozenset({401, 407})


class Passage:
    """request_ended: all of it was read. opening: nothing more can be taken until upstream is there."""

    __slots__ = (
        "_answered", "_asked", "_bound", "_chunked_down", "_chunked_up", "_client", "_keep", "_relay", "_shared", "_task",
        "_trailers", "_upstream", "exchange", "opening", "over", "request_ended",
    )  # fmt: skip

    def __init__(self, client: Client, shared: Shared) -> None:
        self._client = client
        self._shared = shared
        self.exchange = shared.new_exchange(client.connection, shared.gate, client.memory)
        self.exchange.on_stop = self._stop
        self._asked: Asked | None = None
        self._upstream: Upstream | None = None
        self._task: asyncio.Task[None] | None = None
        self._relay: Relay | None = None
        self._trailers: Headers = ()
        self._chunked_up = self._chunked_down = False
        self._answered = False
        self._bound = False
        self._keep = False
        self.request_ended = False
        self.opening = False
        self.over = False

    # -- the request ---------------------------------------------------------------------------------------------

    def begin(self, asked: Asked) -> None:
        self._asked = asked
        verdict = self.exchange.head(asked.head, end=asked.end)
        self.request_ended = asked.end
        if isinstance(verdict, Deny):
            self.refuse(verdict)
            return
        if asked.expect_continue:
            self._client.write(writing.CONTINUE)
        if asked.end or self.exchange.ready:
            self._forward()

    def data(self, data: bytes) -> None:
        verdict = self.exchange.data(data)
        if isinstance(verdict, Deny):
            self.refuse(verdict)
        elif self.exchange.ready:
            self._forward()

    def end(self, trailers: Headers) -> None:
        verdict = self.exchange.end(trailers)
        self.request_ended, self._trailers = True, trailers
        if isinstance(verdict, Deny):
            self.refuse(verdict)
        else:
            self._forward()

    def _forward(self) -> None:
        """Opens upstream if need be, and sends what the exchange has released."""
        upstream = self._upstream
        if upstream is None:
            if not self.opening:
                self._open(fresh=False)
            return
        if not self._asked_something():
            return
        if data := self.exchange.take():
            upstream.write(writing.chunk(data) if self._chunked_up else data)
        if self.request_ended and self._chunked_up:
            upstream.write(writing.last_chunk(self._trailers))

    def _asked_something(self) -> bool:
        return self._asked is not None and not self._asked.end

    def _open(self, *, fresh: bool) -> None:
        permit = self.exchange.verdict
        assert isinstance(permit, Permit)
        assert permit.ask.name is not None
        place = self._client.place(permit.ask.name.ascii, permit.ask.port)
        found = None if fresh else self._found(place, permit)
        if found is not None:
            self._attach(found)
            return
        self.opening = True
        if not self.request_ended:
            self._client.wait()
        self._task = task = asyncio.get_running_loop().create_task(self._dial(place, permit))
        self._shared.tasks.add(task)
        task.add_done_callback(self._shared.tasks.discard)

    def _found(self, place: Place, permit: Permit) -> Upstream | None:
        """The connection that the client was authenticated on, or one of the pool."""
        pinned, self._client.pinned = self._client.pinned, None
        if pinned is not None:
            if pinned.alive and pinned.place == place and self._shared.pool.permits(pinned, permit):
                self._bound = True
                return pinned
            pinned.retire()
        return self._shared.pool.take(place, permit)

    async def _dial(self, place: Place, permit: Permit) -> None:
        try:
            upstream = await open_upstream(self._shared, place, permit)
        except DialRefused as refused:
            self._guarded(self._not_opened, refused.deny)
        except Exception as error:  # noqa: BLE001 - no connection, no request
            self._client.crash(error)
        else:
            self._guarded(self._attach, upstream)

    def _not_opened(self, deny: Deny) -> None:
        self.refuse(self.exchange.refuse(deny))

    def _guarded[T](self, step: Callable[[T], None], argument: T) -> None:
        """For what is called from a task and not from a conversation."""
        self.opening, self._task = False, None
        try:
            step(argument)
            self._client.read_on()
        except Exception as error:  # noqa: BLE001 - nothing more of this may pass, in either direction
            self._client.crash(error)

    def _attach(self, upstream: Upstream) -> None:
        """Writes the head, and what may go of the body."""
        verdict = self.exchange.verdict
        if self.over or isinstance(verdict, Deny):  # a reload may have refused it while we waited
            upstream.abort()
            if isinstance(verdict, Deny):
                self.refuse(verdict)
            return
        asked = self._asked
        assert asked is not None
        self._upstream = upstream
        self.exchange.dialled(upstream.address)
        upstream.begin(self, asked.head.method)
        self._chunked_up = asked.length is None
        length = asked.length
        if asked.end and asked.head.method in _BODILESS:
            length = None
        fields = self.exchange.upstream_headers
        upstream.write(self._client.written.request(asked, self.exchange.upstream_target, fields, length))
        self._forward()

    def upstream_held(self) -> None:
        self._client.wait()

    def upstream_freed(self) -> None:
        if not self.opening:
            self._client.read_on()

    # -- the answer ------------------------------------------------------------------------------------------------

    def response(self, head: Answered) -> None:
        asked, status = self._asked, head.head.status
        assert asked is not None
        verdict = self.exchange.response(head.head)
        if status == 101 and isinstance(verdict, Permit) and not accepted(asked.head, head.head):
            verdict = self.exchange.fail(
                Reason.UPSTREAM_BROKE, "the origin's 101 does not answer the WebSocket handshake"
            )
        if isinstance(verdict, Deny):
            self.refuse(verdict)
            return
        self._answered = True
        self._client.active = self._shared.clock.now
        self._keep = asked.keep_alive and self.request_ended and not self._shared.gate.draining
        length = head.length
        if not head.end and length is None:
            self._chunked_down = asked.head.version == "HTTP/1.1"
            self._keep = self._keep and self._chunked_down
        keep_alive = self._keep or status == 101
        fields = self.exchange.response_headers
        self._client.write(self._client.written.response(status, fields, length, self._chunked_down, keep_alive))
        if status in _ASKS_WHO:
            self._bound = self._bound or binds(head.head.headers, b"www-authenticate")
        if status == 101:
            self._switch()
        elif head.end:
            self.response_end(())

    def response_data(self, data: bytes) -> None:
        verdict = self.exchange.response_data(data)
        if isinstance(verdict, Deny):
            self.refuse(verdict)
            return
        client = self._client
        client.active = self._shared.clock.now
        client.write(writing.chunk(data) if self._chunked_down else data)

    def response_end(self, trailers: Headers) -> None:
        verdict = self.exchange.response_end(trailers)
        if isinstance(verdict, Deny):
            self.refuse(verdict)
            return
        if self._chunked_down:
            self._client.write(writing.last_chunk(trailers))
        self._let_go()
        self._close()
        self._client.answered(keep=self._keep)

    def _let_go(self) -> None:
        """The answer is whole: the connection may serve another request, and this client only where it must."""
        upstream, self._upstream = self._upstream, None
        assert upstream is not None
        bound = self._bound or self._client.written.binds
        upstream.release(keep=self.request_ended, pool=not bound)
        if bound and upstream.alive:
            self._client.pinned = upstream

    def upstream_broke(self, detail: str) -> None:
        if self.over:
            return
        if self._relay is not None:
            self._hung_up()
            return
        upstream, self._upstream = self._upstream, None
        if upstream is not None and self._may_retry(upstream):
            self._open(fresh=True)
            return
        self.refuse(self.exchange.fail(Reason.UPSTREAM_BROKE, detail))

    def upstream_disbelieves(self, detail: str) -> None:
        if self._relay is None and not self.over:
            self._upstream = None
            self.refuse(self.exchange.fail(Reason.UPSTREAM_TLS, detail.replace("the peer", "the origin")))
        else:
            self.upstream_broke(detail)

    def _may_retry(self, upstream: Upstream) -> bool:
        """A kept connection may be closed by the origin just as it is used again (RFC 9110, 9.2.2; RFC 9112, 9.3.1)."""
        asked = self._asked
        return (
            upstream.used
            and not upstream.answered
            and not self._answered
            and asked is not None
            and asked.end
            and asked.head.method in _RETRIED
            and isinstance(self.exchange.verdict, Permit)
        )

    # -- WebSocket -------------------------------------------------------------------------------------------------

    def _switch(self) -> None:
        upstream = self._upstream
        assert upstream is not None
        self._relay = Relay(self.exchange, self._shared.gate.limits.message)
        of_origin, of_client = upstream.switch(), self._client.switch()
        for early, from_client in ((of_origin, False), (of_client, True)):
            if early and not self.over:
                self.relayed(early, from_client=from_client)

    def relayed(self, data: bytes, *, from_client: bool) -> None:
        """Bytes of one side; none at its end."""
        self._client.active = self._shared.clock.now
        if self._relay is None or self.over:
            return
        if not data:
            self._hung_up()
            return
        self._say(self._relay.feed(data, from_client=from_client))

    def _say(self, outs: Iterable[Out]) -> None:
        for out in outs:
            if isinstance(out, Closed):
                self._hung_up()
                return
            if out.to_client:
                self._client.write(out.data)
            elif self._upstream is not None:
                self._upstream.write(out.data)

    def _hung_up(self) -> None:
        """One end of a WebSocket is done: so is the other."""
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.retire()
        self._close()
        self._client.hang_up()

    # -- ends ------------------------------------------------------------------------------------------------------

    def refuse(self, deny: Deny, status: int | None = None) -> None:
        """Says no: to upstream by a reset, to the client by an answer, or by a reset where one has begun.

        status: where it is another than the reason's own.
        """
        if self.over:
            return
        if self._relay is not None:
            self._say(self._relay.refuse(deny))
            return
        self._drop_upstream()
        if self._answered or deny.reason in _SILENT:
            self._close()
            self._client.cut()
            return
        usual, headers, body = self.exchange.refusal()
        status = status or usual
        asked = self._asked
        keep = self.request_ended and asked is not None and asked.keep_alive and deny.reason not in _LAST
        keep = keep and not self._shared.gate.draining
        fields = tuple((name.encode(), value.encode()) for name, value in headers)
        self._client.write(writing.response_head(status, fields, length=len(body), chunked=False, keep_alive=keep))
        if body and (asked is None or asked.head.method != b"HEAD"):
            self._client.write(body)
        self._close(status)
        self._client.answered(keep=keep)

    def fail(self, reason: Reason, detail: str) -> None:
        """Nothing more can be said to the client: it is gone, or is about to be cut off."""
        if self.over:
            return
        self.exchange.fail(reason, detail)
        self._drop_upstream()
        self._close()

    def held(self) -> None:
        """The client takes no more for now."""
        if self._upstream is not None:
            self._upstream.pause()

    def freed(self) -> None:
        if self._upstream is not None:
            self._upstream.resume()

    def crash(self, error: Exception) -> None:
        self._client.crash(error)

    def _drop_upstream(self) -> None:
        if self._task is not None:
            self._task.cancel()
            self._task, self.opening = None, False
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.abort()

    def _close(self, status: int | None = None) -> None:
        """Its record, before another request can begin."""
        self.over = True
        self.exchange.on_stop = None
        self.exchange.close(status=status)

    def _stop(self) -> None:
        """A reload refuses what goes on. Comes from within the reload, so it waits for its turn."""
        asyncio.get_running_loop().call_soon(self._stopped)

    def _stopped(self) -> None:
        verdict = self.exchange.verdict
        if self.over or not isinstance(verdict, Deny):
            return
        try:
            self.refuse(verdict)
        except Exception as error:  # noqa: BLE001 - the reload goes on with the other connections
            self._client.crash(error)
