"""Is a mean of paired differences above a number? Tests that take clusters as one. Pure."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from governance.evals.statistics import Interval, StatisticsError, mean_interval

# Fewer clusters than this are tested by flipping signs, not by Student's distribution.
T_FROM = 30
FLIPS = 9_999


@dataclass(frozen=True)
class Differences:
    """One number per case, candidate minus baseline; positive is good for the candidate.

    Cases of one cluster count as one: what is tested are the means of the clusters, weighted by
    nothing, so a cluster of many cases does not outvote others.
    """

    values: Sequence[float]
    clusters: Sequence[Hashable]

    def __post_init__(self) -> None:
        if not self.values or not all(math.isfinite(value) for value in self.values):
            raise StatisticsError("differences are finite numbers, and there is at least one")

    @property
    def means(self) -> list[float]:
        """The mean of each cluster, in the order of their first case."""
        members: dict[Hashable, list[float]] = {}
        for value, cluster in zip(self.values, self.clusters, strict=True):
            members.setdefault(cluster, []).append(value)
        return [math.fsum(group) / len(group) for group in members.values()]

    @property
    def mean(self) -> float:
        means = self.means
        return math.fsum(means) / len(means)

    @property
    def swapped(self) -> Differences:
        """The same, seen from the baseline."""
        return Differences([-value for value in self.values], self.clusters)

    @property
    def method(self) -> str:
        """The test that `exceeds_p` makes."""
        means = self.means
        if max(means) - min(means) <= 1e-12:
            return "sign test"
        return "paired t-test" if len(means) >= T_FROM else "sign-flip permutation test"

    def exceeds_p(self, null: float) -> float:
        """Return the one-sided p-value of "the true mean is above `null`".

        Student's test from 30 clusters on, below that the signs are flipped (9,999 times, seeded).
        Where every cluster has the same value nothing varies, and only their number speaks.
        """
        means = self.means
        count, centred = len(means), [value - null for value in means]
        if max(means) - min(means) <= 1e-12:
            return 0.5**count if centred[0] > 1e-12 else 1.0
        average = math.fsum(centred) / count
        if count >= T_FROM:
            from scipy.special import stdtr

            spread = math.sqrt(
                math.fsum((value - average) ** 2 for value in centred) / (count - 1) / count
            )
            return float(stdtr(count - 1, -average / spread))
        return _flipped_p(tuple(centred))

    def lower_bound(self, *, confidence: float = 0.95) -> float | None:
        """Return what the mean surpasses with this one-sided confidence; None below 30 clusters."""
        interval = self.interval(confidence=2 * confidence - 1)
        return interval.low if interval else None

    def interval(self, *, confidence: float = 0.95) -> Interval | None:
        """Return Student's two-sided interval of the mean; None below 30 clusters."""
        return mean_interval(self.means, confidence=confidence)


def _flipped_p(centred: tuple[float, ...]) -> float:
    import numpy as np

    values = np.asarray(centred)
    signs = np.random.default_rng(20260101).integers(0, 2, (FLIPS, len(values))) * 2 - 1
    reached = int((signs @ values >= values.sum() - 1e-12).sum())
    return (1 + reached) / (1 + FLIPS)
