"""The one place that keeps secrets out of records.

A record never sees a secret: findings hold a keyed fingerprint and a mask. But the path, the name, a header or the
explanation of a verdict may hold what a finding was made of, and where nothing was scanned they may hold anything.
So a field that a finding points at is replaced whole, and a path that nobody scanned keeps no segment that looks
like a token.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from sluicegate.facts import Finding

# Which fields of a record a finding's location covers. The path goes even where the query alone held the secret:
# it is cheaper to lose a path than to be wrong about where a decoder's match began.
_COVERS = {
    "url": ("path", "query_keys"),
    "path": ("path", "query_keys"),
    "query": ("path", "query_keys"),
    "host": ("host", "sni"),
    "sni": ("host", "sni"),
    "authority": ("host", "sni"),
    "method": ("method",),
    "header:host": ("host", "sni"),
    "header:content-type": ("content_type",),
}

# Keys, UUIDs, signatures, long numbers: a run of 16 characters of a token's alphabet, if there is a digit in it. The
# digit is looked for afterwards: in the pattern it would cost the square of a path's length.
_RUN = re.compile(r"[A-Za-z0-9_+.=~%-]{16,}")
_DIGIT = re.compile(r"[0-9]")
_LONGEST_PLACE = 64


def hidden(findings: Iterable[Finding]) -> dict[str, str]:
    """The fields that must not be shown, each with what stands in its place."""
    found: dict[str, str] = {}
    for finding in findings:
        location = finding.location[:_LONGEST_PLACE].lower()
        for place, fields in _COVERS.items():
            if location == place or location.startswith((f"{place}:", f"{place}.", f"{place}?")):
                found.update(dict.fromkeys(fields, f"[redacted: {place} holds {finding.rule}]"))
    return found


def unscanned(text: str) -> str:
    """A path, or a query key, that was not scanned: ``/v1/…/items`` for ``/v1/ghp_16C7e42F292c6912E7/items``."""
    return _RUN.sub(lambda run: "…" if _DIGIT.search(run[0]) else run[0], text) if len(text) >= 16 else text


def redact(text: str, secrets: Sequence[bytes | str], instead: str = "[redacted]") -> str:
    """`text` without the secrets, longest first, so that one that holds another goes whole."""
    spelled = {secret.decode("utf-8", "surrogateescape") if isinstance(secret, bytes) else secret for secret in secrets}
    for secret in sorted(spelled, key=len, reverse=True):
        if secret:
            text = text.replace(secret, instead)
    return text
