"""The verdict on an ask. The only module that makes a Permit.

Audit is transparent: what is audited is as if it were absent. Where anything audited is about the workload, the ask is
answered a second time as if all of it were enforced, and should that be a Deny, the Permit carries it as `would_deny`.
This second answer opens and refuses nothing. The same holds for `default: audit`: the audited default permits, and
`would_deny` is what an enforced one would say. An audited EgressPolicy, too, is absent: it does not take its workloads
out of the baseline tier, and `would_deny` says if its enforcement would.

An ask may be put before all is known (see match). Then the verdict is the best that may still come of it:

* an allow rule that may match permits for now: the request, and each address before it is dialled, are decided again;
* a deny rule that may match is gone past, and a pass rule that may match is both taken and not taken;
* but nothing that depends on content is left open on a connection that is spliced, where no request would ever be
  seen: there `inspect: sni` becomes `full`, and on one that is already known to stay undecrypted, such a rule denies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from sluicegate.facts import Address, Ask, ListHit, Protocol, Unknown, Workload
from sluicegate.policy.match import Fit, beneath, dialled, host, known_addresses, known_faces, match, may_be
from sluicegate.policy.model import Policy
from sluicegate.policy.rules import Action, Rule, Tier
from sluicegate.policy.trace import Outcome, Step, Trace
from sluicegate.policy.view import View
from sluicegate.policy.wording import rule_step, target
from sluicegate.resolve.guard import faces
from sluicegate.verdict import Deny, Inspect, Permit, Reason, Source, Verdict, built_in

_HTTP = frozenset({Protocol.HTTP, Protocol.HTTPS})


def decide(ask: Ask, policy: Policy, hits: Sequence[ListHit] = ()) -> Verdict:
    """Permit or Deny. Pure, synchronous and total; the first step with an answer decides:

    1. hard guard      metadata names; the original, the literal and the resolved address
    2. identity        an unknown workload is denied
    3. lists           a hit on a list that is not audited
    4. private guard   the address about to be dialled, unless a cluster rule that names its range opens it
    5. paths           an ambiguous path where a rule for this host looks at paths
    6. security        rules of ClusterEgressPolicies with this tier, by priority, then name; the first match
    7. platform        the same
    8. namespace       the union of the EgressPolicies that select the workload; if there are any and none allows: deny
    9. baseline        as security, for workloads that no EgressPolicy selects
    10. default        deny, or permit where it is audited
    """
    return answer(ask, policy, hits, None)


def answer(ask: Ask, policy: Policy, hits: Sequence[ListHit], trace: Trace | None) -> Verdict:
    """decide(), noting its steps in `trace`."""
    walk = _Walk(ask, policy, hits, trace, shadow=False)
    verdict = _walk(walk)
    if isinstance(verdict, Deny) or not _anything_audited(walk):
        return verdict
    enforced = _walk(_Walk(ask, policy, hits, None, shadow=True))
    if isinstance(enforced, Permit):
        return verdict
    if trace is not None:
        text = f"with everything audited enforced, this would be denied: {enforced.detail}"
        trace.append(Step("audit", Outcome.DENIED, enforced.source, text))
    return replace(verdict, would_deny=enforced)


def _anything_audited(walk: _Walk) -> bool:
    assert isinstance(walk.ask.identity, Workload)  # an unknown one was denied
    return (
        walk.view is not walk.shadow_view
        or any(hit.audit for hit in walk.hits)
        or walk.policy.default_for(walk.ask.identity) == "audit"
    )


@dataclass(slots=True)
class _Walk:
    """One pass through the steps. shadow: as if all that is audited were enforced."""

    ask: Ask
    policy: Policy
    hits: Sequence[ListHit]
    trace: Trace | None
    shadow: bool
    view: View | None = None
    shadow_view: View | None = None
    rules: list[Rule] = field(default_factory=list)
    """Those whose domains match, of all tiers."""
    unseen: Rule | None = None
    """The first rule that was gone past although content may make it match."""

    def note(self, step: str, outcome: Outcome, source: Source | None, text: str) -> None:
        if self.trace is not None:
            self.trace.append(Step(step, outcome, source or built_in(step), text))

    def left_open(self, rule: Rule, fit: Fit) -> None:
        if fit is Fit.MAYBE_CONTENT and self.unseen is None:
            self.unseen = rule


def _walk(walk: _Walk) -> Verdict:
    for name, step in _STEPS:
        verdict = step(walk)
        if walk.trace is not None:
            _note_outcome(walk, walk.trace, name, verdict)
        if verdict is not None:
            return verdict
    verdict = _default(walk)
    if walk.trace is not None:
        _note_outcome(walk, walk.trace, "default", verdict)
    return verdict


def _note_outcome(walk: _Walk, trace: Trace, name: str, verdict: Verdict | None) -> None:
    if isinstance(verdict, Deny):
        walk.note(name, Outcome.DENIED, verdict.source, verdict.detail)
    elif not trace or trace[-1].step != name:
        walk.note(name, Outcome.PASSED, None, "nothing here is about this")


def _hard_guard(walk: _Walk) -> Deny | None:
    guard, name = walk.policy.guard, walk.ask.name
    if name is not None and (why := guard.metadata_name(name)) is not None:
        return _hard(why, f"{name.ascii} is never reached through this gateway: {why}")
    for address in known_addresses(walk.ask):
        if (why := guard.hard(address)) is not None:
            return _hard(why, f"{address} is never reached through this gateway: {why}")
    walk.note("hard guard", Outcome.PASSED, None, "no name or address known so far is guarded")
    return None


def _hard(why: str, detail: str) -> Deny:
    reason = Reason.METADATA if why.startswith("metadata") else Reason.HARD_ADDRESS
    return Deny(reason, built_in("hard guard"), detail)


def _identity(walk: _Walk) -> Deny | None:
    identity = walk.ask.identity
    if isinstance(identity, Unknown):
        detail = f"no workload is known for {walk.ask.source.address}: {identity.why}"
        return Deny(Reason.UNKNOWN_IDENTITY, built_in("identity"), detail)
    views = walk.policy.views(identity, walk.ask.source.address)
    walk.shadow_view = views.shadow or views.enforced
    walk.view = walk.shadow_view if walk.shadow else views.enforced
    walk.rules = walk.view.candidates(host(walk.ask), known_faces(walk.ask))
    walk.note("identity", Outcome.PASSED, None, f"{identity} as service account {identity.service_account}")
    return None


def _lists(walk: _Walk) -> Deny | None:
    for hit in walk.hits:
        source = Source(f"Blocklist/{hit.list}", hit.entry, hit.owner, hit.place)
        if not hit.audit or walk.shadow:
            detail = f"{target(walk.ask)} is on the list {hit.list}: {hit.entry}"
            return Deny(Reason.LISTED, source, detail, hit=hit)
        walk.note("lists", Outcome.PASSED, source, f"{hit.entry} is on {hit.list}, which is audited")
    if not walk.hits:
        walk.note("lists", Outcome.PASSED, None, "on no list")
    return None


def _private_guard(walk: _Walk) -> Deny | None:
    address = dialled(walk.ask)
    if address is None:
        walk.note("private guard", Outcome.MAYBE, None, "the address is not known yet")
        return None
    why = walk.policy.guard.private(address)
    if why is None:
        walk.note("private guard", Outcome.PASSED, None, f"{address} is public")
        return None
    opener = _opener(walk, address)
    if opener is None:
        detail = (
            f"{target(walk.ask)} leads to the private address {address} ({why}), which no cluster policy opens here"
        )
        return Deny(Reason.PRIVATE_ADDRESS, built_in("private guard"), detail)
    walk.note("private guard", Outcome.MATCHED, opener.source, f"{address} ({why}) is opened by {opener.label}")
    return None


def _opener(walk: _Walk, address: Address) -> Rule | None:
    """The rule that opens the private guard, before all one that certainly does."""
    needed = _private_faces(walk, address)
    perhaps: tuple[Rule, Fit] | None = None
    for rule in walk.rules:
        if rule.opens is None or not all(rule.opens.holds(face) for face in needed):
            continue
        fit = match(rule, walk.ask)
        if fit is Fit.YES:
            return rule
        if fit is not Fit.NO and perhaps is None:
            perhaps = (rule, fit)
    if perhaps is None:
        return None
    walk.left_open(*perhaps)
    return perhaps[0]


def _private_faces(walk: _Walk, address: Address) -> list[Address]:
    """What a rule must name: where the address leads to, and all that is private inside of it."""
    inside = [face for face in faces(address)[1:] if walk.policy.guard.private(face) is not None]
    return [beneath(address), *inside]


def _paths(walk: _Walk) -> Deny | None:
    request = walk.ask.request
    if request is None or request.ambiguous is None:
        return None
    rule = next((rule for rule in walk.rules if rule.has_paths), None)
    if rule is None:
        walk.note("paths", Outcome.PASSED, None, "the path is ambiguous, but no rule for this host looks at paths")
        return None
    detail = f"the path may be read in two ways ({request.ambiguous}), and {rule.label} looks at paths"
    return Deny(Reason.AMBIGUOUS_PATH, rule.source, detail)


def _tier(walk: _Walk, tier: Tier) -> Verdict | None:
    """The first rule of the tier that matches, certainly or perhaps; None goes on to the next tier."""
    may_pass = False
    for rule in walk.rules:
        if rule.tier is not tier:
            continue
        fit = match(rule, walk.ask)
        if fit is not Fit.NO and rule.action is Action.DENY and _denies(walk, fit):
            return None if may_pass else _rule_deny(walk, rule, fit)
        if walk.trace is not None:
            walk.trace.append(rule_step(rule, walk.ask, fit))
        if fit is Fit.NO:
            continue
        walk.left_open(rule, fit)
        if rule.action is Action.ALLOW:
            return _permit(walk, rule)
        if rule.action is Action.PASS:
            if fit is Fit.YES:
                return None
            may_pass = True
    return None


def _denies(walk: _Walk, fit: Fit) -> bool:
    # What stays undecrypted is never seen into: a rule that depends on its content denies it.
    return fit is Fit.YES or (fit is Fit.MAYBE_CONTENT and not may_be(walk.ask) & _HTTP)


def _rule_deny(walk: _Walk, rule: Rule, fit: Fit) -> Deny:
    if fit is Fit.YES:
        return Deny(Reason.RULE_DENY, rule.source, f"{target(walk.ask)} is denied by {rule.label}")
    detail = f"{target(walk.ask)} is not decrypted, and {rule.label} denies some of what may be in it"
    return Deny(Reason.RULE_DENY, rule.source, detail)


def _permit(walk: _Walk, rule: Rule) -> Verdict:
    # Decrypted already, or readable as it is: a name in a Host field holds for one request, not for a connection.
    readable = walk.ask.request is not None or Protocol.HTTP in may_be(walk.ask)
    if rule.inspect is Inspect.FULL or readable or walk.unseen is not None:
        return Permit(Reason.RULE, rule.source, walk.ask, Inspect.FULL)
    if walk.ask.ech and not rule.ech:
        return _hidden_name(walk, rule.source, f"{rule.label} does not say `ech: allow`")
    return Permit(Reason.RULE, rule.source, walk.ask, Inspect.SNI)


def _hidden_name(walk: _Walk, source: Source, why: str) -> Deny:
    return Deny(Reason.ECH, source, f"{target(walk.ask)} may hide another name (ECH), and {why}")


def _security(walk: _Walk) -> Verdict | None:
    return _tier(walk, Tier.SECURITY)


def _platform(walk: _Walk) -> Verdict | None:
    return _tier(walk, Tier.PLATFORM)


def _namespace(walk: _Walk) -> Verdict | None:
    verdict = _tier(walk, Tier.NAMESPACE)
    assert walk.view is not None
    if verdict is not None or not walk.view.selecting:
        return verdict
    first = walk.view.selecting[0].source
    names = ", ".join(each.source.policy for each in walk.view.selecting)
    return Deny(Reason.NO_RULE, first, f"{target(walk.ask)} is allowed by no rule of {names}")


def _baseline(walk: _Walk) -> Verdict | None:
    return _tier(walk, Tier.BASELINE)  # empty where an EgressPolicy selects the workload: View


def _default(walk: _Walk) -> Verdict:
    assert isinstance(walk.ask.identity, Workload)
    if walk.shadow or walk.policy.default_for(walk.ask.identity) == "deny":
        return Deny(Reason.NO_RULE, built_in("default"), f"{target(walk.ask)} is allowed by no rule")
    opaque = walk.unseen is None and not may_be(walk.ask) & _HTTP
    if opaque and walk.ask.ech:
        return _hidden_name(walk, built_in("default"), "no rule says `ech: allow`")
    walk.note("default", Outcome.MATCHED, None, "no rule matches, and the default is audit: permitted")
    return Permit(Reason.DEFAULT_AUDIT, built_in("default"), walk.ask, Inspect.SNI if opaque else Inspect.FULL)


_STEPS: tuple[tuple[str, Callable[[_Walk], Verdict | None]], ...] = (
    ("hard guard", _hard_guard),
    ("identity", _identity),
    ("lists", _lists),
    ("private guard", _private_guard),
    ("paths", _paths),
    ("security", _security),
    ("platform", _platform),
    ("namespace", _namespace),
    ("baseline", _baseline),
)
