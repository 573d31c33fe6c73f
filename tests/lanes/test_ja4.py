from __future__ import annotations

import shutil
import socket
import subprocess
from typing import Any

import pytest

from sluicegate.lanes.client_hello import ClientHello
from sluicegate.lanes.ja4 import ja4
from sluicegate.lanes.tls_records import parse

CHROME = ClientHello(
    legacy_version=0x0303,
    ciphers=(
        0x1301, 0x1302, 0x1303, 0xC02B, 0xC02F, 0xC02C, 0xC030, 0xCCA9, 0xCCA8, 0xC013, 0xC014, 0x9C, 0x9D, 0x2F, 0x35,
    ),
    extensions=(
        0x1B, 0x00, 0x33, 0x10, 0x4469, 0x17, 0x2D, 0x0D, 0x05, 0x23, 0x12, 0x2B, 0xFF01, 0x0B, 0x0A, 0x15,
    ),
    alpn=(b"h2", b"http/1.1"),
    versions=(0x0304, 0x0303),
    signature_algorithms=(0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601),
)  # fmt: skip
"""The worked example of the specification, GREASE left out."""


def variant(**changes: Any) -> ClientHello:
    fields = {name: getattr(CHROME, name) for name in CHROME.__dataclass_fields__}
    return ClientHello(**{**fields, **changes})


@pytest.mark.parametrize(
    ("hello", "expected"),
    [
        pytest.param(CHROME, "t13d1516h2_8daaf6152771_e5627efa2ab1", id="the example of the specification"),
        pytest.param(
            variant(signature_algorithms=()), "t13d1516h2_8daaf6152771_6d807ffa2a79", id="no signature algorithms"
        ),
        pytest.param(ClientHello(0x0301, (), versions=(0x0301,)), "t10i000000_000000000000_000000000000", id="nothing"),
    ],
)
def test_published(hello: ClientHello, expected: str):
    assert ja4(hello) == expected


@pytest.mark.parametrize(
    ("changes", "beginning"),
    [
        pytest.param({"versions": (0x0303, 0x0304)}, "t13d1516h2_", id="the newest version, wherever it stands"),
        pytest.param({"versions": (0x0303,)}, "t12d", id="TLS 1.2"),
        pytest.param({"versions": (0x0302,)}, "t11d", id="TLS 1.1"),
        pytest.param({"versions": (0x0300,)}, "ts3d", id="SSL 3"),
        pytest.param({"versions": ()}, "t00d", id="none but GREASE"),
        pytest.param({"extensions": CHROME.extensions[2:]}, "t13i1514h2_", id="no name"),
        pytest.param({"ciphers": tuple(range(150))}, "t13d9916h2_", id="counts end at 99"),
        pytest.param({"alpn": ()}, "t13d151600_", id="no ALPN"),
        pytest.param({"alpn": (b"http/1.1",)}, "t13d1516h1_", id="first and last"),
        pytest.param({"alpn": (b"h",)}, "t13d1516hh_", id="one letter is both"),
        pytest.param({"alpn": (b"\xab",)}, "t13d1516ab_", id="hex of one byte"),
        pytest.param({"alpn": (b"\xab\xcd",)}, "t13d1516ad_", id="hex of two"),
        pytest.param({"alpn": (b"\x30\xab",)}, "t13d15163b_", id="hex where one end is no letter"),
        pytest.param({"alpn": (b"a ",)}, "t13d151660_", id="a space is no letter"),
    ],
)
def test_the_readable_part(changes: dict[str, object], beginning: str):
    assert ja4(variant(**changes)).startswith(beginning)


def test_the_order_of_ciphers_and_extensions_is_no_matter_that_of_signatures_is():
    shuffled = variant(ciphers=CHROME.ciphers[::-1], extensions=CHROME.extensions[::-1])
    assert ja4(shuffled) == ja4(CHROME)
    assert ja4(variant(signature_algorithms=CHROME.signature_algorithms[::-1])) != ja4(CHROME)


@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_curl_has_the_fingerprint_that_others_publish_for_it():
    version = subprocess.run(["curl", "--version"], capture_output=True, text=True, check=True).stdout
    if "OpenSSL/3.0" not in version or "HTTP2" not in version:
        pytest.skip("the published fingerprint is that of curl with OpenSSL 3.0 and HTTP/2")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        url = f"https://example.test:{port}/"
        curl = subprocess.Popen(["curl", "-s", "--resolve", f"example.test:{port}:127.0.0.1", url])
        client, _ = listener.accept()
        with client:
            found = parse(client.recv(65536))
        curl.wait(10)
    assert ja4(found) == "t13d3112h2_e8f1e7e78f70_b26ce05bbdd6"
