"""Stage two: is a match the thing itself? Entropy, allowlists, keywords, context and validators, in that order.

The secret goes no further than this file: what leaves it is a fingerprint and a mask.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import re
from collections import Counter
from dataclasses import dataclass

from sluicegate.dlp.rules import Rule
from sluicegate.dlp.validators import NORMAL_FORMS, VALIDATORS


@dataclass(frozen=True, slots=True)
class Sighting:
    """A confirmed match. confidence: low | medium | high."""

    rule: Rule
    fingerprint: str
    masked: str
    confidence: str


def confirm(rule: Rule, text: bytes, match: re.Match[bytes], key: bytes) -> Sighting | None:
    """None where the match is none of the rule's; `text` is what stands around it as well."""
    secret = match[rule.group] or match[0]
    if rule.entropy and entropy(secret[_shared(rule, secret) :]) < rule.entropy:
        return None
    if ((rule.allowed or rule.stopwords) and _allowed(rule, secret)) or not _keyword_near(rule, text, match):
        return None
    confidence = _confidence(rule, text, match, secret)
    if confidence is None:
        return None
    return Sighting(rule, fingerprint(rule, secret, key), mask(rule, secret), confidence)


def sure(rule: Rule, match: re.Match[bytes], key: bytes) -> Sighting:
    """A match taken as it is, unexamined."""
    secret = match[rule.group] or match[0]
    return Sighting(rule, fingerprint(rule, secret, key), mask(rule, secret), rule.confidence)


def entropy(value: bytes) -> float:
    """Shannon's, in bits per byte."""
    size = len(value) or 1
    return math.log2(size) - sum(count * math.log2(count) for count in Counter(value).values()) / size


def fingerprint(rule: Rule, secret: bytes, key: bytes) -> str:
    """The same for the same secret, and of no use without the key: a card number's plain hash can be guessed."""
    for validator in rule.validators:
        if validator in NORMAL_FORMS:
            secret = NORMAL_FORMS[validator](secret)
    return hmac.digest(key, secret, hashlib.sha256).hex()[:16]


def mask(rule: Rule, secret: bytes) -> str:
    """At most four of the prefix that all tokens of the kind share and the last two; else the length alone."""
    shared = _shared(rule, secret)
    if shared < 3 or len(secret) < 16:
        return f"({len(secret)} bytes)"
    shown = secret[: min(4, shared)] + b"..." + secret[-2:]
    return f"{shown.decode('ascii', 'replace')} ({len(secret)} bytes)"


def _shared(rule: Rule, secret: bytes) -> int:
    """The length of the prefix that is the rule's and not the secret's."""
    lower = secret.lower()
    return max((len(word) for word in rule.keywords if lower.startswith(word)), default=0)


def _allowed(rule: Rule, secret: bytes) -> bool:
    if any(pattern.search(secret) for pattern in rule.allowed):
        return True
    lower = secret.lower() if rule.stopwords else b""
    return any(word in lower for word in rule.stopwords)


def _keyword_near(rule: Rule, text: bytes, match: re.Match[bytes]) -> bool:
    if not rule.keywords:
        return True
    found = match[0].lower()
    if any(word in found for word in rule.keywords):
        return True
    near = text[max(0, match.start() - rule.max_length) : match.start() + rule.max_length].lower()
    return any(word in near for word in rule.keywords)


def _confidence(rule: Rule, text: bytes, match: re.Match[bytes], secret: bytes) -> str | None:
    valid = bool(rule.validators) and all(VALIDATORS[name](secret) for name in rule.validators)
    if rule.validators and not valid and rule.on_invalid == "drop":
        return None
    confidence = rule.confidence if rule.context is None else _in_context(rule, text, match)
    if confidence is None or not rule.validators:
        return confidence
    if valid:
        return "high"
    return confidence if rule.on_invalid == "keep" else "low"


def _in_context(rule: Rule, text: bytes, match: re.Match[bytes]) -> str | None:
    context = rule.context
    assert context is not None
    before = text[max(0, match.start() - context.within) : match.start()].lower()
    after = text[match.end() : match.end() + context.within].lower()
    if any(word in before or word in after for word in context.words):
        return "high"
    return None if context.required else rule.confidence
