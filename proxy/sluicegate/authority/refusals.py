"""Why a server was not believed, in one plain sentence."""

from __future__ import annotations

import ssl
from typing import Final

from OpenSSL import SSL

from sluicegate.authority import bindings
from sluicegate.names import HostName

_UNKNOWN_ISSUER: Final = "the certificate of {name} comes from an issuer that is not trusted here (upstream.trust)"
_NOT_FOR_THAT_NAME: Final = "the issuer of {name}'s certificate may not issue for that name"
_SENTENCES: Final = {  # by X509_V_ERR number (x509_vfy.h); they have not changed since OpenSSL 1.1
    2: _UNKNOWN_ISSUER,  # UNABLE_TO_GET_ISSUER_CERT
    7: "a signature in the certificates of {name} is wrong",  # CERT_SIGNATURE_FAILURE
    9: "the certificate of {name} is not valid yet, or the clock here is wrong",  # CERT_NOT_YET_VALID
    10: "the certificate of {name}, or of its issuer, has expired",  # CERT_HAS_EXPIRED
    18: "the certificate of {name} is self-signed",  # DEPTH_ZERO_SELF_SIGNED_CERT
    19: _UNKNOWN_ISSUER,  # SELF_SIGNED_CERT_IN_CHAIN: the server sends its own root along
    20: _UNKNOWN_ISSUER,  # UNABLE_TO_GET_ISSUER_CERT_LOCALLY
    21: _UNKNOWN_ISSUER,  # UNABLE_TO_VERIFY_LEAF_SIGNATURE
    26: "the certificate of {name} is not one for servers",  # INVALID_PURPOSE
    47: _NOT_FOR_THAT_NAME,  # PERMITTED_VIOLATION
    48: _NOT_FOR_THAT_NAME,  # EXCLUDED_VIOLATION
    62: "the server's certificate is for another name than {name}",  # HOSTNAME_MISMATCH
    64: "the server's certificate is not for the address {name}",  # IP_ADDRESS_MISMATCH
    66: "the key of {name}'s certificate is too weak",  # EE_KEY_TOO_SMALL
    67: "the key of a CA behind the certificate of {name} is too weak",  # CA_KEY_TOO_SMALL
    68: "a signature in the certificates of {name} uses a weak hash",  # CA_MD_TOO_WEAK
    79: "the certificate of {name} was signed by one that is not a CA",  # INVALID_CA
}


def why_untrusted(failed: SSL.Connection | ssl.SSLCertVerificationError, name: HostName) -> str | None:
    """The sentence for a handshake that failed; None where the certificate was not the reason."""
    code = failed.verify_code if isinstance(failed, ssl.SSLCertVerificationError) else bindings.verify_code(failed)
    if code == 0:
        return None
    sentence = _SENTENCES.get(code)
    if sentence is None:
        return f"the certificate of {name.ascii} was refused: {bindings.verify_text(code)}"
    return sentence.format(name=name.ascii)
