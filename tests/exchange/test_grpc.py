from __future__ import annotations

import pytest

from sluicegate.exchange.grpc import BadFlag, Messages, TooLarge


def framed(payload: bytes, flag: int = 0) -> bytes:
    return bytes([flag]) + len(payload).to_bytes(4) + payload


@pytest.mark.parametrize("size", [1, 2, 5, 7, 1000])
def test_messages_come_whole_however_they_are_cut(size: int) -> None:
    wire = framed(b"one") + framed(b"") + framed(b"three", flag=1)
    messages = Messages(100)
    found = [each for at in range(0, len(wire), size) for each in messages.feed(wire[at : at + size])]

    assert [each.payload for each in found] == [b"one", b"", b"three"]
    assert [each.compressed for each in found] == [False, False, True]
    assert b"".join(each.raw for each in found) == wire
    assert not messages.partial


def test_an_unfinished_message_is_seen() -> None:
    messages = Messages(100)

    assert list(messages.feed(framed(b"half")[:-1])) == []
    assert messages.partial


def test_a_message_above_the_limit_is_refused_by_its_length_alone() -> None:
    messages = Messages(100)
    assert [each.payload for each in messages.feed(framed(b"a" * 100))] == [b"a" * 100]

    with pytest.raises(TooLarge):
        list(messages.feed(b"\0" + (101).to_bytes(4)))


def test_a_flag_of_no_meaning_is_refused() -> None:
    with pytest.raises(BadFlag):
        list(Messages(100).feed(framed(b"x", flag=2)))
