"""What a rule may name under `validators`: functions that say whether matched bytes are the thing itself.

A validator that says yes makes a finding certain. One that says no does what the rule's `onInvalid` says, which
for tokens is `keep`: a truncated, revoked or made-up token is still not meant to leave.
"""

from __future__ import annotations

from collections.abc import Callable

from sluicegate.dlp import numbers, tokens

VALIDATORS: dict[str, Callable[[bytes], bool]] = {
    "luhn": numbers.luhn,
    "iban": numbers.iban,
    "ssn": numbers.ssn,
    "aws-key": tokens.aws_key,
    "crc32-base62": tokens.crc32_base62,
    "grafana-crc32": tokens.grafana_crc32,
    "jwt": tokens.jwt,
    "pem": tokens.pem,
}

NORMAL_FORMS: dict[str, Callable[[bytes], bytes]] = {
    "luhn": numbers.digits,
    "iban": numbers.iban_form,
    "ssn": numbers.digits,
    "pem": tokens.pem_body,
}
"""The same secret in another spelling has the same fingerprint."""
