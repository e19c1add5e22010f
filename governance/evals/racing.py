"""Several releases on the same cases: where each stands, who is better, who is in front. Pure.

Each contender is compared with one reference release by the tests of the gate, both ways. Because
several race, a contender is called better only by p-values that are corrected together (Holm).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from governance.evals import statistics as st
from governance.evals.clusters import clustered_mean_interval, design_effect
from governance.evals.evidence import SuiteEvidence, pair_up
from governance.evals.gate_pairs import comparison_row
from governance.evals.gate_rows import binary, number, percentile
from governance.evals.policy import Comparison, Direction, Metric

CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE
COST, LATENCY = "cost", "latency_ms"


@dataclass(frozen=True)
class Figure:
    """One mean over cases, with its 95 % interval where there is one.

    A share is 0 to 100, money and milliseconds are in their own units. Repeats of a case count as
    one. `total` is the number of results behind it.
    """

    value: float
    low: float | None
    high: float | None
    total: int


@dataclass(frozen=True)
class Standing:
    """What one release came to, alone."""

    quality: Figure | None
    cost: Figure | None
    latency: Figure | None
    latency_p50: float | None
    latency_p95: float | None
    errors: int


@dataclass(frozen=True)
class Against:
    """One contender against the reference; positive `change` is more of the metric.

    `better_p` and `worse_p` are one-sided and not yet corrected; None where nothing could be
    tested, and `why_not` says why. `cost` and `latency` are mean differences in their own units,
    with 95 % intervals.
    """

    change: float | None
    low: float | None
    high: float | None
    mended: int
    broken: int
    better_p: float | None
    worse_p: float | None
    method: str
    why_not: str
    cost: Figure | None
    latency: Figure | None


def standing(run: SuiteEvidence, metric: Metric) -> Standing:
    """Return what one release came to on its own."""
    times = [value for r in run.results if (value := number(r, LATENCY)) is not None]
    return Standing(
        quality=_share(run, metric) if metric.unit == "percent" else _mean(run, metric.name),
        cost=_mean(run, COST),
        latency=_mean(run, LATENCY),
        latency_p50=percentile(times, 0.5),
        latency_p95=percentile(times, 0.95),
        errors=run.errored,
    )


def against(candidate: SuiteEvidence, reference: SuiteEvidence, metric: Metric) -> Against:
    """Compare one contender with the reference, both ways."""
    if metric.name in candidate.advisory | reference.advisory:
        return _untested(
            candidate, reference,
            "the judge of this score is not calibrated, so it is reported and decides nothing.",
        )  # fmt: skip
    both: list[SuiteEvidence] = [candidate, reference]
    # One-sided at 2.5 %, so that the interval of a number is the two-sided one of 95 %.
    better, worse = (
        comparison_row(
            "primary", run.suite,
            Comparison(metric, metric.direction, (run.suite,), 0.0), run, other,
            confidence=1 - ALPHA / 2,
        )
        for run, other in (both, both[::-1])
    )  # fmt: skip
    if better.p_value is None or worse.p_value is None:
        return _untested(candidate, reference, better.sentence)
    return Against(
        change=better.change, low=better.change_low, high=better.change_high,
        mended=better.mended, broken=better.broken,
        better_p=better.p_value, worse_p=worse.p_value, method=better.method, why_not="",
        cost=_difference(candidate, reference, COST),
        latency=_difference(candidate, reference, LATENCY),
    )  # fmt: skip


def _untested(candidate: SuiteEvidence, reference: SuiteEvidence, why: str) -> Against:
    return Against(
        None, None, None, 0, 0, None, None, "", why,
        _difference(candidate, reference, COST), _difference(candidate, reference, LATENCY),
    )  # fmt: skip


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected together, in the order given (Holm 1979).

    Rejecting where the result is at most alpha keeps the chance of any false claim below alpha,
    whatever the tests have to do with each other.
    """
    count = len(p_values)
    adjusted, highest = [0.0] * count, 0.0
    for rank, index in enumerate(sorted(range(count), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (count - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def dominated_by(points: Mapping[str, Sequence[float]]) -> dict[str, list[str]]:
    """Return, for each name, the others that are as good in every number and better in one.

    Numbers are the smaller the better; a point that nobody dominates is on the Pareto front.
    """
    return {
        name: [
            other
            for other, theirs in points.items()
            if other != name
            and all(t <= m for t, m in zip(theirs, mine, strict=True))
            and any(t < m for t, m in zip(theirs, mine, strict=True))
        ]
        for name, mine in points.items()
    }


def goal(value: float, direction: Direction) -> float:
    """Return a quality as a number that is the smaller the better."""
    return -value if direction is Direction.HIGHER else value


def _share(run: SuiteEvidence, metric: Metric) -> Figure | None:
    known = [(r.group, value) for r in run.results if (value := binary(r, metric.name)) is not None]
    if not known:
        return None
    passed, total = sum(value for _, value in known), len(known)
    effect = design_effect([float(value) for _, value in known], [group for group, _ in known])
    interval = st.wilson_interval(passed / effect, total / effect, confidence=CONFIDENCE)
    return Figure(100 * passed / total, 100 * interval.low, 100 * interval.high, total)


def _mean(run: SuiteEvidence, name: str) -> Figure | None:
    known = [(r.group, value) for r in run.results if (value := number(r, name)) is not None]
    return _figure([value for _, value in known], [group for group, _ in known])


def _difference(candidate: SuiteEvidence, reference: SuiteEvidence, name: str) -> Figure | None:
    """The mean difference on the same cases, in the metric's own unit."""
    known = [
        (mine.group, ours - base)
        for mine, theirs in pair_up(candidate, reference)
        if (ours := number(mine, name)) is not None and (base := number(theirs, name)) is not None
    ]
    return _figure([value for _, value in known], [group for group, _ in known])


def _figure(values: Sequence[float], groups: Sequence[str]) -> Figure | None:
    if not values:
        return None
    interval = clustered_mean_interval(values, groups, confidence=CONFIDENCE)
    return Figure(
        value=math.fsum(values) / len(values),
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        total=len(values),
    )
