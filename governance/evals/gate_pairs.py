"""Two releases on the same cases: shown to be better, no worse, worse, or none of these. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from governance.evals import statistics as st
from governance.evals.clusters import design_effect, independent_pairs
from governance.evals.evidence import SuiteEvidence, pair_up
from governance.evals.gate_numbers import number_row
from governance.evals.gate_rows import (
    ADD_CASES,
    BETTER,
    NO_WORSE,
    NOT_BETTER,
    UNKNOWN,
    WORSE,
    GateRow,
    Outcome,
    binary,
    may_apply,
    new_row,
    nothing_to_judge,
    scored,
)
from governance.evals.policy import Comparison, Direction

MID_P, TANGO = "mid-p McNemar test", "Tango score test"
EXACT = "exact unconditional test"


def comparison_row(
    role: str,
    kind: str,
    entry: Comparison,
    candidate: SuiteEvidence | None,
    baseline: SuiteEvidence | None,
    *,
    confidence: float,
) -> GateRow:
    """Judge a primary metric or a guardrail on paired cases."""
    if entry.metric.unit != "percent":
        return number_row(role, kind, entry, candidate, baseline, confidence=confidence)
    metric, higher = entry.metric.name, entry.direction is Direction.HIGHER
    row = replace(new_row(role, kind, entry.metric, entry.direction), margin=entry.points)
    if candidate is None or baseline is None:
        return row.says(UNKNOWN, Outcome.OPEN, "the suite is missing.")
    known: list[tuple[str, bool, bool]] = []
    unscored: list[str] = []
    for mine, theirs in pair_up(candidate, baseline):
        if not (may_apply(mine, metric) and may_apply(theirs, metric)):
            continue
        cluster = mine.group
        ours, base = binary(mine, metric), binary(theirs, metric)
        if ours is None or base is None:
            unscored.append(cluster)
        else:
            known.append((cluster, ours == higher, base == higher))
    if not known:
        return row.says(UNKNOWN, Outcome.OPEN, nothing_to_judge(candidate), ADD_CASES)
    row = scored(
        row, [ours == higher for _, ours, _ in known], [group for group, _, _ in known],
        candidate.repeats,
    )  # fmt: skip
    base_passed = sum(base == higher for _, _, base in known)
    gains = [(cluster, int(ours) - int(base)) for cluster, ours, base in known]
    tested = Tested(
        # Cases without a score count against a pass, but are no proof of harm.
        gain=_reduced(gains + [(cluster, -1) for cluster in unscored]),
        harm=_reduced([(cluster, -gain) for cluster, gain in gains]),
        cases=len(gains) + len(unscored),
        confidence=confidence,
    )
    seen = _counts([gain for _, gain in gains])
    sign = 100 if higher else -100
    interval = st.change_interval(_reduced(gains))
    ends = sorted((sign * interval.low, sign * interval.high))
    row = replace(
        row,
        baseline_passed=base_passed,
        baseline_value=100 * base_passed / len(known),
        mended=int(seen.better),
        broken=int(seen.worse),
        unscored=len(unscored),
        change=sign * seen.change + 0.0,  # no minus zero
        change_low=ends[0],
        change_high=ends[1],
        change_at_worst=sign * tested.at_worst,
        smallest_visible=100 * tested.smallest_visible,
    )
    return (_judge_primary if role == "primary" else _judge_guardrail)(row, entry, tested)


@dataclass(frozen=True)
class Tested:
    """Counts as independent cases would have them."""

    gain: st.Pairs
    harm: st.Pairs
    cases: int
    confidence: float

    @property
    def alpha(self) -> float:
        """Chance of being wrong that each one-sided test may take."""
        return 1 - self.confidence

    @property
    def at_worst(self) -> float:
        """The change that is surpassed with confidence, -1 to 1."""
        return st.change_lower_bound(self.gain, confidence=self.confidence)

    @property
    def discordance(self) -> float:
        """Share of differing pairs, never quite zero: one more pair might differ."""
        return (self.gain.better + self.gain.worse + 1) / (self.gain.total + 2)

    @property
    def smallest_visible(self) -> float:
        """The smallest true loss these cases would show four times in five, 0 to 1."""
        return st.smallest_visible_regression(
            self.gain.total, discordance=self.discordance, confidence=self.confidence
        )

    def cases_needed(self, change: float, null: float) -> int | None:
        """About how many cases of this kind, clustered as they are, would settle it."""
        needed = st.cases_needed(
            discordance=self.discordance, change=change, null=null, confidence=self.confidence
        )
        return None if needed is None else math.ceil(needed * self.cases / self.gain.total)


def _judge_primary(row: GateRow, entry: Comparison, tested: Tested) -> GateRow:
    """Superiority: the candidate must be shown to be better, by the least improvement asked."""
    alpha, least = tested.alpha, entry.points / 100
    p_better = st.exceeds_p(tested.gain, least) if least else st.superiority_p(tested.gain)
    row = replace(row, p_value=p_better, method=_score_method(tested) if least else MID_P)
    count = f"{row.mended:,} {row.things} mended, {row.broken:,} broken"
    if p_better <= alpha:
        return row.says(
            BETTER, Outcome.PASS,
            f"{count}; without a real improvement this happens in {_percent(p_better)} of tests.",
        )  # fmt: skip
    if st.superiority_p(tested.harm) <= alpha:
        return row.says(WORSE, Outcome.FAIL, f"{count}: harm, not improvement.")
    if least and st.exceeds_p(tested.harm, -least) <= alpha:
        ruled_out = f"{count}: an improvement of {entry.points:g} points is ruled out."
        return row.says(NOT_BETTER, Outcome.FAIL, ruled_out)
    asked = f"an improvement of {entry.points:g} points" if least else "an improvement"
    needed = tested.cases_needed(tested.gain.change, least)
    if needed is None:
        settle = "more cases will not help while nothing improves."
    else:
        settle = (
            f"if the improvement seen is real, about {_cases(max(needed, row.total + 1), row):,}"
            f" cases would show it; there are {_cases(row.total, row):,}."
        )
    return row.says(UNKNOWN, Outcome.OPEN, f"{count}: {asked} is not shown.", settle)


def _judge_guardrail(row: GateRow, entry: Comparison, tested: Tested) -> GateRow:
    """Non-inferiority: a loss as large as the margin must be ruled out."""
    alpha, margin = tested.alpha, entry.points / 100
    p_no_worse = st.exceeds_p(tested.gain, -margin)
    row = replace(row, p_value=p_no_worse, method=_score_method(tested))
    loss = 100 * max(0.0, -tested.at_worst)
    harm = "loss" if entry.direction is Direction.HIGHER else "rise"
    if p_no_worse <= alpha:
        word = BETTER if st.superiority_p(tested.gain) <= alpha else NO_WORSE
        ruled_out = f"a {harm} of more than {loss:.1f} points" if loss >= 0.05 else f"any {harm}"
        return row.says(
            word, Outcome.PASS, f"{ruled_out} is ruled out; the margin is {entry.points:g}."
        )
    if st.exceeds_p(tested.harm, margin) <= alpha:
        return row.says(
            WORSE, Outcome.FAIL,
            f"a {harm} beyond the margin of {entry.points:g} points is shown "
            f"({row.broken:,} {row.things} got worse, {row.mended:,} better).",
        )  # fmt: skip
    needed = tested.cases_needed(0.0, -margin)
    if needed is None or needed <= row.total or st.superiority_p(tested.harm) <= alpha:
        # As many cases would do if the releases were alike; they do not look alike.
        where = "beyond" if -tested.gain.change > margin else "close to"
        settle = f"more cases, repeats or a pilot; what is seen is {where} the margin."
    else:
        settle = (
            f"if the releases are truly alike, about {_cases(needed, row):,} cases would show it;"
            f" there are {_cases(row.total, row):,}, which show a {harm} of"
            f" {row.smallest_visible or 0:.0f} points four times in five."
        )
    possible = f"a {harm} of up to {loss:.1f} points is possible; the margin is {entry.points:g}."
    return row.says(UNKNOWN, Outcome.OPEN, possible, settle)


def _cases(results: int, row: GateRow) -> int:
    """So many results are so many cases, each run as often as these."""
    return math.ceil(results / row.each)


def _score_method(tested: Tested) -> str:
    return EXACT if tested.gain.total < st.EXACT_BELOW else TANGO


def _counts(differences: Sequence[int]) -> st.Pairs:
    return st.Pairs(
        sum(d > 0 for d in differences), sum(d < 0 for d in differences), len(differences)
    )


def _reduced(differences: Sequence[tuple[str, int]]) -> st.Pairs:
    """Counts as independent cases would have them."""
    effect = design_effect([float(d) for _, d in differences], [c for c, _ in differences])
    return independent_pairs(_counts([d for _, d in differences]), effect)


def _percent(share: float) -> str:
    return "less than 0.1 %" if share < 0.001 else f"{100 * share:.1f} %"
