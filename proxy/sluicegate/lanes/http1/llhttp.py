"""llhttp's opinion of a head: the second of two parsers that must accept it. No leniency is ever set.

It is asked about heads only. Bodies are framed by us, because llhttp ends a message at any Upgrade, knows no HEAD and
no end of file; so an offer to upgrade, to whatever it is, never gets to decide where a message ends.
"""

from __future__ import annotations

import httptools


class _Seen:
    """What llhttp calls back. One for all: heads are given whole, so none is ever asked about in between two others."""

    __slots__ = ("complete",)

    def __init__(self) -> None:
        self.complete = False

    def on_headers_complete(self) -> None:
        self.complete = True


_seen = _Seen()
_Request = httptools.HttpRequestParser
_Response = httptools.HttpResponseParser


def accepts_request(raw: bytes) -> bool:
    """Whether this is one complete request head, and nothing beyond it."""
    if _accepts(_Request(_seen), raw):
        return True
    # llhttp knows a list of methods (Vault's LIST is not on it) and targets in ASCII. strict has judged both already;
    # the fields are asked about again, under a line that it knows. The version decides how it takes some of them.
    line, _, fields = raw.partition(b"\r\n")
    return _accepts(_Request(_seen), b"GET / HTTP/1.%c\r\n%s" % (line[-1], fields))


def accepts_response(raw: bytes) -> bool:
    """Whether this is one complete response head, and nothing beyond it."""
    return _accepts(_Response(_seen), raw)


def _accepts(parser: httptools.HttpRequestParser | httptools.HttpResponseParser, raw: bytes) -> bool:
    _seen.complete = False
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade as upgrade:
        return _seen.complete and upgrade.args[0] == len(raw)
    except httptools.HttpParserError:
        return False
    return _seen.complete
