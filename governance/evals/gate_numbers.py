"""Two releases on the same cases, compared by a number: cost, time, or a score. Pure.

Money and milliseconds are compared as a ratio, so that a case of 2 cents and one of 2 dollars
count alike: the test runs on the logarithm, and a margin is percent of the baseline.
"""

from __future__ import annotations

import math
from dataclasses import replace

from governance.evals.differences import Differences
from governance.evals.evidence import SuiteEvidence, pair_up
from governance.evals.gate_rows import (
    ADD_CASES,
    BETTER,
    NO_WORSE,
    UNKNOWN,
    WORSE,
    GateRow,
    Outcome,
    may_apply,
    new_row,
    nothing_to_judge,
    number,
    slowest,
)
from governance.evals.policy import Comparison, Direction


def number_row(
    role: str,
    kind: str,
    entry: Comparison,
    candidate: SuiteEvidence | None,
    baseline: SuiteEvidence | None,
    *,
    confidence: float,
) -> GateRow:
    """Judge a primary metric or a guardrail that is a number per case."""
    name, is_ratio = entry.metric.name, entry.metric.unit in ("money", "ms")
    row = replace(new_row(role, kind, entry.metric, entry.direction), margin=entry.points)
    if candidate is None or baseline is None:
        return row.says(UNKNOWN, Outcome.OPEN, "the suite is missing.")
    pairs = [
        (mine, theirs)
        for mine, theirs in pair_up(candidate, baseline)
        if may_apply(mine, name) and may_apply(theirs, name)
    ]
    known = [
        (mine.group, ours, base)
        for mine, theirs in pairs
        if (ours := number(mine, name)) is not None and (base := number(theirs, name)) is not None
    ]
    if not known:
        return row.says(UNKNOWN, Outcome.OPEN, nothing_to_judge(candidate), ADD_CASES)
    mean = math.fsum(ours for _, ours, _ in known) / len(known)
    before = math.fsum(base for _, _, base in known) / len(known)
    row = replace(
        row, total=len(known), each=candidate.repeats, value=mean, baseline_value=before,
        unscored=len(pairs) - len(known),
    )  # fmt: skip
    if len(known) < len(pairs):
        # Nobody knows what they would have cost, so they cannot be counted against it either.
        return row.says(
            UNKNOWN, Outcome.OPEN, f"{len(pairs) - len(known)} cases have no such number.",
            "mend what failed and run the suite again.",
        )  # fmt: skip
    if is_ratio and any(ours <= 0 or base <= 0 for _, ours, base in known):
        return row.says(
            UNKNOWN, Outcome.OPEN, "some cases report nothing above zero, so there is no ratio.",
            "report it for every case.",
        )  # fmt: skip
    sign = 1.0 if entry.direction is Direction.HIGHER else -1.0
    gains = [sign * (math.log(ours / base) if is_ratio else ours - base) for _, ours, base in known]
    clusters = [group for group, _, _ in known]
    row = _judged(row, role, entry, Differences(gains, clusters), sign, confidence)
    if entry.metric.unit == "ms":
        row = replace(row, sentence=f"{row.sentence} {slowest(candidate, baseline)}")
    return row


def _judged(
    row: GateRow, role: str, entry: Comparison, gains: Differences, sign: float,
    confidence: float,
) -> GateRow:  # fmt: skip
    """Say what the differences show; positive ones are good for the candidate."""
    is_ratio = entry.metric.unit in ("money", "ms")
    alpha = 1 - confidence
    interval = gains.interval(confidence=2 * confidence - 1)
    at_worst = gains.lower_bound(confidence=confidence)

    def shown(gain: float) -> float:
        """A gain in the metric's own direction: percent of the baseline, or its own units."""
        change = sign * gain
        return 100 * math.expm1(change) if is_ratio else change

    ends = sorted((shown(interval.low), shown(interval.high))) if interval else None
    row = replace(
        row,
        # The page's changes of money and time are amounts; those of the test are in the sentence.
        change=(row.value or 0.0) - (row.baseline_value or 0.0) if is_ratio else shown(gains.mean),
        change_low=None if is_ratio or ends is None else ends[0],
        change_high=None if is_ratio or ends is None else ends[1],
        change_at_worst=None if at_worst is None else shown(at_worst),
        method=f"{gains.method}{' on the log ratio' if is_ratio else ''}",
    )
    amount = "" if not is_ratio else " %"
    seen = f"{shown(gains.mean):+.3g}{amount} on average"
    if is_ratio and row.value is not None and row.baseline_value:
        # A few dear cases move the sum and hardly the typical one.
        together = 100 * (row.value / row.baseline_value - 1)
        seen = f"{shown(gains.mean):+.3g} % for the typical case, {together:+.3g} % in all"
    if role == "primary":
        # At least so much better: for what is meant to fall, 5 % less is a ratio of 0.95.
        least = _least(entry, sign)
        p = gains.exceeds_p(least)
        row = replace(row, p_value=p)
        if p <= alpha:
            return row.says(BETTER, Outcome.PASS, f"{seen}; chance alone does this in {_share(p)}.")
        if gains.swapped.exceeds_p(0.0) <= alpha:
            return row.says(WORSE, Outcome.FAIL, f"{seen}: harm, not improvement.")
        return row.says(
            UNKNOWN, Outcome.OPEN, f"{seen}: an improvement is not shown.", "more cases."
        )
    margin = _margin(entry, sign)
    p = gains.exceeds_p(-margin)
    row = replace(row, p_value=p)
    limit = f"the margin is {entry.points:,.10g}{amount}"
    if p <= alpha:
        word = BETTER if gains.exceeds_p(0.0) <= alpha else NO_WORSE
        return row.says(word, Outcome.PASS, f"{seen}; more than the margin is ruled out ({limit}).")
    if gains.swapped.exceeds_p(margin) <= alpha:
        return row.says(WORSE, Outcome.FAIL, f"{seen}: beyond the margin ({limit}).")
    return row.says(
        UNKNOWN, Outcome.OPEN, f"{seen}: a loss beyond the margin is not ruled out ({limit}).",
        "more cases.",
    )  # fmt: skip


def _margin(entry: Comparison, sign: float) -> float:
    """The margin as a gain that is lost: a log ratio for money and time."""
    if entry.metric.unit not in ("money", "ms"):
        return entry.points
    if sign < 0:
        return math.log1p(entry.points / 100)
    return -math.log1p(-min(entry.points, 99.9) / 100)


def _least(entry: Comparison, sign: float) -> float:
    if entry.metric.unit not in ("money", "ms"):
        return entry.points
    if sign < 0:
        return -math.log1p(-min(entry.points, 99.9) / 100)
    return math.log1p(entry.points / 100)


def _share(p: float) -> str:
    return "less than 0.1 % of tests" if p < 0.001 else f"{100 * p:.1f} % of tests"
