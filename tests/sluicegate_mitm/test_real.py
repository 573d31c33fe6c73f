"""Programs of other people on both ends: nginx, curl, requests; and the event loop that the gateway runs on."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import requests
import uvloop
from cryptography.hazmat.primitives import serialization

from sluicegate.names import HostName
from sluicegate.verdict import Deny, Reason, built_in

NGINX = shutil.which("nginx") or "/usr/sbin/nginx"
pytestmark = pytest.mark.skipif(not Path(NGINX).exists(), reason="nginx is not installed")

CONF = """
daemon off; master_process off; pid {at}/pid; error_log {at}/error.log; worker_rlimit_nofile 1024;
events {{ worker_connections 256; }}
http {{
  access_log {at}/access.log; client_body_temp_path {at}/body; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f;
  uwsgi_temp_path {at}/u; scgi_temp_path {at}/s; client_max_body_size 64m; keepalive_requests 50;
  server {{
    listen 127.0.0.1:{port} ssl http2; server_name origin.test;
    ssl_certificate {at}/cert.pem; ssl_certificate_key {at}/key.pem;
    root {at}/www;
    location = /redirect {{ return 302 /page.html; }}
    location = /gzip.txt {{ gzip on; gzip_types text/plain; }}
    location /upload {{ dav_methods PUT; create_full_put_path on; }}
  }}
}}
"""
PAGE = b"<p>hello from nginx</p>\n"
BIG = os.urandom(3_000_000)


@contextlib.asynccontextmanager
async def nginx(bed: Any, folder: Path):
    """A port of nginx with TLS and HTTP/2, which presents itself as origin.test."""
    (folder / "www").mkdir(parents=True)
    (folder / "www/page.html").write_bytes(PAGE)
    (folder / "www/big.bin").write_bytes(BIG)
    (folder / "www/gzip.txt").write_text("compress me " * 1000)
    leaf = bed.leaves.leaf(HostName.parse("origin.test"))
    (folder / "cert.pem").write_bytes(leaf.pem)
    (folder / "key.pem").write_bytes(
        leaf._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    with contextlib.closing(await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)) as free:
        port = free.sockets[0].getsockname()[1]
    (folder / "nginx.conf").write_text(CONF.format(at=folder, port=port))
    server = await asyncio.create_subprocess_exec(
        NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf"), stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(5):
            while not await _listens(port):  # noqa: ASYNC110 - nginx tells nobody when it is ready
                await asyncio.sleep(0.02)
        yield port
    finally:
        server.terminate()
        await server.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return False
    writer.close()
    return True


async def curl(bed: Any, door: int, origin: int, *more: str, path: str = "/page.html") -> tuple[int, bytes]:
    made = await asyncio.create_subprocess_exec(
        "curl", "-sS", "--cacert", str(bed.ca), "--connect-to", f"origin.test:{origin}:127.0.0.1:{door}", *more,
        f"https://origin.test:{origin}{path}", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await made.communicate()
    assert made.returncode is not None
    return made.returncode, out


@pytest.mark.parametrize("version", ["--http1.1", "--http2", "--http2-prior-knowledge"])
async def test_curl_cannot_tell(bed: Any, tmp_path: Path, version: str):
    folder = tmp_path / "nginx"
    async with nginx(bed, folder) as origin, bed.door(origin) as door:
        assert await curl(bed, door, origin, version) == (0, PAGE)
        assert await curl(bed, door, origin, version, path="/big.bin") == (0, BIG)
        assert (await curl(bed, door, origin, version, "--compressed", path="/gzip.txt"))[1].startswith(b"compress me ")
        assert await curl(bed, door, origin, version, "-L", path="/redirect") == (0, PAGE)
        assert (await curl(bed, door, origin, version, "-I"))[1].split(b" ", 2)[1] == b"200"
        (folder / "up").write_bytes(b"a" * 5_000_000)
        upload = ("-T", str(folder / "up"), "-o", "/dev/null", "-w", "%{http_code}")
        assert await curl(bed, door, origin, version, *upload, path="/upload/a") == (0, b"201")
        (folder / "secret").write_text(f"token {bed.secret} .")
        refused = ("--data-binary", f"@{folder}/secret", "-w", "%{http_code}", "-o", "/dev/null")
        assert await curl(bed, door, origin, version, *refused, path="/upload") == (0, b"403")
        await bed.settle()
        assert (folder / "access.log").read_text().count("POST") == 0
        assert (folder / "www/upload/a").stat().st_size == 5_000_000


async def test_many_requests_on_one_http2_connection_outlive_nginx_s_limit(bed: Any, tmp_path: Path):
    """keepalive_requests is 50: nginx sends GOAWAY twice on the way."""
    async with nginx(bed, tmp_path / "nginx") as origin, bed.door(origin) as door:
        path = "/page.html?[1-120]"
        code, out = await curl(bed, door, origin, "--http2-prior-knowledge", path=path)
        await bed.settle()
    assert (code, out) == (0, PAGE * 120)
    assert {record["status"] for record in bed.records(120)} == {200}


async def test_requests_cannot_tell(bed: Any, tmp_path: Path):
    class ThroughTheDoor(requests.adapters.HTTPAdapter):
        def __init__(self, door: int) -> None:
            super().__init__()
            self.door = door

        def get_connection_with_tls_context(self, request: Any, verify: Any, proxies: Any = None, cert: Any = None):
            request.headers["Host"] = request.url.split("/")[2]
            request.url = request.url.replace(request.headers["Host"], f"127.0.0.1:{self.door}")
            return super().get_connection_with_tls_context(request, verify, proxies, cert)

        def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None):
            host, pool = super().build_connection_pool_key_attributes(request, verify, cert)
            return host, {**pool, "server_hostname": "origin.test", "assert_hostname": "origin.test"}

    def talk(origin: int, door: int):
        with requests.Session() as session:
            session.trust_env = False
            session.verify = str(bed.ca)
            session.mount("https://", ThroughTheDoor(door))
            page = session.get(f"https://origin.test:{origin}/page.html")
            big = session.get(f"https://origin.test:{origin}/big.bin")
            refused = session.post(f"https://origin.test:{origin}/upload", data=f"token {bed.secret} .")
            return page.content, hashlib.sha256(big.content).digest(), refused.status_code

    async with nginx(bed, tmp_path / "nginx") as origin, bed.door(origin) as door:
        seen = await asyncio.to_thread(talk, origin, door)
        await bed.settle()
    assert seen == (PAGE, hashlib.sha256(BIG).digest(), 403)


async def test_a_refused_connection_of_a_client_that_speaks_only_http2_is_told_why(bed: Any, tmp_path: Path):
    deny = Deny(Reason.LISTED, built_in("test"), "origin.test is listed")
    async with nginx(bed, tmp_path / "nginx") as origin, bed.door(origin, refused=deny) as door:
        code, out = await curl(bed, door, origin, "--http2-prior-knowledge", "-w", "%{http_code}")
        await bed.settle()
    assert code == 0
    assert out.endswith(b"403")
    assert bed.record()["reason"] == "listed"


@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
def test_the_same_on_uvloop(beds: Any, tmp_path: Path, version: str):
    async def talk():
        assert isinstance(asyncio.get_running_loop(), uvloop.Loop)
        folder = tmp_path / "nginx"
        async with beds() as bed, nginx(bed, folder) as origin, bed.door(origin) as door:
            assert await curl(bed, door, origin, version) == (0, PAGE)
            assert await curl(bed, door, origin, version, path="/big.bin") == (0, BIG)
            (folder / "up").write_bytes(b"a" * 5_000_000)
            upload = ("-T", str(folder / "up"), "-o", "/dev/null", "-w", "%{http_code}")
            assert await curl(bed, door, origin, version, *upload, path="/upload/a") == (0, b"201")
            (folder / "secret").write_text("b" * 2_000_000 + f" {bed.secret} .")
            refused = ("-T", str(folder / "secret"), "-o", "/dev/null", "-w", "%{http_code}")
            assert await curl(bed, door, origin, version, *refused, path="/upload/b") == (0, b"403")
            await bed.settle()
            assert not (folder / "www/upload/b").exists()
            return [record["reason"] for record in bed.records(4)]

    assert uvloop.run(talk()) == ["rule", "rule", "rule", "sensitive-data"]
