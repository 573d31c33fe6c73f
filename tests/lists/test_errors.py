"""A line that is not understood is an error with its place; a list never shrinks in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from lists.conftest import Refusal
from sluicegate.errors import ConfigErrors
from sluicegate.lists.load import load


@pytest.mark.parametrize(
    ("text", "error"),
    [
        pytest.param("a.test\nb..test\n", "l.txt:2: `b..test`: has an empty label", id="an empty label"),
        pytest.param("a.test b.test\n", "l.txt:1: `a.test b.test`: one entry a line", id="two names on a line"),
        pytest.param("a.test\n\nhttps://b.test/x\n", "l.txt:3: `https://b.test/x`: a list holds hosts, not", id="URL"),
        pytest.param("a.test/x\n", "l.txt:1: `a.test/x`: a list holds hosts, not URLs", id="a path"),
        pytest.param("a.test:443\n", "l.txt:1: `a.test:443`: a port is not part", id="a port"),
        pytest.param("||a.test^\n", "l.txt:1: `||a.test^`: AdBlock rules are not read", id="AdBlock"),
        pytest.param("a.test##.ad\n", "l.txt:1: `a.test##.ad`: AdBlock rules are not read", id="AdBlock, cosmetic"),
        pytest.param("! Title\n", "l.txt:1: `! Title`: ", id="AdBlock, comment"),
        pytest.param("address=/a.test/#\n", "l.txt:1: `address=/a.test/#`: dnsmasq lines", id="dnsmasq"),
        pytest.param("a.*.test\n", "l.txt:1: `a.*.test`: a wildcard is a whole label", id="a wildcard inside"),
        pytest.param("a*.test\n", "l.txt:1: `a*.test`: a wildcard is a whole label", id="half a wildcard"),
        pytest.param("*\n", "l.txt:1: `*`: a wildcard is a whole label", id="everything"),
        pytest.param("*.\n", "l.txt:1: `*.`: ", id="a wildcard above nothing"),
        pytest.param(".\n", "l.txt:1: `.`: ", id="a dot alone"),
        pytest.param("com\n", "l.txt:1: `com`: is a whole top-level domain: write `*.com`", id="a top-level domain"),
        pytest.param("*.192.0.2.1\n", "l.txt:1: `*.192.0.2.1`: an address has nothing below", id="below an address"),
        pytest.param("x" * 64 + ".test\n", "l.txt:1: `" + "x" * 64 + ".test`: the label", id="an overlong label"),
        pytest.param(".".join(["abc"] * 64) + "\n", "l.txt:1: `abc.abc", id="an overlong name"),
        pytest.param("a.test\n" + "x" * 5000 + "\n", "l.txt:2: `xxx", id="an endless line"),
        pytest.param(b"a.test\nb\xff.test\n", "l.txt:2: `b\\xff.test`: is not UTF-8", id="not UTF-8"),
        pytest.param(b"a.test\nb\0.test\n", "l.txt:2: ", id="a NUL"),
        pytest.param("a.test\rb.test\n", "l.txt:1: ", id="a lone carriage return"),
        pytest.param("a.test\nxn--a.test\n", "l.txt:2: `xn--a.test`: ", id="punycode that is none"),
        pytest.param("10.0.0.1/8\n", "l.txt:1: `10.0.0.1/8`: has bits set outside of its mask: use", id="host bits"),
        pytest.param("0.0.0.0/0\n", "l.txt:1: `0.0.0.0/0`: holds every address", id="every IPv4 address"),
        pytest.param("::/0\n", "l.txt:1: `::/0`: holds every address", id="every IPv6 address"),
        pytest.param("192.0.2.1\nfe80::1%eth0\n", "l.txt:2: `fe80::1%eth0`: a zone id", id="a zone id"),
        pytest.param("192.0.2.1\t10\n", "l.txt:1: `192.0.2.1 10`: one entry a line", id="an address with a score"),
        pytest.param(
            "# format: addresses\n192.0.2.1\na.test\n", "l.txt:3: `a.test`: is neither an address", id="a name there"
        ),
        pytest.param("0.0.0.0 a.test\n192.0.2.1 b.test\n", "l.txt:2: `192.0.2.1 b.test`: a hosts line", id="no sink"),
        pytest.param("0.0.0.0 a.test\n0.0.0.0\n", "l.txt:2: `0.0.0.0`: no name stands behind", id="a sink alone"),
        pytest.param("0.0.0.0 a.test\nb.test\n", "l.txt:2: `b.test`: a hosts line starts with", id="a name alone"),
        pytest.param("# match: exat\na.test\n", "l.txt:1: `match: exat`: expected exact or suffix", id="bad match"),
        pytest.param("\n# mode: off\na.test\n", "l.txt:2: `mode: off`: expected enforce or audit", id="bad mode"),
        pytest.param("# format: adblock\na.test\n", "l.txt:1: `format: adblock`: expected", id="bad format"),
        pytest.param("# owner:\na.test\n", "l.txt:1: `owner:`: is empty", id="an empty option"),
        pytest.param("# owner: a\n# owner: b\na.test\n", "l.txt:2: `owner: b`: stands twice", id="an option twice"),
        pytest.param("# name: a b\na.test\n", "l.txt:1: `a b`: the name of a list is", id="a bad name"),
        pytest.param("", "l.txt: the list is empty: if that is meant, write `# empty: ok`", id="an empty file"),
        pytest.param("# nothing yet\n\n", "l.txt: the list is empty", id="comments alone"),
        pytest.param("0.0.0.0 localhost\n", "l.txt: the list is empty", id="conventional lines alone"),
    ],
)
def test_a_bad_line_is_named(refusal: Refusal, text: str | bytes, error: str):
    (line,) = refusal(l=text)
    assert line.startswith(error), line


def test_all_errors_of_all_lists_are_found_at_once(refusal: Refusal):
    lines = refusal(a="ok.test\nb..ad\nalso.test\n||x^\n", b="0.0.0.0 x.test\n1.1.1.1 y.test\n", c="fine.test\n")
    assert [line.split(": ")[0] for line in lines] == ["a.txt:2", "a.txt:4", "b.txt:2"]


def test_a_list_in_the_wrong_format_does_not_drown_the_others(refusal: Refusal):
    lines = refusal(a="||x^\n" * 5000, b="b..ad\n")
    assert len(lines) == 22
    assert lines[20] == "a.txt: has too many bad lines: the rest was not read"
    assert lines[21].startswith("b.txt:1: ")


def test_two_lists_with_one_name_are_refused(refusal: Refusal):
    (line,) = refusal(a="# name: ads\na.test\n", ads="b.test\n")
    assert line.startswith("ads.txt: `ads`: another list has this name (")


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path):
    with pytest.raises(ConfigErrors, match="nowhere: does not exist: create it"):
        load([tmp_path / "nowhere"], [])
