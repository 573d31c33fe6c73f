"""Which names a list holds, and which entry it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from lists.conftest import Load
from sluicegate.facts import ListHit
from sluicegate.lists.catalogue import Lists
from sluicegate.names import HostName


def entries(lists: Lists, name: str) -> list[str]:
    return [hit.entry for hit in lists.name_hits(HostName.parse(name))]


@pytest.mark.parametrize(
    ("name", "held"),
    [
        pytest.param("example.com", True, id="the name itself"),
        pytest.param("a.example.com", True, id="a subdomain"),
        pytest.param("a.b.c.example.com", True, id="a subdomain far below"),
        pytest.param("evilexample.com", False, id="a name that ends alike is not below"),
        pytest.param("example.com.evil.test", False, id="a name that begins alike is not below"),
        pytest.param("com", False, id="the parent is not held"),
        pytest.param("xample.com", False, id="a shorter name that ends alike"),
        pytest.param("example.co", False, id="a shorter name that begins alike"),
        pytest.param("EXAMPLE.com.", True, id="case and trailing dot are parsed away"),
    ],
)
def test_domains_hold_what_is_below_them(lists: Load, name: str, held: bool):
    assert entries(lists(ads="other.test\nexample.com\n"), name) == (["example.com"] if held else [])


@pytest.mark.parametrize(
    ("name", "held"),
    [
        pytest.param("ads.example.com", True, id="the name itself"),
        pytest.param("x.ads.example.com", False, id="a subdomain is not listed"),
        pytest.param("example.com", False, id="the parent is not listed"),
    ],
)
def test_hosts_hold_the_very_name(lists: Load, name: str, held: bool):
    assert entries(lists(hosts="0.0.0.0 ads.example.com\n"), name) == (["ads.example.com"] if held else [])


@pytest.mark.parametrize(
    ("head", "line", "below"),
    [
        pytest.param("# match: exact", "example.com", False, id="domains, exact"),
        pytest.param("# match: suffix", "example.com", True, id="domains, suffix"),
        pytest.param("# match: suffix", "0.0.0.0 example.com", True, id="hosts, suffix"),
        pytest.param("# match: exact", "0.0.0.0 example.com", False, id="hosts, exact"),
    ],
)
def test_match_changes_the_default(lists: Load, head: str, line: str, below: bool):
    loaded = lists(l=f"{head}\n{line}\n")
    assert entries(loaded, "example.com") == ["example.com"]
    assert bool(entries(loaded, "a.example.com")) is below


@pytest.mark.parametrize("head", ["", "# match: exact\n"])
@pytest.mark.parametrize("entry", ["*.example.com", ".example.com"])
@pytest.mark.parametrize(
    ("name", "held"),
    [
        pytest.param("example.com", True, id="the domain itself too"),
        pytest.param("a.example.com", True, id="below"),
        pytest.param("evilexample.com", False, id="beside"),
    ],
)
def test_a_wildcard_holds_the_domain_and_all_below(lists: Load, head: str, entry: str, name: str, held: bool):
    assert entries(lists(l=f"{head}other.test\n{entry}\n"), name) == ([entry] if held else [])


@pytest.mark.parametrize(
    ("line", "name"),
    [
        pytest.param("Ads.EXAMPLE.com", "ads.example.com", id="upper case"),
        pytest.param("ads.example.com.", "ads.example.com", id="trailing dot"),
        pytest.param("Bücher.example", "xn--bcher-kva.example", id="Unicode"),
        pytest.param("*.Bücher.example", "a.xn--bcher-kva.example", id="Unicode below a wildcard"),
        pytest.param(".Bücher.example", "xn--bcher-kva.example", id="Unicode below a dot"),
        pytest.param("xn--bcher-kva.example", "bücher.example", id="punycode"),
        pytest.param("_dmarc.example.com", "_dmarc.example.com", id="underscore"),
        pytest.param("r3---sn.example.com", "r3---sn.example.com", id="hyphens in third place"),
        pytest.param("1and1.example", "1and1.example", id="digit first"),
        pytest.param("a.b.c.d.e.f.g.example", "x.a.b.c.d.e.f.g.example", id="many labels"),
    ],
)
def test_the_entry_is_shown_as_it_stands_in_the_list(lists: Load, line: str, name: str):
    assert entries(lists(l=f"{line}\n"), name) == [line]


def test_a_hit_names_list_entry_line_and_owner(lists: Load, tmp_path: Path):
    head = "# category: exfiltration\n# owner: secops@example.com\n# mode: audit\n"
    loaded = lists(paste=f"{head}\na.test\n\n# why: incident 7\n*.b.test  # all of it\n")
    assert loaded.name_hits(HostName.parse("x.b.test")) == (
        ListHit(
            list="paste",
            entry="*.b.test",
            place=f"{tmp_path}/paste.txt:8",
            category="exfiltration",
            owner="secops@example.com",
            audit=True,
        ),
    )


def test_every_list_that_holds_a_name_is_named_and_the_narrowest_entry_comes_first(lists: Load, tmp_path: Path):
    loaded = lists(a="example.com\n", b="x.test\nads.example.com\n", c="0.0.0.0 example.com\n")
    hits = loaded.name_hits(HostName.parse("ads.example.com"))
    assert [(hit.list, hit.entry, hit.place) for hit in hits] == [
        ("b", "ads.example.com", f"{tmp_path}/b.txt:2"),
        ("a", "example.com", f"{tmp_path}/a.txt:1"),
    ]


def test_an_entry_that_stands_twice_counts_once_and_shows_its_first_line(lists: Load, tmp_path: Path):
    loaded = lists(a="x.test\n*.x.test\nX.test\n", b="x.test\n")
    hits = loaded.name_hits(HostName.parse("x.test"))
    assert [hit.place for hit in hits] == [f"{tmp_path}/a.txt:1", f"{tmp_path}/b.txt:1"]
    assert loaded.names == 2


def test_an_exact_entry_and_a_wildcard_are_two_entries(lists: Load):
    loaded = lists(a="# match: exact\nx.test\n*.x.test\n")
    assert entries(loaded, "x.test") == ["x.test", "*.x.test"]
    assert entries(loaded, "a.x.test") == ["*.x.test"]


def test_lines_are_right_far_down_a_long_list(lists: Load, tmp_path: Path):
    count = 30_000  # more than one chunk of source and many blocks of text
    loaded = lists(
        a="".join(f"# {i}\nn{i}.test\n" for i in range(count)), b="".join(f"N{i}.test\n" for i in range(count))
    )
    for i in (0, 1, 1023, 4097, 29_999):
        hits = loaded.name_hits(HostName.parse(f"n{i}.test"))
        assert [(hit.entry, hit.place) for hit in hits] == [
            (f"n{i}.test", f"{tmp_path}/a.txt:{2 * i + 2}"),
            (f"N{i}.test", f"{tmp_path}/b.txt:{i + 1}"),
        ]
    assert loaded.names == 2 * count
    assert not loaded.name_hits(HostName.parse(f"n{count}.test"))


def test_no_lists_hold_nothing(lists: Load):
    loaded = lists()
    assert loaded.name_hits(HostName.parse("example.com")) == ()
    assert loaded.address_hits(HostName.parse("192.0.2.1").address) == ()
    assert (loaded.names, loaded.ranges, loaded.lists) == (0, 0, ())


def test_a_name_that_is_an_address_is_asked_as_an_address(lists: Load):
    loaded = lists(a="192.0.2.0/24\n")
    assert entries(loaded, "0xC0000207") == ["192.0.2.0/24"]
