"""The main job on real traffic: a pod fetches pages and cannot tell; what is refused is refused with a reason."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from net.bed import LISTED_V4, ORIGIN_V4, ORIGIN_V6, POD_V4, POD_V6, Bed, Gateway

pytestmark = pytest.mark.net

BOTH = pytest.mark.parametrize("family", ["-4", "-6"])


@pytest.fixture(scope="module", params=["redirect", "tproxy", "redirect engine: mitm"])
def gateway(bed: Bed, request: pytest.FixtureRequest) -> Iterator[Gateway]:
    """The gateway behind each of the shipped rule sets, and with all HTTP in the mitm lane."""
    rules, _, extra = request.param.partition(" ")
    if rules == "tproxy":
        bed.tproxy_routes()
    bed.nft(f"{rules}.nft")
    with bed.gateway(tproxy=rules == "tproxy", extra=f"{extra}\n") as gateway:
        yield gateway
    bed.flush()
    if rules == "tproxy":
        bed.tproxy_routes_off()


def refused(bed: Bed, gateway: Gateway, *args: str, status: str = "403") -> dict[str, Any]:
    """The record of a request that must be refused, found by the incident that the client was told."""
    done = bed.curl(*args)
    body, _, seen = done.stdout.rpartition("\n")
    assert seen == status, done
    return gateway.record(id=json.loads(body)["incident"])


@BOTH
@pytest.mark.parametrize("scheme", ["https", "http"])
def test_a_permitted_page_arrives_unchanged(bed: Bed, gateway: Gateway, family: str, scheme: str) -> None:
    done = bed.curl(family, f"{scheme}://shop.test/page")
    assert done.stdout == "a real page\n\n200", done.stderr
    record = gateway.record(host="shop.test", path="/page", protocol=scheme)
    assert record["verdict"] == "allow"
    assert record["policy"] == "EgressPolicy/shop/shop"
    assert record["rule"] == "web"
    assert record["workload"]["pod"] == "web-1"
    assert record["source"].rpartition(":")[0] in {POD_V4, f"[{POD_V6}]"}
    assert record["destination"]["ip"] == (ORIGIN_V4 if record["source"].startswith(POD_V4) else ORIGIN_V6)
    assert record["status"] == 200
    assert record["lane"] == ("mitm" if "mitm" in gateway.setup.extra else "http1")


def test_a_large_page_arrives_whole(bed: Bed, gateway: Gateway) -> None:
    done = bed.pod.exec("sh", "-c", f"curl -sS --cacert {bed.folder}/ca.pem https://shop.test/100k | sha256sum")
    expected = bed.pod.exec("sha256sum", str(bed.www / "100k")).stdout.split()[0]
    assert done.stdout.split()[0] == expected


def test_an_upload_arrives_whole(bed: Bed, gateway: Gateway) -> None:
    body = bed.folder / "upload"
    body.write_bytes(b"plain words " * 300_000)
    done = bed.curl("--data-binary", f"@{body}", "https://shop.test/post")
    assert done.stdout == "stored\n\n200", done.stderr
    record = gateway.record(host="shop.test", path="/post", method="POST")
    assert record["bytes"]["up"] == body.stat().st_size
    assert record["coverage"]["request"] == "full"


@BOTH
def test_a_listed_domain_is_refused_with_its_list(bed: Bed, gateway: Gateway, family: str) -> None:
    said = json.loads(bed.curl(family, "https://listed.test/page").stdout.rpartition("\n")[0])
    assert (said["reason"], said["owner"]) == ("listed", "secops@example.test")
    record = gateway.record(host="listed.test", reason="listed", id=said["incident"])
    assert record["list"]["name"] == "paste-sites"
    assert record["list"]["place"].endswith("paste-sites.txt:2")


@BOTH
def test_a_listed_address_is_refused(bed: Bed, gateway: Gateway, family: str) -> None:
    record = refused(bed, gateway, family, "https://to-listed.test/page")
    assert record["reason"] == "listed"
    assert record["list"]["name"] == "addresses"


def test_a_listed_address_is_refused_when_it_is_asked_for_itself(bed: Bed, gateway: Gateway) -> None:
    record = refused(bed, gateway, f"http://{LISTED_V4}/page")
    assert (record["reason"], record["destination"]["ip"]) == ("listed", LISTED_V4)


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("http://169.254.169.254/latest/meta-data/", id="by its address"),
        pytest.param("http://meta.test/latest/meta-data/", id="by a name that leads there"),
        pytest.param("http://metadata.google.internal/computeMetadata/v1/", id="by its name"),
        pytest.param("http://[fd00:ec2::254]/latest/meta-data/", id="over IPv6"),
    ],
)
def test_cloud_metadata_is_refused(bed: Bed, gateway: Gateway, url: str) -> None:
    assert refused(bed, gateway, "--resolve", "metadata.google.internal:80:203.0.113.10", url)["reason"] == "metadata"


def test_an_upload_with_a_secret_is_refused_and_the_record_does_not_hold_it(bed: Bed, gateway: Gateway) -> None:
    secret = "AKIA" + "Z7VR5SNQ2LKX4WTD"
    upload = ("-d", json.dumps({"key": secret}), "-H", "content-type: application/json", "https://shop.test/post")
    record = refused(bed, gateway, *upload)
    assert record["reason"] == "sensitive-data"
    assert record["findings"][0]["rule"] == "aws-access-key-id"
    assert record["findings"][0]["fingerprint"]
    assert secret not in gateway.records_file.read_text()
    assert secret not in gateway.log()


def test_a_name_without_a_rule_is_refused(bed: Bed, gateway: Gateway) -> None:
    assert bed.status("https://unruled.test/") == "403"
    assert gateway.record(host="unruled.test")["reason"] == "no-rule"


def test_a_private_address_behind_a_permitted_name_is_refused(bed: Bed, gateway: Gateway) -> None:
    assert bed.status("https://private.test/") == "403"
    assert gateway.record(host="private.test")["reason"] == "private-address"


def test_guarded_answers_are_left_out_of_a_resolution(bed: Bed, gateway: Gateway) -> None:
    assert bed.status("http://mixed.test/page") == "200"
    assert gateway.record(host="mixed.test")["dialled"] == f"{ORIGIN_V4}:80"


def test_an_alias_of_a_listed_name_is_refused(bed: Bed, gateway: Gateway) -> None:
    assert bed.status("https://cname.test/page") == "403"
    assert gateway.record(host="cname.test")["reason"] == "listed"


@pytest.mark.parametrize(
    ("args", "status"),
    [
        pytest.param(("https://api.test/v1/charges",), "200", id="method and path are permitted"),
        pytest.param(("https://api.test/v2/charges",), "403", id="another path is not"),
        pytest.param(("-X", "DELETE", "https://api.test/v1/charges"), "403", id="another method is not"),
        pytest.param(("--path-as-is", "https://api.test/v1/../v2/x"), "400", id="nor a path that climbs"),
        pytest.param(("http://api.test/v1/charges",), "403", id="nor clear text, where the rule says https"),
    ],
)
def test_methods_paths_and_protocols_decide(bed: Bed, gateway: Gateway, args: tuple[str, ...], status: str) -> None:
    assert bed.status(*args) == status


def test_one_connection_and_two_hosts(bed: Bed, gateway: Gateway) -> None:
    assert bed.status("-H", "Host: api.test", "https://shop.test/page") == "421"
    assert gateway.record(reason="names-disagree")["verdict"] == "deny"


@BOTH
def test_a_spliced_connection_keeps_the_certificate_of_the_origin(bed: Bed, gateway: Gateway, family: str) -> None:
    through = bed.curl(family, "https://mirror.test/page")
    assert through.returncode != 0, "the cluster CA must not verify what was not decrypted"
    done = bed.pod.exec(
        "curl", family, "-sS", "-m", "10", "--cacert", f"{bed.folder}/origin-ca.pem", "https://mirror.test/page"
    )
    assert done.stdout == "a real page\n", done.stderr
    record = gateway.record(sni="mirror.test", lane="splice", verdict="allow")
    assert record["coverage"] == {**record["coverage"], "request": "opaque", "response": "opaque"}
    assert record["bytes"]["down"] > 0


def test_what_is_not_http_is_reset(bed: Bed, gateway: Gateway) -> None:
    program = (
        "import socket,sys\n"
        f"s=socket.create_connection(('{ORIGIN_V4}',443),5); s.settimeout(5); s.sendall(b'SSH-2.0-x\\r\\n')\n"
        "try: print(len(s.recv(10)))\nexcept ConnectionResetError: print('reset')\n"
    )
    assert bed.pod.exec(sys.executable, "-c", program).stdout.strip() == "reset"
    assert gateway.record(kind="connection", verdict="deny")["destination"]["port"] == 443


def test_udp_443_is_rejected_and_everything_else_dropped(bed: Bed, gateway: Gateway) -> None:
    program = (
        "import socket\ns=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.settimeout(3)\n"
        f"s.connect(('{ORIGIN_V4}',443)); s.send(b'x')\n"
        "try: s.recv(10)\nexcept ConnectionRefusedError: print('refused')\n"
    )
    with bed.capture("udp and host 10.88.1.2") as seen:
        assert bed.pod.exec(sys.executable, "-c", program).stdout.strip() == "refused"
        bed.pod.exec("ping", "-c", "1", "-W", "1", ORIGIN_V4)
    assert not [line for line in seen if POD_V4 in line]


def test_python_requests_cannot_tell(bed: Bed, gateway: Gateway) -> None:
    program = (
        "import requests\ns=requests.Session()\n"
        "print([s.get('https://shop.test/page').text for _ in range(3)])\n"
        "print(s.post('https://shop.test/post', data=iter([b'a'*1000]*10)).status_code)\n"
    )
    done = bed.pod.exec("env", f"REQUESTS_CA_BUNDLE={bed.folder}/ca.pem", sys.executable, "-c", program)
    assert done.stdout == "['a real page\\n', 'a real page\\n', 'a real page\\n']\n200\n", done.stderr


def test_the_explicit_proxy_serves_connect_and_absolute_form(bed: Bed, gateway: Gateway) -> None:
    proxy = ("--proxy", "http://10.88.1.1:3128")
    assert bed.curl(*proxy, "https://shop.test/page").stdout == "a real page\n\n200"
    assert bed.curl(*proxy, "http://shop.test/page").stdout == "a real page\n\n200"
    for url in ("https://listed.test/", "http://listed.test/"):
        record = refused(bed, gateway, *proxy, url)
        assert (record["reason"], record["destination"]["ip"]) == ("listed", None)


def test_the_metrics_count_what_happened(bed: Bed, gateway: Gateway) -> None:
    bed.status("https://listed.test/")
    text = gateway.http("/metrics")
    assert 'sluicegate_verdicts_total{lane="refuse",reason="listed",verdict="deny"}' in text
    assert "sluicegate_event_loop_lag_seconds_bucket" in text
    assert gateway.http("/healthz").startswith("200")
