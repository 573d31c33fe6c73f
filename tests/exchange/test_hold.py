from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sluicegate.exchange.hold import HOLD_BACK, Hold


def test_nothing_goes_before_the_end_of_a_body_that_is_held_whole() -> None:
    hold = Hold(100)
    hold.add(b"a" * 100)

    assert hold.take(ended=False) == b""
    assert not hold.flowing
    assert hold.take(ended=True) == b"a" * 100


def test_one_byte_more_than_is_held_makes_it_flow_with_its_end_held_back() -> None:
    hold = Hold(1 << 20)
    hold.add(b"a" * (1 << 20))
    hold.add(b"b")

    assert hold.flowing
    assert len(hold.take(ended=False)) == (1 << 20) + 1 - HOLD_BACK
    assert hold.take(ended=False) == b""
    assert hold.take(ended=True) == b"a" * (HOLD_BACK - 1) + b"b"


def test_what_was_dropped_never_goes() -> None:
    hold = Hold(10)
    hold.add(b"secret")
    hold.drop()

    assert hold.take(ended=True) == b""


@given(st.lists(st.binary(max_size=200_000), max_size=8), st.integers(0, 100_000))
def test_all_bytes_leave_in_order_and_the_last_64_kib_only_at_the_end(chunks: list[bytes], buffer: int) -> None:
    hold, sent, whole = Hold(buffer), b"", b"".join(chunks)
    for chunk in chunks:
        hold.add(chunk)
        sent += hold.take(ended=False)
        assert len(sent) <= max(0, len(whole) - 0)

    assert len(sent) <= max(0, len(whole) - min(HOLD_BACK, len(whole)))
    assert sent + hold.take(ended=True) == whole
