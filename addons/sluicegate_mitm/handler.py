"""Drives mitmproxy's layers for one client connection, and ends both sides when anything in them fails.

mitmproxy's own handler goes on after an error in a hook, swallows a crash of a layer and leaks the sockets of a killed
connection. Here each of these is a reset of every socket and a Deny in the record, and nothing else can come of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import socket
import traceback
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

import structlog
from mitmproxy.connection import Connection as Peer
from mitmproxy.connection import ConnectionState, Server
from mitmproxy.options import Options
from mitmproxy.proxy import commands, events
from mitmproxy.proxy.layer import Layer
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.proxy.server import ConnectionIO, LiveConnectionHandler

from sluicegate.exchange import DialRefused, Gate
from sluicegate.verdict import Deny, Reason, built_in
from sluicegate_mitm import streams
from sluicegate_mitm.events import Drained, Reset, Stopped
from sluicegate_mitm.layer import StrictHttpLayer
from sluicegate_mitm.session import Session
from sluicegate_mitm.tls import HANDSHAKE_S, HookFunction

HOOK_S = 15.0
"""Seconds a hook may take."""
FLUSH_S = 30.0
"""Seconds a client may take to read the rest of its answer after the connection was closed."""
_LOOK_S = 1.0
"""How often a connection that is not read is looked at, whether it is still there."""
_CHUNK = 64 << 10

_log = structlog.get_logger("sluicegate.mitm")


@dataclass(frozen=True, slots=True)
class Stack:
    """What a handler drives: the lowest layer, the HTTP layer within, and the hooks of all."""

    bottom: Layer
    http: StrictHttpLayer
    hooks: dict[str, HookFunction]


class StrictHandler(LiveConnectionHandler):
    """One client connection and its upstream connections. See the module's docstring."""

    stack: Stack
    session: Session

    def __init__(self, client: streams.Streams, options: Options, mode: ProxyMode, gate: Gate) -> None:
        super().__init__(*client, options, mode)
        streams.watch(client[1], self.drained)
        self._gate = gate
        self._loop = asyncio.get_running_loop()
        self._dead = False
        self._hooks_running = 0
        self._changed = asyncio.Event()
        self._outbox: dict[Peer, list[bytes]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._deadline: asyncio.TimerHandle | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._active = self._loop.time()
        self._handshakes: dict[Server, asyncio.TimerHandle] = {}

    # -- life ----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """From the first event to the end of every socket. Cancelling it resets both sides."""
        self._watch_idle()
        writer = self.transports[self.client].writer
        assert isinstance(writer, asyncio.StreamWriter)
        reading = self._spawn(self.handle_connection(self.client))
        self.transports[self.client].handler = reading
        if self.session.connection.tls:
            self.expect(HANDSHAKE_S, Reason.CLIENT_TLS, f"the handshake was not complete after {HANDSHAKE_S:g} s")
        self.feed(events.Start())
        try:
            await asyncio.wait([reading])
        except asyncio.CancelledError:
            self.abort(Reason.DRAINING, "the gateway is shutting down")
            raise
        finally:
            await self._end(writer)

    async def _end(self, writer: asyncio.StreamWriter) -> None:
        self.session.end(Reason.CLIENT_GONE, "the client left before it sent a request")
        self._dead = True
        for timer in (self._deadline, self._idle, *self._handshakes.values()):
            if timer is not None:
                timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            async with asyncio.timeout(FLUSH_S):
                await writer.wait_closed()
        except (OSError, TimeoutError, asyncio.CancelledError):
            writer.transport.abort()

    def abort(self, reason: Reason, detail: str) -> None:
        """Resets every socket and closes every record with this refusal."""
        if self._dead:
            return
        self._dead = True
        self.session.end(reason, detail)
        for io in tuple(self.transports.values()):
            if isinstance(io.writer, asyncio.StreamWriter):
                streams.reset(io.writer)
            if io.handler is not None:
                io.handler.cancel()

    def crash(self, error: BaseException, where: str) -> None:
        """A fault of ours: said in the log without a value of any variable, for those may be bodies and keys."""
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else ""
        _log.error(
            "lane crashed", where=where, error=type(error).__name__, place=place, connection=self.session.connection.id
        )
        self.abort(Reason.CRASH, "the gateway failed while it carried this request")

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # -- what the layers ask of us ---------------------------------------------------------------------------------

    def expect(self, seconds: float, reason: Reason | None, detail: str) -> None:
        """See Control. The first of several expectations stands."""
        if self._deadline is None:
            self._deadline = self._loop.call_later(seconds, self._expired, reason, detail)

    def settled(self) -> None:
        """See Control."""
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def shaken(self, server: Server) -> None:
        """See Control."""
        self._handshakes.pop(server).cancel()

    def clogged(self, peer: Peer) -> bool:
        """See Control."""
        io = self.transports.get(peer)
        return io is not None and isinstance(io.writer, asyncio.StreamWriter) and streams.clogged(io.writer)

    def output(self, peer: Peer) -> int:
        """See Control."""
        io = self.transports.get(peer)
        writer = io.writer if io is not None else None
        return writer.transport.get_write_buffer_size() if isinstance(writer, asyncio.StreamWriter) else 0

    def stop(self, stream_id: int) -> None:
        """See Control. Comes from within a reload, so it waits for its turn."""
        self._loop.call_soon(self.feed, Stopped(stream_id))

    def _expired(self, reason: Reason | None, detail: str) -> None:
        if reason is not None:
            self.abort(reason, detail)
        elif not self._dead and self.client in self.transports:
            self.close_connection(self.client)

    def _watch_idle(self) -> None:
        limit = self._gate.limits.idle_timeout_s
        quiet = self._loop.time() - self._active
        if quiet < limit:
            self._idle = self._loop.call_later(limit - quiet + 0.01, self._watch_idle)
        elif self.session.live:
            self.abort(Reason.TIMEOUT, f"nothing came from either side for {limit:g} s")
        elif self.client in self.transports:
            self.close_connection(self.client)

    # -- events and commands -------------------------------------------------------------------------------------

    async def server_event(self, event: events.Event) -> None:
        """Mitmproxy's name for feed."""
        self.feed(event)

    def feed(self, event: events.Event) -> None:
        """Gives the layers an event and does what they say. Never waits, so that nothing can come between."""
        if self._dead:
            return
        self._active = self._loop.time()
        try:
            for command in self.stack.bottom.handle_event(event):
                self._execute(command)
            for peer in tuple(self._outbox):
                self._flush(peer)
        except Exception as error:  # noqa: BLE001 - a layer in an unknown state must not carry another byte
            self.crash(error, type(event).__name__)
        self._changed.set()

    def _execute(self, command: commands.Command) -> None:
        match command:
            case commands.OpenConnection():
                assert command.connection not in self.transports
                self.transports[command.connection] = ConnectionIO(handler=self._spawn(self.open_connection(command)))
            case commands.StartHook():
                self._spawn(self.hook_task(command))
            case commands.RequestWakeup():
                self._spawn(self.wakeup(command))
            case commands.Log():
                pass  # mitmproxy's messages quote what was sent
            case commands.ConnectionCommand() if command.connection in self.transports:
                self._connection_command(command)
            case commands.ConnectionCommand():
                pass  # it is closed already
            case _:
                raise AssertionError(f"unexpected {type(command).__name__}")

    def _connection_command(self, command: commands.ConnectionCommand) -> None:
        io = self.transports[command.connection]
        match command:
            case commands.SendData():
                assert isinstance(io.writer, asyncio.StreamWriter)
                self._outbox.setdefault(command.connection, []).append(command.data)
            case Reset():
                self._outbox.pop(command.connection, None)
                if isinstance(io.writer, asyncio.StreamWriter):
                    streams.reset(io.writer)
                self.close_connection(command.connection)
            case commands.CloseTcpConnection():
                self._flush(command.connection)
                self.close_connection(command.connection, command.half_close)
            case commands.CloseConnection():
                self._flush(command.connection)
                self.close_connection(command.connection)
            case _:
                raise AssertionError(f"unexpected {type(command).__name__}")

    def _flush(self, peer: Peer) -> None:
        """Writes what one event made for this peer in one piece: a system call costs more than the copy."""
        pieces = self._outbox.pop(peer, None)
        io = self.transports.get(peer)
        if pieces and io is not None and isinstance(io.writer, asyncio.StreamWriter) and not io.writer.is_closing():
            io.writer.write(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    async def wakeup(self, request: commands.RequestWakeup) -> None:
        """HTTP/2 layers ask for these to send PINGs."""
        await asyncio.sleep(request.delay)
        self.feed(events.Wakeup(request))

    # -- hooks ---------------------------------------------------------------------------------------------------

    async def handle_hook(self, hook: commands.StartHook) -> None:
        """Runs the one function that answers this hook. A hook without one is an error like any other."""
        async with asyncio.timeout(HOOK_S):
            (data,) = hook.args()
            answer = self.stack.hooks[hook.name](data)
            if inspect.isawaitable(answer):
                await answer

    async def hook_task(self, hook: commands.StartHook) -> None:
        """A hook that fails is never completed: its layer stays where it is, and the connection ends."""
        self._hooks_running += 1
        try:
            await self.handle_hook(hook)
        except Exception as error:  # noqa: BLE001 - what a hook could not decide must not go on undecided
            self.crash(error, f"hook {hook.name}")
            return
        finally:
            self._hooks_running -= 1
        if hook.blocking:
            self.feed(events.HookCompleted(hook))
        self._changed.set()

    # -- sockets -------------------------------------------------------------------------------------------------

    async def open_connection(self, command: commands.OpenConnection) -> None:
        """Dials what the session holds a permit for. There is no other way upstream."""
        server = command.connection
        try:
            reader, writer = await self._dial(server)
        except DialRefused as refused:
            self.session.refusals[server] = refused.deny
            server.error = refused.deny.detail
            self.transports.pop(server, None)
            self.feed(events.OpenConnectionCompleted(command, str(refused.deny.reason)))
            return
        except asyncio.CancelledError:
            self.transports.pop(server, None)
            raise
        except Exception as error:  # noqa: BLE001 - no connection, no request
            self.transports.pop(server, None)
            self.crash(error, "dial")
            return
        server.state = ConnectionState.OPEN
        server.peername, server.sockname = (writer.get_extra_info(key) for key in ("peername", "sockname"))
        io = self.transports[server]
        io.reader, io.writer = reader, writer
        if self.session.ways[server].tls:
            assert io.handler is not None
            self._handshakes[server] = self._loop.call_later(HANDSHAKE_S, io.handler.cancel)
        self.feed(events.OpenConnectionCompleted(command, None))
        await self.handle_connection(server)

    async def _dial(self, server: Server) -> streams.Streams:
        way = self.session.ways.get(server)
        if way is None:
            raise DialRefused(Deny(Reason.CRASH, built_in("dial"), "a connection was asked for without a permit"))
        sock: socket.socket = await self._gate.dial(way.permit)
        try:
            opened = await streams.connected(sock)
        except BaseException:
            sock.close()
            raise
        streams.watch(opened[1], self.drained)
        return opened

    async def handle_connection(self, connection: Peer) -> None:
        """Reads until the end, and keeps the other half open until it is closed by command."""
        io = self.transports[connection]
        writer = io.writer
        assert isinstance(writer, asyncio.StreamWriter)
        cancelled: asyncio.CancelledError | None = None
        try:
            left = await self._read_all(connection, io)
            connection.state &= left  # only now: it may have changed while we read
            self.feed(events.ConnectionClosed(connection))
            if connection.state is ConnectionState.CAN_WRITE:
                await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            cancelled = error
            connection.state = ConnectionState.CLOSED
            self.feed(events.ConnectionClosed(connection))
        finally:
            self.transports.pop(connection, None)
            writer.close()
            if isinstance(connection, Server) and (timer := self._handshakes.pop(connection, None)) is not None:
                timer.cancel()
        if cancelled is not None:
            raise cancelled

    async def _read_all(self, connection: Peer, io: ConnectionIO) -> ConnectionState:
        """Returns what the connection may still be used for."""
        assert isinstance(io.reader, asyncio.StreamReader)
        assert isinstance(io.writer, asyncio.StreamWriter)
        try:
            while True:
                while not self._may_read(connection):
                    await self._wait_for_change(io.writer)
                data = await io.reader.read(_CHUNK)
                if not data:
                    return ConnectionState.CAN_WRITE
                self.feed(events.DataReceived(connection, data))
        except OSError:
            connection.error = "reset by peer"
            return ConnectionState.CLOSED

    async def _wait_for_change(self, writer: asyncio.StreamWriter) -> None:
        """Raises ConnectionResetError where the peer did not wait."""
        self._changed.clear()
        try:
            async with asyncio.timeout(_LOOK_S):
                await self._changed.wait()
        except TimeoutError:
            if streams.was_reset(writer):
                raise ConnectionResetError from None

    def _may_read(self, connection: Peer) -> bool:
        return not self._dead and not self._hooks_running and self.stack.http.may_read(connection)

    def drained(self) -> None:
        # Called from within a transport's write: the layers may be at work just now.
        self._loop.call_soon(self.feed, Drained())

    def close_connection(self, connection: Peer, half_close: bool = False) -> None:  # noqa: FBT001, FBT002 - mitmproxy's signature
        """As mitmproxy's, for connections that are still being opened as well."""
        with contextlib.suppress(KeyError):
            super().close_connection(connection, half_close)
