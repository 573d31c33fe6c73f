"""Why TLS with a peer failed, in words."""

from __future__ import annotations

import re
import ssl
from typing import Final

_RECEIVED: Final = re.compile(r"(?:SSLV3|TLSV1|TLSV13)_ALERT_([A-Z_]+)")
"""How OpenSSL names an alert that the peer sent; those that we send have other reasons."""

_ALERTS: Final = {
    "unknown ca": "the peer does not trust the CA that signed our certificate",
    "bad certificate": "the peer refuses our certificate",
    "certificate unknown": "the peer refuses our certificate",
    "certificate expired": "the peer holds our certificate for expired",
    "unsupported certificate": "the peer cannot use our certificate",
    "certificate required": "the peer wants a client certificate",
    "handshake failure": "the peer shares no parameters with us",
    "protocol version": "the peer does not speak TLS 1.2 or 1.3",
    "no application protocol": "the peer does not speak http/1.1",
    "unrecognized name": "the peer does not know that name",
    "internal error": "the peer failed",
}
_REASONS: Final = {
    "NO_SHARED_CIPHER": "no cipher suite is shared",
    "UNSUPPORTED_PROTOCOL": "the peer does not speak TLS 1.2 or 1.3",
    "WRONG_VERSION_NUMBER": "the peer does not speak TLS",
    "HTTP_REQUEST": "the peer speaks HTTP in clear text",
    "UNSAFE_LEGACY_RENEGOTIATION_DISABLED": "the peer's TLS lacks secure renegotiation (RFC 5746)",
    "DH_KEY_TOO_SMALL": "the peer's Diffie-Hellman key is too small",
    "EE_KEY_TOO_SMALL": "the key of the peer's certificate is too weak",
    "CA_KEY_TOO_SMALL": "the key of a CA behind the peer's certificate is too weak",
    "CA_MD_TOO_WEAK": "a signature in the peer's certificates uses a weak hash",
}


class TlsFault(Exception):
    """TLS failed, during the handshake or after it.

    reason  a sentence without its full stop
    alert   the alert that the peer sent, in the words of RFC 8446, 6.2 (`unknown ca`); None where it sent none
    cause   OpenSSL's error: for an ssl.SSLCertVerificationError, refusals.why_untrusted() has the sentence
    """

    def __init__(self, reason: str, *, alert: str | None = None, cause: ssl.SSLError | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.alert = alert
        self.cause = cause


def fault(error: ssl.SSLError) -> TlsFault:
    if isinstance(error, ssl.SSLCertVerificationError):
        return TlsFault(f"the peer's certificate was refused: {error.verify_message}", cause=error)
    code = error.reason or ""
    if found := _RECEIVED.fullmatch(code):
        alert = _words(found[1])
        return TlsFault(_ALERTS.get(alert, f"the peer sent an alert: {alert}"), alert=alert, cause=error)
    return TlsFault(_REASONS.get(code) or _words(code) or "TLS failed", cause=error)


def _words(code: str) -> str:
    return code.lower().replace("_", " ")
