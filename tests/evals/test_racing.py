"""Several releases on the same cases: corrected p-values, the front, and how one is compared."""

from __future__ import annotations

import random
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.evals.clusters import clustered_mean_interval
from governance.evals.evidence import CaseResult, SuiteEvidence
from governance.evals.policy import METRICS, metric_named
from governance.evals.racing import against, dominated_by, holm, standing
from governance.evals.statistics import mean_interval
from tests.evals.worlds import result, run

CORRECT = METRICS["correct"]
Value = TypeVar("Value")


def known(value: Value | None) -> Value:
    """What has to be there."""
    assert value is not None
    return value


def world(
    right: float, count: int = 400, *, seed: int = 1, cost: float = 0.01, **changes: object
) -> SuiteEvidence:
    """A release that is right on about so many cases, at about such a cost."""
    draw = random.Random(seed)
    results = [
        result(
            index, draw.random() < right,
            values={"cost": cost * draw.uniform(0.8, 1.2), "latency_ms": 50 + index % 100},
        )
        for index in range(count)
    ]  # fmt: skip
    return run(results, **changes)


def test_p_values_are_corrected_as_holm_did() -> None:
    # Worked by hand: 4 × .005, 3 × .01, 2 × .03, 1 × .04, and never below the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), max_size=8))
def test_a_correction_never_helps_and_keeps_the_order(values: list[float]) -> None:
    found = holm(values)
    assert all(value <= corrected <= 1 for value, corrected in zip(values, found, strict=True))
    ranked = [found[index] for index in sorted(range(len(values)), key=values.__getitem__)]
    assert ranked == sorted(ranked)


def test_the_chance_of_any_false_claim_stays_below_five_in_a_hundred() -> None:
    draw = np.random.default_rng(7)
    worlds = draw.random((4_000, 7))
    claims = sum(min(holm(list(values))) <= 0.05 for values in worlds)
    assert claims / len(worlds) <= 0.06
    assert sum(values.min() <= 0.05 for values in worlds) / len(worlds) > 0.25  # uncorrected


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=3), st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1
    )
)
def test_a_point_is_in_front_where_nobody_is_as_good_and_better(
    points: dict[str, tuple[int, int]],
) -> None:
    over = dominated_by(points)
    front = {name for name, others in over.items() if not others}
    assert front  # somebody always is
    for name, others in over.items():
        assert all(points[other] != points[name] for other in others)
        if name not in front:
            assert front & set(others)  # whoever is behind is behind somebody in front


def test_a_clearly_better_release_is_shown_as_better_and_the_other_way_as_worse() -> None:
    good, poor = world(0.9, seed=2), world(0.7, seed=3)
    up, down = against(good, poor, CORRECT), against(poor, good, CORRECT)
    assert known(up.better_p) < 0.001
    assert known(down.worse_p) < 0.001
    assert known(up.change) == pytest.approx(-known(down.change))
    assert 0 < known(up.low) < known(up.change) < known(up.high)
    assert (up.mended, up.broken) == (down.broken, down.mended)


def test_money_and_time_are_compared_as_differences_of_what_is_shown() -> None:
    cheap, dear = world(0.8, seed=4, cost=0.01), world(0.8, seed=5, cost=0.02)
    found = against(cheap, dear, CORRECT)
    mine, theirs = standing(cheap, CORRECT), standing(dear, CORRECT)
    for difference, ours, base in (
        (found.cost, mine.cost, theirs.cost),
        (found.latency, mine.latency, theirs.latency),
    ):
        assert known(difference).value == pytest.approx(known(ours).value - known(base).value)
    cost = known(found.cost)
    assert known(cost.low) < cost.value < known(cost.high) < 0


def test_an_interval_of_clustered_values_is_that_of_their_clusters() -> None:
    values = [float(n % 7) for n in range(60)]
    alone = clustered_mean_interval(values, list(range(60)))
    twice = clustered_mean_interval([*values, *values], [*range(60), *range(60)])
    usual = known(mean_interval(values))
    assert (known(alone).low, known(alone).high) == pytest.approx((usual.low, usual.high))
    assert (known(twice).low, known(twice).high) == pytest.approx((usual.low, usual.high))
    assert clustered_mean_interval(values, [n % 29 for n in range(60)]) is None


def test_a_judge_that_nobody_calibrated_shows_nothing() -> None:
    metric = metric_named("score:polite")
    assert metric is not None
    polite = [
        CaseResult(key=str(n), values={"score:polite": True}, output=str(n)) for n in range(90)
    ]
    rude = [CaseResult(key=str(n), values={"score:polite": False}) for n in range(90)]
    one = run(polite, advisory=frozenset({"score:polite"}))
    found = against(one, run(rude), metric)
    assert found.better_p is None
    assert "not calibrated" in found.why_not
    assert against(run(polite), run(rude), metric).better_p is not None


def test_repeats_of_a_case_do_not_make_an_interval_narrower() -> None:
    def evidence(repeats: int) -> SuiteEvidence:
        results = [
            CaseResult(key=str(n), values={"correct": n % 4 > 0}, repeat=repeat)
            for n in range(100)
            for repeat in range(repeats)
        ]
        return run(results, case_count=100, repeats=repeats)

    once, often = (known(standing(evidence(n), CORRECT).quality) for n in (1, 5))
    assert once.value == often.value == 75
    assert (often.total, once.total) == (500, 100)
    assert known(often.high) - known(often.low) >= known(once.high) - known(once.low)


def test_a_case_that_only_the_contender_could_not_run_counts_against_it() -> None:
    reference = world(0.5, count=200, seed=6)
    failing = [
        result(index, True) if index % 2 else result(index, True, error="timeout")
        for index in range(200)
    ]
    whole = [result(index, True) for index in range(200)]
    partly, wholly = (against(run(rows), reference, CORRECT) for rows in (failing, whole))
    assert known(partly.better_p) > 0.05 > known(wholly.better_p)
    assert standing(run(failing), CORRECT).errors == 100
