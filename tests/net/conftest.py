from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from net.bed import Bed, Gateway

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
