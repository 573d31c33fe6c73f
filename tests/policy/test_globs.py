from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluicegate.policy.globs import BadGlob, check, compile_globs

TABLE = [
    ("/v1/charges", ["/v1/charges"], ["/v1/charges/", "/v1/charges/7", "/v1/Charges", "/v1", "/"]),
    ("/", ["/"], ["/a", "*", ""]),
    ("/*", ["/", "/a", "/a/b"], ["*", ""]),
    ("/**", ["/", "/a", "/a/b"], ["*", ""]),
    ("/v1/*", ["/v1/", "/v1/a", "/v1/a/b/c"], ["/v1", "/v10", "/v10/a", "/a/v1/b"]),
    ("/v1/**", ["/v1/", "/v1/a", "/v1/a/b/c"], ["/v1", "/v10/a"]),
    ("/v1/*/refunds", ["/v1/ch_7/refunds"], ["/v1/refunds", "/v1/a/b/refunds", "/v1/a/refunds/"]),
    ("/v1/*/refunds/*", ["/v1/a/refunds/", "/v1/a/refunds/b/c"], ["/v1/a/refunds", "/v1/a/b/refunds/c"]),
    ("/v1/ch_*", ["/v1/ch_", "/v1/ch_7"], ["/v1/ch_7/x", "/v1/ch", "/v1/xch_7"]),
    ("/v1/*_7", ["/v1/_7", "/v1/ch_7"], ["/v1/ch_78", "/v1/a/_7"]),
    ("/a*b*c", ["/abc", "/axbxc", "/abbcc"], ["/ac", "/acb", "/ab/c"]),
    ("/aa*aa", ["/aaaa", "/aaxaa"], ["/aaa", "/aa"]),
    ("/a/**/b", ["/a/b", "/a/x/b", "/a/x/y/b", "/a/b/b"], ["/a/b/c", "/ab", "/a/xb", "/b"]),
    ("/a/**/m*n/**/b", ["/a/mn/b", "/a/x/mxn/y/b", "/a/mn/mn/b"], ["/a/b", "/a/m/n/b", "/a/mn"]),
    ("/**/x.tar.gz", ["/x.tar.gz", "/v2/blobs/x.tar.gz"], ["/x.tar.gz/", "/x-tar-gz", "/y.tar.gz"]),
    ("/a/**/b/*", ["/a/b/", "/a/x/b/c/d"], ["/a/b", "/a/x/b"]),
    ("/a/**/**/b", ["/a/b", "/a/x/b"], ["/a"]),
    ("/a.b[c]+(d)$", ["/a.b[c]+(d)$"], ["/aXb[c]+(d)$", "/a.bc"]),
]


@pytest.mark.parametrize(("pattern", "inside", "outside"), [pytest.param(*row, id=row[0]) for row in TABLE])
def test_a_pattern_and_its_neighbours(pattern: str, inside: list[str], outside: list[str]):
    check(pattern)
    globs = compile_globs([pattern])
    assert [path for path in inside if not globs.match(path)] == []
    assert [path for path in outside if globs.match(path)] == []


def test_any_of_several():
    globs = compile_globs(["/a", "/b/*", "/c/*/d", "/**/e"])
    assert [path for path in ("/a", "/b/x", "/c/x/d", "/x/y/e", "/", "/c/d") if globs.match(path)] == [
        "/a",
        "/b/x",
        "/c/x/d",
        "/x/y/e",
    ]


def test_no_pattern_matches_nothing():
    assert not compile_globs([]).match("/")


@pytest.mark.parametrize(
    ("pattern", "fix"),
    [
        ("v1/*", "a path begins with a slash: use `/v1/*`"),
        ("*", "a path begins with a slash: use `/*`"),
        ("/v1/**.gz", "`**` is a whole segment: use `*` inside of one"),
        ("/v1/***", "`**` is a whole segment: use `*` inside of one"),
    ],
)
def test_bad_patterns(pattern: str, fix: str):
    with pytest.raises(BadGlob, match=re.escape(fix)):
        check(pattern)


def _regex(pattern: str) -> re.Pattern[str]:
    """The same meaning, said as a slow regular expression."""
    segments = pattern[1:].split("/")
    if segments[-1] == "*":
        segments[-1] = "**"
    text, tail = "", ""
    if segments[-1] == "**":
        segments.pop()
        tail = "/.*"
    for segment in segments:
        text += "(?:/[^/]*)*" if segment == "**" else "/" + "[^/]*".join(map(re.escape, segment.split("*")))
    return re.compile(text + tail, re.DOTALL)


SEGMENT = st.sampled_from(["a", "b", "ab", "ba", "aab", "*", "a*", "*b", "a*b", "**"])
TEXT = st.sampled_from(["a", "b", "ab", "ba", "aab", "abab"])


@given(st.lists(SEGMENT, min_size=1, max_size=6), st.lists(TEXT, min_size=1, max_size=7), st.booleans())
def test_it_means_what_the_regular_expression_means(segments: list[str], parts: list[str], open_end: bool):
    pattern, path = "/" + "/".join(segments), "/" + "/".join(parts) + ("/" if open_end else "")
    assert compile_globs([pattern]).match(path) == bool(_regex(pattern).fullmatch(path))


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        pytest.param("/" + "*a" * 20 + "b", "/" + "a" * 30_000, id="stars in a segment"),
        pytest.param("/" + "**/a/" * 20 + "b", "/a" * 15_000, id="stars of segments"),
    ],
)
def test_no_path_makes_it_slow(pattern: str, path: str):
    globs = compile_globs([pattern])
    started = time.process_time()
    assert not globs.match(path)
    assert time.process_time() - started < 1.0  # a backtracking matcher takes years
