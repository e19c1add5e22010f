"""The gate: ship only if the primary metric improves and nothing guarded regresses. Pure.

Three verdicts. PASS needs every test to pass (intersection-union, so no further correction).
FAIL needs harm shown beyond a margin, a floor shown to be missed, or a hard rule fired.
Everything else is NOT ENOUGH EVIDENCE, with what would settle it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from governance.evals.evidence import Evidence, Refusal, refusals
from governance.evals.gate_beside import (
    PilotEvidence,
    Waiver,
    code_of_row,
    may_waive_refusal,
    may_waive_row,
    set_aside,
    waiver_of,
    with_pilot,
)
from governance.evals.gate_pairs import comparison_row
from governance.evals.gate_rows import (
    CODES,
    UNKNOWN,
    WITHIN,
    GateRow,
    Outcome,
    floor_row,
    reported_row,
    unmatched_row,
)
from governance.evals.policy import HARD_RULES, METRICS, SCORE, Comparison, GatePolicy, metric_named


class Verdict(StrEnum):
    """What the gate says as a whole."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    FAIL = "fail"
    NOT_ENOUGH_EVIDENCE = "not_enough_evidence"

    @property
    def label(self) -> str:
        """The words on pages."""
        return {"pass": "Pass", "fail": "Fail"}.get(self.value, "Not enough evidence")


@dataclass(frozen=True)
class HardRule:
    """A rule with zero tolerance, and the cases that broke it."""

    rule: str
    outcome: Outcome
    count: int
    cases: tuple[str, ...]
    sentence: str

    def to_content(self) -> dict[str, Any]:
        """Return the rule as a line of the gate's table."""
        met = self.outcome is Outcome.PASS
        word = {Outcome.PASS: WITHIN, Outcome.FAIL: "Broken"}.get(self.outcome, UNKNOWN)
        return {
            "role": "hard_rule",
            "suite": "",
            "suite_label": "All suites",
            "metric": self.rule,
            "metric_label": HARD_RULES[self.rule],
            "result": "none" if met else f"{self.count:,}",
            "n": self.count,
            "cases": list(self.cases),
            "verdict": CODES.get(word, "broken"),
            "verdict_label": "Met" if met else word,
            "outcome": self.outcome.value,
            "sentence": self.sentence,
        }


@dataclass(frozen=True)
class GateVerdict:
    """The whole answer of a gate: the verdict, its reasons, and the table behind it."""

    verdict: Verdict
    summary: str
    attempt: int
    rows: tuple[GateRow, ...]
    hard_rules: tuple[HardRule, ...]
    refusals: tuple[Refusal, ...]
    reasons: tuple[str, ...]
    settle: tuple[str, ...]
    waivers: tuple[Waiver, ...] = ()  # those that it stands on

    def to_content(self) -> dict[str, Any]:
        """Return the verdict as JSON data without nan, fit for canonical JSON and a digest."""
        return {
            "verdict": self.verdict.value,
            "verdict_label": self.verdict.label,
            "sentence": self.summary,
            "attempt": self.attempt,
            "rows": [row.to_content() for row in self.rows]
            + [rule.to_content() for rule in self.hard_rules],
            "refusals": [asdict(refusal) for refusal in self.refusals],
            "reasons": list(self.reasons),
            "settle": list(self.settle),
            **({"waivers": [one.to_content() for one in self.waivers]} if self.waivers else {}),
        }


def judge(
    policy: GatePolicy,
    candidate: Evidence,
    baseline: Evidence | None,
    *,
    now: datetime,
    attempt: int = 1,
    waivers: Sequence[Waiver] = (),
    pilot: Sequence[PilotEvidence] = (),
) -> GateVerdict:
    """Judge a candidate's runs by a policy, against the baseline's runs on the same cases.

    Args:
        policy: what to ask for.
        candidate: the candidate's finished runs, by kind of suite.
        baseline: the live release's runs, or None where nothing is live: floors alone decide.
        now: when the gate is asked; ages of recent suites count from here.
        attempt: how often this change was judged, this time included.
        waivers: what people set aside for this release under this policy.
        pilot: what a pilot of this release showed against what was live at the same time.
    """
    found = refusals(policy, candidate, baseline, now=now)
    rows = [with_pilot(row, pilot) for row in _rows(policy, candidate, baseline)]
    used: list[Waiver] = []
    for at, row in enumerate(rows):
        code = code_of_row(row.role)
        waiver = waiver_of(waivers, code, row.suite, row.metric, now, row.reason)
        if waiver is not None and may_waive_row(row):
            rows[at] = set_aside(row, waiver)
            used.append(waiver)
    refused = []
    for refusal in found:
        waiver = waiver_of(waivers, refusal.code, refusal.suite, "", now)
        if waiver is not None and may_waive_refusal(refusal):
            used.append(waiver)
        else:
            refused.append(refusal)
    rules = tuple(_hard_rule(rule, candidate) for rule in policy.hard_rules)
    if baseline is None and not policy.floors:
        refused.append(
            Refusal(
                "no_floor", "", "Nothing is live to compare with, and the policy has no floor.",
                "Add a floor to the gate policy.",
            )
        )  # fmt: skip
    outcomes = [row.outcome for row in rows] + [rule.outcome for rule in rules]
    if Outcome.FAIL in outcomes:
        verdict = Verdict.FAIL
    elif refused or Outcome.OPEN in outcomes or Outcome.PASS not in outcomes:
        verdict = Verdict.NOT_ENOUGH_EVIDENCE
    else:
        verdict = Verdict.PASS
    reasons = _reasons(verdict, rows, rules, refused)
    settle = [refusal.remedy for refusal in refused] + [row.settle for row in rows if row.settle]
    return GateVerdict(
        verdict=verdict,
        summary=_summary(verdict, reasons, len(used)),
        attempt=attempt,
        rows=tuple(rows),
        hard_rules=rules,
        refusals=tuple(refused),
        reasons=reasons,
        settle=() if verdict is Verdict.PASS else tuple(dict.fromkeys(settle)),
        waivers=tuple(dict.fromkeys(used)),
    )


def _rows(policy: GatePolicy, candidate: Evidence, baseline: Evidence | None) -> list[GateRow]:
    """Primary first, then guardrails and floors as the policy lists them, then what is reported."""
    entries: list[tuple[str, Comparison]] = []
    if policy.primary is not None:
        entries.append(("primary", policy.primary))
    entries.extend(("guardrail", entry) for entry in policy.guardrails)
    rows: list[GateRow] = []
    for role, entry in entries:
        for kind in entry.suites:
            mine = candidate.get(kind)
            if baseline is None:
                rows.append(unmatched_row(role, kind, entry, mine))
            else:
                rows.append(
                    comparison_row(
                        role, kind, entry, mine, baseline.get(kind), confidence=policy.confidence
                    )
                )
    for floor in policy.floors:
        for kind in floor.suites:
            rows.append(floor_row(kind, floor, candidate.get(kind), confidence=policy.confidence))
    judged = {(row.metric, row.suite) for row in rows}
    for rule in policy.suites:
        run = candidate.get(rule.kind)
        named = {name for result in run.results for name in result.values} if run else set()
        scores = [metric_named(name) for name in sorted(named) if name.startswith(SCORE)]
        for metric in (*METRICS.values(), *(metric for metric in scores if metric)):
            if run is None or (metric.name, rule.kind) in judged:
                continue
            reported = reported_row(
                rule.kind, metric, run, None if baseline is None else baseline.get(rule.kind)
            )
            if reported is not None:
                rows.append(reported)
    return rows


def _hard_rule(rule: str, candidate: Evidence) -> HardRule:
    """Zero tolerance: one case is enough, and a must-pass case without a score leaves it open."""
    metric = "passed" if rule == "must_pass" else "policy_ok"
    # A case that was run several times is one case: one bad answer of it is enough.
    scores: dict[tuple[str, str], list[bool | None]] = {}
    for kind, run in candidate.items():
        for result in run.results:
            if result.must_pass or rule != "must_pass":
                value = None if result.error else result.values.get(metric)
                known = None if value is None else value not in (False, 0)
                scores.setdefault((kind, result.key), []).append(known)
    broken = [f"{kind}: {key}" for (kind, key), seen in scores.items() if False in seen]
    unknown = [key for (_, key), seen in scores.items() if None in seen]
    total = f"{len(scores):,}"
    if rule == "must_pass":
        kept = f"All {total} must-pass cases passed." if scores else "No case is must-pass."
        sentence = f"{len(broken):,} of {total} must-pass cases did not pass."
        missing = f"{len(unknown):,} must-pass cases have no score."
    else:
        kept = f"No policy violation in {len(scores) - len(unknown):,} cases."
        if unknown:
            kept += f" {len(unknown):,} could not be checked."
        sentence = f"{len(broken):,} of {total} cases broke the policy; none may."
        # Errors at large are bounded by the policy's share; only a must-pass case is owed a score.
        missing, unknown = "", []
    if broken:
        return HardRule(rule, Outcome.FAIL, len(broken), tuple(broken[:20]), sentence)
    if unknown:
        return HardRule(rule, Outcome.OPEN, len(unknown), tuple(unknown[:20]), missing)
    return HardRule(rule, Outcome.PASS, 0, (), kept)


def _reasons(
    verdict: Verdict,
    rows: Sequence[GateRow],
    rules: Sequence[HardRule],
    refused: Sequence[Refusal],
) -> tuple[str, ...]:
    """Sentences that carry the verdict: what failed, or else what is missing, or what passed."""
    if verdict is Verdict.NOT_ENOUGH_EVIDENCE:
        found = [refusal.sentence for refusal in refused]
        found += [rule.sentence for rule in rules if rule.outcome is Outcome.OPEN]
        found += [row.reason for row in rows if row.outcome is Outcome.OPEN]
        return tuple(found or ["Nothing was judged."])
    wanted = Outcome.FAIL if verdict is Verdict.FAIL else Outcome.PASS
    found = [rule.sentence for rule in rules if rule.outcome is wanted]
    found += [row.reason for row in rows if row.outcome is wanted]
    return tuple(found)


def _summary(verdict: Verdict, reasons: Sequence[str], waived: int) -> str:
    """One line for lists and headlines."""
    if verdict is Verdict.PASS and waived:
        findings = "one finding" if waived == 1 else f"{waived} findings"
        return f"Pass, with {findings} set aside: every other test of the gate policy is met."
    if verdict is Verdict.PASS:
        return "Pass: every test of the gate policy is met."
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    return f"{verdict.label}: {reasons[0]}{more}"
