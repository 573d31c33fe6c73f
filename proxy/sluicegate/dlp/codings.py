"""Which codings a body has: what its header says, and what its first bytes look like."""

from __future__ import annotations

from collections.abc import Callable

from sluicegate.dlp.aws_chunked import AwsChunked
from sluicegate.dlp.budget import Budget, Unscannable
from sluicegate.dlp.decode import Brotli, Decoder, Deflate, Gzip, Sink, Zstd
from sluicegate.dlp.form import Form

MOST = 3
"""Codings that one Content-Encoding may list."""
SNIFF = 4
"""Bytes that `sniff` wants to see."""

_DECODERS: dict[str, Callable[[Sink, Budget], Decoder]] = {
    "gzip": Gzip, "deflate": Deflate, "br": Brotli, "zstd": Zstd, "aws-chunked": AwsChunked, "form": Form,
}  # fmt: skip
_ALIASES = {"x-gzip": "gzip", "identity": ""}  # RFC 9110, 8.4.1.3
_KNOWN = {"gzip", "deflate", "br", "zstd", "aws-chunked"}


def listed(content_encoding: str) -> tuple[str, ...]:
    """The codings in the order they were applied. Raises Unscannable for an unknown one, or too many."""
    names = [name.strip().lower() for name in content_encoding.split(",")]
    codings = tuple(coding for name in names if (coding := _ALIASES.get(name, name)))
    for coding in codings:
        if coding not in _KNOWN:
            raise Unscannable(f"content-encoding {coding[:40]!r} is not known")
    if len(codings) > MOST:
        raise Unscannable(f"{len(codings)} content-encodings on top of each other; {MOST} are undone")
    # aws-chunked is listed first and yet is the outermost: S3 takes it off and keeps the rest as the object's own.
    return tuple(sorted(codings, key="aws-chunked".__eq__))


def sniff(head: bytes) -> str | None:
    """The coding that these first bytes belong to, whatever a header says; br has no mark of its own."""
    if head.startswith(b"\x1f\x8b\x08"):
        return "gzip"
    if head.startswith(b"\x28\xb5\x2f\xfd") or (head[1:4] == b"\x2a\x4d\x18" and head[0] >> 4 == 5):
        return "zstd"  # a frame, or a skippable one before it (RFC 8878, 3.1)
    if head[:2] in {b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda"}:
        return "deflate"
    return None


def decoder(coding: str, sink: Sink, budget: Budget) -> Decoder:
    return _DECODERS[coding](sink, budget)


def is_form(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == "application/x-www-form-urlencoded"
