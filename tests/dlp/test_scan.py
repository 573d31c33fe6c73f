from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from sluicegate.dlp import tally
from sluicegate.dlp.engine import Engine
from sluicegate.facts import Finding

from .conftest import KEY

TOKEN = b"ghp_" + b"R4nd0mT0kenF0rTests" + b"a1B2c3D4e5F6g7h8J"
CARDS = (b"4111111111111111", b"5555555555554444", b"378282246310005", b"6011111111111117", b"3530111333300000")


def actions(found: Sequence[Finding]) -> list[tuple[str, str]]:
    return [(finding.rule, finding.action) for finding in found]


def test_a_finding_says_all_but_the_secret(engine: Engine):
    (finding,) = engine.open().field("header:x-token", b"Bearer " + TOKEN)
    assert (finding.rule, finding.location) == ("github-pat", "header:x-token")
    assert (finding.severity, finding.action) == ("critical", "block")
    assert finding.masked == "ghp_...8J (40 bytes)"
    assert len(finding.fingerprint) == 16
    assert TOKEN[6:-2].decode() not in repr(finding)


def test_a_mask_of_what_has_no_public_prefix_is_its_length(engine: Engine):
    (finding,) = engine.open().field("url", b"/pay?card=4111111111111111")
    assert finding.masked == "(16 bytes)"
    (finding,) = engine.open().field("body", b"postgres://app:s3cr3t@db/app")
    assert finding.masked == "(6 bytes)"


def test_fingerprints_are_keyed(engine: Engine):
    (one,) = engine.open().field("url", TOKEN)
    (other,) = Engine(engine.rules[:40], key=b"another key of 32 bytes or so...").open().field("url", TOKEN)
    (same,) = Engine(engine.rules[:40], key=KEY).open().field("url", b"/x?" + TOKEN)
    assert one.fingerprint == same.fingerprint != other.fingerprint


def test_a_short_key_is_refused(engine: Engine):
    with pytest.raises(ValueError, match="16 bytes"):
        Engine(engine.rules, key=b"short")


def test_the_spelling_of_a_number_does_not_change_its_fingerprint(engine: Engine):
    scan = engine.open()
    found = scan.field("url", b"4111111111111111 or 4111 1111 1111 1111 or 4111-1111-1111-1111")
    assert len(found) == 1


@pytest.mark.parametrize("value", [
    pytest.param(b"/a?k=" + TOKEN, id="plain"),
    pytest.param(b"/a?k=%67hp_" + TOKEN[4:], id="percent-encoded"),
    pytest.param(b"/a?k=%2567hp_" + TOKEN[4:], id="twice"),
    pytest.param(b"/a?k=" + b"".join(b"%%%02X" % byte for byte in TOKEN), id="every byte"),
])  # fmt: skip
def test_urls(engine: Engine, value: bytes):
    assert actions(engine.open().field("url", value)) == [("github-pat", "block")]


def test_nothing_in_nothing(engine: Engine):
    scan = engine.open()
    assert scan.field("url", b"") == scan.message("ws", b"") == scan.field("url", b"/index.html?x=%") == ()


def test_one_finding_for_each_place(engine: Engine):
    scan = engine.open()
    assert len(scan.field("url", TOKEN + b" " + TOKEN)) == 1
    assert scan.field("url", TOKEN) == ()
    assert [finding.location for finding in scan.message("ws", TOKEN)] == ["ws"]


def test_suspecting_is_cheaper_than_finding(engine: Engine):
    scan = engine.open()
    assert scan.suspects(b"accept: */*\nx-token: " + TOKEN)
    assert not scan.suspects(b"accept: */*\nuser-agent: curl/8")
    assert not scan.suspects(b"")
    assert len(scan.field("header:x-token", TOKEN)) == 1


def test_one_card_is_an_alert_and_five_are_a_leak(engine: Engine):
    scan = engine.open()
    found = [each for card in CARDS for each in scan.message("ws", b"card " + card)]
    assert [each.action for each in found] == ["alert"] * 4 + ["block"]


def test_the_same_card_five_times_is_one(engine: Engine):
    scan = engine.open()
    found = [each for place in ("url", "ws", "body", "grpc", "header:a") for each in scan.field(place, CARDS[0])]
    assert {each.action for each in found} == {"alert"}


def test_five_cards_over_several_places(engine: Engine):
    scan = engine.open()
    scan.field("url", CARDS[0] + b" " + CARDS[1])
    body = scan.body("", "")
    body.feed(b" ".join(CARDS[2:]))
    assert "block" in {each.action for each in body.finish()}
    scan.close()


def test_reports_are_bounded_and_the_rest_is_counted(engine: Engine):
    scan = engine.open()
    tokens = b" ".join(b"ghp_" + b"R4nd0mT0kenF0rTests%05d" % number for number in range(150))
    assert len(scan.message("ws", tokens)) == tally.MOST
    assert scan.dropped == 50


def test_a_flood_of_alerts_does_not_hide_a_block(engine: Engine):
    scan = engine.open()
    keys = b" ".join(b"AIza" + b"SyR4nd0mK3yF0rTests%015d" % number for number in range(300))
    found = scan.message("ws", keys + b" " + TOKEN)
    assert [each.rule for each in found if each.action == "block"] == ["github-pat"]


def test_threads_may_share_an_engine(engine: Engine):
    failures: list[object] = []

    def work() -> None:
        for _ in range(200):
            scan = engine.open()
            body = scan.body("", "")
            body.feed(b"x" * 5000 + TOKEN)
            found = [*scan.field("url", TOKEN), *body.finish()]
            scan.close()
            if len(found) != 2:
                failures.append(found)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_no_rules_find_nothing():
    scan = Engine.load([], key=KEY).open()
    body = scan.body("gzip", "")
    assert body.feed(TOKEN) == body.finish() == scan.field("url", TOKEN) == ()
    scan.close()


def test_the_digest_is_of_the_rules(engine: Engine):
    assert Engine(engine.rules, key=b"another key of 32 bytes or so...").digest == engine.digest
    assert Engine(engine.rules[1:], key=KEY).digest != engine.digest
