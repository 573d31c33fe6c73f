"""llhttp takes heads apart, and refuses what it finds malformed. No leniency is ever set.

It is given whole heads only, a parser object for each. Bodies are framed by us, because llhttp ends a message at any
Upgrade, knows no HEAD and no end of file; so an offer to upgrade, to whatever it is, never decides where a message ends.
"""

from __future__ import annotations

import httptools

from sluicegate.exchange.heads import Headers


class _Seen:
    """What llhttp calls back. One for all: a head is given whole, so no other can come in between."""

    __slots__ = ("complete", "fields")

    def __init__(self) -> None:
        self.complete = False
        self.fields: list[tuple[bytes, bytes]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value.rstrip()))  # spaces and tabs: strict let no other white space through

    def on_headers_complete(self) -> None:
        self.complete = True


_seen = _Seen()
_Request = httptools.HttpRequestParser
_Response = httptools.HttpResponseParser


def request_fields(raw: bytes) -> Headers | None:
    """The fields, if this is one complete request head and nothing beyond it."""
    fields = _fields(_Request(_seen), raw)
    if fields is not None:
        return fields
    # llhttp knows a list of methods (Vault's LIST is not on it) and targets in ASCII. strict has judged both already;
    # the fields are asked about again, under a line that it knows. The version decides how it takes some of them.
    line, _, rest = raw.partition(b"\r\n")
    return _fields(_Request(_seen), b"GET / HTTP/1.%c\r\n%s" % (line[-1], rest))


def response_fields(raw: bytes) -> Headers | None:
    """The fields, if this is one complete response head and nothing beyond it."""
    return _fields(_Response(_seen), raw)


def _fields(parser: httptools.HttpRequestParser | httptools.HttpResponseParser, raw: bytes) -> Headers | None:
    _seen.complete = False
    _seen.fields = []
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade as upgrade:
        if upgrade.args[0] != len(raw):
            return None
    except httptools.HttpParserError:
        return None
    return tuple(_seen.fields) if _seen.complete else None
