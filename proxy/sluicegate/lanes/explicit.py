"""The explicit proxy's CONNECT: read exactly its head, so that what follows can be peeked like any connection."""

from __future__ import annotations

import asyncio
import re
import socket
from dataclasses import dataclass

from sluicegate.lanes.waiting import readable
from sluicegate.names import BadName, HostName, parse_authority

_CONNECT = b"CONNECT "
_LINE = re.compile(rb"CONNECT ([^ \r\n\0]{1,1024}) HTTP/1\.[01]")
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"


class BadConnect(Exception):
    """A CONNECT that names nothing; the text says why."""


@dataclass(frozen=True, slots=True)
class Tunnel:
    """What a CONNECT asks for."""

    name: HostName
    port: int


def is_connect(first: bytes) -> bool:
    return first.startswith(_CONNECT)


async def read_connect(sock: socket.socket, limit: int, timeout_s: float) -> Tunnel:
    """Takes one CONNECT head off the socket, and not a byte more. Raises BadConnect and TimeoutError."""
    head = await _read_head(sock, limit, timeout_s)
    line, *fields = head.split(b"\r\n")
    found = _LINE.fullmatch(line)
    if not found:
        raise BadConnect("the request line is not `CONNECT host:port HTTP/1.1`")
    try:
        name, port = parse_authority(found[1])
    except BadName as error:
        raise BadConnect(f"the host is not valid: {error}") from None
    if port is None:
        raise BadConnect("the port is missing: write CONNECT host:port")
    _check_hosts(fields, name)
    return Tunnel(name, port)


def _check_hosts(fields: list[bytes], name: HostName) -> None:
    """Host, where there is one, must name the same host (some clients leave its port out)."""
    for field in fields:
        key, colon, value = field.partition(b":")
        if colon and key.lower() == b"host":
            try:
                said, _ = parse_authority(value.strip(b" \t"))
            except BadName as error:
                raise BadConnect(f"Host is not valid: {error}") from None
            if said != name:
                raise BadConnect("Host names another host than CONNECT")


async def _read_head(sock: socket.socket, limit: int, timeout_s: float) -> bytes:
    # Peek, look for the end of the head, then read exactly so far: what follows belongs to the tunnel.
    head = b""
    async with asyncio.timeout(timeout_s):
        while True:
            peeked = await _peek(sock, limit)
            end = (head[-3:] + peeked).find(b"\r\n\r\n")
            size = len(peeked) if end < 0 else end + 4 - len(head[-3:])
            head += sock.recv(size)
            if len(head) > limit:
                raise BadConnect(f"the head is larger than {limit} bytes")
            if end >= 0:
                return head[:-4]


async def _peek(sock: socket.socket, limit: int) -> bytes:
    while True:
        try:
            peeked = sock.recv(limit, socket.MSG_PEEK)
        except BlockingIOError:
            await readable(sock)
            continue
        if not peeked:
            raise BadConnect("the client closed the connection")
        return peeked
