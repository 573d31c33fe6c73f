from __future__ import annotations

from collections.abc import Callable

import pytest

from sluicegate.dlp.engine import Engine
from sluicegate.dlp.load import load_rules, shipped
from sluicegate.errors import ConfigError, ConfigErrors

from .conftest import KEY

type Write = Callable[[str], str]


def found(pack: str, text: bytes) -> list[tuple[str, str]]:
    scan = Engine.load([pack], key=KEY).open()
    return [(finding.rule, finding.action) for finding in scan.field("body", text)]


def errors(pack: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        Engine.load([pack], key=KEY)
    return [str(error).replace(pack, "house.yaml") for error in caught.value.each]


def test_the_shipped_packs():
    assert shipped() == ("pii", "secrets")


def test_a_rule_of_the_users_own(pack: Write):
    path = pack("- {id: acme-token, regex: 'acme_[a-z0-9]{8,32}', severity: high, message: ask the platform team}")
    scan = Engine.load([path], key=KEY).open()
    (finding,) = scan.field("url", b"/x?t=acme_12345678abc")
    assert (finding.rule, finding.action, finding.message) == ("acme-token", "block", "ask the platform team")


@pytest.mark.parametrize(("rule", "error"), [
    pytest.param("- {id: a, regex: 'x{3}'}", "house.yaml: spec.rules[0]: `severity` is missing: add it", id="no severity"),
    pytest.param("- {id: A b, regex: 'x{3}', severity: low}",
                 "house.yaml: spec.rules[0].id: `A b`: an id is lower-case words, digits and single hyphens: `acme-token`", id="an id"),
    pytest.param("- {id: a, regex: '(x', severity: low}",
                 "house.yaml: spec.rules[0].regex: `(x`: not a regular expression: missing ), unterminated subpattern at position 0", id="not a regex"),
    pytest.param("- {id: a, regex: 'x*', severity: low}",
                 "house.yaml: spec.rules[0].regex: `x*`: matches the empty text: demand at least one character", id="matches nothing"),
    pytest.param("- {id: a, regex: 'x{3}', severity: low, dest: []}",
                 "house.yaml: spec.rules[0].dest: `dest`: unknown key", id="a key of later"),
    pytest.param("- {id: a, regex: 'x{3}', severity: low, secretGroup: 2}",
                 "house.yaml: spec.rules[0].secretGroup: `2`: expected a whole number from 0 to 0", id="a group that is not there"),
    pytest.param("- {id: a, regex: 'x{3}', severity: low, validators: [luhnn]}",
                 "house.yaml: spec.rules[0].validators[0]: `luhnn`: expected", id="a validator"),
    pytest.param("- {id: a, regex: 'x{3}', severity: low, action: redact}",
                 "house.yaml: spec.rules[0].action: `redact`: expected block or alert", id="an action of later"),
    pytest.param("- {id: a, regex: 'x{3}', severity: low, maxLength: 9000}",
                 "house.yaml: spec.rules[0].maxLength: `9000`: expected a whole number from 8 to 8192", id="too long"),
    pytest.param("- {id: a, regex: 'x{3}', severity: low, context: {words: []}}",
                 "house.yaml: spec.rules[0].context.words: `[]`: is empty: name at least one word", id="no words"),
    pytest.param("- {id: a, regex: 'x{3}', severity: low, in: [dns]}",
                 "house.yaml: spec.rules[0].in[0]: `dns`: expected", id="a place of later"),
    pytest.param("- {id: a, regex: 'x{3}', severity: low, threshold: {minDistinct: 0}}",
                 "house.yaml: spec.rules[0].threshold.minDistinct: `0`: expected a whole number from 1 to 1000", id="a threshold"),
])  # fmt: skip
def test_a_bad_rule_is_named_with_its_place(pack: Write, rule: str, error: str):
    (only,) = errors(pack(rule))
    assert only.startswith(error)


def test_all_bad_rules_are_named_at_once(pack: Write):
    assert len(errors(pack("- {id: a, regex: '(', severity: low}\n- {id: b, regex: 'x', severity: odd}"))) == 2


def test_a_regex_that_hyperscan_does_not_compile_is_named(pack: Write):
    rules = "- {id: fine, regex: 'xyz{3}', severity: low}\n- {id: ahead, regex: 'abc(?=d)', severity: low}"
    (only,) = errors(pack(rules))
    assert only.startswith("house.yaml:6: `abc(?=d)`: rule ahead: hyperscan cannot compile this (")


def test_with_find_a_regex_may_look_around(pack: Write):
    path = pack("- {id: ahead, regex: 'abc(?=d)', find: abc, severity: low}")
    assert found(path, b"abc abcd") == [("ahead", "block")]
    assert found(path, b"abc abce") == []


def test_an_id_stands_once(pack: Write):
    (only,) = errors(pack("- {id: a, regex: 'xyz', severity: low}\n- {id: a, regex: 'abc', severity: low}"))
    assert only == "house.yaml:6: `a`: this id is taken by house.yaml:5: choose another"


@pytest.mark.parametrize(("name", "fix"), [
    pytest.param("secret", "no such pack: use pii, secrets or the path of a .yaml file", id="misspelt"),
    pytest.param("gone.yaml", "cannot be read: No such file or directory", id="no such file"),
])  # fmt: skip
def test_a_pack_that_is_not_there(name: str, fix: str):
    with pytest.raises(ConfigErrors) as caught:
        load_rules([name])
    assert str(caught.value) == f"dlp.packs: `{name}`: {fix}"


class TestWhatARuleCanSay:
    def test_entropy(self, pack: Write):
        path = pack("- {id: a, regex: 'tok_([a-z]{10})', severity: low, entropy: 2.5}")
        assert found(path, b"tok_aaaaaaaaab") == []
        assert found(path, b"tok_qwertyuiop") == [("a", "block")]

    def test_keywords(self, pack: Write):
        path = pack("- {id: a, regex: '[0-9a-f]{16}', severity: low, keywords: [Acme], maxLength: 64}")
        assert found(path, b"x=0123456789abcdef") == []
        assert found(path, b"ACME x=0123456789abcdef") == [("a", "block")]
        assert found(path, b"ACME" + b" " * 80 + b"x=0123456789abcdef") == []

    def test_context_that_is_required(self, pack: Write):
        path = pack("- {id: a, regex: '[0-9]{6}', severity: low, context: {words: [pin], within: 10, required: true}}")
        assert found(path, b"my PIN: 123456") == found(path, b"123456 is a pin") == [("a", "block")]
        assert found(path, b"the number 123456 is here, far from pin") == []

    def test_context_that_lifts_a_weak_rule(self, pack: Write):
        path = pack("- {id: a, regex: '[0-9]{6}', severity: low, confidence: low, context: {words: [pin]}}")
        assert found(path, b"pin 123456") == [("a", "block")]
        assert found(path, b"number 123456") == [("a", "alert")]

    @pytest.mark.parametrize(("on_invalid", "expected"), [
        pytest.param("keep", [("a", "block")], id="kept"),
        pytest.param("drop", [], id="dropped"),
        pytest.param("{confidence: low}", [("a", "alert")], id="an alert"),
    ])  # fmt: skip
    def test_a_validator_that_says_no(self, pack: Write, on_invalid: str, expected: list[tuple[str, str]]):
        path = pack(f"- {{id: a, regex: '[0-9]{{16}}', severity: low, validators: [luhn], onInvalid: {on_invalid}}}")
        assert found(path, b"4111111111111112") == expected
        assert found(path, b"4111111111111111") == [("a", "block")]

    def test_allowlists(self, pack: Write):
        path = pack(
            "- {id: a, regex: 'tok_[a-z0-9]{4,20}', severity: low, allowlists: [{regexes: ['_dev'], stopwords: [Sample]}]}"
        )
        assert found(path, b"tok_dev1") == found(path, b"tok_sample1") == []
        assert found(path, b"tok_prod1") == [("a", "block")]

    def test_places(self, pack: Write):
        scan = Engine.load([pack("- {id: a, regex: 'tok_[0-9]{4}', severity: low, in: [url, ws]}")], key=KEY).open()
        assert scan.field("header:x", b"tok_1234") == scan.message("grpc", b"tok_1234") == ()
        assert len(scan.field("url", b"tok_1234")) == len(scan.message("ws", b"tok_1234")) == 1

    def test_max_length_cuts_what_is_open(self, pack: Write):
        path = pack("- {id: a, regex: 'BEGIN[a-z]+', severity: low, maxLength: 32}")
        (finding,) = Engine.load([path], key=KEY).open().field("body", b"BEGIN" + b"z" * 500)
        assert finding.masked == "(32 bytes)"

    def test_threshold(self, pack: Write):
        path = pack("- {id: a, regex: 'id-[0-9]{4}', severity: low, threshold: {minDistinct: 3}}")
        assert found(path, b"id-0001 id-0002 id-0002 id-0001") == [("a", "alert")] * 2
        assert found(path, b"id-0001 id-0002 id-0003") == [("a", "alert"), ("a", "alert"), ("a", "block")]
