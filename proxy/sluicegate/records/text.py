"""Text of other people, made fit to be stored and shown: one line, no control characters, a bounded length."""

from __future__ import annotations

import re

_UNSHOWN = re.compile(r"[^ -~]")


def shown(text: str | bytes, limit: int) -> str:
    r"""At most `limit` characters of `text`; what a terminal would act on, or nobody could see, stands as \x1b or \u202e.

    A backslash of the text itself is left alone: the result is for reading, not for undoing.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    if len(text) > limit:
        text = f"{text[: limit - 1]}…"
    # isprintable is false for controls, separators, surrogates, and for the marks that turn the reading direction.
    return text if text.isprintable() else _UNSHOWN.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    if character.isprintable():
        return character
    number = ord(character)
    if 0xDC80 <= number <= 0xDCFF:  # a byte that was not UTF-8 (PEP 383)
        return f"\\x{number - 0xDC00:02x}"
    if number <= 0xFF:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number <= 0xFFFF else f"\\U{number:08x}"
