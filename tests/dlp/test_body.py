from __future__ import annotations

import gzip
import json
import random
import zlib
from collections.abc import Callable
from itertools import pairwise

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from sluicegate.dlp.engine import Engine
from sluicegate.facts import Finding

TOKEN = b"ghp_" + b"R4nd0mT0kenF0rTests" + b"a1B2c3D4e5F6g7h8J"
AWS = b"AKIA" + b"IOSFODNN7EXAMPLE"


def feed(
    engine: Engine, pieces: list[bytes], encoding: str = "", content_type: str = ""
) -> tuple[list[Finding], str | None, int]:
    scan = engine.open()
    try:
        body = scan.body(encoding, content_type)
        found = [finding for piece in pieces for finding in body.feed(piece)]
        found += body.finish()
        return found, body.unscannable, body.seen
    finally:
        scan.close()


def places(found: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.rule, finding.location) for finding in found]


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


@pytest.mark.parametrize(("encoding", "packed"), [
    pytest.param("gzip", gzip.compress(TOKEN), id="gzip"),
    pytest.param("deflate", zlib.compress(TOKEN), id="deflate"),
    pytest.param("br", brotli.compress(TOKEN), id="br"),
    pytest.param("zstd", zstd(TOKEN), id="zstd"),
])  # fmt: skip
def test_a_coded_body(engine: Engine, encoding: str, packed: bytes):
    found, unscannable, seen = feed(engine, [packed], encoding)
    assert ("github-pat", f"body:{encoding}") in places(found)
    assert unscannable is None
    assert seen == len(TOKEN)


def test_a_secret_across_the_frames_of_an_s3_upload(engine: Engine):
    framed = b"e;chunk-signature=00\r\n" + TOKEN[:14] + b"\r\n%x\r\n" % len(TOKEN[14:]) + TOKEN[14:] + b"\r\n0\r\n\r\n"
    found, unscannable, seen = feed(engine, [framed], "aws-chunked")
    assert ("github-pat", "body:aws-chunked") in places(found)
    assert (unscannable, seen) == (None, len(TOKEN))


def test_codings_are_undone_from_the_right(engine: Engine):
    found, unscannable, seen = feed(engine, [zstd(brotli.compress(gzip.compress(TOKEN)))], "gzip, br, zstd")
    assert places(found) == [("github-pat", "body:zstd:br:gzip")]
    assert (unscannable, seen) == (None, len(TOKEN))


@pytest.mark.parametrize(
    "packed", [gzip.compress(TOKEN), zlib.compress(TOKEN), zstd(TOKEN)], ids=["gzip", "zlib", "zstd"]
)
@pytest.mark.parametrize("encoding", ["", "identity"])
def test_a_coding_that_the_header_hides(engine: Engine, packed: bytes, encoding: str):
    found, unscannable, _ = feed(engine, [packed], encoding)
    assert {finding.rule for finding in found} == {"github-pat"}
    assert unscannable is None


def test_a_packed_file_inside_of_a_packed_body(engine: Engine):
    found, _, _ = feed(engine, [brotli.compress(gzip.compress(TOKEN))], "br")
    assert places(found) == [("github-pat", "body:br:gzip")]


def test_a_plain_body_that_calls_itself_gzip(engine: Engine):
    """A receiver that ignores the header sees the token: so do we, and say that the body is not what it says."""
    found, unscannable, _ = feed(engine, [b"token " + TOKEN], "gzip")
    assert places(found) == [("github-pat", "body")]
    assert unscannable is not None


def test_a_body_of_another_coding_than_it_says(engine: Engine):
    found, unscannable, _ = feed(engine, [zstd(TOKEN)], "gzip")
    assert ("github-pat", "body:zstd") in places(found)
    assert unscannable is not None


def test_an_unknown_coding_is_scanned_as_it_is(engine: Engine):
    found, unscannable, seen = feed(engine, [TOKEN], "compress")
    assert places(found) == [("github-pat", "body")]
    assert unscannable == "content-encoding 'compress' is not known"
    assert seen == len(TOKEN)


@pytest.mark.parametrize(("packed", "encoding", "why"), [
    pytest.param(gzip.compress(b"x" * 999)[:-9], "gzip", "the gzip stream is cut short", id="cut short"),
    pytest.param(gzip.compress(bytes(64 << 20)), "gzip", "unpacks to more than 200 times its size", id="a bomb"),
    pytest.param(gzip.compress(bytes(64 << 20)), "", "unpacks to more than 200 times its size", id="a bomb undeclared"),
    pytest.param(brotli.compress(gzip.compress(bytes(64 << 20))), "gzip, br", "unpacks to more than 200 times its size", id="inside"),
    pytest.param(b"\0\1\2\3\4", "zstd", "the zstd stream is corrupt, or wants more than 8 MiB of history", id="corrupt"),
])  # fmt: skip
def test_what_cannot_be_scanned_says_why(engine: Engine, packed: bytes, encoding: str, why: str):
    assert feed(engine, [packed], encoding)[1] == why


def test_a_body_that_only_begins_like_gzip_is_not_held_against_it(engine: Engine):
    found, unscannable, _ = feed(engine, [b"\x1f\x8b\x08 no gzip at all, " + TOKEN])
    assert (places(found), unscannable) == ([("github-pat", "body")], None)


def test_packed_too_often(engine: Engine):
    data = TOKEN
    for _ in range(6):
        data = gzip.compress(data)
    assert feed(engine, [data])[1] == "packed more than 4 times over"


def test_an_empty_body_of_any_coding(engine: Engine):
    assert feed(engine, [], "gzip") == ([], None, 0)
    assert feed(engine, [b""], "br") == ([], None, 0)


@pytest.mark.parametrize("text", [
    pytest.param(b"a=1&url=postgres%3A%2F%2Fu%3As3cr3t%40db%2Fapp", id="once"),
    pytest.param(b"a=1&url=postgres%253A%252F%252Fu%253As3cr3t%2540db%252Fapp", id="twice"),
    pytest.param(b"a=1&url=%70ostgres://u:s3cr3t@db/app", id="a letter"),
])  # fmt: skip
def test_a_form(engine: Engine, text: bytes):
    kind = "application/x-www-form-urlencoded; charset=UTF-8"
    for pieces in ([text], [bytes((byte,)) for byte in text]):
        found, unscannable, _ = feed(engine, pieces, "", kind)
        assert ("postgres-url", "body:form") in places(found)
        assert unscannable is None
    assert ("postgres-url", "body:gzip:form") in places(feed(engine, [gzip.compress(text)], "gzip", kind)[0])


def sample() -> bytes:
    rng = random.Random(7)
    words = [json.dumps({"n": rng.randrange(10**16), "x": f"{rng.getrandbits(128):x}"}).encode() for _ in range(400)]
    words[50] = TOKEN
    words[120] = (
        b"-----BEGIN PRIVATE " + b"KEY-----\n" + b"MIIEvQIBADANBgkqhkiG9w0B" * 250 + b"\n-----END PRIVATE KEY-----"
    )
    words[200] = b'"card": "4111111111111111", "card2": "5555-5555-5555-4444"'
    words[260] = b"ssn 536-22-8145"
    words[300] = AWS + AWS + b"ghp_" + b"aaaaaaaaaaaaaaaaaaa" + TOKEN
    words[399] = b"DE89 3704 0044 0532 0130 00"
    return b" ".join(words)


SAMPLE = sample()


def test_the_sample_holds_what_it_should(engine: Engine):
    rules = {finding.rule for finding in feed(engine, [SAMPLE])[0]}
    assert rules == {"github-pat", "private-key", "payment-card", "us-ssn", "aws-access-key-id", "iban"}


@settings(max_examples=60, deadline=None)
@given(places=st.lists(st.integers(0, len(SAMPLE)), max_size=30))
def test_findings_do_not_depend_on_the_cuts(engine: Engine, places: list[int]):
    edges = [0, *sorted(places), len(SAMPLE)]
    pieces = [SAMPLE[start:end] for start, end in pairwise(edges)]
    assert set(feed(engine, pieces)[0]) == set(feed(engine, [SAMPLE])[0])


def test_findings_do_not_depend_on_the_cuts_byte_by_byte(engine: Engine):
    assert feed(engine, [SAMPLE[index : index + 1] for index in range(len(SAMPLE))])[0] == feed(engine, [SAMPLE])[0]


def test_a_finding_comes_before_the_end_of_a_long_body(engine: Engine):
    scan = engine.open()
    body = scan.body("", "")
    assert body.feed(TOKEN) == ()  # it could go on
    assert [finding.rule for finding in body.feed(b" " * 8192)] == ["github-pat"]
    scan.close()


def test_a_flood_of_near_misses_is_taken_for_what_it_imitates(pack: Callable[[str], str]):
    """And costs what its length costs, not its square."""
    rule = "- {id: house, severity: low, regex: 'ab[ab]{4,400}', entropy: 4, tests: {nomatch: [abababab]}}"
    engine = Engine.load([pack(rule)], key=b"k" * 32)
    assert feed(engine, [b"ab" * 100]) == ([], None, 200)
    flood = [b"ab" * 4096] * 20
    assert {finding.rule for finding in feed(engine, flood)[0]} == {"house"}


def test_closing_early_and_twice(engine: Engine):
    scan = engine.open()
    body = scan.body("gzip", "")
    body.feed(gzip.compress(TOKEN)[:20])
    body.close()
    body.close()
    assert body.finish() == ()
    with pytest.raises(ValueError, match="closed"):
        body.feed(b"more")
    scan.close()


def test_an_abandoned_body_is_closed_by_its_scan(engine: Engine):
    scan = engine.open()
    body = scan.body("", "")
    body.feed(b"some")
    scan.close()
    with pytest.raises(ValueError, match="closed"):
        body.feed(b"more")
