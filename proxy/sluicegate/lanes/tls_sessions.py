"""TLS sessions of upstream servers: a resumed handshake costs 0.2 ms instead of 0.5, and no signature is verified."""

from __future__ import annotations

import ssl
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

from sluicegate.lanes.tls import TlsChannel

CAPACITY: Final = 1024
"""Sessions: 2 to 4 KB each, the server's certificates are in them."""
MOST_S: Final = 3600.0
"""A server's certificate is looked at again after so long, whatever lifetime its ticket has."""


class TlsSessions:
    """The latest session of each key, in an LRU. The key is the caller's, and who shares it shares sessions.

    It must hold all that the first handshake proved: the trust set, the name verified, the client certificate shown,
    the pin, and the workload, where servers must not link two by a ticket.
    """

    def __init__(self, *, capacity: int = CAPACITY, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = capacity
        self._clock = clock
        self._kept: OrderedDict[Hashable, tuple[ssl.SSLSession, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable) -> ssl.SSLSession | None:
        """A session to offer. It stays: servers take a ticket more than once, and those that do not shake hands in full."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        if self._clock() >= kept[1]:
            del self._kept[key]
            return None
        self._kept.move_to_end(key)
        return kept[0]

    def learn(self, key: Hashable, channel: TlsChannel) -> None:
        """To be called when the first response came, or later: in TLS 1.3 tickets follow the handshake.

        Copying a session out costs as much as one resumption saves: it is done only where there is none that is good.
        """
        if key in self._kept and channel.reused:
            return
        session = channel.session
        if session is None or not session.has_ticket:
            return
        lifetime = min(session.ticket_lifetime_hint or session.timeout, MOST_S)
        self._kept[key] = (session, self._clock() + lifetime)
        self._kept.move_to_end(key)
        if len(self._kept) > self._capacity:
            self._kept.popitem(last=False)

    def forget(self, key: Hashable) -> None:
        self._kept.pop(key, None)

    def clear(self) -> None:
        """After a reload: sessions belong to the context that they were made with."""
        self._kept.clear()
