"""Comparing a pilot with the concurrent stable release, at any time and any number of times. Pure.

The interval is a normal-mixture confidence sequence: it holds at all looks together, so looking
every minute costs nothing. Source: Howard, Ramdas, McAuliffe, Sekhon (2021), "Time-uniform,
nonparametric, nonasymptotic confidence sequences", equation 14; with estimated variances it holds
asymptotically (Waudby-Smith and others, 2024, "Time-uniform central limit theory").
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

SMALLEST_SAMPLE = 50  # runs of each release before anything is said
ALPHA = 0.05  # chance that an unchanged pilot is ever called worse, over all rules and looks


class Verdict(StrEnum):
    """What one rule says now."""

    PASS = "pass"  # noqa: S105 - a verdict
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    NO_DATA = "no_data"


@dataclass(frozen=True, slots=True)
class Sample:
    """Runs of one release that report a measure: how many, their sum, their sum of squares."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0

    @property
    def mean(self) -> float:
        return self.total / self.n if self.n else math.nan

    def variance_of_mean(self, *, is_rate: bool) -> float:
        """Return the estimated variance of the mean, never zero.

        A rate is smoothed by one success and one failure: no failure among 60 runs does not show
        that there are none.
        """
        if is_rate:
            p = (self.total + 1.0) / (self.n + 2.0)
            return p * (1.0 - p) / self.n
        spread = max(self.squares / self.n - self.mean**2, 0.0) * self.n / max(self.n - 1, 1)
        return max(spread, 1e-12) / self.n


@dataclass(frozen=True, slots=True)
class Compared:
    """Pilot minus stable, oriented so that a positive difference is better; rates 0 to 1."""

    verdict: Verdict
    pilot: Sample
    stable: Sample
    difference: float = math.nan
    low: float = math.nan
    high: float = math.nan


def radius(variance: float, *, alpha: float, planned_variance: float) -> float:
    """Return the half-width of the two-sided confidence sequence for a mean difference.

    Args:
        variance: of the estimated difference now.
        alpha: error over all looks, both sides together.
        planned_variance: where the sequence is meant to be narrowest.
    """
    information, planned = 1.0 / variance, 1.0 / planned_variance
    # The mixture's precision that is best at the planned information (Howard and others, 3.5).
    log_alpha = -2.0 * math.log(alpha)
    eta = planned / (log_alpha + math.log(log_alpha + 1.0))
    grown = information + eta
    return math.sqrt(grown * math.log(grown / (eta * alpha**2))) / information


def compare(
    pilot: Sample,
    stable: Sample,
    *,
    higher_is_better: bool,
    margin: float,
    rules: int = 1,
    is_rate: bool = True,
    smallest_sample: int = SMALLEST_SAMPLE,
    alpha: float = ALPHA,
) -> Compared:
    """Judge one measure of a pilot against the stable release beside it.

    Args:
        margin: how much worse it may be, in the unit of the measure (0.05 is five points).
        rules: how many are judged beside this one; the error is shared among them.

    Returns:
        FAIL when it is certainly worse and its best estimate is beyond the margin, PASS when it is
        certainly not worse than the margin, NO_DATA when one side reports nothing.
    """
    if pilot.n == 0 or stable.n == 0:
        return Compared(Verdict.NO_DATA, pilot, stable)
    sign = 1.0 if higher_is_better else -1.0
    difference = sign * (pilot.mean - stable.mean)
    variance = pilot.variance_of_mean(is_rate=is_rate) + stable.variance_of_mean(is_rate=is_rate)
    # Narrowest at ten times the smallest sample: soon enough to stop harm, wide enough early on.
    planned = variance * min(pilot.n, stable.n) / (10.0 * smallest_sample)
    width = radius(variance, alpha=2.0 * alpha / rules, planned_variance=planned)
    low, high = difference - width, difference + width
    verdict = Verdict.INCONCLUSIVE
    if min(pilot.n, stable.n) >= smallest_sample:
        if high < 0.0 and difference < -margin:
            verdict = Verdict.FAIL
        elif low > -margin:
            verdict = Verdict.PASS
    return Compared(verdict, pilot, stable, difference, low, high)


def beyond_limit(
    sample: Sample,
    limit: float,
    *,
    lower_is_better: bool,
    rules: int = 1,
    is_rate: bool = True,
    smallest_sample: int = SMALLEST_SAMPLE,
    alpha: float = ALPHA,
) -> Compared:
    """Judge whether a measure is certainly outside its limit, with nothing to compare it to.

    `difference` is how far it is inside the limit; negative is outside. FAIL only when the whole
    interval is outside, PASS only when it is inside.
    """
    constant = Sample(sample.n, limit * sample.n, limit * limit * sample.n)
    if sample.n == 0:
        return Compared(Verdict.NO_DATA, sample, constant)
    sign = -1.0 if lower_is_better else 1.0
    difference = sign * (sample.mean - limit)
    variance = sample.variance_of_mean(is_rate=is_rate)
    planned = variance * sample.n / (10.0 * smallest_sample)
    width = radius(variance, alpha=2.0 * alpha / rules, planned_variance=planned)
    low, high = difference - width, difference + width
    verdict = Verdict.INCONCLUSIVE
    if sample.n >= smallest_sample:
        if high < 0.0:
            verdict = Verdict.FAIL
        elif low > 0.0:
            verdict = Verdict.PASS
    return Compared(verdict, sample, constant, difference, low, high)
