"""The demo's origin: a small web shop on loopback, so that the tour in README.md needs no internet.

python deploy/demo/origin.py FOLDER      writes FOLDER/origin.pem, the certificate to trust, then serves
"""

from __future__ import annotations

import datetime as dt
import ssl
import sys
from pathlib import Path

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ADDRESS, PORT = "127.0.0.1", 9443
NAMES = ("shop.demo.test", "paste.demo.test", "mirror.demo.test")


def certificate(folder: Path) -> ssl.SSLContext:
    """A self-signed certificate for NAMES, made anew at each start."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Sluicegate demo origin")])
    now = dt.datetime.now(dt.UTC)
    cert = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=7))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in NAMES]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    both = folder / "origin.key"
    both.touch(mode=0o600)
    both.write_bytes(secret + cert.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    (folder / "origin.pem").write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    return context


async def front_page(request: web.Request) -> web.Response:
    return web.Response(text=f"welcome to {request.host}\n")


async def upload(request: web.Request) -> web.Response:
    body = await request.read()
    return web.json_response({"received": len(body)})


def main() -> None:
    app = web.Application(client_max_size=1 << 30)
    app.add_routes([web.get("/", front_page), web.get("/{any:.*}", front_page), web.post("/{any:.*}", upload)])
    context = certificate(Path(sys.argv[1]))
    web.run_app(app, host=ADDRESS, port=PORT, ssl_context=context, print=None, access_log=None)


if __name__ == "__main__":
    main()
