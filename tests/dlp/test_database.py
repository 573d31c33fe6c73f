from __future__ import annotations

import gc
import resource

import pytest

from sluicegate.dlp.database import BadExpression, Database


def test_one_value():
    database = Database([b"abc", b"b."])
    assert sorted(database.once(b"xabcx")) == [(4, 0), (4, 1)]


def test_a_stream_in_pieces():
    cursor = Database([b"abcdef"]).open()
    for piece in (b"xab", b"cd", b"ef"):
        cursor.feed(piece)
    cursor.close()
    assert cursor.hits.found == [(7, 0)]


def test_what_matches_at_the_end_is_told_by_close():
    cursor = Database([rb"end\b", rb"end$"]).open()
    cursor.feed(b"the end")
    assert cursor.hits.found == []
    cursor.close()
    assert sorted(cursor.hits.found) == [(7, 0), (7, 1)]


def test_a_second_close_and_a_late_piece():
    cursor = Database([b"abc"]).open()
    cursor.close()
    cursor.close()
    with pytest.raises(ValueError, match="closed"):
        cursor.feed(b"abc")


def test_a_bad_expression_is_named():
    with pytest.raises(BadExpression) as caught:
        Database([b"abc", b"(?<=x)y", b"abd"])
    assert caught.value.index == 1


@pytest.mark.parametrize("count", [0, 200_001])
def test_a_number_of_expressions_that_cannot_be(count: int):
    with pytest.raises(ValueError, match="from 1 to 200000"):
        Database([b"x"] * count)


def test_a_stream_outlives_the_name_of_its_database():
    cursor = Database([b"abc"]).open()
    gc.collect()
    cursor.feed(b"abc")
    cursor.close()
    assert cursor.hits.found == [(3, 0)]


def test_closed_streams_are_freed():
    database = Database([b"abc[a-z]{10,200}x"] * 20)

    def open_many(count: int) -> None:
        for _ in range(count):
            cursor = database.open()
            cursor.feed(b"abcabc")
            cursor.close()

    open_many(2000)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    open_many(50_000)
    assert (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4096
    )  # KiB; not closed, it would be 50,000 states
