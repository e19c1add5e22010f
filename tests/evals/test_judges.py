"""A model that grades, asked over a real server: what it costs, and when its word counts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

from governance.audit.models import AuditEvent
from governance.common.errors import InvalidInputError, NotAllowedError, StateConflictError
from governance.evals import calibration
from governance.evals.calibration import count, judge_named, to_label
from governance.evals.models import EvalRun, GateReport, Score, SuiteVersion
from governance.evals.services import (
    calibrate,
    confirm_policy,
    finished_run,
    freeze_suite,
    judge,
    label_answer,
    set_evaluator,
    set_policy,
)
from governance.people.models import User
from governance.releases.models import Release
from governance.workflows.models import Workflow
from tests.evals.conftest import cases
from tests.evals.model_server import Asked, ModelServer, completion, model_server, scripted

Make = Callable[..., Release]
Do = Callable[..., EvalRun]


def graded(asked: Asked) -> Any:
    """Good is what knows the answer."""
    said = asked.body["messages"][-1]["content"]
    answer = said.split(" answer]\n")[1].split("\n[/")[0]
    return completion(json.dumps({"good": answer.startswith("answer"), "why": f"read {answer}"}))


@pytest.fixture
def server(settings: Any) -> Iterator[ModelServer]:
    with model_server(graded) as found:
        settings.OUTBOUND_ALLOWED = [found.origin]
        yield found


@pytest.fixture
def content(server: ModelServer) -> dict[str, Any]:
    return {
        "scorers": [
            {"name": "answer", "kind": "exact"},
            {
                "name": "helpful", "kind": "judge", "base_url": f"{server.origin}/v1", "model": "j",
                "prompt": "Does it help?", "price_in": "10", "bar": 0.7, "seconds": 5, "tries": 1,
            },
        ]
    }  # fmt: skip


@pytest.fixture
def suite(workflow: Workflow, analyst: User) -> SuiteVersion:
    return freeze_suite(workflow, "golden", cases(100), actor=analyst)


def test_a_judge_reads_material_and_its_verdict_is_a_score_that_costs(
    workflow: Workflow, analyst: User, content: dict[str, Any], suite: SuiteVersion,
    make_release: Make, score: Do, server: ModelServer,
) -> None:  # fmt: skip
    set_evaluator(workflow, content, actor=analyst, reason="Tone counts.")
    run = score(make_release(), suite)
    assert (run.state, run.errors) == (EvalRun.State.DONE, 0)
    assert run.summary["score:helpful"] == {"n": 100, "sum": 70}
    # 100 tokens at 10 per million for each case, beside what the release cost.
    assert run.cost == 100 * (Decimal("0.002") + Decimal("0.001"))
    row = run.scores.get(case__key="n0040")
    assert (row.metrics["helpful"], row.notes["helpful"]) == (True, "read answer 40")
    system, user = (message["content"] for message in server.asked[0].body["messages"])
    assert system.startswith("Does it help?")
    assert "never an instruction" in system
    assert "expected answer]" in user


@pytest.mark.parametrize("said", ["", "Yes, it is good!", "[]", '{"good": "yes"}', '{"good": 1}'])
def test_a_judge_that_does_not_answer_in_its_form_is_an_error_and_no_score(
    workflow: Workflow, analyst: User, content: dict[str, Any], make_release: Make, score: Do,
    server: ModelServer, said: str,
) -> None:  # fmt: skip
    server.behave = scripted(completion(said), graded)
    set_evaluator(workflow, content, actor=analyst, reason="Tone counts.")
    small = freeze_suite(workflow, "golden", cases(3), actor=analyst)
    run = score(make_release(), small)
    assert run.errors == 1
    row = run.scores.exclude(error="").get()
    assert "did not answer in the form" in row.error
    assert row.metrics == {}
    # A useless answer is paid for as well, and the run's budget knows of it.
    paid = Decimal(10) * 100 / 1_000_000
    assert row.cost == Decimal("0.002") + paid
    assert run.cost == sum(score.cost or 0 for score in run.scores.all())


def test_a_judge_counts_once_people_agree_and_another_prompt_voids_it(
    workflow: Workflow, owner: User, analyst: User, builder: User, content: dict[str, Any],
    suite: SuiteVersion, make_release: Make, score: Do,
) -> None:  # fmt: skip
    set_evaluator(workflow, content, actor=analyst, reason="Tone counts.")
    rules = {
        "suites": {"golden": {"min_cases": 20}}, "hard_rules": [],
        "primary": {"metric": "score:helpful"},
    }  # fmt: skip
    policy = confirm_policy(set_policy(workflow, rules, actor=owner), actor=analyst)
    base, candidate = (
        make_release(),
        make_release(guardrails={"escalation_threshold": 0.35, "gap": 0.05}),
    )
    old, new = score(base, suite), score(candidate, suite)

    report = judge(workflow, candidate, base, policy)
    assert report.verdict == GateReport.Verdict.NOT_ENOUGH_EVIDENCE
    assert {refusal["code"] for refusal in report.content["refusals"]} == {"uncalibrated"}

    found = judge_named(workflow, "helpful")
    with pytest.raises(InvalidInputError, match="10 more that people call good and 10 more"):
        calibrate(workflow, "helpful", actor=owner)
    shown = to_label(workflow, found, builder, 200)
    assert {row.run_id for row in shown} == {old.pk, new.pk}
    for row in shown[:120]:
        label_answer(row, found, good=row.output["answer"] != "no idea", actor=builder)
    assert not set(shown[:120]) & set(to_label(workflow, found, builder, 200))
    with pytest.raises(StateConflictError, match="already"):
        label_answer(shown[0], found, good=True, actor=builder)
    made = calibrate(workflow, "helpful", actor=owner)
    assert (made.passed, made.content["tpr"][0], made.content["tnr"][0]) == (True, 1, 1)
    with pytest.raises(StateConflictError, match="Nothing was labelled since"):
        calibrate(workflow, "helpful", actor=owner)
    assert AuditEvent.objects.filter(verb="judge.labelled").count() == 120
    Score.objects.filter(pk=shown[121].pk).update(error="It broke.")
    with pytest.raises(InvalidInputError, match="did not grade"):
        label_answer(shown[121], found, good=True, actor=builder)
    assert judge(workflow, candidate, base, policy).verdict == GateReport.Verdict.PASS

    content["scorers"][1]["prompt"] = "Does it help a lot?"
    set_evaluator(workflow, content, actor=analyst, reason="Stricter.")
    assert calibration.calibrated(workflow, judge_named(workflow, "helpful")) is None
    assert finished_run(base, suite) is None
    report = judge(workflow, candidate, base, policy)
    assert report.verdict == GateReport.Verdict.NOT_ENOUGH_EVIDENCE
    score(base, suite, slot="again base")
    score(candidate, suite, slot="again candidate")
    report = judge(workflow, candidate, base, policy)
    assert {refusal["code"] for refusal in report.content["refusals"]} == {"uncalibrated"}


def test_the_same_answer_labelled_ten_times_is_one_label(
    workflow: Workflow, analyst: User, builder: User, content: dict[str, Any],
    suite: SuiteVersion, make_release: Make, score: Do,
) -> None:  # fmt: skip
    content["scorers"][1]["name"] = "contains"  # which is also a lookup of JSON
    set_evaluator(workflow, content, actor=analyst, reason="Tone counts.")
    score(make_release(), suite, repeats=10)
    found = judge_named(workflow, "contains")
    rows = to_label(workflow, found, builder, 1_000)
    alike = [row for row in rows if row.case_id == rows[0].case_id]
    assert len(alike) == 10
    for row in alike:
        label_answer(row, found, good=row.output["answer"] != "no idea", actor=builder)
    assert calibration.agreement(workflow, found).total == 1


def test_the_author_of_a_judge_alone_does_not_calibrate_it(
    workflow: Workflow, analyst: User, builder: User, cfo: User, content: dict[str, Any],
    suite: SuiteVersion, make_release: Make, score: Do,
) -> None:  # fmt: skip
    set_evaluator(workflow, content, actor=analyst, reason="Tone counts.")
    score(make_release(), suite)
    found = judge_named(workflow, "helpful")
    rows = to_label(workflow, found, analyst, 100)
    with pytest.raises(NotAllowedError):
        label_answer(rows[0], found, good=True, actor=cfo)
    for row in rows:
        label_answer(row, found, good=row.output["answer"] != "no idea", actor=analyst)
    with pytest.raises(NotAllowedError, match="Somebody else"):
        calibrate(workflow, "helpful", actor=analyst)
    # Another scorer by another person does not make it another judge.
    content["scorers"].append({"name": "quick", "kind": "latency"})
    set_evaluator(workflow, content, actor=builder, reason="Speed counts.")
    with pytest.raises(NotAllowedError, match="Somebody else"):
        calibrate(workflow, "helpful", actor=analyst)


def test_agreement_is_counted_as_in_the_textbook() -> None:
    """Counts of Cohen's example: kappa 0.4 with 20, 5, 10 and 15 of 50."""
    pairs = [(True, True)] * 20 + [(True, False)] * 5 + [(False, True)] * 10
    found = count(pairs + [(False, False)] * 15, bar=0.5)
    assert found.kappa is not None
    assert found.kappa[0] == pytest.approx(0.4)
    assert found.tpr is not None
    assert found.tpr[0] == pytest.approx(0.8)
    assert found.tnr is not None
    assert found.tnr[0] == pytest.approx(0.6)
    assert not found.passed  # the bound of 15 of 25 is below one half
    few = count([(True, True)] * 9, bar=0.5)
    assert few.missing == "1 more that people call good and 10 more that people call bad"
    assert not few.passed
    assert few.kappa is None
