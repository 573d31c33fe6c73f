from __future__ import annotations

import pytest

from sluicegate.dlp import numbers


@pytest.mark.parametrize("number", [
    pytest.param(b"4111111111111111", id="visa"),
    pytest.param(b"4111 1111 1111 1111", id="in groups"),
    pytest.param(b"5555-5555-5555-4444", id="mastercard with hyphens"),
    pytest.param(b"2223003122003222", id="mastercard since 2017"),
    pytest.param(b"378282246310005", id="american express"),
    pytest.param(b"6011111111111117", id="discover"),
    pytest.param(b"3530111333300000", id="jcb"),
    pytest.param(b"30569309025904", id="diners club"),
    pytest.param(b"6200000000000005", id="unionpay"),
])  # fmt: skip
def test_card_numbers(number: bytes):
    assert numbers.luhn(number)


@pytest.mark.parametrize("number", [
    pytest.param(b"4111111111111112", id="wrong check digit"),
    pytest.param(b"4222222222222", id="visa of 13 digits, no longer issued"),
    pytest.param(b"411111111111111", id="visa has no 15 digits"),
    pytest.param(b"1111111111111117", id="no issuer"),
    pytest.param(b"0000000000000000", id="one digit repeated"),
    pytest.param(b"2220999999999998", id="just below mastercard's range"),
    pytest.param(b"", id="nothing"),
])  # fmt: skip
def test_no_card_numbers(number: bytes):
    assert not numbers.luhn(number)


@pytest.mark.parametrize("text", [
    pytest.param(b"DE89370400440532013000", id="compact"),
    pytest.param(b"DE89 3704 0044 0532 0130 00", id="in groups"),
    pytest.param(b"gb82west12345698765432", id="lower case"),
    pytest.param(b"NO9386011117947", id="the shortest"),
    pytest.param(b"MT84MALT011000012345MTLCAST001S", id="of 31 characters"),
    pytest.param(b"BE68 5390 0754 7034 then", id="in groups, run into the next word"),
])  # fmt: skip
def test_ibans(text: bytes):
    assert numbers.iban(text)


@pytest.mark.parametrize("text", [
    pytest.param(b"DE89370400440532013001", id="wrong check digits"),
    pytest.param(b"DE893704004405320130", id="too short for the country"),
    pytest.param(b"ZZ89370400440532013000", id="no such country"),
    pytest.param(b"BE68539007547034then", id="compact ones end where they end"),
    pytest.param(b"", id="nothing"),
])  # fmt: skip
def test_no_ibans(text: bytes):
    assert not numbers.iban(text)


@pytest.mark.parametrize("text", [
    pytest.param(b"536-22-8145", id="hyphens"),
    pytest.param(b"536 22 8145", id="spaces"),
    pytest.param(b"536228145", id="bare"),
    pytest.param(b"899-99-9999", id="the last area"),
])  # fmt: skip
def test_ssns(text: bytes):
    assert numbers.ssn(text)


@pytest.mark.parametrize("text", [
    pytest.param(b"000-22-8145", id="area 000"),
    pytest.param(b"666-22-8145", id="area 666"),
    pytest.param(b"900-22-8145", id="area 9xx"),
    pytest.param(b"536-00-8145", id="group 00"),
    pytest.param(b"536-22-0000", id="serial 0000"),
    pytest.param(b"078-05-1120", id="the wallet card of 1938"),
    pytest.param(b"536-22 8145", id="two delimiters"),
    pytest.param(b"536-22-814", id="eight digits"),
])  # fmt: skip
def test_no_ssns(text: bytes):
    assert not numbers.ssn(text)
