"""The lists in blocklists/ load and do what their comments say."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from sluicegate.lists.load import load
from sluicegate.names import HostName

LISTS = load([Path(__file__).parents[2] / "blocklists"], [])


def test_each_file_is_a_list_with_an_owner():
    assert [(info.name, info.format) for info in LISTS.lists] == [
        ("local/addresses", "addresses"),
        ("local/malware-hosts", "hosts"),
        ("local/paste-sites", "domains"),
    ]
    assert {info.options.owner for info in LISTS.lists} == {"secops@example.com"}


@pytest.mark.parametrize(
    ("name", "list_"),
    [
        pytest.param("api.pastebin.example", "local/paste-sites", id="below a domain"),
        pytest.param("snippets.test", "local/paste-sites", id="a wildcard's domain"),
        pytest.param("bücher-paste.example", "local/paste-sites", id="Unicode"),
        pytest.param("evil.test", "local/malware-hosts", id="a host"),
        pytest.param("www.evil.test", None, id="below a host"),
        pytest.param("example.com", None, id="nothing real"),
    ],
)
def test_names(name: str, list_: str | None):
    assert [hit.list for hit in LISTS.name_hits(HostName.parse(name))] == ([list_] if list_ else [])


@pytest.mark.parametrize(
    ("address", "held"),
    [("192.0.2.66", True), ("192.0.2.67", False), ("64:ff9b::192.0.2.66", True), ("2001:db8:bad::1", True)],
)
def test_addresses(address: str, held: bool):
    assert bool(LISTS.address_hits(ip_address(address))) is held
