"""Cases that are not independent, because they share a template, a customer or a case. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence

from governance.evals import statistics as st

# With few clusters that differ at all, an estimate says "no clustering" by luck. So it is pulled
# towards complete clustering, the more the larger the clusters are; and much more where hardly
# anything got better: what is seen then are losses, and a cluster that would be lost as a whole may
# be missing by luck. Simulated for clusters of 2 to 20 cases (bench/gates.py): with less a gate
# ships wrongly too often, with more it is blind.
CAUTION_PER_CASE = 0.1  # clusters
ONE_SIDED_CAUTION, LEAST_ONE_SIDED_CAUTION = 0.05, 0.5  # clusters per squared case, clusters


def design_effect(values: Sequence[float], clusters: Sequence[Hashable]) -> float:
    """Return by how much clustering inflates the variance of the mean; 1 without clusters.

    Cases that share a template or a customer are not independent. The effect is estimated from
    cluster totals, corrected for few clusters, and pulled towards complete clustering (every case
    of a cluster alike) with the weight of `cluster_caution` clusters.

    Args:
        values: one number per case, higher is better: a difference (-1, 0, 1) or a success (0, 1).
        clusters: the cluster of each case, in the same order.

    Returns:
        A factor of at least 1; `total / factor` is the number of independent cases.
    """
    members: dict[Hashable, list[float]] = {}
    for value, cluster in zip(values, clusters, strict=True):
        members.setdefault(cluster, []).append(value)
    total, groups = len(values), len(members)
    if groups == total:
        return 1.0
    if groups < 2:
        return float(total)
    complete = sum(len(group) ** 2 for group in members.values()) / total
    mean = sum(values) / total
    alone = sum((value - mean) ** 2 for value in values) * total / (total - 1)
    together = sum((sum(group) - mean * len(group)) ** 2 for group in members.values())
    together *= groups / (groups - 1)
    usual = Counter(values).most_common(1)[0][0]
    informative = sum(any(v != usual for v in group) for group in members.values())
    above = sum(any(v > usual for v in group) for group in members.values())
    estimate = together / alone if alone > 0 else complete
    caution = cluster_caution(complete, one_sided=above <= 1)
    pulled = (informative * estimate + caution * complete) / (informative + caution)
    return max(1.0, pulled) * few_clusters(groups)


def cluster_caution(cases: float, *, one_sided: bool) -> float:
    """Return the weight of complete clustering, in clusters, for clusters of so many cases.

    Args:
        one_sided: cases got better in one cluster at most, whatever got worse.
    """
    if one_sided:
        return max(LEAST_ONE_SIDED_CAUTION, ONE_SIDED_CAUTION * cases**2)
    return CAUTION_PER_CASE * cases


def independent_pairs(pairs: st.Pairs, effect: float) -> st.Pairs:
    """Shrink the counts to what independent cases would say: shares of cases."""
    return st.Pairs(pairs.better / effect, pairs.worse / effect, pairs.total / effect)


def few_clusters(groups: int) -> float:
    """A variance estimated from few clusters needs Student's quantile, not the normal one."""
    from scipy.special import stdtrit

    return float(stdtrit(groups - 1, 0.95) / st.normal_quantile(0.95)) ** 2


def clustered_mean_interval(
    values: Sequence[float], clusters: Sequence[Hashable], *, confidence: float = 0.95
) -> st.Interval | None:
    """Return the two-sided interval of the plain mean, where values of one cluster belong together.

    The cluster-robust variance (Liang and Zeger 1986) with Student's quantile for the number of
    clusters; without clusters it is Student's interval. None below 30 clusters or without spread.
    """
    total, mean = len(values), math.fsum(values) / max(1, len(values))
    residuals: dict[Hashable, float] = {}
    for value, cluster in zip(values, clusters, strict=True):
        residuals[cluster] = residuals.get(cluster, 0.0) + value - mean
    groups = len(residuals)
    if groups < 30 or not all(math.isfinite(value) for value in values):
        return None
    from scipy.special import stdtrit

    squares = math.fsum(residual * residual for residual in residuals.values())
    if squares <= 1e-24:
        return None
    spread = math.sqrt(squares * groups / (groups - 1)) / total
    half = float(stdtrit(groups - 1, 0.5 + confidence / 2)) * spread
    return st.Interval(mean - half, mean + half)
