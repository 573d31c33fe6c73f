"""What a connection's first bytes are. Pure; never decided while a longer message could be something else."""

from __future__ import annotations

import re

from sluicegate.facts import Wire

_PREFACE = b"PRI * HTTP/2.0"  # RFC 9113, 3.4
_SSH = b"SSH-"  # RFC 4253, 4.2
_TLS = b"\x16\x03"  # a handshake record of TLS of any version

# RFC 9112, 3: a method (RFC 9110, 5.6.2), one space, and a target: origin form, `*`, or absolute form. By the target
# HTTP is told from other protocols of words: `EHLO mail.test`, `USER anonymous`. CONNECT has a host and port there.
_LONGEST_METHOD = 32
_METHOD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGETS = (b"/", b"*", b"http://", b"https://")


def wire(data: bytes) -> Wire | None:
    """None while more bytes are needed. TLS is what starts so: whether it is a ClientHello, its reader tells."""
    undecided = False
    for known, starts in ((Wire.TLS, _TLS), (Wire.HTTP2, _PREFACE), (Wire.SSH, _SSH)):
        if data.startswith(starts):
            return known
        undecided = undecided or starts.startswith(data)
    http = _is_http(data)
    if undecided or http is None:
        return None
    return Wire.HTTP1 if http else Wire.OTHER


def _is_http(data: bytes) -> bool | None:
    method, space, target = data.partition(b" ")
    if not method or len(method) > _LONGEST_METHOD or not _METHOD.fullmatch(method):
        return None if not data else False
    if not space or not target:
        return None
    if method == b"CONNECT":
        return True
    beginning = target.lower()
    if beginning.startswith(_TARGETS):
        return True
    return None if any(form.startswith(beginning) for form in _TARGETS) else False
