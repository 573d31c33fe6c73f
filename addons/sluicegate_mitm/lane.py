"""The mitm lane: one client connection through mitmproxy's layers, under our own accept, verdicts and dial."""

from __future__ import annotations

import socket

from mitmproxy.proxy.context import Context
from mitmproxy.proxy.mode_specs import ProxyMode

from sluicegate.authority.leaves import Leaves
from sluicegate.authority.trust import Trust
from sluicegate.exchange import Connection, Gate
from sluicegate.settings import Limits
from sluicegate_mitm import selfcheck, streams
from sluicegate_mitm.handler import Stack, StrictHandler
from sluicegate_mitm.layer import StrictHttpLayer
from sluicegate_mitm.options import keep_hands_off_the_loop, strict_options
from sluicegate_mitm.session import Session
from sluicegate_mitm.tls import TlsHooks
from sluicegate_mitm.tls_layers import ClientTls, Entrance


class MitmLane:
    """Made once per worker."""

    def __init__(self, gate: Gate, leaves: Leaves, trust: Trust, limits: Limits) -> None:
        """Raises selfcheck.WrongMitmproxy where the mitmproxy installed is not the one this was written against."""
        selfcheck.check()
        keep_hands_off_the_loop()
        self._gate = gate
        self._leaves = leaves
        self._trust = trust
        self._limits = limits
        self._options = strict_options()
        self._mode = ProxyMode.parse("transparent")

    async def carry(self, sock: socket.socket, connection: Connection, *, head: bytes = b"") -> None:
        """Carries one client connection to its end and closes its socket. head: bytes already read of it.

        Cancelling it resets both sides and writes what records are open.
        """
        client = await streams.accepted(sock, head)
        handler = StrictHandler(client, self._options, self._mode, self._gate)
        handler.session = Session(connection, self._gate, handler)
        handler.stack = self._stack(handler.layer.context, handler.session)
        await handler.run()

    def _stack(self, context: Context, session: Session) -> Stack:
        """No layer is guessed: what the peek saw is what is built, and HTTP is all that is spoken in it."""
        entrance = Entrance(context)
        tls = ClientTls(context) if session.connection.tls else None
        http = StrictHttpLayer(context, session)
        entrance.child = http
        if tls is not None:
            entrance.child, tls.child_layer = tls, http
        return Stack(entrance, http, TlsHooks(session, self._leaves, self._trust).table())
