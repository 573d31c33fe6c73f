"""The http1 lane: one client connection from its handshake to the last record."""

from __future__ import annotations

import asyncio
import socket
from typing import Final

from sluicegate.authority.leaves import Leaves
from sluicegate.authority.server_side import ServerSide
from sluicegate.authority.trust import Trust
from sluicegate.exchange import Connection, Gate
from sluicegate.lanes.channel import accept_plain
from sluicegate.lanes.http1.client import Client
from sluicegate.lanes.http1.clock import Clock
from sluicegate.lanes.http1.pool import Pool
from sluicegate.lanes.http1.shared import Shared
from sluicegate.lanes.tls import accept_tls
from sluicegate.lanes.tls_sessions import TlsSessions
from sluicegate.verdict import Reason

HANDSHAKE_S: Final = 10.0


class Http1Lane:
    """Made once per worker; server_side before the workers are forked."""

    def __init__(self, gate: Gate, leaves: Leaves, trust: Trust, server_side: ServerSide) -> None:
        clock = Clock()
        self._shared = Shared(gate, leaves, server_side, trust, clock, Pool(gate, clock), TlsSessions())

    async def carry(self, sock: socket.socket, connection: Connection) -> None:
        """Carries one client connection to its end and closes its socket.

        Cancelling it resets both sides and writes what records are open.
        """
        shared = self._shared
        client = Client(shared, connection, sock)
        shared.clock.watch(client)
        try:
            await self._open(sock, client)
            await client.finished
        except asyncio.CancelledError:
            client.abort(Reason.DRAINING, "the gateway is shutting down")
            raise
        except Exception as error:  # noqa: BLE001 - no channel, no request: what is open is closed and recorded
            client.crash(error)
        finally:
            client.lost(None)

    async def _open(self, sock: socket.socket, client: Client) -> None:
        connection = client.connection
        if not connection.tls:
            await accept_plain(sock, client)
            return
        assert connection.name is not None
        leaf = await self._shared.leaves.aleaf(connection.name)
        await accept_tls(sock, self._shared.server_side.identity(leaf), client, handshake_s=HANDSHAKE_S)

    def close(self) -> None:
        """Ends what is idle."""
        self._shared.pool.clear()
