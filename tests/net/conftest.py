from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator

import pytest

from net.attacker import POLICY, SETTINGS, Attacker, inside
from net.bed import Bed, Gateway, run
from net.raw_origin import EVIL_V4, GOOD_V4, RawOrigin

_NEEDED = ("ip", "nft", "nginx", "tcpdump", "curl", "openssl")


def _why_not() -> str:
    if os.geteuid() != 0:
        return "not root: network namespaces cannot be made"
    missing = [name for name in _NEEDED if shutil.which(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else ""


@pytest.fixture(scope="session")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    """Pod, gateway and origin, for the whole run."""
    if why := _why_not():
        pytest.skip(why)
    folder = tmp_path_factory.mktemp("bed")
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)
    bed = Bed(folder)
    try:
        bed.up()
        yield bed
    finally:
        bed.down()


@pytest.fixture(scope="module")
def redirected(bed: Bed) -> Iterator[Gateway]:
    """A gateway behind the shipped REDIRECT rules."""
    bed.nft("redirect.nft")
    with bed.gateway() as gateway:
        yield gateway
    bed.flush()


@pytest.fixture(scope="session")
def raw_origin(bed: Bed) -> Iterator[RawOrigin]:
    """Origins that remember every byte, beside nginx."""
    for address in (GOOD_V4, EVIL_V4):
        run(f"ip -n {bed.origin.name} addr add {address}/24 dev origin0")
    origin = RawOrigin(
        bed.folder, lambda address, port: inside(bed.origin.name, lambda: socket.create_server((address, port)))
    )
    yield origin
    origin.close()


@pytest.fixture(scope="module")
def attacked(bed: Bed, raw_origin: RawOrigin) -> Iterator[Attacker]:
    """A gateway behind the shipped REDIRECT rules, and who wants to get past it."""
    bed.nft("redirect.nft")
    with bed.gateway(policy=POLICY, extra=SETTINGS) as gateway:
        yield Attacker(bed, gateway, raw_origin)
    bed.flush()


@pytest.fixture
def attacker(attacked: Attacker) -> Iterator[Attacker]:
    """The same, with origins that have seen nothing yet."""
    attacked.origin.forget()
    yield attacked
    attacked.close()
