"""Who is selected: the same table for the selectors of both kinds."""

from __future__ import annotations

import pytest

from policy.asks import ask, cluster, own, policy, workload
from sluicegate.facts import Workload
from sluicegate.policy.decide import decide
from sluicegate.verdict import Reason

API = workload(labels={"app": "api", "tier": "web"}, namespace_labels={"env": "prod"}, account="robot")


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ("{}", True),
        ("{namespaces: {}, pods: {}}", True),
        ("{namespaces: {names: [lab, shop]}}", True),
        ("{namespaces: {names: [lab]}}", False),
        ("{namespaces: {names: [sho]}}", False),
        ("{namespaces: {matchLabels: {env: prod}}}", True),
        ("{namespaces: {matchLabels: {env: dev}}}", False),
        ("{namespaces: {matchLabels: {app: api}}}", False),
        ("{namespaces: {matchLabels: {kubernetes.io/metadata.name: shop}}}", True),
        ("{namespaces: {matchLabels: {kubernetes.io/metadata.name: lab}}}", False),
        ("{namespaces: {names: [shop], matchLabels: {env: dev}}}", False),
        ("{pods: {matchLabels: {app: api}}}", True),
        ("{pods: {matchLabels: {app: api, tier: web}}}", True),
        ("{pods: {matchLabels: {app: api, tier: db}}}", False),
        ("{pods: {matchLabels: {env: prod}}}", False),
        ("{pods: {matchExpressions: [{key: app, operator: In, values: [web, api]}]}}", True),
        ("{pods: {matchExpressions: [{key: app, operator: In, values: [web]}]}}", False),
        ("{pods: {matchExpressions: [{key: gone, operator: In, values: [web]}]}}", False),
        ("{pods: {matchExpressions: [{key: app, operator: NotIn, values: [web]}]}}", True),
        ("{pods: {matchExpressions: [{key: app, operator: NotIn, values: [api]}]}}", False),
        ("{pods: {matchExpressions: [{key: gone, operator: NotIn, values: [api]}]}}", True),
        ("{pods: {matchExpressions: [{key: app, operator: Exists}]}}", True),
        ("{pods: {matchExpressions: [{key: gone, operator: Exists}]}}", False),
        ("{pods: {matchExpressions: [{key: gone, operator: DoesNotExist}]}}", True),
        ("{pods: {matchExpressions: [{key: app, operator: DoesNotExist}]}}", False),
        ("{pods: {matchLabels: {app: api}, matchExpressions: [{key: gone, operator: Exists}]}}", False),
        ("{serviceAccounts: [robot]}", True),
        ("{serviceAccounts: [shop/robot]}", True),
        ("{serviceAccounts: [lab/robot]}", False),
        ("{serviceAccounts: [default]}", False),
        ("{cidrs: [10.1.2.0/24]}", True),
        ("{cidrs: [10.1.3.0/24, 10.1.2.3]}", True),
        ("{cidrs: [10.1.3.0/24]}", False),
        ("{cidrs: [10.1.2.0/24], namespaces: {names: [lab]}}", False),
    ],
)
def test_a_cluster_selector(selector: str, selected: bool):
    rules = policy(cluster("{action: allow}", more=f"selector: {selector}"))
    assert (decide(ask(by=API), rules).reason is Reason.RULE) is selected


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        ("{}", True),
        ("{matchLabels: {app: api}}", True),
        ("{matchLabels: {app: web}}", False),
        ("{matchExpressions: [{key: app, operator: Exists}]}", True),
        ("{serviceAccounts: [robot]}", True),
        ("{serviceAccounts: [default]}", False),
        ("{serviceAccounts: [robot], matchLabels: {app: web}}", False),
    ],
)
def test_a_namespace_selector(selector: str, selected: bool):
    rules = policy(own("{name: x}", more=f"selector: {selector}"))
    assert (decide(ask(by=API), rules).reason is Reason.RULE) is selected


def test_an_egress_policy_is_for_its_own_namespace():
    rules = policy(own("{name: x}"))
    assert decide(ask(by=workload("lab")), rules).reason is Reason.NO_RULE


def test_a_namespace_cannot_pose_as_another_by_label():
    rules = policy(
        cluster("{action: allow}", more="selector: {namespaces: {matchLabels: {kubernetes.io/metadata.name: lab}}}")
    )
    posing = workload(namespace_labels={"kubernetes.io/metadata.name": "lab"})
    assert decide(ask(by=posing), rules).reason is Reason.NO_RULE


@pytest.mark.parametrize("source", ["10.1.2.3", "::ffff:10.1.2.3"])
def test_source_ranges_read_mapped_addresses(source: str):
    rules = policy(cluster("{action: allow}", more="selector: {cidrs: [10.1.2.0/24]}"))
    assert decide(ask(source=source), rules).reason is Reason.RULE


def test_workloads_of_the_same_facts_share_a_view_and_others_their_tables():
    rules = policy(cluster("{action: allow}") + own("{name: x}", more="selector: {matchLabels: {app: api}}"))
    source = ask().source.address

    def view(labels: dict[str, str]):
        return rules.views(Workload("shop", "any", labels=labels), source).enforced

    assert view({"app": "api"}) is view({"app": "api"})
    assert view({"app": "api"}).cluster is view({"app": "web"}).cluster
    assert view({"app": "api"}).own is not view({"app": "web"}).own
    assert rules.views(API, source).shadow is None
