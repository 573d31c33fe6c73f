"""Request paths in the one form that rules are compared with, and whether two servers may read the raw one differently."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

# Segments of plain characters, none of which begins with a dot (so no dot segments) and none of which is empty.
# The lookahead leaves the rest of a request ordinary: a query of printable ASCII without "#".
_ORDINARY = re.compile(
    r"((?:/[A-Za-z0-9_~!$&'()*+,=:@-][A-Za-z0-9_~!$&'()*+,=:@.-]*)+/?|/)(?:\?([!\"$-~]*))?", re.ASCII
)

_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})?")
_STRAY = re.compile(r"[^A-Za-z0-9_~!$&'()*+,;=:@./%-]")
_SLASHES = re.compile(r"//+")
_PARAMS = re.compile(r";[^/]*")
_CONTROL = re.compile(r"[\x00-\x20\x7f]")
_CONTROL_ESCAPE = re.compile(r"%(?:[01][0-9A-Fa-f]|7[Ff])")
_DOT_SEGMENT = re.compile(r"(?:^|[/\\])\.\.?(?:$|[/\\])")
_ANY_ESCAPE = re.compile(r"%[0-9A-Fa-f]{2}")

# Decoded for comparison: unreserved characters, and those that may stand in a segment without meaning anything there:
# /%40me and /@me are one resource to every server. Not ";" (parameters), and never a separator or "%".
_DECODED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,=:@")


@dataclass(frozen=True, slots=True)
class Path:
    """A request target, taken apart.

    path       begins with "/", for comparison: escapes decoded where that is safe, else upper case; dot segments,
               empty segments and ;parameters gone. ``*`` (OPTIONS) stays as it is. Not for sending.
    query      what stands after the first "?", as it was sent ("#..." too); None where there is no "?"
    ambiguous  why two servers may read the raw path differently; None if they may not
    """

    path: str
    query: str | None = None
    ambiguous: str | None = None


def canonical(raw: str | bytes) -> Path:
    """The Path of a request target in origin form. Total: no input raises.

    Bytes that are not ASCII appear in `query` as Latin-1 characters, one for each byte.
    """
    text = raw if isinstance(raw, str) and raw.isascii() else _octets(raw)
    if ordinary := _ORDINARY.fullmatch(text):
        return Path(ordinary[1], ordinary[2])
    return _canonical_any(text)


def _canonical_any(text: str) -> Path:
    if text == "*":
        return Path(text)
    target, hash_sign, _fragment = text.partition("#")
    path, question, query = target.partition("?")
    if hash_sign and question:
        query = text.partition("?")[2]
    why = "holds a # (fragments are never sent)" if hash_sign else _ambiguity(path)
    return Path(_compared(path), query if question else None, why)


def _octets(raw: str | bytes) -> str:
    if isinstance(raw, bytes):
        return raw.decode("latin-1")
    try:
        return raw.encode("utf-8", "surrogateescape").decode("latin-1")  # so HTTP engines carry what is not UTF-8
    except UnicodeEncodeError:
        return raw.encode("utf-8", "surrogatepass").decode("latin-1")


def _compared(path: str) -> str:
    path = _STRAY.sub(_escaped, path.replace("\\", "/"))
    path = _ESCAPE.sub(_reescaped, path)  # in one pass, so that what is decoded is not decoded again
    path = _SLASHES.sub("/", _PARAMS.sub("", path))
    return _without_dot_segments(path)


def _escaped(match: re.Match[str]) -> str:
    return f"%{ord(match[0]):02X}"


def _reescaped(match: re.Match[str]) -> str:
    if match[1] is None:
        return "%25"  # a lone percent sign
    character = chr(int(match[1], 16))
    return character if character in _DECODED else match[0].upper()


def _without_dot_segments(path: str) -> str:
    kept: list[str] = []
    segments = path.removeprefix("/").split("/")
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment not in {".", ""}:
            kept.append(segment)
    ends_open = segments[-1] in {"", ".", ".."} and kept
    return "/" + "/".join(kept) + ("/" if ends_open else "")


def _ambiguity(path: str) -> str | None:
    if path and not path.startswith("/"):
        return "does not begin with a slash"
    for found, why in _AMBIGUITIES:
        if found.search(path):
            return why
    return _encoded_text(path) if "%" in path else None


_AMBIGUITIES = (
    (_CONTROL, "holds a space or control character"),
    (_CONTROL_ESCAPE, "holds an encoded control character"),
    (re.compile(r"[^\x00-\x7f]"), "holds characters outside of ASCII that are not percent-encoded"),
    (re.compile(r"\\"), "holds a backslash"),
    (re.compile(r"%2[Ff]"), "holds an encoded slash"),
    (re.compile(r"%5[Cc]"), "holds an encoded backslash"),
    (re.compile(r"%2[Ee]"), "holds an encoded dot"),
    (re.compile(r"%(?![0-9A-Fa-f]{2})"), "holds a percent sign that encodes nothing"),
    (re.compile(r";"), "holds a ; (some servers cut parameters off, some do not)"),
    # Clients resolve these before they send; of servers some do (nginx), some pass them on, and to some they are names.
    (_DOT_SEGMENT, "holds dot segments"),
)  # fmt: skip


def _encoded_text(path: str) -> str | None:
    """What is left to say of the encoded bytes once separators and controls are ruled out."""
    octets = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), path).encode("latin-1")
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        # Overlong forms (%C0%AF) are a slash to lenient decoders; what else is no UTF-8 has no agreed reading either.
        return "holds encoded bytes that are not UTF-8"
    if _ANY_ESCAPE.search(text):
        return "is percent-encoded twice"
    folded = unicodedata.normalize("NFKC", text)
    if folded.count("/") + folded.count("\\") != text.count("/") or _DOT_SEGMENT.search(folded):
        return "holds a character that some servers fold to a separator"
    return None
