"""Where the client's packets were going before the kernel handed them to us.

REDIRECT rewrites the destination, and SO_ORIGINAL_DST tells what it was; TPROXY leaves it, and getsockname tells it.
"""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address

from sluicegate.facts import Endpoint

_SO_ORIGINAL_DST = 80  # linux/netfilter_ipv4.h, and IP6T_SO_ORIGINAL_DST of netfilter_ipv6/ip6_tables.h
_SOL_IPV6 = 41
_IP_TRANSPARENT = 19  # linux/in.h
_IPV6_TRANSPARENT = 75  # linux/in6.h


class DirectConnection(Exception):
    """Nobody redirected it: the client connected to the gateway itself. To go on would be to dial ourselves."""


def original_destination(sock: socket.socket) -> Endpoint:
    """The destination of an accepted socket. Raises DirectConnection, and OSError where the socket is dead."""
    here = endpoint(sock.getsockname())
    there = _before_redirect(sock, here)
    if there is not None and there != here:
        return there
    if _is_transparent(sock) and not _is_local(here):
        return here
    raise DirectConnection(str(here))


def endpoint(name: tuple[str, int] | tuple[str, int, int, int]) -> Endpoint:
    """A socket address as getsockname, getpeername and accept give it: without zone, v4-mapped ones as IPv4."""
    return Endpoint(_plain(ip_address(name[0].partition("%")[0])), name[1])


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


def _before_redirect(sock: socket.socket, here: Endpoint) -> Endpoint | None:
    """None where connection tracking does not know the connection."""
    try:
        if here.address.version == 4:  # also v4-mapped on an IPv6 socket: tracked as the IPv4 it is
            raw = sock.getsockopt(socket.SOL_IP, _SO_ORIGINAL_DST, 16)
            port, address = struct.unpack_from("!2xH4s", raw)
        else:
            raw = sock.getsockopt(_SOL_IPV6, _SO_ORIGINAL_DST, 28)
            port, address = struct.unpack_from("!2xH4x16s", raw)
    except OSError:
        return None
    return Endpoint(_plain(ip_address(address)), port)


def _is_transparent(sock: socket.socket) -> bool:
    """An accepted socket has its listener's IP_TRANSPARENT."""
    if sock.family == socket.AF_INET6:
        return bool(sock.getsockopt(socket.IPPROTO_IPV6, _IPV6_TRANSPARENT))
    return bool(sock.getsockopt(socket.SOL_IP, _IP_TRANSPARENT))


def _is_local(here: Endpoint) -> bool:
    """Whether the address is one of this machine's: only those can be bound without IP_TRANSPARENT.

    With the sysctl ip_nonlocal_bind every address can, and every TPROXY connection is refused: closed, not open.
    """
    family = socket.AF_INET6 if here.address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((str(here.address), 0))
        except OSError:
            return False
    return True
