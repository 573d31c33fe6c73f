"""Bytes cut in every way, and what is read of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sluicegate.lanes.http1 import requests, responses
from sluicegate.lanes.http1.events import Data, End, Fault

LIMIT = 64 << 10
type Told = list[object]


def cuts(data: bytes) -> Iterator[list[bytes]]:
    """Whole, each byte alone, and in two at every place."""
    yield [data]
    yield [data[at : at + 1] for at in range(len(data))]
    for at in range(1, len(data)):
        yield [data[:at], data[at:]]


def requested(pieces: Iterable[bytes], *, limit: int = LIMIT) -> Told:
    """All events of a connection, each request answered at once. Pieces of a body are joined."""
    reader = requests.RequestReader(tls=True, head_limit=limit)
    told: Told = []
    for piece in pieces:
        reader.feed(piece)
        while event := reader.next():
            _tell(told, event)
            if isinstance(event, End) or (isinstance(event, requests.Head) and event.end):
                reader.proceed()
    return told


def responded(pieces: Iterable[bytes], *, method: bytes = b"GET", eof: bool = False, limit: int = LIMIT) -> Told:
    reader = responses.ResponseReader(method, head_limit=limit)
    told: Told = []
    for piece in pieces:
        reader.feed(piece)
        while event := reader.next():
            _tell(told, event)
    if eof:
        fault = reader.eof()
        if fault is not None:
            told.append(fault)
        while event := reader.next():
            _tell(told, event)
    if reader.leftover:
        told.append(reader.release())
    return told


def _tell(told: Told, event: object) -> None:
    if isinstance(event, Data) and told and isinstance(told[-1], Data):
        told[-1] = Data(told[-1].data + event.data)
    else:
        told.append(event)


def brief(told: Told) -> list[object]:
    """Events without what heads say: for tables."""
    return [_brief(event) for event in told]


def _brief(event: object) -> object:
    match event:
        case requests.Head():
            return event.head.method
        case responses.Head() | responses.Interim():
            return event.head.status
        case Data():
            return event.data
        case End():
            return dict(event.trailers)
        case Fault():
            return event.status, event.detail
        case _:
            return event
