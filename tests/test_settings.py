from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from sluicegate import settings
from sluicegate.errors import ConfigError
from sluicegate.facts import Endpoint
from sluicegate.names import HostName
from sluicegate.settings import API_VERSION, Settings

TOP = f"apiVersion: {API_VERSION}\nkind: Gateway\n"
BASE = Path("/etc/sluicegate")


def parsed(text: str) -> Settings:
    return settings.parse(TOP + text, "gateway.yaml", BASE)


def refused(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parsed(text)
    return str(caught.value)


class TestDefaults:
    def test_are_what_an_empty_file_means(self):
        assert parsed("") == settings.defaults(BASE)

    def test_deny_and_hold_no_door_open(self):
        found = parsed("")

        assert (found.default, found.upstream.unsafe_allow_addresses, found.records.on_full) == ("deny", (), "block")
        assert found.listen.explicit == Endpoint(ip_address("127.0.0.1"), 3128)

    def test_null_means_the_default_but_switches_a_listener_off(self):
        found = parsed("default: null\nlisten: {explicit: null, metrics: null}")

        assert found.default == "deny"
        assert (found.listen.explicit, found.listen.metrics) == (None, None)


class TestPaths:
    def test_are_taken_from_the_folder_of_the_file(self, tmp_path: Path):
        (tmp_path / "gateway.yaml").write_text(
            TOP + "policies: [p, /abs]\nrecords: {file: v.jsonl}\nauthority: {cert: c}"
        )
        found = settings.load(tmp_path / "gateway.yaml")

        assert found.policies == (tmp_path / "p", Path("/abs"))
        assert found.records.file == tmp_path / "v.jsonl"
        assert (found.authority.cert, found.authority.key) == (tmp_path / "c", tmp_path / "certs/ca.key")
        assert found.blocklists == (tmp_path / "blocklists",)

    def test_of_a_mounted_config_map_are_taken_from_the_mount(self, tmp_path: Path):
        """Not from the folder that its links lead to, which the next update removes."""
        (tmp_path / "..2026_01").mkdir()
        (tmp_path / "..2026_01" / "gateway.yaml").write_text(TOP)
        (tmp_path / "..data").symlink_to("..2026_01")
        (tmp_path / "gateway.yaml").symlink_to("..data/gateway.yaml")

        assert settings.load(tmp_path / "gateway.yaml").policies == (tmp_path / "policies",)

    def test_of_a_relative_file_are_absolute(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        (tmp_path / "gateway.yaml").write_text(TOP)
        monkeypatch.chdir(tmp_path)

        assert settings.load(Path("gateway.yaml")).policies == (tmp_path / "policies",)

    def test_trust_is_a_word_or_a_path(self):
        assert parsed("upstream: {trust: [certifi, system, ca.pem]}").upstream.trust == (
            "certifi", "system", "/etc/sluicegate/ca.pem",
        )  # fmt: skip
        assert parsed("upstream: {trust: ca.pem}").upstream.trust == ("/etc/sluicegate/ca.pem",)


def test_what_is_written_is_what_is_read():
    found = parsed("""
listen: {transparent: ["[::]:8443"], tproxy: true, metrics: 127.0.0.1:0}
workers: 1
default: audit
resolver: {servers: [10.0.0.10, "[2001:db8::53]:5353", 2001:db8::54], hosts: {A.test.: [10.0.0.1, "::1"], b.test: 10.0.0.2}, timeout: 2s}
upstream: {connect_timeout: 3s, unsafe_allow_addresses: [127.0.0.1/32]}
dlp: {packs: [secrets], buffer: 0B}
identity: {kubernetes: off, static: [{cidr: 10.0.0.1, namespace: a, pod: b, service_account: c, labels: {x: y}}]}
limits: {head: 8KiB, hello_timeout: 1s, message: 1MiB}
records: {on_full: count, queue: 10}
""")

    assert found.listen.transparent == (Endpoint(ip_address("::"), 8443),)
    assert [str(server) for server in found.resolver.servers or ()] == [
        "10.0.0.10:53", "[2001:db8::53]:5353", "[2001:db8::54]:53",
    ]  # fmt: skip
    assert found.resolver.hosts[HostName("a.test")] == (ip_address("10.0.0.1"), ip_address("::1"))
    assert found.upstream.unsafe_allow_addresses == (ip_network("127.0.0.1/32"),)
    assert str(found.identity[0].workload) == "a/b"
    assert (found.limits.head, found.limits.hello_timeout_s, found.dlp.buffer) == (8192, 1.0, 0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("polices: []", "gateway.yaml: polices: `polices`: unknown key: did you mean `policies`?", id="top"),
        pytest.param("limits: {heads: 1KiB}", "limits.heads: `heads`: unknown key: did you mean `head`?", id="inside"),
        pytest.param("policies: policies/", "policies: `policies/`: expected a list", id="a path for a list"),
        pytest.param("listen: {explicit: 3128}", "listen.explicit: `3128`: expected text", id="a bare port"),
        pytest.param("listen: {explicit: 'x:1'}", "expected address:port, such as 0.0.0.0:8443", id="a name for an address"),
        pytest.param("listen: {explicit: '::1:80'}", "write an IPv6 address in brackets: [::1]:80", id="IPv6 without brackets"),
        pytest.param("listen: {explicit: '1.2.3.4:99999'}", "the port is a number from 0 to 65535", id="port above 65535"),
        pytest.param("listen: {explicit: '1.2.3.4:٣'}", "the port is a number from 0 to 65535", id="digits of other scripts"),
        pytest.param("listen: {dns: 0.0.0.0:5353}", "listen.dns: `0.0.0.0:5353`: is not served", id="what is not there yet"),
        pytest.param("default: allow", "default: `allow`: expected deny or audit", id="there is no allow"),
        pytest.param("identity: {kubernetes: [x]}", "identity.kubernetes: `['x']`: is not served", id="a list for a word"),
        pytest.param("identity: {kubernetes: 'on'}", "identity.kubernetes: `on`: is not served", id="identity from kubernetes"),
        pytest.param("identity: {static: [{cidr: 10.0.0.1/8, namespace: a, pod: b}]}", "use `10.0.0.0/8`", id="bits outside"),
        pytest.param("identity: {static: [{cidr: x, namespace: a, pod: b}]}", "expected an address or a range", id="no range"),
        pytest.param("identity: {static: [{cidr: 10.0.0.1}]}", "identity.static[0]: `namespace` is missing", id="missing key"),
        pytest.param("resolver: {servers: []}", "is empty: name a server, or write `system`", id="no server"),
        pytest.param("resolver: {hosts: {a.test: x}}", "resolver.hosts.a.test: `x`: expected IP addresses", id="no address"),
        pytest.param("resolver: {hosts: {a.test: }}", "resolver.hosts.a.test: `None`: has no address", id="nothing"),
        pytest.param("resolver: {hosts: {a.test: []}}", "resolver.hosts.a.test: `[]`: has no address", id="an empty list"),
        pytest.param("resolver: {hosts: {'a b': 10.0.0.1}}", "spaces have no place in a host", id="no host"),
        pytest.param(
            "resolver: {hosts: {a.test: 10.0.0.1, A.TEST.: 10.0.0.2}}", "`A.TEST.`: is a.test, which stands here already",
            id="one host in two spellings",
        ),
        pytest.param("upstream: {trust: []}", "trusts nobody: name certifi, system or a PEM file", id="trust in nobody"),
        pytest.param("upstream: {connect_timeout: 10}", "expected a duration with its unit", id="no unit"),
        pytest.param("limits: {head: 0B}", "limits.head: `0B`: expected a size of at least 1B", id="no room for a head"),
        pytest.param("limits: {idle_timeout: 0s}", "expected a duration above 0s", id="no time to be idle"),
        pytest.param("records: {on_full: ignore}", "expected block or count", id="records that nobody misses"),
        pytest.param("workers: 2", "workers: `2`: more than one worker is not served", id="more workers"),
        pytest.param("---\na: b", "`2 documents`: expected exactly one, of kind Gateway", id="two documents"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(text: str, said: str):
    assert refused(text).startswith("gateway.yaml")
    assert said in refused(text)


class TestFiles:
    @pytest.mark.parametrize(
        ("content", "said"),
        [(None, "No such file or directory"), (b"\xff", "not UTF-8")],
        ids=["missing", "not UTF-8"],
    )
    def test_that_cannot_be_read(self, tmp_path: Path, content: bytes | None, said: str):
        if content is not None:
            (tmp_path / "g.yaml").write_bytes(content)

        with pytest.raises(ConfigError, match=said):
            settings.load(tmp_path / "g.yaml")

    def test_of_another_kind(self):
        with pytest.raises(ConfigError, match="kind: `EgressPolicy`: expected Gateway"):
            settings.parse(f"{{apiVersion: {API_VERSION}, kind: EgressPolicy}}", "g.yaml", BASE)


def test_a_pack_in_a_file_is_found_beside_the_configuration(tmp_path: Path) -> None:
    text = f"{{apiVersion: {settings.API_VERSION}, kind: Gateway, dlp: {{packs: [secrets, ../rules/house.yaml]}}}}"

    assert settings.parse(text, "g.yaml", tmp_path / "etc").dlp.packs == ("secrets", str(tmp_path / "rules/house.yaml"))
