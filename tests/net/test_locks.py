"""The two locks, seen from the wire: what is refused early leaves no packet behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from net.bed import OURS, Bed, Gateway, queries, syns

pytestmark = pytest.mark.net


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        pytest.param(("https://unruled.test/",), "no-rule", id="by name"),
        pytest.param(("https://listed.test/",), "listed", id="by list"),
        pytest.param(("https://shop.test:8443/",), "no-rule", id="by port"),
        pytest.param(("-X", "PUT", "https://api.test/v1/charges"), "no-rule", id="by method"),
        pytest.param(("https://api.test/v9",), "no-rule", id="by path"),
        pytest.param(("-H", "Host: api.test", "https://shop.test/"), "names-disagree", id="by head"),
        pytest.param(("-H", "x-note: " + "ghp_" + "a1B2" * 9, "https://shop.test/"), "sensitive-data", id="by a field"),
        pytest.param(("http://169.254.169.254/",), "metadata", id="by address asked for"),
    ],
)
def test_what_the_head_refuses_sends_neither_query_nor_syn(
    bed: Bed, redirected: Gateway, args: tuple[str, ...], reason: str
) -> None:
    with bed.capture(OURS) as seen:
        bed.curl(*args)
    assert redirected.record(reason=reason)["verdict"] == "deny"
    assert seen == []


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        pytest.param("https://private.test/", "private-address", id="a private address"),
        pytest.param("https://meta.test/", "metadata", id="a metadata service"),
        pytest.param("https://to-listed.test/", "listed", id="a listed address"),
    ],
)
def test_what_the_resolved_address_refuses_sends_the_query_and_no_syn(
    bed: Bed, redirected: Gateway, url: str, reason: str
) -> None:
    redirected.forget_names()
    with bed.capture(OURS) as seen:
        bed.curl(url)
    assert redirected.record(reason=reason)["verdict"] == "deny"
    assert queries(seen)
    assert syns(seen) == []


def test_what_the_body_refuses_sends_no_byte_of_the_request(bed: Bed, redirected: Gateway) -> None:
    body = bed.folder / "half-a-megabyte"
    body.write_text("x" * 500_000 + " AKIA" + "Z7VR5SNQ2LKX4WTD")
    before = _seen_by_nginx(bed)
    with bed.capture(OURS) as seen:
        done = bed.curl("--data-binary", f"@{body}", "-H", "Expect:", "https://shop.test/post")
    assert json.loads(done.stdout.rpartition("\n")[0])["reason"] == "sensitive-data"
    assert syns(seen) == [], "the dial waits for the body's verdict"
    assert _seen_by_nginx(bed) == before


def test_a_secret_at_the_end_of_a_large_body_never_completes_the_request(bed: Bed, redirected: Gateway) -> None:
    body = bed.folder / "five-megabytes"
    body.write_text("x" * 5_000_000 + " AKIA" + "Z7VR5SNQ2LKX4WTD")
    before = _seen_by_nginx(bed)
    done = bed.curl("--data-binary", f"@{body}", "-H", "Expect:", "https://shop.test/post")
    assert done.stdout.endswith("403") or done.returncode != 0
    record = redirected.record(reason="sensitive-data", path="/post")
    assert record["verdict"] == "deny"
    # nginx logs a request that was cut off as 400 or 499, and never as stored.
    late = [line for line in _seen_by_nginx(bed)[len(before) :] if " 200 " in line]
    assert late == []


def _seen_by_nginx(bed: Bed) -> list[str]:
    log = Path(bed.folder / "seen.log")
    return [line for line in log.read_text().splitlines() if "POST" in line] if log.exists() else []
