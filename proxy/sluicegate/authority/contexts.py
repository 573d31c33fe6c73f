"""TLS contexts for the side of the client, made of a leaf. Kept in an LRU: one costs 19 KB and most of a millisecond.

TLS 1.2 and 1.3, forward secret suites with authenticated encryption only, no compression (CRIME), no renegotiation
(a second handshake could change what the verdict was about), no early data (it can be replayed).
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final

from OpenSSL import SSL

from sluicegate.authority import bindings
from sluicegate.authority.leaf import Leaf

CAPACITY: Final = 1024
"""Contexts kept of each kind."""
CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""For TLS 1.2; those of 1.3 are all fine. Leaves hold a P-256 key, so that in practice these are ECDHE-ECDSA ones."""

type AlpnSelect = Callable[[SSL.Connection, list[bytes]], Any]
"""Gets the connection and what the client offers; returns one of it, or SSL.NO_OVERLAPPING_PROTOCOLS to go on without."""


def client_side_ssl(leaf: Leaf, alpn: Sequence[str] = ("http/1.1",)) -> ssl.SSLContext:
    """A server context of the ssl module. alpn: in our order of preference; a client that offers none of it gets none."""
    return _stdlib(leaf, tuple(alpn))


def openssl_server_context(leaf: Leaf, alpn: AlpnSelect | Sequence[bytes] = (b"http/1.1",)) -> SSL.Context:
    """A server context of pyOpenSSL, as mitmproxy's layers want it.

    A callable must be the same object each time, or nothing is ever found again in the cache.
    """
    return _openssl(leaf, alpn if callable(alpn) else tuple(alpn))


@lru_cache(CAPACITY)
def _stdlib(leaf: Leaf, alpn: tuple[str, ...]) -> ssl.SSLContext:
    context = bare(alpn)
    leaf.equip_stdlib(context)
    return context


def bare(alpn: Sequence[str]) -> ssl.SSLContext:
    """A server context without a certificate. (The ssl module sets SSL_MODE_RELEASE_BUFFERS on each of its own.)"""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_ciphers(CIPHERS)
    context.num_tickets = 1  # each costs 10 us and 250 bytes; clients may use one several times
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


@lru_cache(CAPACITY)
def _openssl(leaf: Leaf, alpn: AlpnSelect | tuple[bytes, ...]) -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | bindings.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # 34 KB less for each idle connection
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)  # clients resume by tickets, which cost no memory here
    context.set_cipher_list(CIPHERS.encode())
    if alpn:
        context.set_alpn_select_callback(alpn if callable(alpn) else _first_of(alpn))
    leaf.equip_openssl(context)
    return context


def _first_of(ours: tuple[bytes, ...]) -> AlpnSelect:
    def select(_connection: SSL.Connection, offered: list[bytes]) -> Any:
        return next((each for each in ours if each in offered), SSL.NO_OVERLAPPING_PROTOCOLS)

    return select
