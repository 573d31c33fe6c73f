"""A rule: what to look for, how sure to be of it, and what follows. The schema of kind DlpRules, read and checked."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sluicegate.dlp.validators import VALIDATORS
from sluicegate.documents import Fields, Node
from sluicegate.errors import ConfigError, ConfigErrors

SEVERITIES = ("low", "medium", "high", "critical")
CONFIDENCES = ("low", "medium", "high")
PLACES = ("url", "header", "body", "ws", "grpc")
LONGEST = 8192
"""Bytes; the longest match that a rule may have. A private key of 8,192 bits has 6,400."""

_NO_WORDS: tuple[bytes, ...] = ()
_NONE_ALLOWED: tuple[tuple[re.Pattern[bytes], ...], tuple[bytes, ...]] = ((), ())
_NO_EXAMPLES: tuple[tuple[bytes, ...], tuple[bytes, ...]] = ((), ())
_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_TAIL = re.compile(r"(?<!\\)\{([1-9]\d*),\d*\}(\)*)$")
_KEYS = (
    "description", "message", "severity", "confidence", "find", "keywords", "secretGroup", "entropy", "maxLength",
    "validators", "onInvalid", "context", "allowlists", "in", "threshold", "action", "tests",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Context:
    """Words that make a match more likely, at most `within` bytes before or after it."""

    words: tuple[bytes, ...]
    within: int
    required: bool


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, compiled. Lengths are bytes.

    find        what hyperscan looks for; each of its matches ends inside of a match of `pattern`
    keywords    one must stand near; a secret that starts with one has a public prefix, which a mask may show
    on_invalid  keep | drop | low: what becomes of a match that a validator does not accept
    examples    the rule's own tests: what it must find, and what not
    """

    id: str
    place: str
    description: str
    message: str
    severity: str
    confidence: str
    find: bytes
    pattern: re.Pattern[bytes]
    keywords: tuple[bytes, ...]
    group: int
    entropy: float
    max_length: int
    validators: tuple[str, ...]
    on_invalid: str
    context: Context | None
    allowed: tuple[re.Pattern[bytes], ...]
    stopwords: tuple[bytes, ...]
    where: tuple[str, ...]
    min_distinct: int
    action: str
    examples: tuple[tuple[bytes, ...], tuple[bytes, ...]]

    @property
    def ahead(self) -> int:
        """So many bytes after the end of a hyperscan match decide what it is; one more for a boundary."""
        return self.max_length + (self.context.within if self.context else 0) + 1

    @property
    def reach(self) -> int:
        """So many bytes around the end of a hyperscan match must be at hand."""
        return self.max_length + self.ahead + 64


def read_rules(node: Node) -> tuple[Rule, ...]:
    """The rules of one list. Raises ConfigErrors that name all that is wrong."""
    rules: list[Rule] = []
    errors: list[ConfigError] = []
    for item in node.items():
        try:
            rules.append(_rule(item))
        except ConfigError as error:
            errors.extend(error.each)
    if errors:
        raise ConfigErrors(errors)
    return tuple(rules)


def _rule(node: Node) -> Rule:
    fields = node.fields(*_KEYS, required=("id", "regex", "severity"))
    pattern = _pattern(fields.need("regex"))
    context = fields.read("context", _context, None)
    if context is not None and context.within > LONGEST:
        raise fields.need("context").error(f"`within` is at most {LONGEST}")
    description = fields.read("description", Node.text, "")
    keywords = fields.read("keywords", _words, _NO_WORDS)
    allowed, stopwords = fields.read("allowlists", _allowlists, _NONE_ALLOWED)
    return Rule(
        id=_id(fields.need("id")),
        place=node.where,
        description=description,
        message=fields.read("message", Node.text, description),
        severity=fields.need("severity").one_of(*SEVERITIES),
        confidence=fields.read("confidence", lambda item: item.one_of(*CONFIDENCES), "medium"),
        find=fields.read("find", _find, _shortest(fields.need("regex").text())),
        pattern=pattern,
        keywords=keywords,
        group=_group(fields, pattern),
        entropy=fields.read("entropy", _entropy, 0.0),
        max_length=fields.read("maxLength", lambda item: item.integer(8, LONGEST), 1024),
        validators=fields.read("validators", lambda item: tuple(each.one_of(*VALIDATORS) for each in item.items()), ()),
        on_invalid=fields.read("onInvalid", _on_invalid, "keep"),
        context=context,
        allowed=allowed,
        stopwords=stopwords,
        where=fields.read("in", lambda item: tuple(each.one_of(*PLACES) for each in item.items()), PLACES),
        min_distinct=fields.read("threshold", _min_distinct, 1),
        action=fields.read("action", lambda item: item.one_of("block", "alert"), "block"),
        examples=fields.read("tests", _examples, _NO_EXAMPLES),
    )


def _id(node: Node) -> str:
    if not _ID.fullmatch(node.text()):
        raise node.error("an id is lower-case words, digits and single hyphens: `acme-token`")
    return node.text()


def _pattern(node: Node) -> re.Pattern[bytes]:
    try:
        pattern = re.compile(node.text().encode())
    except re.error as error:
        raise node.error(f"not a regular expression: {error}") from None
    if pattern.search(b"") is not None:
        raise node.error("matches the empty text: demand at least one character")
    return pattern


def _find(node: Node) -> bytes:
    return node.text().encode()


def _shortest(regex: str) -> bytes:
    """The expression cut to its shortest match: hyperscan reports every end, so ``x{16,255}`` would be 240 reports."""
    return _TAIL.sub(r"{\1}\2", regex).encode()


def _group(fields: Fields, pattern: re.Pattern[bytes]) -> int:
    """The group that is the secret; without `secretGroup` the first, or the whole match where there is none."""
    return fields.read("secretGroup", lambda item: item.integer(0, pattern.groups), min(1, pattern.groups))


def _entropy(node: Node) -> float:
    if type(node.value) not in {int, float} or not 0 <= node.value <= 8:
        raise node.error("expected bits per byte, from 0 to 8")
    return float(node.value)


def _words(node: Node) -> tuple[bytes, ...]:
    return tuple(word.lower().encode() for word in node.texts())


def _on_invalid(node: Node) -> str:
    if isinstance(node.value, dict):
        return node.fields(required=("confidence",)).need("confidence").one_of("low")
    return node.one_of("keep", "drop")


def _context(node: Node) -> Context:
    fields = node.fields("within", "required", required=("words",))
    words = _words(fields.need("words"))
    if not words:
        raise fields.need("words").error("is empty: name at least one word")
    return Context(
        words=words,
        within=fields.read("within", lambda item: item.integer(1, LONGEST), 40),
        required=fields.read("required", Node.boolean, False),
    )


def _allowlists(node: Node) -> tuple[tuple[re.Pattern[bytes], ...], tuple[bytes, ...]]:
    regexes: list[re.Pattern[bytes]] = []
    stopwords: list[bytes] = []
    for item in node.items():
        fields = item.fields("regexes", "stopwords")
        regexes += fields.read("regexes", lambda found: [_pattern(each) for each in found.items()], [])
        stopwords += fields.read("stopwords", _words, ())
    return tuple(regexes), tuple(stopwords)


def _min_distinct(node: Node) -> int:
    return node.fields(required=("minDistinct",)).need("minDistinct").integer(1, 1000)


def _examples(node: Node) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
    fields = node.fields("match", "nomatch")
    return fields.read("match", _samples, ()), fields.read("nomatch", _samples, ())


def _samples(node: Node) -> tuple[bytes, ...]:
    """Each a text, or a list of parts to be joined: so no file holds a token whole, and no push scanner stumbles."""
    return tuple(
        ("".join(item.texts()) if isinstance(item.value, list) else item.text()).encode() for item in node.items()
    )
