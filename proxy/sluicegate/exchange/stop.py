"""How the parts of an exchange say no to it: Stop is raised inside and leaves as a Deny."""

from __future__ import annotations

from dataclasses import replace

from sluicegate.facts import Finding
from sluicegate.verdict import Deny, Reason, built_in


class Stop(Exception):
    """This request ends here. `detail` is one sentence and holds nothing that was found to be sensitive."""

    def __init__(self, reason: Reason, detail: str, findings: tuple[Finding, ...] = ()) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail
        self.findings = findings

    def deny(self, step: str) -> Deny:
        rule = self.findings[0].rule if self.findings else step
        return Deny(self.reason, built_in(rule), self.detail, findings=self.findings)


def reloaded(deny: Deny) -> Deny:
    """A new policy's Deny of what the old one permitted."""
    return replace(deny, reason=Reason.RELOADED, detail=f"a new policy refuses this: {deny.detail}")
