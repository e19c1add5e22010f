"""Cost, time and scores as numbers; cases that were run several times; judges on trial."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from governance.evals.differences import Differences
from governance.evals.evidence import CaseResult, SuiteEvidence
from governance.evals.gate import GateVerdict, Verdict, judge
from governance.evals.gate_rows import GateRow
from tests.evals.worlds import NOW, policy, result, run

COST: dict[str, Any] = {"metric": "cost", "margin_percent": 5}
TONE: dict[str, Any] = {"metric": "score:tone", "as_number": True, "margin": 0.05}


def sides(
    name: str, ours: list[float | None], base: list[float | None], **changes: Any
) -> tuple[dict[str, SuiteEvidence], dict[str, SuiteEvidence]]:
    """Two releases whose answers differ and whose cases carry these numbers."""
    mine = [result(i, True, values={name: v}, output=f"a{i}") for i, v in enumerate(ours)]
    theirs = [result(i, True, values={name: v}, output=f"b{i}") for i, v in enumerate(base)]
    old = {"release": "sha256:baseline"}
    return {"golden": run(mine, **changes)}, {"golden": run(theirs, **{**changes, **old})}


def asked(
    guardrail: dict[str, Any], ours: Any, base: Any, **more: Any
) -> tuple[GateVerdict, GateRow]:
    candidate, baseline = sides(guardrail["metric"], list(ours), list(base), **more)
    rules = policy(primary=None, guardrails=[guardrail], floors=[], hard_rules=[])
    verdict = judge(rules, candidate, baseline, now=NOW)
    return verdict, verdict.rows[0]


def noisy(count: int, ratio: float, seed: int = 7) -> tuple[list[float], list[float]]:
    """Costs of one release, and of another that costs `ratio` as much, with noise of a tenth."""
    made = np.random.default_rng(seed)
    base = made.uniform(0.01, 1.0, count)
    return list(base * ratio * np.exp(made.normal(0, 0.1, count))), list(base)


def test_a_release_that_costs_no_more_than_the_margin_is_no_worse() -> None:
    verdict, row = asked(COST, *noisy(200, 1.0))
    assert verdict.verdict is Verdict.PASS
    assert (row.word, row.method) == ("No worse", "paired t-test on the log ratio")
    assert "the margin is 5 %" in row.sentence
    _, cheaper = asked(COST, *noisy(200, 0.8))
    assert cheaper.word == "Better"


def test_a_release_that_costs_more_than_the_margin_fails() -> None:
    verdict, row = asked(COST, *noisy(200, 1.2))
    assert verdict.verdict is Verdict.FAIL
    assert (row.word, row.unit) == ("Worse", "money")
    assert row.change is not None
    assert row.change > 0
    verdict, row = asked(COST, *noisy(200, 1.05))
    assert verdict.verdict is Verdict.NOT_ENOUGH_EVIDENCE


def test_the_slow_runs_are_said_beside_the_ratio_of_all() -> None:
    slow: Any = [100.0] * 180 + [900.0] * 20  # the mean hides them
    fast: Any = [100.0] * 200
    _, row = asked({"metric": "latency_ms", "margin_percent": 5}, slow, fast)
    assert "95 of 100 runs take at most 900 ms, before 100 ms." in row.sentence
    candidate, baseline = sides("latency_ms", slow, fast)
    rules = policy(primary=None, guardrails=[], hard_rules=[])
    (reported,) = (
        row for row in judge(rules, candidate, baseline, now=NOW).rows if row.metric == "latency_ms"
    )
    assert "at most 900 ms" in reported.sentence


def test_the_95th_percentile_is_judged_by_a_floor_on_a_scorer() -> None:
    floor = {"metric": "score:fast", "limit_percent": 95}
    rules = policy(primary=None, guardrails=[], floors=[floor], hard_rules=[])
    for fast, verdict in ((400, Verdict.PASS), (380, Verdict.NOT_ENOUGH_EVIDENCE),
                          (360, Verdict.FAIL)):  # fmt: skip
        shares: Any = [1.0] * fast + [0.0] * (400 - fast)
        found = judge(rules, *sides("score:fast", shares, [None] * 400), now=NOW)
        assert found.verdict is verdict


def test_a_few_cases_are_tested_by_flipping_signs() -> None:
    _, row = asked(COST, *noisy(20, 0.9))
    assert (row.word, row.method) == ("Better", "sign-flip permutation test on the log ratio")
    candidate, baseline = sides("cost", *map(list, noisy(2, 0.5)))  # type: ignore[arg-type]
    rules = policy(
        suites={"golden": {"min_cases": 2}}, primary=None, guardrails=[COST], floors=[],
        hard_rules=[],
    )  # fmt: skip
    assert judge(rules, candidate, baseline, now=NOW).verdict is not Verdict.PASS


def test_what_costs_exactly_the_same_is_no_worse_and_never_better() -> None:
    verdict, row = asked(COST, [0.2] * 40, [0.2] * 40)
    assert (verdict.verdict, row.word) == (Verdict.PASS, "No worse")
    assert row.method.startswith("sign test")
    candidate, baseline = sides("cost", [0.2] * 40, [0.2] * 40)
    rules = policy(primary={"metric": "cost"}, guardrails=[], floors=[], hard_rules=[])
    assert judge(rules, candidate, baseline, now=NOW).verdict is Verdict.NOT_ENOUGH_EVIDENCE


def test_a_primary_may_be_a_cost_that_falls_by_so_much() -> None:
    candidate, baseline = sides("cost", *map(list, noisy(100, 0.8)))  # type: ignore[arg-type]
    for least, wanted in ((10, Verdict.PASS), (30, Verdict.NOT_ENOUGH_EVIDENCE)):
        primary = {"metric": "cost", "min_improvement_percent": least}
        rules = policy(primary=primary, guardrails=[], floors=[], hard_rules=[])
        assert judge(rules, candidate, baseline, now=NOW).verdict is wanted


@pytest.mark.parametrize(
    ("ours", "sentence"),
    [([0.0] * 40, "no ratio"), ([None] * 40, "no case")],
)
def test_what_has_no_ratio_or_no_number_never_passes(ours: list[Any], sentence: str) -> None:
    verdict, row = asked(COST, ours, [0.2] * 40)
    assert verdict.verdict is Verdict.NOT_ENOUGH_EVIDENCE
    assert sentence in row.sentence.lower()


def test_a_number_of_a_scorer_is_compared_in_its_own_units() -> None:
    made = np.random.default_rng(3)
    base = made.uniform(0.5, 0.9, 120)
    verdict, row = asked(TONE, list(base + made.normal(0, 0.05, 120)), list(base))
    assert (verdict.verdict, row.unit, row.label) == (Verdict.PASS, "number", "Tone")
    verdict, row = asked(TONE, list(base - 0.1 + made.normal(0, 0.05, 120)), list(base))
    assert verdict.verdict is Verdict.FAIL
    assert row.change == pytest.approx(-0.1, abs=0.02)


def test_a_scorer_that_says_true_or_false_is_compared_in_points() -> None:
    guardrail = {"metric": "score:polite", "margin_points": 5}
    ours = [i % 10 != 0 for i in range(300)]
    verdict, row = asked(guardrail, ours, [*ours[:-1], not ours[-1]])
    assert (verdict.verdict, row.word, row.unit) == (Verdict.PASS, "No worse", "percent")


def test_repeats_of_a_case_are_one_piece_of_evidence() -> None:
    def repeated(mine: bool) -> list[CaseResult]:
        truth = [(i, (i < 9) if mine else (i >= 9)) for i in range(12)]
        return [
            replace(result(i, ok, output=f"{mine}{i}"), repeat=n)
            for i, ok in truth
            for n in (0, 1, 2)
        ]

    def gate(repeats: int) -> GateVerdict:
        mine, theirs = repeated(True), repeated(False)
        facts = {"case_count": 12, "repeats": repeats}
        rules = policy(
            suites={"golden": {"min_cases": 12}}, guardrails=[], floors=[], hard_rules=[]
        )
        return judge(
            rules, {"golden": run(mine, **facts)},
            {"golden": run(theirs, **facts, release="sha256:old")}, now=NOW,
        )  # fmt: skip

    # 27 mended and 9 broken would be shown; 9 and 3 are not.
    verdict = gate(3)
    assert verdict.refusals == ()
    assert verdict.rows[0].word == "Not enough evidence"
    assert verdict.rows[0].total == 36
    assert {refusal.code for refusal in gate(1).refusals} >= {"unfinished"}


def test_other_repeats_on_the_other_side_are_other_cases() -> None:
    mine = [replace(result(i, True, output="a"), repeat=n) for i in range(20) for n in (0, 1)]
    theirs = [result(i, False, output="b") for i in range(20)]
    verdict = judge(
        policy(), {"golden": run(mine, case_count=20, repeats=2)},
        {"golden": run(theirs, release="sha256:old")}, now=NOW,
    )  # fmt: skip
    assert "different_cases" in {refusal.code for refusal in verdict.refusals}
    assert verdict.verdict is not Verdict.PASS


def test_a_judge_that_nobody_calibrated_may_be_reported_but_decides_nothing() -> None:
    guardrail = {"metric": "score:polite", "margin_points": 5}
    ours = [True] * 300
    advisory = frozenset({"score:polite"})
    verdict, _ = asked(guardrail, ours, [False, *ours[1:]], advisory=advisory)
    assert verdict.verdict is Verdict.NOT_ENOUGH_EVIDENCE
    assert {refusal.code for refusal in verdict.refusals} == {"uncalibrated"}
    assert "Calibrate the judge" in verdict.settle[0]
    candidate, baseline = sides("score:polite", list(ours), [False, *ours[1:]], advisory=advisory)
    rules = policy(primary=None, guardrails=[COST], floors=[], hard_rules=[])
    reported = judge(rules, candidate, baseline, now=NOW)
    assert reported.verdict is Verdict.PASS
    assert "Polite" in {row.label for row in reported.rows if row.role == "reported"}


numbers = some.floats(-1e6, 1e6, allow_nan=False)


@given(some.lists(numbers, min_size=1, max_size=60))
def test_a_p_value_is_one_and_constants_show_no_improvement(values: list[float]) -> None:
    found = Differences(values, list(range(len(values))))
    assert 0 <= found.exceeds_p(0.0) <= 1
    same = Differences([0.0] * len(values), list(range(len(values))))
    assert same.exceeds_p(0.0) == 1.0


@pytest.mark.parametrize("count", [8, 20, 60, 200])
def test_the_tests_are_wrong_as_often_as_they_say(count: int) -> None:
    """At the margin itself a pass is an error: at most 5 % of worlds, but for noise of counting."""
    made = np.random.default_rng(11)
    worlds = 400
    passed = sum(
        Differences(list(made.normal(0, 1, count)), list(range(count))).exceeds_p(0.0) <= 0.05
        for _ in range(worlds)
    )
    assert passed / worlds < 0.05 + 3 * (0.05 * 0.95 / worlds) ** 0.5
