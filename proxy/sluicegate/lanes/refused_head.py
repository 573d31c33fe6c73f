"""As much of a refused request as its answer and its record want: method, host, path, Accept.

The verdict stands already, so this is read leniently and believed in nothing: what cannot be read is None.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sluicegate.names import HostName, parse_authority

LIMIT = 64 << 10

_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) ([!-~]{1,8192}) HTTP/1\.[01]")
_ABSOLUTE = re.compile(rb"[hH][tT][tT][pP][sS]?://[^/?#]*")
_PATH = re.compile(rb"/[^?#]*")
_LONGEST_PATH = 1024


@dataclass(frozen=True, slots=True)
class Head:
    """host: of the Host field, if there is exactly one and it names a host; path: without query, cut at 1,024 bytes."""

    method: str | None = None
    host: HostName | None = None
    path: str | None = None
    accept: str = ""


def complete(data: bytearray, new: int) -> bool:
    """Whether the head's end is there; what stands before `new` was looked at already."""
    return data.find(b"\r\n\r\n", max(0, new - 3)) >= 0


def read(data: bytes) -> Head:
    """Total: any bytes give a Head."""
    line, *fields = data.partition(b"\r\n\r\n")[0].split(b"\r\n")
    found = _LINE.fullmatch(line)
    if not found:
        return Head()
    values = _values(fields)
    return Head(found[1].decode("ascii"), _host(values), _path(found[2]), _accept(values))


def _values(fields: list[bytes]) -> dict[bytes, list[bytes]]:
    values: dict[bytes, list[bytes]] = {b"host": [], b"accept": []}
    for field in fields:
        name, _, value = field.partition(b":")
        if name.lower() in values:
            values[name.lower()].append(value.strip(b" \t"))
    return values


def _host(values: dict[bytes, list[bytes]]) -> HostName | None:
    if len(values[b"host"]) != 1:
        return None
    try:
        return parse_authority(values[b"host"][0])[0]
    except ValueError:
        return None


def _path(target: bytes) -> str | None:
    absolute = _ABSOLUTE.match(target)
    found = _PATH.match(target[absolute.end() :] if absolute else target)
    return found[0][:_LONGEST_PATH].decode("ascii") if found else None


def _accept(values: dict[bytes, list[bytes]]) -> str:
    return b",".join(values[b"accept"]).decode("latin-1")
