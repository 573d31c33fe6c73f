"""Numbers that check themselves: payment cards, IBANs, US social security numbers."""

from __future__ import annotations

import re

_NOT_DIGITS = bytes(set(range(256)) - set(b"0123456789"))
_NOT_ALNUM = re.compile(rb"[^0-9A-Za-z]")
_DOUBLED = bytes.maketrans(b"0123456789", b"0246813579")

# ISO/IEC 7812 issuer ranges, as the schemes publish them: first, last, lengths.
_ISSUERS: tuple[tuple[str, str, frozenset[int]], ...] = tuple(
    (first, last, frozenset(lengths))
    for first, last, lengths in (
        ("4", "4", (16, 19)),  # Visa; those of 13 digits are gone since the nineties
        ("51", "55", (16,)),  # Mastercard
        ("2221", "2720", (16,)),  # Mastercard since 2017
        ("34", "34", (15,)),  # American Express
        ("37", "37", (15,)),
        ("6011", "6011", (16, 17, 18, 19)),  # Discover
        ("644", "659", (16, 17, 18, 19)),
        ("62", "62", (16, 17, 18, 19)),  # UnionPay
        ("3528", "3589", (16, 17, 18, 19)),  # JCB
        ("1800", "1800", (15,)),  # JCB before 1989
        ("2131", "2131", (15,)),
        ("300", "305", (14, 16, 19)),  # Diners Club
        ("36", "36", (14, 16, 19)),
        ("38", "39", (14, 16, 19)),
        ("2200", "2204", (16, 17, 18, 19)),  # Mir
        ("5018", "5018", (15, 16, 18, 19)),  # Maestro
        ("5020", "5020", (15, 16, 18, 19)),
        ("5038", "5038", (15, 16, 18, 19)),
        ("6304", "6304", (15, 16, 18, 19)),
        ("6759", "6763", (15, 16, 18, 19)),
    )
)

# ISO 13616 registry: the length of an IBAN by country.
_IBAN_LENGTHS = {
    country: length
    for length, countries in {
        15: "NO", 16: "BE", 18: "DK FI FK FO GL NL SD", 19: "MK SI", 20: "AT BA EE KZ LT LU MN XK",
        21: "CH HR LI LV", 22: "BG BH CR DE GB GE IE ME RS VA", 23: "AE GI IL IQ OM SO TL",
        24: "AD CZ ES MD PK RO SA SE SK TN VG", 25: "LY PT ST", 26: "IS TR", 27: "BI DJ FR GR IT MC MR SM",
        28: "AL AZ BY CY DO GT HN HU LB NI PL SV", 29: "BR EG PS QA UA", 30: "JO KW MU YE", 31: "MT SC", 32: "LC", 33: "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip

# Printed in advertisements and on sample cards; never issued to a person.
_SAMPLE_SSNS = frozenset({b"078051120", b"219099999", b"123456789", b"457555462", b"987654321"})


def digits(value: bytes) -> bytes:
    return value.translate(None, _NOT_DIGITS)


def alphanumeric(value: bytes) -> bytes:
    return _NOT_ALNUM.sub(b"", value).upper()


def iban_form(value: bytes) -> bytes:
    """Without spaces, in upper case. One in groups may have run into the next words: it ends where its country's do."""
    text = alphanumeric(value)
    return text[: _IBAN_LENGTHS.get(text[:2].decode(), 0)] if b" " in value else text


def luhn(value: bytes) -> bool:
    """A payment card number: an issuer's range and length, ISO/IEC 7812 check digit, not one digit repeated."""
    number = digits(value)
    return _check_digit(number) and _issued(number.decode()) and len(set(number)) > 1


def _issued(number: str) -> bool:
    return any(first <= number[: len(first)] <= last and len(number) in lengths for first, last, lengths in _ISSUERS)


def _check_digit(number: bytes) -> bool:
    whole = sum(number[-1::-2]) + sum(number[-2::-2].translate(_DOUBLED))
    return (whole - 48 * len(number)) % 10 == 0  # 48 is "0"


def iban(value: bytes) -> bool:
    """An IBAN: the country's length and ISO 7064 mod 97-10."""
    text = iban_form(value).decode()
    if len(text) != _IBAN_LENGTHS.get(text[:2]):
        return False
    return int("".join(str(int(char, 36)) for char in text[4:] + text[:4])) % 97 == 1


def ssn(value: bytes) -> bool:
    """A social security number that can have been issued: one delimiter throughout, no excluded group."""
    number = digits(value)
    delimiters = {bytes((char,)) for char in value if not 48 <= char <= 57}
    if len(number) != 9 or len(delimiters) > 1 or number in _SAMPLE_SSNS:
        return False
    area, group, serial = number[:3], number[3:5], number[5:]
    return area not in {b"000", b"666"} and area < b"900" and group != b"00" and serial != b"0000"
