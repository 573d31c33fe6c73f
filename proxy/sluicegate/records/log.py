"""The process's own log: JSON lines, or colour on a terminal. Never a body, never a key, never a local variable.

Everything that logs through the standard library (mitmproxy, asyncio, aiohttp) comes out the same way.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import traceback
from types import TracebackType
from typing import Any

import structlog
from structlog.typing import EventDict, Processor

from sluicegate.errors import ConfigError
from sluicegate.records.text import shown

LEVELS = ("debug", "info", "warning", "error")

_LONGEST = 2000
# Some libraries say too much: h2's tables write header values at debug level, and mitmproxy each connection at info.
_QUIET = {
    "hpack": logging.WARNING,
    "h2": logging.WARNING,
    "hyperframe": logging.WARNING,
    "mitmproxy": logging.WARNING,
    "aiohttp": logging.WARNING,
    "asyncio": logging.WARNING,
}
# Errors whose text is about files, types and names of the program. Any other (ValueError, KeyError, a library's own)
# may quote what it choked on, which may be a body or a key.
_TELLABLE = (
    OSError,
    ConfigError,
    TypeError,
    AttributeError,
    NameError,
    ImportError,
    NotImplementedError,
    RecursionError,
)
_PEM = re.compile(r"-----BEGIN.*", re.DOTALL)


def configure(level: str = "info") -> None:
    """For the whole process; a second call replaces the first. level: one of LEVELS."""
    terminal = sys.stderr.isatty()
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _fault,
        _fit,
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderer(terminal=terminal)],
        )
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(max(least, root.level))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _renderer(*, terminal: bool) -> list[Processor]:
    if terminal:
        return [structlog.dev.ConsoleRenderer(colors=not os.environ.get("NO_COLOR"))]
    return [structlog.processors.EventRenamer("message"), structlog.processors.JSONRenderer(ensure_ascii=False)]


def _fault(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """exc_info as the error's type and the lines of code it came through; its text only where that is ours to tell."""
    info = event.pop("exc_info", None)
    if not info:
        return event
    error = info if isinstance(info, BaseException) else info[1] if isinstance(info, tuple) else sys.exception()
    if error is not None:
        event["error_type"] = type(error).__qualname__
        event["error"] = _said(error)
        event["trace"] = _trace(error.__traceback__)
    return event


def _said(error: BaseException) -> str:
    if isinstance(error, _TELLABLE):
        return str(error)
    return f"not told: the text of a {type(error).__name__} may quote what was being carried"


def _trace(found: TracebackType | None) -> list[str]:
    """file:line function, outermost first."""
    frames = traceback.extract_tb(found, limit=-20)
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]


def _fit(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """All text on one line, without control characters, of bounded length, and without PEM blocks."""
    return {key: _fitted(value) for key, value in event.items()}


def _fitted(value: Any) -> Any:
    match value:
        case str():
            return shown(_PEM.sub("[redacted]", value) if "-----BEGIN" in value else value, _LONGEST)
        case bytes():
            return f"{len(value)} bytes"
        case list() | tuple():
            return [_fitted(each) for each in value]
        case dict():
            return {str(key): _fitted(each) for key, each in value.items()}
        case bool() | int() | float() | None:
            return value
        case logging.LogRecord():
            return value
        case _:
            return shown(str(value), _LONGEST)
