"""Canonical paths, and which raw ones are ambiguous."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sluicegate import paths
from sluicegate.paths import Path, canonical


@pytest.mark.parametrize(
    ("raw", "path", "query"),
    [
        pytest.param("/", "/", None, id="root"),
        pytest.param("", "/", None, id="empty is the root"),
        pytest.param("*", "*", None, id="OPTIONS *"),
        pytest.param(b"/a/b", "/a/b", None, id="bytes"),
        pytest.param("/a/b/", "/a/b/", None, id="a slash at the end stays"),
        pytest.param("/v1/x?a=1&b=2", "/v1/x", "a=1&b=2", id="query"),
        pytest.param("/v1/x?", "/v1/x", "", id="empty query"),
        pytest.param("?q", "/", "q", id="query alone"),
        pytest.param("/a?b?c/../d;e%2f", "/a", "b?c/../d;e%2f", id="the query is raw"),
        pytest.param("/%7euser/%41", "/~user/A", None, id="unreserved characters are decoded"),
        pytest.param("/%40me/a%2Cb", "/@me/a,b", None, id="what means nothing in a segment is decoded"),
        pytest.param("/a%20b", "/a%20b", None, id="an encoded space"),
        pytest.param("/%c3%bc", "/%C3%BC", None, id="hexadecimal in capitals"),
        pytest.param("/a%3fb%23c%3b", "/a%3Fb%23c%3B", None, id="encoded delimiters stay encoded"),
        pytest.param("/100%25", "/100%25", None, id="a percent sign"),
        pytest.param("/100%25%20off", "/100%25%20off", None, id="a percent sign before a space"),
        pytest.param("//a///b", "/a/b", None, id="slashes are merged"),
        pytest.param("/a..b/.well-known/...", "/a..b/.well-known/...", None, id="dots that are no dot segments"),
        pytest.param("/a|b{c}", "/a%7Cb%7Bc%7D", None, id="characters that ought to be encoded"),
    ],
)
def test_paths_that_every_server_reads_alike(raw: str | bytes, path: str, query: str | None):
    assert canonical(raw) == Path(path, query)


@pytest.mark.parametrize(
    ("raw", "path", "why"),
    [
        pytest.param("/a/../b", "/b", "dot segments", id="dot segments"),
        pytest.param("/a/./b", "/a/b", "dot segments", id="single dot"),
        pytest.param("/a/..", "/", "dot segments", id="dot segments at the end"),
        pytest.param("/a/b/..", "/a/", "dot segments", id="dot segments at the end leave a folder"),
        pytest.param("/../../etc", "/etc", "dot segments", id="above the root"),
        pytest.param("/a/%2e%2E/b", "/b", "encoded dot", id="encoded dot segments"),
        pytest.param("/a/.%2e/b", "/b", "encoded dot", id="half encoded dot segments"),
        pytest.param("/a%2Ehtml", "/a.html", "encoded dot", id="encoded dot in a name"),
        pytest.param("/a%2fb", "/a%2Fb", "encoded slash", id="encoded slash"),
        pytest.param("/a/..%2f..%2fb", "/a/..%2F..%2Fb", "encoded slash", id="dot segments beside encoded slashes"),
        pytest.param("/a%5cb", "/a%5Cb", "encoded backslash", id="encoded backslash"),
        pytest.param("/a\\..\\b", "/b", "backslash", id="backslashes"),
        pytest.param("/%252e%252e/b", "/%252e%252e/b", "twice", id="encoded twice"),
        pytest.param("/%25%32%65", "/%252e", "twice", id="encoded twice, each digit"),
        pytest.param("/%2525", "/%2525", "twice", id="a percent sign encoded twice"),
        pytest.param("/a%00b", "/a%00b", "encoded control", id="encoded NUL"),
        pytest.param("/a%0d%0ab", "/a%0D%0Ab", "encoded control", id="encoded line break"),
        pytest.param("/a%7f", "/a%7F", "encoded control", id="encoded DEL"),
        pytest.param("/a\x00b", "/a%00b", "control", id="raw NUL"),
        pytest.param("/a b", "/a%20b", "space", id="raw space"),
        pytest.param("/a\n", "/a%0A", "control", id="a newline at the end"),
        pytest.param("/ü", "/%C3%BC", "outside of ASCII", id="raw umlaut"),
        pytest.param(b"/\xff\xfe", "/%FF%FE", "outside of ASCII", id="raw bytes"),
        pytest.param("/\udcff", "/%FF", "outside of ASCII", id="raw bytes as HTTP engines carry them"),
        pytest.param("/\ud800", "/%ED%A0%80", "outside of ASCII", id="a lone surrogate"),
        pytest.param("/%c0%af", "/%C0%AF", "not UTF-8", id="an overlong slash"),
        pytest.param("/%ff", "/%FF", "not UTF-8", id="encoded bytes that are not UTF-8"),
        pytest.param("/a%ef%bc%8fb", "/a%EF%BC%8Fb", "fold", id="an encoded full-width slash"),
        pytest.param("/%ef%bc%8e%ef%bc%8e/b", "/%EF%BC%8E%EF%BC%8E/b", "fold", id="encoded full-width dots"),
        pytest.param("/a%", "/a%25", "encodes nothing", id="a lone percent sign"),
        pytest.param("/%u002e", "/%25u002e", "encodes nothing", id="IIS unicode"),
        pytest.param("/%%34%31", "/%2541", "encodes nothing", id="what is decoded is not decoded again"),
        pytest.param("/a;x=1/b", "/a/b", ";", id="parameters"),
        pytest.param("/a/..;/b", "/b", ";", id="dot segments with parameters"),
        pytest.param("/a#/../b", "/a", "#", id="fragment"),
        pytest.param("/a#x?y", "/a", "#", id="fragment with a question mark"),
        pytest.param("/a?b#c", "/a", "#", id="fragment after a query"),
        pytest.param("http://x/y", "/http:/x/y", "slash", id="absolute form"),
        pytest.param("a/b", "/a/b", "slash", id="no slash in front"),
        pytest.param("\\a", "/a", "slash", id="a backslash in front"),
    ],
)
def test_paths_that_two_servers_may_read_differently(raw: str | bytes, path: str, why: str):
    found = canonical(raw)
    assert found.path == path
    assert why in (found.ambiguous or "")


def test_a_query_keeps_what_is_behind_a_hash_sign():
    assert canonical("/a?b#c").query == "b#c"
    assert canonical("/a#b?c").query is None


pathish = st.text(alphabet=st.sampled_from("aZ09/.%25eEfFcC;\\?#ü \x00~@*"), max_size=40)


@given(st.one_of(st.text(), st.binary(), pathish, pathish.map(lambda text: "/" + text)))
@example("/\ud800")
@example(b"/%")
def test_total_and_idempotent(raw: str | bytes):
    found = canonical(raw)
    assert found.path == "*" or found.path.startswith("/")
    assert found.path.isascii()
    assert not {"/../", "/./", "//"} & {
        found.path[at : at + size] for at in range(len(found.path)) for size in (2, 3, 4)
    }
    again = canonical(found.path)
    assert again.path == found.path
    assert again.query is None


@given(st.from_regex(r"/[A-Za-z0-9/._~%-]{0,30}(\?[ -~]{0,10})?", fullmatch=True))
def test_the_fast_path_agrees_with_the_long_one(raw: str):
    assert canonical(raw) == paths._canonical_any(raw)


@given(st.text(alphabet=st.characters(codec="ascii", categories=["L", "N"]), min_size=1), st.data())
def test_encoding_a_letter_changes_nothing(segment: str, data: st.DataObject):
    at = data.draw(st.integers(0, len(segment) - 1))
    encoded = f"{segment[:at]}%{ord(segment[at]):02x}{segment[at + 1 :]}"
    assert canonical("/" + encoded) == canonical("/" + segment)
