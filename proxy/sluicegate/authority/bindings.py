"""What OpenSSL can do and pyOpenSSL has no public name for: the name to verify and the result of it.

pyOpenSSL's own bindings are used, as mitmproxy uses them; all of it stands here, so that a new version breaks one file.
"""

from __future__ import annotations

from typing import Any, Final

from OpenSSL import SSL

from sluicegate.names import HostName

_ssl: Final[Any] = SSL  # the published stubs are older than the library
_lib: Final[Any] = _ssl._lib  # noqa: SLF001 - see above
_ffi: Final[Any] = _ssl._ffi  # noqa: SLF001 - see above

OP_NO_RENEGOTIATION: Final[int] = _ssl.OP_NO_RENEGOTIATION
# As browsers do: `w*.example.com` is no wildcard, and a common name is no host name (RFC 9525, 6.3 and 2).
_HOST_FLAGS: Final[int] = _lib.X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | _lib.X509_CHECK_FLAG_NEVER_CHECK_SUBJECT


def expect(connection: SSL.Connection, name: HostName) -> None:
    """The peer must prove to be `name`, or the handshake fails. Raises ValueError for what no certificate can hold."""
    param = _lib.SSL_get0_param(_pointer(connection))
    _lib.X509_VERIFY_PARAM_set_hostflags(param, _HOST_FLAGS)
    if name.address is not None:
        packed = name.address.packed
        done = _lib.X509_VERIFY_PARAM_set1_ip(param, packed, len(packed))
    else:
        host = name.ascii.encode("ascii")
        # OpenSSL takes an empty name for "any", and one with a leading dot for "any below".
        done = bool(host) and host[:1] != b"." and _lib.X509_VERIFY_PARAM_set1_host(param, host, len(host))
    if done != 1:
        raise ValueError("not a host that a certificate can be checked against")


def verify_code(connection: SSL.Connection) -> int:
    """X509_V_OK (0), or an X509_V_ERR number."""
    return int(_lib.SSL_get_verify_result(_pointer(connection)))


def verify_text(code: int) -> str:
    """OpenSSL's own words for it."""
    said: bytes = _ffi.string(_lib.X509_verify_cert_error_string(code))
    return said.decode()


def _pointer(connection: Any) -> Any:
    return connection._ssl  # noqa: SLF001 - see above
