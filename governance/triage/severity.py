"""How severe an exception is: a rule that the page can show. Pure."""

from __future__ import annotations

from governance.triage.models import ExceptionCase

Kind = ExceptionCase.Kind
Severity = ExceptionCase.Severity
MANY_VIOLATIONS = 10  # receipts in one group
MANY_UNATTRIBUTED = 100

# What the page says under "why this severity".
RULE = {
    Kind.UNAUTHORISED: "High: a release that nobody approved answered real cases.",
    Kind.POLICY_VIOLATION: f"Medium; High from {MANY_VIOLATIONS} receipts on.",
    Kind.EVAL_FAILED: "Medium: a release went without its evidence.",
    Kind.UNDECLARED: "High: what runs is not what was approved.",
    Kind.GUARD: "High: a pilot serves cases and nobody can see how it does.",
    Kind.UNATTRIBUTED: f"Low; Medium from {MANY_UNATTRIBUTED} receipts on.",
}


def severity(kind: str, receipt_count: int) -> ExceptionCase.Severity:
    """Return the severity of a group of `receipt_count` receipts."""
    if kind in (Kind.UNAUTHORISED, Kind.UNDECLARED, Kind.GUARD):
        return Severity.HIGH
    if kind == Kind.POLICY_VIOLATION:
        return Severity.HIGH if receipt_count >= MANY_VIOLATIONS else Severity.MEDIUM
    if kind == Kind.UNATTRIBUTED:
        return Severity.MEDIUM if receipt_count >= MANY_UNATTRIBUTED else Severity.LOW
    return Severity.MEDIUM
