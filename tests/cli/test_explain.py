from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import story
from cli.house import POLICY, Run
from sluicegate import paths, settings
from sluicegate.facts import Ask, Endpoint, Protocol, Request, Workload
from sluicegate.gateway.assemble import guard_of
from sluicegate.names import HostName
from sluicegate.snapshot import load
from sluicegate.verdict import Inspect, Permit

WEB = Workload("shop", "web-1", labels={"app": "web"})


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    made = Run(tmp_path)
    made.furnish()
    return made


URLS = [
    pytest.param("https://api.test/v1/items", "GET", 0, "rule", id="allowed"),
    pytest.param("https://API.test./v1/items?q=1#x", "GET", 0, "rule", id="allowed, in another spelling"),
    pytest.param("https://api.test/v2", "GET", 1, "no-rule", id="another path"),
    pytest.param("https://api.test/v1/items", "POST", 1, "no-rule", id="another method"),
    pytest.param("https://api.test:8443/v1/items", "GET", 1, "no-rule", id="another port"),
    pytest.param("https://api.test/v1/%2e%2e/x", "GET", 1, "ambiguous-path", id="a path of two meanings"),
    pytest.param("https://x.bad.test/v1/a", "GET", 1, "listed", id="on a list"),
    pytest.param("http://plain.test/", "GET", 0, "rule", id="in clear"),
    pytest.param("https://plain.test/", "GET", 1, "no-rule", id="in TLS where clear is meant"),
    pytest.param("https://pinned.test/any", "DELETE", 0, "rule", id="undecrypted"),
    pytest.param("http://pinned.test/any", "GET", 0, "rule", id="readable although not to be decrypted"),
    pytest.param("https://watched.test/", "GET", 1, "no-rule", id="an audited rule opens nothing"),
    pytest.param("https://nowhere.test/", "GET", 1, "no-rule", id="no rule"),
    pytest.param("https://127.0.0.1/", "GET", 1, "hard-address", id="loopback"),
    pytest.param("http://169.254.169.254/latest", "GET", 1, "metadata", id="metadata"),
    pytest.param("http://2130706433/", "GET", 1, "hard-address", id="loopback in costume"),
    pytest.param("https://[::1]/", "GET", 1, "hard-address", id="loopback of IPv6"),
    pytest.param("http://metadata.google.internal/", "GET", 1, "metadata", id="metadata by name"),
]


class TestVerdicts:
    @pytest.mark.parametrize(("url", "method", "status", "reason"), URLS)
    def test_are_said_with_their_reason(self, run: Run, url: str, method: str, status: int, reason: str):
        done = run("explain", url, "--method", method)

        assert done.exit_code == status
        assert done.stdout.startswith(f"{'denied' if status else 'allowed'}  reason: {reason}\n")

    @pytest.mark.parametrize(("url", "method", "status", "reason"), URLS)
    def test_are_those_of_decide(self, run: Run, url: str, method: str, status: int, reason: str):
        """Asked by hand as the gateway asks: the connection first, the request where it is decrypted."""
        configured = settings.load(run.folder / "gateway.yaml")
        snapshot = load(configured, guard_of(configured), story.engine())
        parts = urlsplit(url)
        tls = parts.scheme == "https"
        name = HostName.parse((parts.hostname or "").strip("[]"))
        path = paths.canonical(parts.path or "/")
        number = parts.port or (443 if tls else 80)
        destination = None if name.address is None else Endpoint(name.address, number)
        source = Endpoint(ip_address("127.0.0.1"), 1)
        opened = frozenset({Protocol.HTTPS, Protocol.TLS, Protocol.TCP} if tls else {Protocol.HTTP, Protocol.TCP})
        connection = Ask(WEB, source, name, destination, number, opened)
        verdict = snapshot.decide(connection)
        if not (isinstance(verdict, Permit) and verdict.inspect is Inspect.SNI):
            asked = Request(method, path.path, path.ambiguous)
            said = frozenset({Protocol.HTTPS if tls else Protocol.HTTP})
            verdict = snapshot.decide(replace(connection, protocols=said, request=asked))

        found = run.json("explain", url, "--method", method)
        assert found["reason"] == verdict.reason == reason
        assert found["verdict"] == ("allow" if isinstance(verdict, Permit) else "deny")
        assert found["source"]["rule"] == verdict.source.rule


class TestWhatDecided:
    @pytest.mark.parametrize(
        ("url", "place", "line"),
        [
            pytest.param("https://api.test/v1/x", "policies/web.yaml:9", "- {name: api, to: {domains: [api.test,", id="a rule"),
            pytest.param("https://x.bad.test/v1/x", "blocklists/sites.txt:2", "bad.test", id="a list"),
            pytest.param("https://pinned.test/", "policies/web.yaml:11", "- {name: pinned,", id="a splice"),
        ],
    )  # fmt: skip
    def test_is_shown_as_it_stands_in_the_file(self, run: Run, url: str, place: str, line: str):
        shown = run("explain", url).stdout.splitlines()[-1]
        found = run.json("explain", url)["source"]

        assert shown.startswith(f"    {run.folder}/{place}: {line}")
        assert (found["place"], found["line"].startswith(line)) == (f"{run.folder}/{place}", True)

    def test_names_whom_to_ask(self, run: Run):
        assert (
            "decided by EgressPolicy/shop/web api (ask shop@example.com)"
            in run("explain", "https://api.test/v1/x").stdout
        )

    def test_every_step_is_told(self, run: Run):
        steps = [step["step"] for step in run.json("explain", "https://api.test/v1/x")["steps"]]

        assert steps[:5] == ["hard guard", "identity", "lists", "private guard", "paths"]

    def test_what_audit_would_deny_is_told(self, run: Run):
        run.write("gateway.yaml", (run.folder / "gateway.yaml").read_text() + "default: audit\n")
        run.write("policies/web.yaml", POLICY.replace("app: web", "app: other"))
        found = run.json("explain", "https://nowhere.test/")

        assert (found["verdict"], found["reason"], found["would_deny"]) == ("allow", "default-audit", "no-rule")
        assert "would deny: " in run("explain", "https://nowhere.test/").stdout

    def test_the_json_has_its_keys(self, run: Run):
        assert set(run.json("explain", "https://api.test/v1/x")) == {
            "verdict", "reason", "detail", "inspect", "would_deny", "source", "addresses", "steps",
        }  # fmt: skip


class TestWho:
    @pytest.mark.parametrize(
        ("arguments", "status"),
        [
            pytest.param(["--from", "shop/web-1"], 0, id="known to the table"),
            pytest.param(["--from", "shop/web-9", "--label", "app=web"], 0, id="described"),
            pytest.param(["--from", "shop/web-9"], 1, id="without the label"),
            pytest.param(["--from", "shop/web-1", "--label", "app=other"], 1, id="described otherwise than known"),
            pytest.param(["--from", "other/web-1", "--label", "app=web"], 1, id="another namespace"),
        ],
    )
    def test_asks(self, run: Run, arguments: list[str], status: int):
        assert run("explain", "https://api.test/v1/x", *arguments).exit_code == status

    def test_is_unknown_where_no_table_says(self, run: Run):
        run.write("gateway.yaml", (run.folder / "gateway.yaml").read_text().replace("127.0.0.0/8", "10.0.0.0/8"))

        assert run.json("explain", "https://api.test/v1/x")["reason"] == "unknown-identity"


class TestResolve:
    def test_decides_on_the_address_too(self, run: Run):
        assert run.json("explain", "https://inside.test/v1/x")["verdict"] == "allow"
        found = run.json("explain", "https://inside.test/v1/x", "--resolve")
        assert (found["verdict"], found["reason"], found["addresses"]) == ("deny", "private-address", ["10.1.2.3"])

    def test_shows_the_address(self, run: Run):
        done = run("explain", "https://api.test/v1/x", "--resolve")

        assert (done.exit_code, "addresses: 93.184.216.34" in done.stdout) == (0, True)

    def test_a_name_without_one_is_status_1(self, run: Run):
        done = run("explain", "https://x.bad.test/v1/x", "--resolve")

        assert done.exit_code == 1


class TestUsage:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            pytest.param(["api.test"], "write a URL such as https://", id="no scheme"),
            pytest.param(["ftp://api.test/"], "write a URL such as https://", id="another scheme"),
            pytest.param(["https:///x"], "write a URL such as https://", id="no host"),
            pytest.param(["https://[::1"], "write a URL such as https://", id="half an address"),
            pytest.param(["https://[zz]/"], "write a URL such as https://", id="brackets around nothing"),
            pytest.param(["https://a b/"], "spaces have no place in a host", id="a space"),
            pytest.param(["https://u:p@api.test/"], "", id="user information"),
            pytest.param(["https://api.test:99999/"], "is no port", id="port above 65535"),
            pytest.param(["https://b\u00fccher.test/"], "write xn--bcher-kva.test", id="a name to be written in ASCII"),
            pytest.param(["https://a.test/", "--from", "x"], "--from: `x`: write NAMESPACE/POD", id="no pod"),
            pytest.param(["https://a.test/", "--from", "a/b", "--label", "x"], "write KEY=VALUE", id="no value"),
            pytest.param([], "Missing argument 'URL'", id="nothing"),
        ],
    )
    def test_is_status_2_and_one_line(self, run: Run, arguments: list[str], said: str):
        done = run("explain", *arguments)

        assert (done.exit_code, said in done.stderr, done.stdout) == (2, True, "")
        assert "Traceback" not in done.stderr

    def test_a_bad_policy_is_status_2(self, run: Run):
        run.write("policies/web.yaml", "[")

        assert run("explain", "https://a.test/").exit_code == 2
