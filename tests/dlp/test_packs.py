"""Every shipped rule proves itself with its own examples, whole and cut at every byte."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from sluicegate.dlp.database import Database
from sluicegate.dlp.engine import Engine
from sluicegate.dlp.load import load_rules, shipped
from sluicegate.dlp.rules import Rule

RULES = load_rules(shipped())
SECRETS = load_rules(["secrets"])
PUBLIC_RULES = Path(__file__).parents[3] / "shared" / "data" / "gitleaks.toml"


def found(engine: Engine, location: str, value: bytes) -> list[str]:
    scan = engine.open()
    return [finding.rule for finding in scan.field(location, value)]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_finds_its_examples(engine: Engine, rule: Rule):
    assert rule.examples[0], "a shipped rule has at least one example"
    for example in rule.examples[0]:
        assert rule.id in found(engine, "body", example)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_leaves_its_counterexamples(engine: Engine, rule: Rule):
    for example in rule.examples[1]:
        assert rule.id not in found(engine, "body", example)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_examples_are_found_wherever_they_are_cut(engine: Engine, rule: Rule):
    example = rule.examples[0][0]
    text = b"some text before " + example + b"\nand after"
    whole = feed_all(engine, [text])
    assert rule.id in {finding.rule for finding in whole}
    cuts = range(1, len(text)) if len(text) < 400 else range(1, len(text), 7)
    for cut in cuts:
        assert set(feed_all(engine, [text[:cut], text[cut:]])) == set(whole)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_examples_are_found_byte_by_byte(engine: Engine, rule: Rule):
    example = rule.examples[0][0]
    assert feed_all(engine, [bytes((byte,)) for byte in example]) == feed_all(engine, [example])


def feed_all(engine: Engine, pieces: list[bytes]):
    scan = engine.open()
    try:
        body = scan.body("", "")
        return [finding for piece in pieces for finding in body.feed(piece)] + list(body.finish())
    finally:
        scan.close()


def test_the_pack_is_broad():
    assert len(SECRETS) >= 100


def test_a_secret_of_the_best_known_kinds_blocks():
    alerts = {rule.id for rule in SECRETS if rule.action == "alert"}
    assert alerts == {"gcp-api-key", "new-relic-browser-key", "jwt", "http-basic-url", "bcrypt-hash"}


def test_there_is_no_list_of_example_keys(engine: Engine):
    assert found(engine, "body", b"AKIA" + b"IOSFODNN7EXAMPLE") == ["aws-access-key-id"]


def test_no_token_stands_whole_in_a_pack():
    """What a push scanner would take for a leak has no place in a repository."""
    folder = Path(load_rules.__code__.co_filename).parent / "packs"
    for path in folder.glob("*.yaml"):
        text = path.read_bytes()
        for rule in SECRETS:
            if rule.examples[0] and rule.find.isascii():
                for example in rule.examples[0]:
                    assert example not in text, rule.id


@pytest.mark.skipif(not PUBLIC_RULES.exists(), reason="the public rule set is not on this machine")
def test_a_large_foreign_rule_set_compiles_and_scans():
    rules = [rule for rule in tomllib.loads(PUBLIC_RULES.read_text())["rules"] if rule.get("regex")]
    database = Database([rule["regex"].encode() for rule in rules])
    hits = {rules[index]["id"] for _, index in database.once(b"x = ghp_" + b"a1B2" * 9 + b" ")}
    assert "github-pat" in hits


def test_expressions_report_few_ends():
    """hyperscan reports every end of a match: an open-ended expression would report each byte of a long token."""
    long_tail = re.compile(rb"\{\d+,\d{3,}\}\)*$")
    assert [rule.id for rule in RULES if long_tail.search(rule.find)] == []
