"""A gibibyte each way in constant memory."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from net.bed import Bed, Gateway

pytestmark = pytest.mark.net

GIB = 1 << 30
ROOM = 64 << 20


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def watched(gateway: Gateway) -> Iterator[list[int]]:
    """The gateway's resident bytes: the first is from before, the last the highest seen."""
    assert gateway.process is not None
    pid, done = gateway.process.pid, threading.Event()
    seen = [resident(pid)]

    def watch() -> None:
        while not done.wait(0.02):
            seen.append(resident(pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


@pytest.fixture(scope="module", params=["auto", "mitm"])
def warm(bed: Bed, request: pytest.FixtureRequest) -> Iterator[Gateway]:
    """In each HTTP lane. What is loaded at the first request of its kind is not what is measured."""
    bed.nft("redirect.nft")
    with bed.gateway(extra=f"engine: {request.param}\n") as gateway:
        for url in ("https://shop.test/100k", "http://shop.test/100k"):
            assert bed.status(url) == "200"
        yield gateway
    bed.flush()


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_a_download_of_a_gibibyte(bed: Bed, warm: Gateway, scheme: str) -> None:
    page = bed.www / "gibibyte"
    with page.open("wb") as file:
        file.truncate(GIB)
    page.chmod(0o644)
    with watched(warm) as seen:
        done = bed.pod.exec(
            "curl", "-sS", "--cacert", f"{bed.folder}/ca.pem", "-o", os.devnull, "-w", "%{http_code} %{size_download}",
            f"{scheme}://shop.test/gibibyte", timeout=120,
        )  # fmt: skip
    assert done.stdout == f"200 {GIB}", done.stderr
    assert max(seen) - seen[0] < ROOM


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_an_upload_of_a_gibibyte(bed: Bed, warm: Gateway, scheme: str) -> None:
    body = bed.folder / "gibibyte"
    with body.open("wb") as file:
        file.truncate(GIB)
    with watched(warm) as seen:
        done = bed.pod.exec(
            "curl", "-sS", "--cacert", f"{bed.folder}/ca.pem", "-H", "Expect:", "-X", "POST", "-T", str(body),
            "-o", os.devnull, "-w", "%{http_code} %{size_upload}", f"{scheme}://shop.test/post", timeout=120,
        )  # fmt: skip
    assert done.stdout == f"200 {GIB}", done.stderr
    assert max(seen) - seen[0] < ROOM
