"""One line of a gate's table: a metric on a suite, its error bars and its word. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from governance.evals import statistics as st
from governance.evals.clusters import clustered_mean_interval, design_effect
from governance.evals.evidence import CaseResult, SuiteEvidence, pair_up
from governance.evals.policy import Comparison, Direction, Floor, Metric


class Outcome(StrEnum):
    """What a row or rule does to the verdict."""

    PASS = "pass"  # noqa: S105 - an outcome, not a password
    FAIL = "fail"
    OPEN = "open"
    NONE = "none"


BETTER, NO_WORSE, WORSE = "Better", "No worse", "Worse"
UNKNOWN, NOT_BETTER = "Not enough evidence", "Not better"
WITHIN, OUTSIDE = "Within limit", "Outside limit"
REPORTED, NO_BASELINE = "Reported", "No baseline"
CODES = {
    BETTER: "better",
    NO_WORSE: "no_worse",
    NOT_BETTER: "not_better",
    WORSE: "worse",
    UNKNOWN: "not_enough_evidence",
    WITHIN: "met",
    OUTSIDE: "broken",
    REPORTED: "reported",
    NO_BASELINE: "no_baseline",
    "Waived": "waived",
}
ADD_CASES = "add cases that have this score."


@dataclass(frozen=True)
class GateRow:
    """One metric on one suite.

    Shares are percent (0 to 100) and changes percentage points, both in the metric's own
    direction: +2 on "escalated" means more escalation. Money and milliseconds are means per run.
    `change_at_worst` is the one-sided confidence bound on the harmful side.
    """

    role: str
    suite: str
    metric: str
    label: str
    direction: str
    unit: str
    passed: int | None = None
    total: int = 0
    each: int = 1  # runs of a case: from two on `total`, `mended` and `broken` count runs
    value: float | None = None
    low: float | None = None
    high: float | None = None
    baseline_passed: int | None = None
    baseline_value: float | None = None
    mended: int = 0
    broken: int = 0
    unscored: int = 0
    change: float | None = None
    change_low: float | None = None
    change_high: float | None = None
    change_at_worst: float | None = None
    margin: float | None = None
    limit: float | None = None
    p_value: float | None = None
    smallest_visible: float | None = None
    method: str = ""
    word: str = UNKNOWN
    outcome: Outcome = Outcome.OPEN
    sentence: str = ""
    settle: str = ""

    @property
    def things(self) -> str:
        """What is counted."""
        return "cases" if self.each == 1 else "runs"

    @property
    def reason(self) -> str:
        """The sentence with its subject, for lists outside the table."""
        return f"{self.label} ({self.suite}): {self.sentence}"

    def says(self, word: str, outcome: Outcome, sentence: str, settle: str = "") -> GateRow:
        """This row with its verdict, a plain sentence, and what would settle an open one."""
        settle = f"{self.label} ({self.suite}): {settle}" if settle else ""
        sentence = sentence[:1].upper() + sentence[1:]
        return replace(self, word=word, outcome=outcome, sentence=sentence, settle=settle)

    def _result(self) -> str:
        runs = "" if self.each == 1 else " runs"
        return f"{self.passed:,} of {self.total:,}{runs}"

    def to_content(self) -> dict[str, Any]:
        """Return JSON data; six decimals are finer than any suite can see."""
        content: dict[str, Any] = {
            "role": self.role,
            "suite": self.suite,
            "suite_label": self.suite.capitalize(),
            "metric": self.metric,
            "metric_label": self.label,
            "result": "" if self.passed is None else self._result(),
            "passed": self.passed,
            "n": self.total,
            "value": self.value,
            "value_low": self.low,
            "value_high": self.high,
            "base_passed": self.baseline_passed,
            "base_value": self.baseline_value,
            "change": self.change,
            "low": self.change_low,
            "high": self.change_high,
            "worst": self.change_at_worst,
            "mended": self.mended,
            "broken": self.broken,
            "unscored": self.unscored,
            "margin": self.margin,
            "limit": self.limit,
            "smallest_visible": self.smallest_visible,
            "unit": self.unit,
            "better": "up" if self.direction == Direction.HIGHER else "down",
            "verdict": CODES[self.word],
            "verdict_label": self.word,
            "outcome": self.outcome.value,
            "sentence": self.sentence,
            "settle": self.settle,
            "method": self.method,
            "p_value": self.p_value,
        }
        return {
            key: round(value, 6) if isinstance(value, float) else value
            for key, value in content.items()
        }


def new_row(role: str, suite: str, metric: Metric, direction: Direction) -> GateRow:
    return GateRow(role, suite, metric.name, metric.label, direction.value, metric.unit)


def binary(result: CaseResult, metric: str) -> bool | None:
    """The score as true or false; None where there is no score or it is no truth value."""
    value = result.values.get(metric)
    return bool(value) if not result.error and value in (0, 1) else None


def number(result: CaseResult, metric: str) -> float | None:
    """The score as a number; None where there is none, or none that is finite."""
    value = result.values.get(metric)
    if result.error or value is None or not math.isfinite(value):
        return None
    return float(value)


def may_apply(result: CaseResult, metric: str) -> bool:
    """Whether a case could have had this metric: it errored, or it has a score."""
    return bool(result.error) or result.values.get(metric) is not None


def scored(row: GateRow, values: Sequence[bool], groups: Sequence[str], each: int = 1) -> GateRow:
    """The share of results that are true, with an interval that allows for clusters.

    Args:
        groups: what each value belongs with: its cluster, or its case.
        each: how often each case was run; from twice on the row counts runs and says so.
    """
    if not values:
        return row
    passed, total = sum(values), len(values)
    effect = design_effect([float(value) for value in values], groups)
    interval = st.wilson_interval(passed / effect, total / effect)
    return replace(
        row, passed=passed, total=total, each=each, value=100 * passed / total,
        low=100 * interval.low, high=100 * interval.high,
    )  # fmt: skip


def _shares(row: GateRow, run: SuiteEvidence | None, metric: str) -> GateRow:
    """The row with the share of a run's results that are true."""
    if run is None:
        return row
    known = [(s, r.group) for r in run.results if (s := binary(r, metric)) is not None]
    return scored(row, [score for score, _ in known], [group for _, group in known], run.repeats)


def unmatched_row(role: str, kind: str, entry: Comparison, run: SuiteEvidence | None) -> GateRow:
    """A comparison that cannot be made because nothing is live yet."""
    row = new_row(role, kind, entry.metric, entry.direction)
    row = _shares(row, run, entry.metric.name)
    return row.says(
        NO_BASELINE, Outcome.NONE, "Nothing is live to compare with; the floors decide."
    )


def floor_row(kind: str, floor: Floor, run: SuiteEvidence | None, *, confidence: float) -> GateRow:
    """Judge an absolute limit on the exact one-sided bound of the share."""
    metric, higher = floor.metric, floor.direction is Direction.HIGHER
    row = replace(new_row("floor", kind, metric, floor.direction), limit=floor.percent)
    results = [] if run is None else [r for r in run.results if may_apply(r, metric.name)]
    scores = [(r.group, binary(r, metric.name)) for r in results]
    known = [(cluster, score == higher) for cluster, score in scores if score is not None]
    if not known:
        return row.says(UNKNOWN, Outcome.OPEN, nothing_to_judge(run), ADD_CASES if run else "")
    row = _shares(row, run, metric.name)
    row = replace(row, unscored=len(scores) - len(known), method="exact one-sided bound")
    needed = floor.percent / 100 if higher else 1 - floor.percent / 100
    # A case without a score counts against a pass, but is no proof of a failure.
    strict = known + [(cluster, False) for cluster, score in scores if score is None]
    at_least = _share_bound(strict, confidence, upper=False)
    at_most = _share_bound(known, confidence, upper=True)
    sure = f"with {confidence * 100:g} % confidence; the limit is {floor.percent:g} %."
    ends = (
        (100 * at_least, 100 * at_most) if higher else (100 - 100 * at_least, 100 - 100 * at_most)
    )
    sides = ("at least", "at most") if higher else ("at most", "at least")
    if at_least >= needed:
        return row.says(WITHIN, Outcome.PASS, f"{sides[0]} {ends[0]:.1f} % {sure}")
    if at_most < needed:
        return row.says(OUTSIDE, Outcome.FAIL, f"{sides[1]} {ends[1]:.1f} % {sure}")
    unsure = f"{sides[0]} {ends[0]:.1f} % is all that can be said {sure}"
    return row.says(UNKNOWN, Outcome.OPEN, unsure, "more cases.")


def _share_bound(scores: Sequence[tuple[str, bool]], confidence: float, *, upper: bool) -> float:
    values = [float(score) for _, score in scores]
    effect = design_effect(values, [cluster for cluster, _ in scores])
    total = max(1, math.floor(len(values) / effect))
    if upper:
        passed = min(total, math.ceil(sum(values) / effect))
        return st.upper_bound(passed, total, confidence=confidence)
    return st.lower_bound(
        min(total, math.floor(sum(values) / effect)), total, confidence=confidence
    )


def reported_row(
    kind: str, metric: Metric, candidate: SuiteEvidence, baseline: SuiteEvidence | None
) -> GateRow | None:
    """A metric that the policy does not judge on this suite, with its interval; None if empty."""
    row = replace(
        new_row("reported", kind, metric, metric.direction), word=REPORTED, outcome=Outcome.NONE
    )
    if metric.unit == "percent":
        row = _shares(row, candidate, metric.name)
        row = replace(row, sentence="Reported, not judged.")
        theirs = [binary(r, metric.name) for r in baseline.results] if baseline else []
        base = [score for score in theirs if score is not None]
        if row.total and base:
            row = replace(
                row, baseline_passed=sum(base), baseline_value=100 * sum(base) / len(base),
            )  # fmt: skip
        return row if row.total else None
    held = [(n, r.group) for r in candidate.results if (n := number(r, metric.name)) is not None]
    if not held:
        return None
    mine, groups = [value for value, _ in held], [group for _, group in held]
    interval = clustered_mean_interval(mine, groups)
    row = replace(
        row, total=len(mine), value=math.fsum(mine) / len(mine), sentence="Reported, not judged."
    )
    if metric.unit == "ms":
        row = replace(row, sentence=f"Reported, not judged. {slowest(candidate, baseline)}")
    if interval is not None:
        row = replace(row, low=interval.low, high=interval.high)
    pairs = [
        (now, before, left.group)
        for left, right in (pair_up(candidate, baseline) if baseline else [])
        if (now := number(left, metric.name)) is not None
        and (before := number(right, metric.name)) is not None
    ]
    if not pairs:
        return row
    differences = [now - before for now, before, _ in pairs]
    spread = clustered_mean_interval(differences, [group for _, _, group in pairs])
    return replace(
        row,
        baseline_value=math.fsum(before for _, before, _ in pairs) / len(pairs),
        change=math.fsum(differences) / len(pairs),
        change_low=spread.low if spread else None,
        change_high=spread.high if spread else None,
        method="mean of paired differences",
    )


def slowest(candidate: SuiteEvidence, baseline: SuiteEvidence | None) -> str:
    """Say the 95th percentile of the latency; a mean hides the slow ones."""
    ends = []
    for whose, run in (("", candidate), ("before ", baseline)):
        times = [number(result, "latency_ms") for result in run.results] if run else []
        found = percentile([time for time in times if time is not None], 0.95)
        ends += [] if found is None else [f"{whose}{found:,.3g} ms"]
    return f"95 of 100 runs take at most {', '.join(ends)}." if ends else ""


def percentile(values: Sequence[float], share: float) -> float | None:
    """Return the value below which so large a share of the values lies; None without values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)] if ordered else None


def nothing_to_judge(run: SuiteEvidence | None) -> str:
    return "the suite is missing." if run is None else "no case of this suite has this score."
