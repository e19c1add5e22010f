"""Published values, degenerate tables, and the error rate on worlds with a known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy.stats import multinomial

from governance.evals import statistics as st
from governance.evals.clusters import design_effect, independent_pairs
from governance.evals.statistics import Interval, Pairs


def near(interval: Interval, low: float, high: float) -> bool:
    return abs(interval.low - low) < 6e-5 and abs(interval.high - high) < 6e-5


def test_wilson_interval_agrees_with_newcombe_1998() -> None:
    assert near(st.wilson_interval(81, 263), 0.2553, 0.3662)
    assert near(st.wilson_interval(0, 20), 0.0, 0.1611)


def test_exact_bounds_are_clopper_and_pearsons() -> None:
    assert st.lower_bound(20, 20) == pytest.approx(0.05 ** (1 / 20))
    assert st.upper_bound(0, 20) == pytest.approx(1 - 0.05 ** (1 / 20))
    assert st.lower_bound(0, 5) == 0.0
    assert st.upper_bound(5, 5) == 1.0


def test_paired_methods_agree_with_fagerland_lydersen_and_laake() -> None:
    # Bentur et al. 2009 (1, 1; 7, 12) and Cavo et al. 2012 (59, 6; 16, 80).
    bentur, cavo = Pairs(1, 7, 21), Pairs(6, 16, 161)
    assert 2 * st.superiority_p(bentur.swapped) == pytest.approx(0.0390625)
    assert 2 * st.superiority_p(cavo.swapped) == pytest.approx(0.034690, abs=1e-6)
    low_high = st.change_interval(bentur)
    assert (round(low_high.low, 3), round(low_high.high, 3)) == (-0.517, -0.026)
    assert near(st.change_interval(cavo), -0.1240, -0.0054)


def test_no_differing_pair_is_no_evidence_of_improvement() -> None:
    for total in (0, 1, 30, 5_000):
        assert st.superiority_p(Pairs(0, 0, total)) == 1.0
        assert st.exceeds_p(Pairs(0, 0, total), 0.01) > 0.5


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(st.StatisticsError):
        Pairs(3, 3, 5)
    with pytest.raises(st.StatisticsError):
        st.wilson_interval(6, 5)
    with pytest.raises(st.StatisticsError):
        st.exceeds_p(Pairs(1, 1, 5), math.nan)


@settings(max_examples=40, deadline=None)
@given(some.data())
def test_more_harm_never_looks_better(data: some.DataObject) -> None:
    total = data.draw(some.integers(2, 300))
    better = data.draw(some.integers(0, total - 1))
    worse = data.draw(some.integers(0, total - 1 - better))
    null = -data.draw(some.sampled_from((0.02, 0.05, 0.1)))
    now, harmed = Pairs(better, worse, total), Pairs(better, worse + 1, total)
    if better:
        assert st.superiority_p(now) <= st.superiority_p(harmed)
    assert st.exceeds_p(now, null) <= st.exceeds_p(harmed, null) + 1e-6
    interval = st.change_interval(now)
    assert -1 <= interval.low <= now.change <= interval.high <= 1
    assert st.change_lower_bound(now) <= now.change + 1e-4


@pytest.mark.parametrize("total", [20, 40, 50, 100, 200])
@pytest.mark.parametrize(("margin", "discordance"), [(0.03, 0.15), (0.05, 0.05), (0.1, 0.3)])
def test_a_loss_at_the_margin_passes_at_most_one_time_in_twenty(
    total: int, margin: float, discordance: float
) -> None:
    assert size_at_the_margin(total, margin, discordance) <= 0.055


@pytest.mark.parametrize(("total", "margin", "discordance"), [(25, 0.1, 0.1), (16, 0.1, 0.3)])
def test_small_suites_keep_the_promise_where_the_score_test_would_not(
    total: int, margin: float, discordance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert size_at_the_margin(total, margin, discordance) <= 0.05
    monkeypatch.setattr(st, "EXACT_BELOW", 0)
    assert size_at_the_margin(total, margin, discordance) > 0.06


def size_at_the_margin(total: int, margin: float, discordance: float) -> float:
    """Exact size: the chance of every table that would pass, summed at the margin itself."""
    better, worse = (discordance - margin) / 2, (discordance + margin) / 2
    truth = multinomial(total, [better, worse, 1 - discordance])
    # Tables with more than this many differing pairs are too rare to matter (1e-6).
    most = min(total, int(total * discordance + 6 * math.sqrt(total * discordance) + 3))
    return sum(
        float(truth.pmf([b, c, total - b - c]))
        for b in range(most + 1)
        for c in range(most + 1 - b)
        if (b - c) / total > -margin and st.exceeds_p(Pairs(b, c, total), -margin) <= 0.05
    )


def test_clustered_worlds_at_the_margin_pass_at_most_one_time_in_twenty() -> None:
    """40 templates of 5 cases; within a template, cases mostly break together."""
    random = np.random.default_rng(20)
    clusters = np.repeat(np.arange(40), 5)
    naive = corrected = 0
    for _ in range(2_000):
        chances = [0.025, 0.125, 0.85]
        shared = np.repeat(random.choice([1, -1, 0], size=40, p=chances), 5)
        alone = random.choice([1, -1, 0], size=200, p=chances)
        gains = np.where(random.random(200) < 0.8, shared, alone)
        pairs = Pairs(int((gains == 1).sum()), int((gains == -1).sum()), 200)
        effect = design_effect(gains.tolist(), clusters.tolist())
        naive += st.exceeds_p(pairs, -0.1) <= 0.05
        corrected += st.exceeds_p(independent_pairs(pairs, effect), -0.1) <= 0.05
    assert corrected / 2_000 <= 0.055
    assert naive / 2_000 > 0.1  # why the correction exists


def test_losses_of_whole_clusters_that_luck_hides_are_allowed_for() -> None:
    """Every difference is a loss, and mostly one of a whole template: a few singles say little."""
    random = np.random.default_rng(21)
    clusters = np.repeat(np.arange(40), 5).tolist()
    passed = believed = 0
    for _ in range(3_000):
        shared = np.repeat(random.random(40) < 0.05, 5)
        alone = random.random(200) < 0.05
        gains = -np.where(random.random(200) < 0.6**0.5, shared, alone).astype(float)
        pairs = Pairs(0, int(-gains.sum()), 200)
        effect = design_effect(gains.tolist(), clusters)
        passed += st.exceeds_p(independent_pairs(pairs, effect), -0.05) <= 0.05
        believed += st.exceeds_p(pairs, -0.05) <= 0.05
    assert passed / 3_000 <= 0.055
    assert believed / 3_000 > 0.1


def test_cases_that_got_better_in_several_clusters_leave_less_to_luck() -> None:
    def effect(signs: list[int]) -> float:
        values = [0.0] * 200
        for cluster, sign in enumerate(signs):
            values[5 * cluster] = float(sign)
        return design_effect(values, [n // 5 for n in range(200)])

    assert 1 < effect([1, 1, -1]) < effect([1, -1, -1])  # the same picture, turned over


def test_unclustered_cases_count_in_full() -> None:
    assert design_effect([1.0, 0.0, -1.0, 0.0], ["a", "b", "c", "d"]) == 1.0
    assert independent_pairs(Pairs(3, 1, 9), 1.0) == Pairs(3, 1, 9)


def test_shares_of_cases_are_judged_between_the_whole_tables_around_them() -> None:
    whole, more = st.exceeds_p(Pairs(2, 1, 40), -0.1), st.exceeds_p(Pairs(2, 2, 40), -0.1)
    between = st.exceeds_p(Pairs(2, 1.25, 40), -0.1)
    assert between == pytest.approx(0.75 * whole + 0.25 * more)
    assert st.exceeds_p(Pairs(0, 0, 0.5), -0.1) > 0.9  # less than one case shows nothing
    assert st.exceeds_p(Pairs(2, 1, 40.4), -0.1) < whole


def test_less_caution_where_clusters_are_small_and_more_where_they_are_large() -> None:
    def effect(size: int) -> float:
        # Two clusters in which something differs, the rest alike: no estimate to rely on.
        values = [1.0, *[0.0] * (size - 1), 1.0, *[0.0] * (size - 1), *[0.0] * (38 * size)]
        return design_effect(values, [n // size for n in range(40 * size)])

    assert 1 < effect(2) < effect(5) < effect(20)
    assert effect(20) > 10  # near complete clustering: hardly anything is known


def test_planned_cases_reach_the_planned_power() -> None:
    needed = st.cases_needed(discordance=0.15, change=0.0, null=-0.05, confidence=0.95)
    assert needed is not None
    random = np.random.default_rng(4)
    tables = random.multinomial(needed, [0.075, 0.075, 0.85], size=2_000)
    shown = sum(st.exceeds_p(Pairs(int(b), int(c), needed), -0.05) <= 0.05 for b, c, _ in tables)
    assert 0.77 <= shown / 2_000 <= 0.83


def test_planning_admits_what_no_number_of_cases_shows() -> None:
    assert st.cases_needed(discordance=0.2, change=-0.06, null=-0.05, confidence=0.95) is None


def test_the_smallest_visible_regression_shrinks_with_more_cases() -> None:
    seen = [st.smallest_visible_regression(n, discordance=0.2) for n in (0, 20, 50, 100, 200)]
    assert seen == sorted(seen, reverse=True)
    assert seen[3] == pytest.approx(0.108, abs=0.002)  # "a true 11-point loss at n = 100"


def test_a_mean_without_spread_or_with_nan_has_no_interval() -> None:
    assert st.mean_interval([1.0] * 40) is None
    assert st.mean_interval([1.0, math.nan] * 20) is None
    assert st.mean_interval([1.0, 2.0]) is None
    interval = st.mean_interval([1.0, 2.0] * 50)
    assert interval is not None
    assert interval.low < 1.5 < interval.high
