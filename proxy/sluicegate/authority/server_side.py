"""The client's side of TLS for many names and several workers: one base context, and the leaf put in per connection.

Session tickets are sealed with the keys of the context that a connection begins with. That is always the base, made
before the workers are forked: so a ticket is good in each of them, and after the name's own context was evicted.

A ticket holds no name that we would look at. The name of a connection is that of its own ClientHello: a client that
offers a ticket of another name is served, recorded and decided as the name it asks for now.
"""

from __future__ import annotations

import ssl
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sluicegate.authority import contexts
from sluicegate.authority.leaf import Leaf

CAPACITY: Final = 1024
"""Names with a context of their own: 20 KB each."""
REMEMBERED: Final = 8192
"""Leaves of which it is remembered that they were asked for."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Makes the server's end of connections that show one leaf; to be used as an ssl.SSLContext is."""

    base: ssl.SSLContext
    own: ssl.SSLContext

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = True,  # noqa: FBT001, FBT002 - as the ssl module has it
    ) -> ssl.SSLObject:
        tls = self.base.wrap_bio(incoming, outgoing, server_side=server_side)
        tls.context = self.own  # its certificate, nothing else: SSL_set_SSL_CTX
        return tls


@dataclass(frozen=True, slots=True)
class Passing:
    """As Identity, for a leaf that is seldom asked for: it is loaded for each connection, into a context shared by all.

    A connection takes a copy of the certificate when it is given the context, so that the next one may load its own.
    """

    base: ssl.SSLContext
    scratch: ssl.SSLContext
    leaf: Leaf

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = True,  # noqa: FBT001, FBT002 - as the ssl module has it
    ) -> ssl.SSLObject:
        self.leaf.equip_stdlib(self.scratch)
        return Identity(self.base, self.scratch).wrap_bio(incoming, outgoing, server_side)


class ServerSide:
    """Make it before forking. Not thread safe: of the event loop's thread, like the connections."""

    def __init__(self, alpn: Sequence[str] = ("http/1.1",), *, capacity: int = CAPACITY) -> None:
        self._alpn = tuple(alpn)
        self._capacity = capacity
        self._base = contexts.bare(self._alpn)
        self._scratch = contexts.bare(self._alpn)
        self._kept: OrderedDict[Leaf, Identity] = OrderedDict()
        self._seen: OrderedDict[Leaf, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def identity(self, leaf: Leaf) -> Identity | Passing:
        """What accept_tls() wants. The second time a leaf is asked for it gets a context of its own (1 ms)."""
        kept = self._kept.get(leaf)
        if kept is not None:
            self._kept.move_to_end(leaf)
            return kept
        if leaf not in self._seen:
            self._seen[leaf] = None
            if len(self._seen) > REMEMBERED:
                self._seen.popitem(last=False)
            return Passing(self._base, self._scratch, leaf)
        return self._keep(leaf)

    def _keep(self, leaf: Leaf) -> Identity:
        own = contexts.bare(self._alpn)
        leaf.equip_stdlib(own)
        made = self._kept[leaf] = Identity(self._base, own)
        if len(self._kept) > self._capacity:
            evicted, _ = self._kept.popitem(last=False)
            self._seen.pop(evicted, None)  # it has become rare
        return made
