"""The gate's three verdicts, and that nothing degenerate ever passes."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as some

from governance.common.canonical import digest
from governance.evals.evidence import SuiteEvidence
from governance.evals.gate import GateVerdict, Verdict, judge
from governance.evals.policy import GatePolicy, PolicyError
from tests.evals.worlds import NOW, pair, policy, result, run

Runs = dict[str, SuiteEvidence]


def gate(candidate: Runs, baseline: Runs | None, **policy_changes: Any) -> GateVerdict:
    return judge(policy(**policy_changes), candidate, baseline, now=NOW)


def codes(verdict: GateVerdict) -> set[str]:
    return {refusal.code for refusal in verdict.refusals}


def test_a_clear_improvement_without_regression_passes() -> None:
    verdict = gate(*pair(mended=30, broken=5, good=150, bad=15))
    assert verdict.verdict is Verdict.PASS
    primary, guardrail, floor = verdict.rows[:3]
    assert (primary.word, guardrail.word, floor.word) == ("Better", "No worse", "Within limit")
    assert (primary.passed, primary.baseline_passed, primary.total) == (180, 155, 200)
    assert primary.change == pytest.approx(12.5)
    assert primary.change_low is not None
    assert primary.change_low > 0
    assert "30 cases mended, 5 broken" in primary.sentence
    assert verdict.settle == ()


def test_several_runs_of_a_case_are_counted_as_runs_of_one_case() -> None:
    once, before = pair(mended=1, broken=0, good=30, bad=9)
    thrice = [
        {kind: replace(run, repeats=3, results=[
            replace(r, repeat=n, must_pass=True, output=f"{r.output} {side}")
            for r in run.results for n in range(3)
        ]) for kind, run in runs.items()}
        for side, runs in enumerate((once, before))
    ]  # fmt: skip
    verdict = gate(*thrice, guardrails=[], floors=[])
    primary = verdict.rows[0]
    assert primary.to_content()["result"] == "93 of 120 runs"
    assert primary.sentence.startswith("3 runs mended, 0 broken")
    assert any("there are 40." in advice for advice in verdict.settle)
    assert "9 of 40 must-pass cases did not pass." in [r.sentence for r in verdict.hard_rules]
    alone = gate(once, before, guardrails=[], floors=[]).rows[0]
    assert primary.low == pytest.approx(alone.low, abs=2)  # no surer than of forty cases
    assert primary.high == pytest.approx(alone.high, abs=2)


def test_a_primary_that_cannot_be_as_much_better_as_asked_is_not_better() -> None:
    asked = {"metric": "correct", "min_improvement_points": 20}
    verdict = gate(*pair(mended=16, broken=22, good=142, bad=20), primary=asked)
    assert (verdict.rows[0].word, verdict.verdict) == ("Not better", Verdict.FAIL)


def test_cases_that_nobody_checked_are_not_counted_as_kept_policy() -> None:
    candidate, baseline = pair(mended=30, broken=5, good=150, bad=15)
    unchecked = [
        replace(r, values={**r.values, "policy_ok": None}) if n < 50 else r
        for n, r in enumerate(candidate["golden"].results)
    ]
    verdict = gate({"golden": replace(candidate["golden"], results=unchecked)}, baseline)
    said = " ".join(rule.sentence for rule in verdict.hard_rules)
    assert "No policy violation in 150 cases. 50 could not be checked." in said


def test_harm_fails_and_says_how_many_cases_broke() -> None:
    verdict = gate(*pair(mended=5, broken=30, good=150, bad=15))
    assert verdict.verdict is Verdict.FAIL
    assert verdict.rows[0].word == "Worse"
    assert "30 broken" in verdict.summary


def test_an_improvement_that_luck_explains_is_not_enough_evidence() -> None:
    verdict = gate(*pair(mended=8, broken=5, good=20, bad=7))
    assert verdict.verdict is Verdict.NOT_ENOUGH_EVIDENCE
    assert any("there are 40" in advice for advice in verdict.settle)


def test_not_significantly_worse_is_not_no_worse() -> None:
    candidate, baseline = pair(mended=12, broken=15, good=60, bad=13)
    verdict = gate(
        candidate, baseline, primary=None, guardrails=[{"metric": "correct", "margin_points": 5}]
    )
    assert verdict.rows[0].word == "Not enough evidence"
    assert verdict.verdict is Verdict.NOT_ENOUGH_EVIDENCE


def test_a_maintenance_change_passes_when_nothing_guarded_is_worse() -> None:
    candidate, baseline = pair(mended=3, broken=3, good=280, bad=14)
    guardrails = [{"metric": "correct", "margin_points": 5}]
    verdict = gate(candidate, baseline, primary=None, guardrails=guardrails)
    assert verdict.verdict is Verdict.PASS
    assert verdict.rows[0].word == "No worse"
    assert verdict.rows[0].change_at_worst is not None
    assert -5 < verdict.rows[0].change_at_worst < 0


def test_more_escalation_shows_as_a_rise_and_fails_its_guardrail() -> None:
    candidate = [result(i, True, escalated=i < 60) for i in range(200)]
    baseline = [result(i, i >= 30, escalated=i < 20) for i in range(200)]
    verdict = gate({"golden": run(candidate)}, {"golden": run(baseline, release="old")})
    row = next(row for row in verdict.rows if row.metric == "escalated")
    assert row.change == pytest.approx(20.0)
    assert (row.change_low or 0) < 20 < (row.change_high or 0)
    assert row.word == "Worse"
    assert verdict.verdict is Verdict.FAIL


def test_one_policy_violation_fails_whatever_improved() -> None:
    candidate, baseline = pair(mended=60, broken=0, good=140, bad=0)
    results = list(candidate["golden"].results)
    results[150] = result(150, True, values={"policy_ok": False})
    verdict = gate({"golden": run(results)}, baseline)
    assert verdict.verdict is Verdict.FAIL
    assert "1 of 200 cases broke the policy" in verdict.summary


def test_a_must_pass_case_fails_the_gate_and_without_a_score_keeps_it_open() -> None:
    candidate, baseline = pair(mended=60, broken=0, good=140, bad=0)
    results = list(candidate["golden"].results)
    results[0] = result(0, False, must_pass=True)
    assert gate({"golden": run(results)}, baseline).verdict is Verdict.FAIL
    results[0] = result(0, False, must_pass=True, error="Timed out.")
    verdict = gate({"golden": run(results)}, baseline)
    assert verdict.verdict is Verdict.NOT_ENOUGH_EVIDENCE
    assert "1 must-pass cases have no score." in verdict.reasons


def test_without_a_baseline_the_floors_alone_decide() -> None:
    candidate, _ = pair(mended=0, broken=0, good=180, bad=20)
    floors = [{"metric": "correct", "limit_percent": 80}]
    assert gate(candidate, None, floors=floors).verdict is Verdict.PASS
    floors = [{"metric": "correct", "limit_percent": 88}]
    assert gate(candidate, None, floors=floors).verdict is Verdict.NOT_ENOUGH_EVIDENCE
    floors = [{"metric": "correct", "limit_percent": 95}]
    assert gate(candidate, None, floors=floors).verdict is Verdict.FAIL
    verdict = gate(candidate, None, floors=[])
    assert verdict.verdict is Verdict.NOT_ENOUGH_EVIDENCE
    assert "no_floor" in codes(verdict)


def test_a_ceiling_is_judged_on_the_upper_bound() -> None:
    candidate = {"golden": run([result(i, True, escalated=i < 20) for i in range(200)])}
    for limit, word in ((20, "Within limit"), (12, "Not enough evidence"), (5, "Outside limit")):
        floors = [{"metric": "escalated", "limit_percent": limit}]
        assert gate(candidate, None, floors=floors).rows[2].word == word


GOOD = {"mended": 40, "broken": 2, "good": 140, "bad": 18}


def broken_evidence() -> list[tuple[str, Runs, Runs]]:
    """Evidence that would pass but for one thing."""
    candidate, baseline = pair(**GOOD)
    mine, theirs = candidate["golden"], baseline["golden"]
    results, others = list(mine.results), list(theirs.results)
    nan_results = [replace(results[0], values={**results[0].values, "cost": math.nan})]
    errored = [replace(r, error="Timed out.") for r in results[:5]] + results[5:]
    return [
        ("missing_suite", {}, baseline),
        ("missing_suite", candidate, {}),
        ("duplicate_cases", {"golden": run([*results, results[0]])}, baseline),
        ("unfinished", {"golden": replace(mine, results=results[:-1])}, baseline),
        ("errored", {"golden": run(errored)}, baseline),
        ("not_a_number", {"golden": run([*nan_results, *results[1:]])}, baseline),
        ("evaluator", {"golden": replace(mine, evaluator="sha256:other")}, baseline),
        ("different_cases", {"golden": replace(mine, suite_digest="sha256:other")}, baseline),
        ("different_cases", candidate, {"golden": run(others[:-1], release="old")}),
        ("no_difference", candidate, {"golden": replace(mine, release="old")}),
    ]


@pytest.mark.parametrize(("code", "candidate", "baseline"), broken_evidence())
def test_broken_evidence_is_never_a_pass(code: str, candidate: Runs, baseline: Runs) -> None:
    assert gate(*pair(**GOOD)).verdict is Verdict.PASS
    verdict = gate(candidate, baseline)
    assert verdict.verdict is not Verdict.PASS
    assert code in codes(verdict)
    assert all(refusal.remedy for refusal in verdict.refusals)


def test_a_recent_suite_older_than_fourteen_days_is_never_a_pass() -> None:
    suites = {"recent": {"min_cases": 20}}
    for days, verdict in ((14, Verdict.PASS), (14.1, Verdict.NOT_ENOUGH_EVIDENCE)):
        runs = pair(**GOOD, sampled_at=NOW - timedelta(days=days))
        recent = [{"recent": side["golden"]} for side in runs]
        assert gate(recent[0], recent[1], suites=suites).verdict is verdict


def test_an_evaluator_other_than_the_policys_is_never_a_pass() -> None:
    verdict = gate(*pair(**GOOD), evaluator="sha256:calibrated")
    assert verdict.verdict is Verdict.NOT_ENOUGH_EVIDENCE


def test_a_few_errors_count_against_a_pass_but_prove_no_harm() -> None:
    candidate, baseline = pair(mended=7, broken=0, good=190, bad=3)
    assert gate(candidate, baseline).verdict is Verdict.PASS
    results = list(candidate["golden"].results)
    results[100:104] = [replace(r, error="Timed out.") for r in results[100:104]]
    verdict = gate({"golden": run(results)}, baseline)
    assert verdict.verdict is Verdict.NOT_ENOUGH_EVIDENCE
    assert verdict.rows[0].unscored == 4


def test_cases_of_one_template_do_not_count_as_many() -> None:
    candidate, baseline = pair(mended=10, broken=0, good=40, bad=0)
    assert gate(candidate, baseline).rows[0].word == "Better"
    clustered = [
        replace(r, cluster="greeting" if i < 10 else f"template-{i % 8}")
        for i, r in enumerate(candidate["golden"].results)
    ]
    verdict = gate({"golden": run(clustered)}, baseline)
    assert verdict.rows[0].word == "Not enough evidence"


@settings(max_examples=80, deadline=None)
@given(some.data())
def test_small_or_tied_evidence_never_passes_a_primary(data: some.DataObject) -> None:
    """Four mended cases or fewer, net, are always explained by luck."""
    mended = data.draw(some.integers(0, 30))
    broken = data.draw(some.integers(max(0, mended - 3), 30))
    good, bad = data.draw(some.integers(0, 60)), data.draw(some.integers(0, 60))
    assume(mended + broken + good + bad > 0)
    verdict = gate(*pair(mended, broken, good, bad), suites={"golden": {"min_cases": 1}})
    assert verdict.verdict is not Verdict.PASS
    assert verdict.reasons
    digest(verdict.to_content())  # no nan, no odd types


@settings(max_examples=60, deadline=None)
@given(some.data())
def test_a_pass_never_comes_with_an_open_or_failed_row(data: some.DataObject) -> None:
    counts = [data.draw(some.integers(0, 80)) for _ in range(4)]
    assume(sum(counts) > 0)
    verdict = gate(*pair(*counts))
    outcomes = {row.outcome for row in verdict.rows}
    if verdict.verdict is Verdict.PASS:
        assert outcomes <= {"pass", "none"}
        assert not verdict.refusals
    if verdict.verdict is Verdict.FAIL:
        assert "fail" in outcomes


def test_worlds_without_improvement_ship_at_most_one_time_in_twenty() -> None:
    random = np.random.default_rng(7)
    worlds = 400
    shipped = sum(
        gate(*pair(*(int(count) for count in table))).verdict is Verdict.PASS
        for table in random.multinomial(100, [0.08, 0.08, 0.7, 0.14], size=worlds)
    )
    assert shipped / worlds <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / worlds)


def test_ten_points_better_on_200_cases_ships_four_times_in_five() -> None:
    random = np.random.default_rng(8)
    shipped = sum(
        gate(*pair(*(int(count) for count in table))).verdict is Verdict.PASS
        for table in random.multinomial(200, [0.15, 0.05, 0.7, 0.1], size=100)
    )
    assert shipped >= 80


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"primary": None, "guardrails": [], "floors": []}, "judges nothing"),
        ({"suites": {}}, "at least one suite"),
        ({"suites": {"golden": {}, "bronze": {}}}, "bronze"),
        ({"suites": {"golden": {"min_cases": True}}}, "whole number"),
        ({"suites": {"golden": {}, "recent": {"max_age_days": 90}}}, "14 days"),
        ({"floors": [{"metric": "cost", "limit_percent": 5}]}, "no floor"),
        ({"guardrails": [{"metric": "cost", "margin_points": 5}]}, "unknown key"),
        ({"guardrails": [{"metric": "cost"}]}, "needs its margin_percent"),
        ({"guardrails": [{"metric": "score:tone"}]}, "needs its margin_points"),
        ({"guardrails": [{"metric": "score:a b", "margin_points": 5}]}, "Unknown metric"),
        ({"primary": {"metric": "charm"}}, "Unknown metric"),
        ({"primary": {"metric": "correct", "suites": ["recent"]}}, "does not ask for"),
        ({"guardrails": [{"metric": "correct"}]}, "margin"),
        ({"guardrails": [{"metric": "correct", "margin_points": 0}]}, "from 0.01"),
        ({"guardrails": [{"metric": "correct", "margin_points": math.nan}]}, "nan"),
        ({"floors": [{"metric": "correct"}]}, "limit in percent"),
        ({"hard_rules": ["be_nice"]}, "be_nice"),
        ({"confidence": 0.5}, "from 0.8"),
        ({"colour": "green"}, "colour"),
    ],
)
def test_an_impossible_policy_is_refused_in_one_sentence(
    change: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(PolicyError, match=sentence):
        policy(**change)


def test_the_same_evidence_gives_the_same_digest() -> None:
    first, second = (gate(*pair(**GOOD)).to_content() for _ in range(2))
    assert digest(first) == digest(second)
    assert isinstance(policy(), GatePolicy)
