"""Error bars and tests for shares of cases, alone and in pairs. Pure: no Django, no state.

A *pair* is one case answered by both releases. `better` counts pairs where only the candidate did
well, `worse` pairs where only the baseline did, and everything else is a tie. A *change* is a
fraction from -1 to 1; positive is good for the candidate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Below this many pairs the score test's normal approximation is not trusted.
EXACT_BELOW = 50

# The exact test takes the worst value of a nuisance parameter over this many points.
NUISANCE_POINTS = 240


class StatisticsError(ValueError):
    """Counts that cannot be: negative, not whole, or more successes than cases."""


@dataclass(frozen=True)
class Pairs:
    """Counts of one metric over cases that both releases answered.

    They are whole, but for those of `independent_pairs`, which are shares of cases.
    """

    better: float
    worse: float
    total: float

    def __post_init__(self) -> None:
        if min(self.better, self.worse) < 0 or self.better + self.worse > self.total + 1e-9:
            raise StatisticsError(f"impossible counts: {self}")

    @property
    def change(self) -> float:
        """The estimated change, -1 to 1. Needs at least one pair."""
        return (self.better - self.worse) / self.total

    @property
    def swapped(self) -> Pairs:
        """The same pairs seen from the baseline."""
        return Pairs(self.worse, self.better, self.total)


@dataclass(frozen=True)
class Interval:
    """Two ends of a confidence interval, in the units of the estimate."""

    low: float
    high: float


def normal_quantile(probability: float) -> float:
    """Return the standard normal quantile of `probability` (0.975 gives 1.96)."""
    return NormalDist().inv_cdf(probability)


def wilson_interval(passed: float, total: float, *, confidence: float = 0.95) -> Interval:
    """Return the two-sided Wilson score interval for a share.

    Args:
        passed: cases that passed, 0 to `total`; shares of cases where they are not independent.
        total: cases scored; at least 1.
        confidence: 0.95 for a 95 % interval.

    Returns:
        Fractions from 0 to 1.

    Raises:
        StatisticsError: `total` is below 1, or `passed` is outside 0 to `total`.
    """
    _check_share(passed, total)
    z = normal_quantile(0.5 + confidence / 2)
    share = passed / total
    centre = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    half /= 1 + z * z / total
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def lower_bound(passed: int, total: int, *, confidence: float = 0.95) -> float:
    """Return the exact one-sided lower bound for a share (Clopper and Pearson), 0 to 1.

    Exact, because a floor decides alone: Wilson's bound lets an all-pass suite of 20 clear a floor
    of 88 % eight times in a hundred instead of five.
    """
    _check_share(passed, total)
    if passed == 0:
        return 0.0
    from scipy.special import betaincinv

    return float(betaincinv(passed, total - passed + 1, 1 - confidence))


def upper_bound(passed: int, total: int, *, confidence: float = 0.95) -> float:
    """Return the exact one-sided upper bound for a share, 0 to 1."""
    return 1.0 - lower_bound(total - passed, total, confidence=confidence)


def superiority_p(pairs: Pairs) -> float:
    """Return the one-sided mid-p McNemar value for "the candidate is better".

    P(Bin(b + c, 1/2) > b) + P(= b) / 2. Without any differing pair the value is 1: no evidence.
    """
    differing = pairs.better + pairs.worse
    if differing == 0:
        return 1.0
    from scipy.special import betainc

    # The binomial tail as an incomplete beta function, which shares of cases have too.
    above = float(betainc(pairs.better + 1, pairs.worse, 0.5)) if pairs.worse else 0.0
    at_least = float(betainc(pairs.better, pairs.worse + 1, 0.5)) if pairs.better else 1.0
    return (above + at_least) / 2


def score_statistic(pairs: Pairs, null: float) -> float:
    """Return Tango's score statistic for a true change of `null`; large says "more than that".

    Tango (1998), Statistics in Medicine 17: the variance is taken at the null, so tables without
    differing pairs have one too. Where even that is zero there is no evidence: minus infinity.
    """
    b, c, n = pairs.better, pairs.worse, pairs.total
    if n == 0:
        return -math.inf
    linear = -b - c + (2 * n - b + c) * null
    constant = -c * null * (1 - null)
    root = math.sqrt(max(0.0, linear * linear - 8 * n * constant))
    worse_share = (root - linear) / (4 * n)
    variance = n * (2 * worse_share + null * (1 - null))
    if variance <= 1e-12:
        return -math.inf
    return (b - c - n * null) / math.sqrt(variance)


def exceeds_p(pairs: Pairs, null: float) -> float:
    """Return the one-sided p-value of "the true change is above `null`".

    Non-inferiority with margin m is `exceeds_p(pairs, -m)`; harm beyond m is
    `exceeds_p(pairs.swapped, m)`. Below 50 pairs exact and unconditional, else Tango's test.

    Args:
        pairs: counts over the same cases.
        null: the change to beat, a fraction strictly between -1 and 1.

    Raises:
        StatisticsError: `null` is outside that range or not a number.
    """
    if not -1 < null < 1:
        raise StatisticsError(f"the change to beat must be between -1 and 1, not {null}")
    if pairs.total == 0:
        return 1.0
    if pairs.total < EXACT_BELOW:
        return _exact_p(pairs, null)
    statistic = score_statistic(pairs, null)
    return 1.0 if statistic == -math.inf else 1 - NormalDist().cdf(statistic)


def _exact_p(pairs: Pairs, null: float) -> float:
    """The exact p-value; shares of cases lie between the whole tables around them."""
    p = 0.0
    for total, of_total in _around(pairs.total):
        if total == 0:
            p += of_total
            continue
        table = _exact_table(total, null)
        for better, of_better in _around(pairs.better):
            for worse, of_worse in _around(pairs.worse):
                most = min(worse, total)
                p += of_total * of_better * of_worse * table[min(better, total - most), most]
    return min(1.0, float(p))


def _around(count: float) -> list[tuple[int, float]]:
    """The whole numbers next to a count, and how much each of them weighs."""
    below = math.floor(count)
    share = count - below
    return [(below, 1 - share), (below + 1, share)] if share else [(below, 1.0)]


@lru_cache(maxsize=256)
def _exact_table(total: int, null: float) -> NDArray[np.float64]:
    """P-values of every table of so many pairs, by better and worse.

    Each is the worst-case chance, over all discordance rates, of a table at least as favourable.
    """
    import numpy as np
    from scipy.special import gammaln, xlogy

    table = np.ones((total + 1, total + 1))
    b, c = (axis.ravel() for axis in np.indices(table.shape))
    b, c = b[b + c <= total].astype(float), c[b + c <= total].astype(float)
    scores = np.array(
        [score_statistic(Pairs(float(x), float(y), total), null) for x, y in np.stack([b, c], 1)]
    )
    order = np.argsort(-scores, kind="stable")
    b, c, scores = b[order], c[order], scores[order]
    least, most = max(0.0, -null), (1 - null) / 2
    # Denser near the edges, where few pairs differ and the tail moves fastest.
    worse_share = least + (most - least) * (1 - np.cos(np.linspace(0, np.pi, NUISANCE_POINTS))) / 2
    better_share = np.maximum(worse_share + null, 0.0)
    tie_share = np.maximum(1 - worse_share - better_share, 0.0)
    ties = total - b - c
    ways = gammaln(total + 1) - gammaln(b + 1) - gammaln(c + 1) - gammaln(ties + 1)
    log_chance = ways[:, None] + (
        xlogy(b[:, None], better_share) + xlogy(c[:, None], worse_share)
        + xlogy(ties[:, None], tie_share)
    )  # fmt: skip
    # Down to each table, and on to those that are as favourable as it.
    reached = np.cumsum(np.exp(log_chance), axis=0).max(axis=1)
    last = np.searchsorted(-scores, -(scores - 1e-9), side="right") - 1
    table[b.astype(int), c.astype(int)] = np.where(np.isneginf(scores), 1.0, reached[last])
    return np.minimum(table, 1.0)


def change_interval(pairs: Pairs, *, confidence: float = 0.95) -> Interval:
    """Return Tango's two-sided score interval for the change, fractions from -1 to 1."""
    if pairs.total == 0:
        raise StatisticsError("no pairs, no interval")
    z = normal_quantile(0.5 + confidence / 2)

    def low_of(counts: Pairs) -> float:
        return _boundary(lambda null: score_statistic(counts, null) > z, -1.0, counts.change)

    return Interval(low_of(pairs), -low_of(pairs.swapped))


def change_lower_bound(pairs: Pairs, *, confidence: float = 0.95) -> float:
    """Return the change that is surpassed with this one-sided confidence, by `exceeds_p`."""
    if pairs.total == 0:
        return -1.0
    alpha = 1 - confidence
    return _boundary(lambda null: exceeds_p(pairs, null) <= alpha, -1.0, pairs.change)


def _boundary(clears: Callable[[float], bool], low: float, high: float) -> float:
    """Bisect for where `clears` (true towards `low`) stops being true, to 1e-5."""
    low = max(low, -1 + 1e-9)
    high = min(high, 1 - 1e-9)
    if not clears(low):
        return -1.0
    while high - low > 1e-5:
        middle = (low + high) / 2
        low, high = (middle, high) if clears(middle) else (low, middle)
    return low


def cases_needed(
    *, discordance: float, change: float, null: float, confidence: float, power: float = 0.8
) -> int | None:
    """Return about how many cases would show that the change is above `null`.

    n = (z_confidence s0 + z_power s1)^2 / (change - null)^2, where s1 is the spread of one pair at
    the supposed change, and s0 the one that Tango's test takes at the null.

    Args:
        discordance: share of cases on which the releases differ, 0 to 1.
        change: the change supposed to be true, -1 to 1.
        null: the change to beat; minus the margin for a guardrail.
        confidence: one-sided, such as 0.95.
        power: chance of showing it, such as 0.8.

    Returns:
        Whole cases, or None when the supposed change does not beat `null` at any number.
    """
    if not change > null:
        return None
    differing = max(discordance, abs(change))
    at_null = math.sqrt(_variance_at(null, (differing + change) / 2, (differing - change) / 2))
    there = math.sqrt(differing - change * change)
    needed = normal_quantile(confidence) * at_null + normal_quantile(power) * there
    by_formula = (needed / (change - null)) ** 2
    return math.ceil(max(by_formula, _cases_without_a_difference(null, confidence)))


def _variance_at(null: float, better: float, worse: float) -> float:
    """The variance of one pair at the null, for these shares of pairs (Tango 1998)."""
    linear = -better - worse + (2 - better + worse) * null
    constant = -worse * null * (1 - null)
    worse_share = (math.sqrt(max(0.0, linear * linear - 8 * constant)) - linear) / 4
    return max(0.0, 2 * worse_share + null * (1 - null))


def _cases_without_a_difference(null: float, confidence: float) -> float:
    """Even releases that never differ need this many cases before the score test speaks."""
    if null >= 0:
        return 1
    return normal_quantile(confidence) ** 2 * (1 + null) / -null


def smallest_visible_regression(
    total: float, *, discordance: float, confidence: float = 0.95, power: float = 0.8
) -> float:
    """Return the smallest true regression that `total` cases show with this power, 0 to 1."""
    if total < 1:
        return 1.0
    squared = (normal_quantile(confidence) + normal_quantile(power)) ** 2
    regression = math.sqrt(squared * discordance / (total + squared))
    # Discordance is at least the regression itself.
    return regression if regression <= discordance else squared / (total + squared)


def mean_interval(values: Sequence[float], *, confidence: float = 0.95) -> Interval | None:
    """Return Student's interval for a mean, or None below 30 values or without any spread."""
    total = len(values)
    if total < 30 or not all(math.isfinite(value) for value in values):
        return None
    from scipy.special import stdtrit

    mean = math.fsum(values) / total
    variance = math.fsum((value - mean) ** 2 for value in values) / (total - 1)
    if variance == 0:
        return None
    half = float(stdtrit(total - 1, 0.5 + confidence / 2)) * math.sqrt(variance / total)
    return Interval(mean - half, mean + half)


def _check_share(passed: float, total: float) -> None:
    if total < 1 or not 0 <= passed <= total:
        raise StatisticsError(f"{passed} of {total} is not a share")
