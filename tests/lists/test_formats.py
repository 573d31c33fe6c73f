"""Formats, their detection, and what the head of a list says."""

from __future__ import annotations

import pytest

from lists.conftest import Load
from sluicegate.names import HostName

HOSTS = """\
# a hosts file
127.0.0.1 localhost
127.0.0.1 localhost.localdomain local
255.255.255.255 broadcasthost
::1 ip6-localhost ip6-loopback
fe80::1%lo0 localhost
ff02::1 ip6-allnodes
0.0.0.0 0.0.0.0
0.0.0.0 one.test
127.0.0.1\ttwo.test
::1 three.test   # with a comment
:: four.test FIVE.test six.test
0.0.0.0 seven.test localhost
"""


def test_a_hosts_file_is_read_without_its_conventional_lines(lists: Load):
    loaded = lists(hosts=HOSTS)
    assert loaded.lists[0].format == "hosts"
    assert loaded.names == loaded.lists[0].entries == 7
    assert loaded.ranges == 0
    for number, name in enumerate(["one", "two", "three", "four", "five", "six", "seven"]):
        (hit,) = loaded.name_hits(HostName.parse(f"{name}.test"))
        assert hit.place.endswith(f"hosts.txt:{[9, 10, 11, 12, 12, 12, 13][number]}")
    assert not loaded.name_hits(HostName.parse("localhost"))


@pytest.mark.parametrize(
    ("text", "format_"),
    [
        pytest.param("a.test\n", "domains", id="names"),
        pytest.param("*.a.test\n", "domains", id="wildcards"),
        pytest.param("192.0.2.1\na.test\n", "domains", id="an address first, names after it"),
        pytest.param("0.0.0.0 a.test\n", "hosts", id="a sink and a name"),
        pytest.param("::1 a.test\n", "hosts", id="an IPv6 sink"),
        pytest.param("# 0.0.0.0 x.test\na.test\n", "domains", id="a comment decides nothing"),
        pytest.param("192.0.2.1\n2001:db8::/32\n", "addresses", id="addresses"),
        pytest.param("; Spamhaus\n192.0.2.0/24 ; SBL1\n", "addresses", id="addresses with semicolons"),
        pytest.param("# format: domains\n192.0.2.1\n", "domains", id="the head wins"),
    ],
)
def test_the_format_is_found(lists: Load, text: str, format_: str):
    assert lists(l=text).lists[0].format == format_


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"a.test\r\nb.test\r\n", id="CRLF"),
        pytest.param(b"a.test\nb.test", id="no newline at the end"),
        pytest.param(b"a.test\r\nb.test\r", id="half a CRLF at the end"),
        pytest.param(b"\xef\xbb\xbfa.test\nb.test\n", id="byte-order mark"),
        pytest.param(b"\n\n  a.test\t\n\tb.test # both\n# end\n", id="space around, comments and empty lines"),
    ],
)
@pytest.mark.parametrize("prefix", [b"", b"0.0.0.0 "])
def test_line_ends_marks_and_space_do_not_matter(lists: Load, raw: bytes, prefix: bytes):
    loaded = lists(l=raw.replace(b"a.", prefix + b"a.").replace(b"b.", prefix + b"b."))
    assert loaded.names == 2
    assert loaded.name_hits(HostName.parse("a.test"))
    assert loaded.name_hits(HostName.parse("b.test"))


def test_the_head_names_the_list_and_a_heading_further_down_says_nothing(lists: Load):
    loaded = lists(
        l="# Title: Feed\n#name: team/paste\n#  match:exact \n\n# category: paste\na.test\n# category: ads\nb.test\n"
    )
    info = loaded.lists[0]
    assert (info.name, info.options.match, info.options.category) == ("team/paste", "exact", "paste")
    assert loaded.name_hits(HostName.parse("b.test"))[0].category == "paste"


def test_an_empty_list_that_says_so_is_a_list(lists: Load):
    loaded = lists(l="# empty: ok\n")
    assert [(info.name, info.entries) for info in loaded.lists] == [("l", 0)]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        pytest.param("*.zip\n", "a.zip", id="a top-level domain, meant"),
        pytest.param("# match: exact\nintranet\n", "intranet", id="a single label, exactly"),
        pytest.param("0.0.0.0 wpad\n", "wpad", id="a single label in a hosts file"),
    ],
)
def test_a_single_label_is_taken_where_it_cannot_be_a_slip(lists: Load, text: str, name: str):
    assert lists(l=text).name_hits(HostName.parse(name))


def test_the_digest_follows_what_the_lists_say(lists: Load):
    first = lists(l="a.test\n").digest
    assert lists(l="a.test\n").digest == first
    assert lists(l="# match: exact\na.test\n").digest != first
    assert lists(l="b.test\n").digest != first
    assert len(first) == 64
