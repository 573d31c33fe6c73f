"""The table of checks on HTTP/1 heads: what two servers might read differently is refused (RFC 9112).

llhttp takes the fields of a head apart; here is what it is not asked about, or would let through. What a sound head looks
like is checked quickly, why another is not is looked up in the table afterwards; a test holds both to the same answer.
All of it takes time in proportion to the head. Bytes of a head: from its first line to the empty line.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from sluicegate.exchange.heads import MAX_FIELDS, Headers
from sluicegate.verdict import Reason

OPENING = 256
"""As many first bytes as looks_like_http needs to see."""


@dataclass(frozen=True, slots=True)
class Check:
    """One row: what is refused, with which status for a request, and by which section of which RFC."""

    detail: str
    rfc: str
    status: int = 400
    reason: Reason = Reason.BAD_REQUEST


class Refused(Exception):
    """A head does not pass `check`."""

    def __init__(self, check: Check) -> None:
        super().__init__(check.detail)
        self.check = check


class Framing(msgspec.Struct, frozen=True, gc=False):
    """How the body is framed. length: bytes announced, None if not; chunked and length exclude each other."""

    length: int | None = None
    chunked: bool = False
    expect: bool = False
    close: bool = False


NOT_HTTP = Check("what was sent is not an HTTP request", "9112 3", 400, Reason.NOT_HTTP)
BLANKS = Check("empty lines came instead of a request", "9112 2.2")
LINE_ENDS = Check("a line does not end with CR LF, or holds a CR or LF of its own", "9112 2.2")
TOO_LARGE = Check("the head is larger than is allowed", "9110 5.4", 431, Reason.HEAD_TOO_LARGE)
MANY_FIELDS = Check(f"the head has more than {MAX_FIELDS} fields", "9110 5.4", 431, Reason.HEAD_TOO_LARGE)
CONTROLS = Check("the head holds NUL or another control character", "9110 5.5")
FOLDED = Check("a field line is folded", "9112 5.2")
FIELD_NAME = Check("a field line has no name, no colon, or a name that is not a token", "9112 5.1")
LINE = Check("the request line is not `method target version`, with single spaces", "9112 3")
VERSION = Check("the HTTP version is neither 1.0 nor 1.1", "9110 15.6.6", 505)
METHOD = Check("the method is not an upper-case token of at most 32 characters", "9110 9.1")
FRAGMENT = Check("the target holds a fragment", "9112 3.2")
TARGET = Check("the target is neither a path nor an absolute address", "9112 3.2")
NO_AUTHORITY = Check("the target has no host", "9110 4.2.1")
STATUS_LINE = Check("the origin's status line is not one of HTTP/1", "9112 4")
TOKENIZER = Check("the head is malformed", "9112 2.1")

LENGTH = Check("Content-Length is not one plain number", "9112 6.3")
BOTH = Check("there is a Content-Length beside Transfer-Encoding", "9112 6.1")
OLD_CODING = Check("there is a Transfer-Encoding in HTTP/1.0", "9112 6.1")
NOT_CHUNKED = Check("Transfer-Encoding does not end with one `chunked`", "9112 6.3")
CODING = Check("Transfer-Encoding holds more than `chunked`", "9112 6.1", 501)
EXPECT = Check("Expect is not `100-continue`", "9110 10.1.1", 417)

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# A method in lower case is another method to the RFC and the same one to some servers: it is refused.
_METHOD = rb"[!#$%&'*+\-.^_`|~0-9A-Z]{1,32}"
_OPENING_METHOD = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}")
_REQUEST = re.compile(rb"(" + _METHOD + rb") ([!-\"$-~\x80-\xff]+) HTTP/1\.([01])\r\n")
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: [^\r]*)?\r\n")
_BARE = re.compile(rb"\A\n|[^\r]\n|\r[^\n]")
_ABSOLUTE = re.compile(rb"([A-Za-z][A-Za-z0-9+.\-]*)://([^/?#]*)(.*)", re.DOTALL)
# Deleting these leaves line ends only: the quickest way to see that there is nothing else.
_VISIBLE = bytes({9, *range(32, 127), *range(128, 256)})
_ENDS = [b"\r\n" * count for count in range(MAX_FIELDS + 3)]
_FRAMES = (b"content-length", b"transfer-encoding", b"expect", b"connection")
_LENGTHS = frozenset(map(len, _FRAMES))
_LETTERS = frozenset(letter for name in _FRAMES for letter in (name[0], name.upper()[0]))


def request(raw: bytes) -> tuple[bytes, bytes, bool, int]:
    """Method, target, whether it is HTTP/1.1, and how many fields there have to be. Raises Refused."""
    line = _REQUEST.match(raw)
    fields = _field_lines(raw)
    if line is None or fields is None:
        raise Refused(why_not_request(raw))
    method, target, minor = line.groups()
    if (target[0] != 0x2F and not _other_form(method, target)) or method == b"PRI":
        raise Refused(why_not_request(raw))
    return method, target, minor == b"1", fields


def response(raw: bytes) -> tuple[int, bool, int]:
    """Status, whether it is HTTP/1.1, and how many fields there have to be. Raises Refused."""
    line = _STATUS.match(raw)
    if line is None:
        raise Refused(LINE_ENDS if _BARE.search(raw) else STATUS_LINE)
    fields = _field_lines(raw)
    if fields is None:
        raise Refused(why_not_fields(raw))
    return int(line[2]), line[1] == b"1", fields


def _field_lines(raw: bytes) -> int | None:
    """How many lines there are between the first and the empty one; None: too many, or control characters in them.

    If the tokenizer finds as many fields, then each is one line: none is folded, and none has a line end inside.
    """
    ends = raw.translate(None, _VISIBLE)
    fields = len(ends) // 2 - 2
    return fields if fields <= MAX_FIELDS and ends == _ENDS[fields + 2] else None


def framing(fields: Headers, *, modern: bool, request: bool = True) -> Framing:
    """How the body of a message is framed. modern: HTTP/1.1; request: Expect has a meaning. Raises Refused."""
    length, codings, waits, close = None, None, False, False
    # Most fields are told from the four that count by length and first letter, without making a copy of their names.
    for name, value in fields:
        if len(name) not in _LENGTHS or name[0] not in _LETTERS:
            continue
        kind = name.lower()
        if kind == b"connection":
            close = close or (value != b"keep-alive" and _closes(value))
        elif kind == b"content-length":
            if length is not None or not value.isdigit() or len(value) > 18:
                raise Refused(LENGTH)
            length = int(value)
        elif kind == b"transfer-encoding":
            codings = [*(codings or ()), value]
        elif kind == b"expect" and request:
            if value.lower() != b"100-continue":
                raise Refused(EXPECT)
            waits = modern  # RFC 9110, 10.1.1: it means nothing in HTTP/1.0
    if codings is not None:
        _check_coding(codings, length, modern=modern)
    return Framing(length, codings is not None, waits, close)


def _check_coding(codings: list[bytes], length: int | None, *, modern: bool) -> None:
    if length is not None:
        raise Refused(BOTH)
    if not modern:
        raise Refused(OLD_CODING)
    if len(codings) == 1 and codings[0].lower() == b"chunked":
        return
    *others, last = [coding.strip(b" \t").lower() for value in codings for coding in value.split(b",")]
    raise Refused(CODING if last == b"chunked" and b"chunked" not in others else NOT_CHUNKED)


def _closes(value: bytes) -> bool:
    return b"close" in [token.strip(b" \t") for token in value.lower().split(b",")]


def parts(method: bytes, target: bytes) -> tuple[bytes, bytes, bytes]:
    """Scheme, authority and path with query of a target that `request` let through."""
    if target[0] == 0x2F:
        return b"", b"", target
    if method == b"CONNECT":
        return b"", target, target
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        return b"", b"", target
    scheme, authority, rest = absolute.groups()
    return scheme, authority, rest if rest[:1] == b"/" else b"/" + rest


def _other_form(method: bytes, target: bytes) -> bool:
    """Whether a target that is no path is one of the other forms, where that form has its place (RFC 9112, 3.2)."""
    if method == b"CONNECT" or target == b"*":
        return True  # whether these are wanted is for Exchange to say
    absolute = _ABSOLUTE.fullmatch(target)
    return absolute is not None and bool(absolute[2])


def trailers(raw: bytes) -> Headers:
    """Field lines up to the empty one. Raises Refused."""
    raw = b"\r\n" + raw
    check = next((check for refuses, check in FIELD_TABLE if refuses(raw)), None)
    if check is not None:
        raise Refused(check)
    return _split(_lines(raw))


def check_opening(data: bytes, *, first: bool, since: int = 0) -> None:
    """Refuses a head for what came of it so far: no HTTP, or a line end of another kind. Raises Refused.

    first: of its connection; later ones are HTTP, only wrong. since: up to there all was looked at before.
    The first byte that proves anything decides, so that it does not matter how the bytes are cut.
    """
    bare = _BARE.search(data, max(0, since - 1))
    if first and not looks_like_http(data[: min(bare.end() if bare else len(data), OPENING)]):
        raise Refused(NOT_HTTP)
    if bare:
        raise Refused(LINE_ENDS)


def looks_like_http(opening: bytes) -> bool:
    """Whether these first bytes, all that came so far, may still become an HTTP/1 request line.

    Decided by the first byte that contradicts it, never by a missing one: a client may send its request byte by byte.
    """
    line, newline, _ = opening.lstrip(b"\r\n").partition(b"\n")
    method, space, rest = line.partition(b" ")
    if not line:
        return True
    if _OPENING_METHOD.fullmatch(method) is None:
        return False
    return not newline or (bool(space) and b" HTTP/" in rest)


# --- why a head did not fit ---------------------------------------------------------------------------------------


def why_not_request(raw: bytes) -> Check:
    """The first row of the table that refuses a head. TOKENIZER where none does."""
    check = next((check for refuses, check in REQUEST_TABLE if refuses(raw)), None)
    return check or _why_not_framing(raw, request=True)


def why_not_fields(raw: bytes) -> Check:
    """The same for an origin's head, with a sound first line."""
    check = next((check for refuses, check in FIELD_TABLE if refuses(raw)), None)
    return check or _why_not_framing(raw, request=False)


def _why_not_framing(raw: bytes, *, request: bool) -> Check:
    try:
        framing(_split(_lines(raw)), modern=b"HTTP/1.1" in _first_line(raw), request=request)
    except Refused as refused:
        return refused.check
    return TOKENIZER


def _split(lines: list[bytes]) -> Headers:
    parted = (line.partition(b":") for line in lines)
    return tuple((name, value.strip(b" \t")) for name, _, value in parted)


def _first_line(raw: bytes) -> bytes:
    return raw.partition(b"\r\n")[0]


def _lines(raw: bytes) -> list[bytes]:
    return raw[:-4].split(b"\r\n")[1:]


def _lacks_parts(raw: bytes) -> bool:
    pieces = _first_line(raw).split(b" ")
    return len(pieces) != 3 or not all(pieces) or re.fullmatch(rb"HTTP/[0-9]\.[0-9]", pieces[2]) is None


def _method(raw: bytes) -> bytes:
    return raw.partition(b" ")[0]


def _target(raw: bytes) -> bytes:
    return _first_line(raw).split(b" ")[1]


def _is_hostless(raw: bytes) -> bool:
    absolute = _ABSOLUTE.fullmatch(_target(raw))
    return _method(raw) != b"CONNECT" and absolute is not None and not absolute[2]


def _is_no_target(raw: bytes) -> bool:
    return _target(raw)[:1] != b"/" and not _other_form(_method(raw), _target(raw))


def _has_bad_name(raw: bytes) -> bool:
    lines = _lines(raw)
    return any(re.fullmatch(_TOKEN, name) is None or not colon for name, colon, _ in (x.partition(b":") for x in lines))


FIELD_TABLE: tuple[tuple[Callable[[bytes], bool], Check], ...] = (
    (lambda raw: _BARE.search(raw) is not None, LINE_ENDS),
    (lambda raw: bool(raw.translate(None, _VISIBLE + b"\r\n")), CONTROLS),
    (lambda raw: any(line[:1] in {b" ", b"\t"} for line in _lines(raw)), FOLDED),
    (_has_bad_name, FIELD_NAME),
    (lambda raw: len(_lines(raw)) > MAX_FIELDS, MANY_FIELDS),
)
REQUEST_TABLE: tuple[tuple[Callable[[bytes], bool], Check], ...] = (
    *FIELD_TABLE[:2],
    (_lacks_parts, LINE),
    (lambda raw: _first_line(raw)[-3:] not in {b"1.0", b"1.1"} or _method(raw) == b"PRI", VERSION),
    (lambda raw: re.fullmatch(_METHOD, _method(raw)) is None, METHOD),
    (lambda raw: b"#" in _target(raw), FRAGMENT),
    (_is_hostless, NO_AUTHORITY),
    (_is_no_target, TARGET),
    *FIELD_TABLE[2:],
)
