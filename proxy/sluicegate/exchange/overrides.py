"""What a head says beside its request line that servers act on: another method, and a body that never comes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qsl

from sluicegate.exchange.heads import RequestHead, Target
from sluicegate.exchange.stop import Stop
from sluicegate.verdict import Reason

_FIELDS = (b"x-http-method-override", b"x-http-method", b"x-method-override")
_KEYS = frozenset({"_method", "x-http-method-override"})
_METHOD = re.compile(r"[A-Z][A-Z-]{0,31}", re.ASCII)


def methods(head: RequestHead, target: Target) -> Iterator[str]:
    """Other methods that a server may take this request for; each needs a permit of its own.

    Frameworks read them from these fields and from the query, and raise them to upper case. A form's `_method` in the
    body is not looked at: a rule that restricts methods restricts POST. Raises Stop for a field that names no method.
    """
    for name in _FIELDS:
        for value in head.values(name):
            method = value.strip(b" \t").decode("latin-1").upper()
            if not _METHOD.fullmatch(method):
                raise Stop(Reason.BAD_REQUEST, "a field that overrides the method names none")
            if method != target.method:
                yield method
    if target.path.query is not None and "ethod" in target.path.query:
        for key, text in parse_qsl(target.path.query):
            if key.lower() in _KEYS and _METHOD.fullmatch(text.upper()) and text.upper() != target.method:
                yield text.upper()


def check_end(head: RequestHead, *, end: bool) -> None:
    """Raises Stop for a length that announces a body where there is none: the origin would wait for the next request's bytes.

    In HTTP/1 the length is the end; HTTP/2 says it with a flag, and the two may disagree (RFC 9113, 8.1.1).
    """
    if end and any(int(value) for value in head.values(b"content-length")):
        raise Stop(Reason.BAD_REQUEST, "Content-Length announces a body that does not come")
