"""hyperscan, with its sharp edges covered: every rule's expression in one pass, over streams and over small fields.

What the binding (0.9.1) asks of whoever uses it, and where that is met here:
- a Stream borrows its callback, context and database: `Cursor` and this module own them for the stream's life;
- the callback must not raise, and a falsy context is dropped: `_note` only appends, and a `Hits` is an object;
- two threads must not share a scratch: each thread has its own, passed to every scan;
- ``close`` cannot be given a scratch and takes the database's own, so closing is one at a time;
- a second ``close`` of a stream crashes the process: `Cursor.close` does it once;
- a compile error does not say which expression was meant: they are then compiled one by one;
- returning true from the callback poisons the stream: a scan is never ended early.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import hyperscan

MOST_EXPRESSIONS = 200_000
"""Above about 520,000 the compiler has been seen to crash."""


class BadExpression(ValueError):
    """hyperscan cannot compile expression number `index`."""

    def __init__(self, index: int, why: str) -> None:
        super().__init__(why)
        self.index = index


class Hits:
    """Where expressions matched: ``(end offset from the start of the stream, index of the expression)``."""

    __slots__ = ("found",)

    def __init__(self) -> None:
        self.found: list[tuple[int, int]] = []


def _note(index: int, _start: int, end: int, _flags: int, hits: Hits) -> None:
    hits.found.append((end, index))


class Database:
    """The compiled expressions: one database for streams, one for whole small values (half the cost there)."""

    def __init__(self, expressions: Sequence[bytes]) -> None:
        """Raises BadExpression."""
        if not 0 < len(expressions) <= MOST_EXPRESSIONS:
            raise ValueError(f"from 1 to {MOST_EXPRESSIONS} expressions can be compiled, not {len(expressions)}")
        self._streaming = _compile(expressions, hyperscan.HS_MODE_STREAM)
        self._block = _compile(expressions, hyperscan.HS_MODE_BLOCK)
        self._own = _Scratches(self._streaming, self._block)
        self._closing = threading.Lock()

    def once(self, value: bytes) -> list[tuple[int, int]]:
        """The hits in one value, in no order."""
        hits = Hits()
        self._block.scan(value, match_event_handler=_note, context=hits, scratch=self._own.block)
        return hits.found

    def open(self) -> Cursor:
        return Cursor(self)


class Cursor:
    """One stream. `hits` grows with `feed` and with `close`, which reports what matched at the end of the text."""

    __slots__ = ("_database", "_stream", "hits")

    def __init__(self, database: Database) -> None:
        self._database = database
        self.hits = Hits()
        self._stream: Any = database._streaming.stream(match_event_handler=_note, context=self.hits)  # noqa: SLF001  one file, one subject
        self._stream.__enter__()

    def feed(self, piece: bytes) -> None:
        if self._stream is None:
            raise ValueError("the stream is closed")
        self._stream.scan(piece, scratch=self._database._own.streaming)  # noqa: SLF001  as above

    def close(self) -> None:
        """Must be called: a stream that is not closed is never freed. More than once is fine."""
        stream, self._stream = self._stream, None
        if stream is not None:
            with self._database._closing:  # noqa: SLF001  as above
                stream.close()


class _Scratches(threading.local):
    """The working memory of one thread; made at its first scan."""

    def __init__(self, streaming: Any, block: Any) -> None:
        self.streaming = hyperscan.Scratch(streaming)
        self.block = hyperscan.Scratch(block)


def _compile(expressions: Sequence[bytes], mode: int) -> Any:
    try:
        return _compile_all(expressions, mode)
    except hyperscan.HyperscanError:
        _name_the_bad_one(expressions, mode)
        raise  # each compiles alone, and all do not: too large together


def _compile_all(expressions: Sequence[bytes], mode: int) -> Any:
    database = hyperscan.Database(mode=mode)
    database.compile(expressions=list(expressions), ids=list(range(len(expressions))), flags=[0] * len(expressions))
    return database


def _name_the_bad_one(expressions: Sequence[bytes], mode: int) -> None:
    for index, expression in enumerate(expressions):
        try:
            _compile_all([expression], mode)
        except hyperscan.HyperscanError as error:
            raise BadExpression(index, _reason(error)) from None


def _reason(error: Exception) -> str:
    """The compiler's own sentence out of the binding's longer one."""
    text = " ".join(str(error).split())
    return text.rpartition(": ")[2].rstrip(".") if ": " in text else text
