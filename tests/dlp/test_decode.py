from __future__ import annotations

import contextlib
import gzip
import os
import zlib
from collections.abc import Callable
from itertools import pairwise

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.dlp import codings
from sluicegate.dlp.budget import FREE, Budget, OverBudget, Unscannable

type Pack = Callable[[bytes], bytes]


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def aws_chunked(data: bytes) -> bytes:
    pieces = [data[at : at + 1000] for at in range(0, len(data), 1000)]
    frames = [b"%x;chunk-signature=%064x\r\n%b\r\n" % (len(piece), at, piece) for at, piece in enumerate(pieces)]
    return b"".join(frames) + b"0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"


PACKED: dict[str, tuple[str, Pack]] = {
    "gzip": ("gzip", gzip.compress),
    "zlib": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "br": ("br", lambda data: brotli.compress(data, quality=4)),
    "zstd": ("zstd", zstd),
}
EACH = pytest.mark.parametrize("name", PACKED)


def unpack(coding: str, pieces: list[bytes], budget: Budget | None = None) -> list[bytes]:
    out: list[bytes] = []
    decoder = codings.decoder(coding, out.append, budget or Budget())
    for piece in pieces:
        decoder.feed(piece)
    decoder.finish()
    return out


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@EACH
@settings(max_examples=60, deadline=None)
@given(
    data=st.binary(max_size=3000) | st.text(max_size=500).map(str.encode), places=st.lists(st.integers(0), max_size=6)
)
def test_what_is_packed_comes_out(name: str, data: bytes, places: list[int]):
    coding, pack = PACKED[name]
    assert b"".join(unpack(coding, cut(pack(data), places))) == data


@EACH
def test_slices_are_bounded(name: str):
    coding, pack = PACKED[name]
    data = os.urandom(20_000) * 50
    slices = unpack(coding, [pack(data)])
    assert b"".join(slices) == data
    assert max(map(len, slices)) <= 200_000


@EACH
def test_cut_short(name: str):
    coding, pack = PACKED[name]
    packed = pack(b"some words that are packed, " * 20)
    for end in range(1, len(packed)):
        with pytest.raises(Unscannable, match="cut short"):
            unpack(coding, [packed[:end]])


@EACH
@settings(max_examples=60, deadline=None)
@given(noise=st.binary(min_size=1, max_size=200), place=st.integers(0))
def test_corrupt_streams_end_in_one_kind_of_error(name: str, noise: bytes, place: int):
    coding, pack = PACKED[name]
    packed = pack(b"some words that are packed, " * 20)
    place %= len(packed)
    with contextlib.suppress(Unscannable):  # by chance it can still be right
        unpack(coding, [packed[:place] + noise + packed[place + len(noise) :]])


@EACH
def test_something_behind_the_end(name: str):
    coding, pack = PACKED[name]
    packed = pack(b"words")
    for pieces in ([packed + b"tail"], [packed, b"tail"]):
        with pytest.raises(Unscannable):
            unpack(coding, pieces)


@EACH
def test_a_bomb_is_not_unpacked(name: str):
    coding, pack = PACKED[name]
    seen = 0

    def count(out: bytes) -> None:
        nonlocal seen
        seen += len(out)

    decoder = codings.decoder(coding, count, Budget())
    with pytest.raises(OverBudget, match="200 times"):
        decoder.feed(pack(bytes(64 << 20)))
    assert seen < 32 << 20


@EACH
def test_the_output_of_a_request_is_bounded(name: str):
    coding, pack = PACKED[name]
    budget = Budget(100_000)
    packed = pack(os.urandom(60_000))
    unpack(coding, [packed], budget)
    with pytest.raises(OverBudget, match="in one request"):
        unpack(coding, [packed], budget)


@EACH
def test_text_that_packs_well_is_no_bomb(name: str):
    coding, pack = PACKED[name]
    line = b"2026-11-23T10:00:00Z GET /index.html 200 %d\n"
    data = b"".join(line % number for number in range(3 * FREE // len(line)))
    assert b"".join(unpack(coding, [pack(data)])) == data


def test_gzip_members_and_padding():
    packed = gzip.compress(b"one, ") + gzip.compress(b"") + gzip.compress(b"two")
    assert b"".join(unpack("gzip", [packed])) == b"one, two"
    assert b"".join(unpack("gzip", [bytes((byte,)) for byte in packed])) == b"one, two"
    assert b"".join(unpack("gzip", [packed + bytes(512)])) == b"one, two"


def test_zstd_frames_and_skippable_ones():
    skippable = b"\x50\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"hello"
    assert b"".join(unpack("zstd", [zstd(b"one, ") + skippable + zstd(b"two")])) == b"one, two"


def test_zstd_with_a_window_that_is_too_large():
    parameters = zstandard.ZstdCompressionParameters(window_log=25, enable_ldm=True)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    packed = packer.compress(os.urandom(1000)) + packer.flush()
    with pytest.raises(Unscannable, match="8 MiB"):
        unpack("zstd", [packed])


@pytest.mark.parametrize(("header", "applied"), [
    pytest.param("gzip", ("gzip",), id="one"),
    pytest.param(" GZip ,br", ("gzip", "br"), id="two, in the order applied"),
    pytest.param("x-gzip", ("gzip",), id="the old name"),
    pytest.param("identity", (), id="identity is none"),
    pytest.param("identity, zstd, identity", ("zstd",), id="identity does not count"),
    pytest.param("", (), id="empty"),
    pytest.param("aws-chunked, gzip", ("gzip", "aws-chunked"), id="aws-chunked is always outermost"),
    pytest.param("gzip,,br", ("gzip", "br"), id="an empty element (RFC 9110, 5.6.1)"),
])  # fmt: skip
def test_headers(header: str, applied: tuple[str, ...]):
    assert codings.listed(header) == applied


@pytest.mark.parametrize("header", [
    pytest.param("compress", id="known to the RFC, not to us"),
    pytest.param("gzip;q=1", id="a parameter"),
    pytest.param("gzip, br, zstd, deflate", id="four"),
    pytest.param("form", id="a decoder that is no coding"),
    pytest.param("gzip br", id="no comma"),
])  # fmt: skip
def test_headers_that_cannot_be_served(header: str):
    with pytest.raises(Unscannable):
        codings.listed(header)


@pytest.mark.parametrize(("name", "coding"), [("gzip", "gzip"), ("zlib", "deflate"), ("zstd", "zstd"), ("br", None)])
def test_sniffing(name: str, coding: str | None):
    assert codings.sniff(PACKED[name][1](b"words")[: codings.SNIFF]) == coding


@pytest.mark.parametrize("head", [b"", b"\x1f", b'{"a"', b"GET ", b"PK\x03\x04"])
def test_nothing_to_sniff(head: bytes):
    assert codings.sniff(head) is None


@settings(max_examples=60, deadline=None)
@given(data=st.binary(max_size=3000), places=st.lists(st.integers(0), max_size=6))
def test_aws_chunked(data: bytes, places: list[int]):
    assert b"".join(unpack("aws-chunked", cut(aws_chunked(data), places))) == data


@pytest.mark.parametrize("framed", [
    pytest.param(b"5\r\nhello\r\n", id="no last chunk"),
    pytest.param(b"5\r\nhel", id="cut short"),
    pytest.param(b"5\r\nhelloworld\r\n0\r\n", id="more than it says"),
    pytest.param(b"5\r\nhello\rx0\r\n", id="half a line break"),
    pytest.param(b"five\r\nhello\r\n0\r\n", id="no number"),
    pytest.param(b"5;" + b"x" * 600, id="an endless head"),
    pytest.param(b"0\r\n" + b"x" * 9000, id="an endless end"),
    pytest.param(b"plain text", id="no frames at all"),
])  # fmt: skip
def test_aws_chunked_that_is_none(framed: bytes):
    for pieces in ([framed], [bytes((byte,)) for byte in framed]):
        with pytest.raises(Unscannable):
            unpack("aws-chunked", pieces)
