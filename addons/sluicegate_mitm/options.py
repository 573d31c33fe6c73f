"""mitmproxy's options, as far as the layers of this lane read them. No file, no Master and no addon sets any."""

from __future__ import annotations

import contextlib

from mitmproxy.options import Options
from mitmproxy.utils import asyncio_utils

_DECLARED_BY_ADDONS = (  # mitmproxy's addons declare these when they are loaded; we load none
    ("validate_inbound_headers", bool, True),
    ("normalize_outbound_headers", bool, False),
    ("connection_strategy", str, "lazy"),
)


def strict_options() -> Options:
    """One per lane; making it is slow."""
    options = Options()
    for name, kind, value in _DECLARED_BY_ADDONS:
        options.add_option(name, kind, value, "")
    options.update(rawtcp=False, http2_ping_keepalive=0)  # type: ignore[no-untyped-call]  # mitmproxy's own
    return options


def keep_hands_off_the_loop() -> None:
    """Mitmproxy would make every task of the loop an eager one, which uvloop cannot (and our other tasks must not)."""
    asyncio_utils.set_eager_task_factory = contextlib.nullcontext  # type: ignore[assignment]  # a context manager as well
