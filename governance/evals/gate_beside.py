"""What a gate takes into account beside its runs: a pilot's evidence, and waivers. Pure.

A pilot may settle what the cases left open, for the better or the worse. A waiver sets one open
finding aside, in somebody's name and for a time; it never turns shown harm into a pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from governance.evals.evidence import Refusal
from governance.evals.gate_rows import BETTER, NO_WORSE, WORSE, GateRow, Outcome

# Reasons not to believe evidence that a person may set aside. Everything else means that there is
# no evidence to speak of (missing, mixed, another evaluator), or that harm is shown.
WAIVABLE_REFUSALS = ("errored", "stale", "too_few_cases", "uncalibrated")
WAIVABLE_ROLES = ("guardrail", "floor")
OPEN_ROW = "open"  # the code of a waiver for a guardrail's row
OPEN_FLOOR = "open_floor"  # and for a floor's: both may stand on one metric and suite
WAIVED = "Waived"
ADVERSARIAL = "adversarial"  # attacks are rare in traffic: a pilot says nothing about them


@dataclass(frozen=True)
class PilotEvidence:
    """One metric of a pilot against the concurrent stable release.

    Changes are percentage points, positive for better; the interval holds at every look.
    """

    metric: str
    pilot_runs: int
    stable_runs: int
    change: float
    low: float
    high: float


@dataclass(frozen=True)
class Waiver:
    """One finding that a person sets aside for one release, until a day."""

    code: str  # of a refusal, or `code_of_row`
    suite: str
    metric: str
    by: str
    reason: str
    until: datetime
    finding: str = ""  # of a row: exactly what was set aside; "": whatever stands there

    def to_content(self) -> dict[str, Any]:
        return {
            "code": self.code, "suite": self.suite, "metric": self.metric, "by": self.by,
            "reason": self.reason, "until": self.until.isoformat(),
        }  # fmt: skip


def with_pilot(row: GateRow, pilot: Sequence[PilotEvidence]) -> GateRow:
    """Settle a row that the cases left open, where the pilot shows it."""
    seen = next((one for one in pilot if one.metric == row.metric), None)
    if seen is None or row.outcome is not Outcome.OPEN or row.suite == ADVERSARIAL:
        return row
    if row.role not in ("primary", "guardrail") or row.margin is None:
        return row
    runs = f"{seen.pilot_runs:,} runs against {seen.stable_runs:,} at the same time"
    span = f"{seen.low:+.1f} to {seen.high:+.1f}, better is positive"
    said = f"in the pilot it is {seen.change:+.1f} points ({span}; {runs})"
    if row.role == "primary":
        if seen.low > row.margin:
            return row.says(BETTER, Outcome.PASS, f"{said}; the cases alone did not show it.")
        if seen.high < 0:
            return row.says(WORSE, Outcome.FAIL, f"{said}: harm, not improvement.")
        return row
    if seen.low > -row.margin:
        word = BETTER if seen.low > 0 else NO_WORSE
        return row.says(word, Outcome.PASS, f"{said}; the margin is {row.margin:g}.")
    if seen.high < -row.margin:
        return row.says(WORSE, Outcome.FAIL, f"{said}: beyond the margin of {row.margin:g}.")
    return row


def code_of_row(role: str) -> str:
    """What a waiver calls a row that stands open."""
    return OPEN_FLOOR if role == "floor" else OPEN_ROW


def may_waive_row(row: GateRow) -> bool:
    """Whether a person may set this row aside: not shown either way, and not the primary."""
    return row.outcome is Outcome.OPEN and row.role in WAIVABLE_ROLES


def may_waive_refusal(refusal: Refusal) -> bool:
    return refusal.code in WAIVABLE_REFUSALS


def waiver_of(
    waivers: Sequence[Waiver], code: str, suite: str, metric: str, now: datetime, finding: str = ""
) -> Waiver | None:
    """Return the waiver in force for one finding.

    Args:
        finding: what a row says. Other runs that say something else were not set aside.
    """
    return next(
        (
            one
            for one in waivers
            if (one.code, one.suite, one.metric) == (code, suite, metric)
            and now < one.until
            and (not finding or one.finding in ("", finding))
        ),
        None,
    )


def set_aside(row: GateRow, waiver: Waiver) -> GateRow:
    """This row as waived: it says so, and neither passes nor holds back."""
    said = f"{row.sentence} Set aside by {waiver.by} until {waiver.until:%d %b %Y}: {waiver.reason}"
    return row.says(WAIVED, Outcome.NONE, said)
