"""Closed unless opened: no identity, no gateway, no rule for a private range."""

from __future__ import annotations

import pytest

from net.bed import OURS, POLICY, Bed, syns

pytestmark = pytest.mark.net


def test_an_unknown_identity_sends_nothing(bed: Bed) -> None:
    bed.nft("redirect.nft")
    with bed.gateway(pods=("10.99.0.0/16",)) as gateway:
        with bed.capture(OURS) as seen:
            assert bed.status("https://shop.test/page") == "403"
            assert bed.status("http://shop.test/page") == "403"
            assert bed.status("https://mirror.test/page") == "403"
        assert {row["reason"] for row in gateway.records()} == {"unknown-identity"}
    assert seen == []
    bed.flush()


def test_without_a_gateway_nothing_passes(bed: Bed) -> None:
    for rules in ("redirect.nft", "tproxy.nft"):
        if rules == "tproxy.nft":
            bed.tproxy_routes()
        bed.nft(rules)
        with bed.capture("tcp") as seen:
            assert bed.pod.exec("curl", "-sS", "-m", "2", "-k", "https://shop.test/page").returncode != 0
            assert bed.pod.exec("curl", "-sS", "-m", "2", "-6", "-k", "https://shop.test/page").returncode != 0
        assert seen == [], rules
        bed.flush()
    bed.tproxy_routes_off()


def test_a_policy_that_opens_a_private_range_opens_that_range(bed: Bed) -> None:
    opened = POLICY + (
        "---\napiVersion: sluicegate.dev/v1alpha1\nkind: ClusterEgressPolicy\nmetadata: {name: on-prem}\n"
        "spec: {tier: platform, rules: [{name: dc, action: allow, to: {domains: [private.test], addresses: [10.9.0.0/16]}}]}\n"
    )
    bed.nft("redirect.nft")
    with bed.gateway(policy=opened) as gateway, bed.capture(OURS) as seen:
        bed.curl("-m", "5", "http://private.test/")
        record = gateway.record(host="private.test")
    assert record["reason"] == "connect-failed", "permitted and dialled; nobody lives there"
    assert {line.split(" > ")[1].split(":")[0] for line in syns(seen)} == {"10.9.9.9.80"}
    bed.flush()
