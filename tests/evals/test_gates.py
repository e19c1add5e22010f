"""Gate reports over stored runs, gate policies by two people, suites and their digests."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from django.db.utils import ProgrammingError

from governance.common.canonical import digest_text
from governance.common.errors import InvalidInputError, NotAllowedError, StateConflictError
from governance.common.time import now
from governance.evals import drafts
from governance.evals.models import EvalRun, GatePolicy, GateReport, SuiteVersion
from governance.evals.services import (
    confirm_policy,
    confirm_suite,
    current_policy,
    editors_since,
    evidence_suites,
    freeze_suite,
    judge,
    set_policy,
)
from governance.evals.setup_models import EvalTarget, Evaluator
from governance.people.models import User
from governance.releases.models import Release
from governance.workflows.models import Workflow
from tests.evals.conftest import cases

Make = Callable[..., Release]
Do = Callable[..., EvalRun]
FLOOR = {
    "suites": {"golden": {}},
    "floors": [{"metric": "correct", "limit_percent": 50}],
}


def better(make_release: Make) -> Release:
    """A release that knows every answer."""
    return make_release(guardrails={"escalation_threshold": 0.35, "gap": 0.0})


def test_a_better_release_passes_and_the_report_is_named_by_its_bytes(
    make_release: Make, golden: SuiteVersion, score: Do, workflow: Workflow,
    gate_policy: GatePolicy,
) -> None:  # fmt: skip
    base, candidate = make_release(), better(make_release)
    runs = {score(base, golden), score(candidate, golden)}
    report = judge(workflow, candidate, base, gate_policy)
    assert report.verdict == GateReport.Verdict.PASS
    assert report.digest == digest_text(report.content_text)
    assert set(report.runs.all()) == runs
    content = report.content
    assert (content["v"], content["attempt"], content["policy"]) == (1, 1, gate_policy.digest)
    primary = content["rows"][0]
    assert (primary["role"], primary["verdict_label"]) == ("primary", "Better")
    assert (primary["result"], primary["n"], primary["base_value"]) == ("60 of 60", 60, 50.0)
    assert primary["low"] < primary["change"] == 50.0 < primary["high"]
    roles = {row["role"] for row in content["rows"]}
    assert roles == {"primary", "guardrail", "floor", "hard_rule", "reported"}


def test_asking_again_is_counted_and_a_report_never_changes(
    make_release: Make, golden: SuiteVersion, score: Do, workflow: Workflow,
    gate_policy: GatePolicy,
) -> None:  # fmt: skip
    base, candidate = make_release(), better(make_release)
    score(base, golden)
    first = judge(workflow, candidate, base, gate_policy)
    assert first.verdict == GateReport.Verdict.NOT_ENOUGH_EVIDENCE
    assert "The golden suite was not run for the candidate." in first.content["reasons"]
    score(candidate, golden)
    second = judge(workflow, candidate, base, gate_policy)
    assert (second.attempt, second.verdict) == (2, GateReport.Verdict.PASS)
    with pytest.raises(ProgrammingError, match=r"denied|never changed"), transaction.atomic():
        GateReport.objects.filter(pk=first.pk).update(verdict="pass")


def test_a_new_suite_version_makes_old_runs_no_evidence(
    make_release: Make, golden: SuiteVersion, score: Do, workflow: Workflow, analyst: User,
    gate_policy: GatePolicy,
) -> None:  # fmt: skip
    base, candidate = make_release(), better(make_release)
    score(base, golden)
    score(candidate, golden)
    freeze_suite(workflow, "golden", cases(61), actor=analyst)
    report = judge(workflow, candidate, base, gate_policy)
    assert report.verdict == GateReport.Verdict.NOT_ENOUGH_EVIDENCE


def test_a_policy_violation_fails_the_gate(
    make_release: Make, workflow: Workflow, analyst: User, score: Do, gate_policy: GatePolicy
) -> None:
    suite = freeze_suite(workflow, "golden", cases(60, tempting=True), actor=analyst)
    base = make_release()
    candidate = make_release(guardrails={"escalation_threshold": 0.01, "gap": 0.0})
    score(base, suite)
    score(candidate, suite)
    report = judge(workflow, candidate, base, gate_policy)
    assert report.verdict == GateReport.Verdict.FAIL
    rule = next(row for row in report.content["rows"] if row["metric"] == "policy_violations")
    assert (rule["verdict"], rule["n"]) == ("broken", 60)


def test_sensitive_cases_must_reach_a_person(
    make_release: Make, workflow: Workflow, analyst: User, score: Do
) -> None:
    sensitive = cases(10)
    for case in sensitive:
        case["expected"] = {"must_escalate": True}
    sensitive[1]["input"]["sensitive"] = True
    run = score(make_release(), freeze_suite(workflow, "adversarial", sensitive, actor=analyst))
    # Numbers 0 and 5 are doubted, 1 is on the list; nobody sees the other seven.
    assert run.summary["must_escalate_met"] == {"n": 10, "sum": 3}
    assert run.summary["silent_error"] == {"n": 10, "sum": 7}


def test_a_gate_policy_takes_two_people(
    workflow: Workflow, owner: User, analyst: User, builder: User, cfo: User
) -> None:
    for stranger in (analyst, builder, cfo):
        with pytest.raises(NotAllowedError):
            set_policy(workflow, FLOOR, actor=stranger)
    proposed = set_policy(workflow, FLOOR, actor=owner)
    assert current_policy(workflow) is None
    for wrong in (owner, builder):
        with pytest.raises(NotAllowedError):
            confirm_policy(proposed, actor=wrong)
    confirmed = confirm_policy(proposed, actor=cfo)
    assert current_policy(workflow) == confirmed
    with pytest.raises(StateConflictError):
        confirm_policy(proposed, actor=analyst)


def test_an_older_proposal_does_not_replace_a_newer_policy(
    workflow: Workflow, owner: User, cfo: User
) -> None:
    older = set_policy(workflow, FLOOR, actor=owner)
    newer = set_policy(workflow, {**FLOOR, "confidence": 0.9}, actor=owner)
    confirm_policy(newer, actor=cfo)
    with pytest.raises(StateConflictError, match="newer"):
        confirm_policy(older, actor=cfo)


def test_an_unconfirmed_policy_judges_nothing(
    make_release: Make, golden: SuiteVersion, workflow: Workflow, owner: User
) -> None:
    proposed = set_policy(workflow, FLOOR, actor=owner)
    with pytest.raises(NotAllowedError):
        judge(workflow, make_release(), None, proposed)
    with pytest.raises(InvalidInputError, match="judges nothing"):
        set_policy(workflow, {"suites": {"golden": {}}}, actor=owner)


def test_whoever_edits_what_judges_is_a_contributor(
    workflow: Workflow, owner: User, analyst: User, cfo: User
) -> None:
    start = now() - timedelta(seconds=1)
    freeze_suite(workflow, "golden", cases(3), actor=analyst)
    confirm_policy(set_policy(workflow, FLOOR, actor=owner), actor=cfo)
    assert editors_since(workflow, start) == {analyst.pk}
    # The same policy, confirmed only after the proposal, makes its author a contributor.
    assert editors_since(workflow, start, proposed_at=start) == {analyst.pk, owner.pk}
    assert editors_since(workflow, now()) == set()


def test_everybody_whose_edit_came_in_is_a_contributor_until_another_person_confirms(
    workflow: Workflow, analyst: User, builder: User, cfo: User, golden: SuiteVersion
) -> None:
    start = now() - timedelta(seconds=1)
    case = {
        "key": "new-1", "input": {"number": 901}, "expected": {"answer": "answer 901"},
        "reason": "It was missed.",
    }  # fmt: skip
    drafts.put_case(workflow, "golden", case, actor=builder, seen="")
    frozen = drafts.freeze_draft(
        workflow, "golden", actor=analyst, reason="One more.",
        mark=drafts.draft_mark(workflow, "golden"),
    )  # fmt: skip
    assert builder.pk in editors_since(workflow, start)
    confirm_suite(frozen, actor=cfo)
    assert builder.pk not in editors_since(workflow, start)
    # Confirmed only after the proposal, an edit still counts.
    assert {analyst.pk, builder.pk} <= editors_since(workflow, start, proposed_at=start)


@pytest.mark.parametrize("model", [Evaluator, EvalTarget])
def test_whoever_changes_how_releases_are_called_or_scored_is_a_contributor(
    workflow: Workflow, analyst: User, cfo: User, model: Any
) -> None:
    start = now() - timedelta(seconds=1)
    row = model.objects.create(
        workflow=workflow, version=1, digest="sha256:1", content_text="{}", created_by=analyst,
        created_by_label="analyst", created_at=now(),
    )  # fmt: skip
    assert editors_since(workflow, start, proposed_at=now()) == {analyst.pk}
    model.objects.filter(pk=row.pk).update(confirmed_by=cfo, confirmed_at=now())
    assert editors_since(workflow, start, proposed_at=now() + timedelta(seconds=1)) == set()
    assert editors_since(workflow, start, proposed_at=start) == {analyst.pk}


def test_the_same_cases_are_the_same_version(workflow: Workflow, analyst: User) -> None:
    first = freeze_suite(workflow, "golden", cases(3), actor=analyst)
    assert freeze_suite(workflow, "golden", cases(3)[::-1], actor=analyst) == first
    second = freeze_suite(workflow, "golden", cases(4), actor=analyst)
    assert (second.version, second.case_count) == (2, 4)
    assert evidence_suites(workflow) == {"golden": second}
    assert json.loads(json.dumps(second.cases.get(key="n0003").expected)) == {"answer": "answer 3"}


def test_cases_that_ask_the_same_are_one_cluster(workflow: Workflow, analyst: User) -> None:
    twins = [{**cases(1)[0], "key": key} for key in ("a", "b")]
    suite = freeze_suite(workflow, "golden", [*twins, cases(3)[2]], actor=analyst)
    first, second, other = suite.cases.values_list("cluster", flat=True)
    assert first == second != ""
    assert other == ""


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"kind": "bronze"}, "golden, recent"),
        ({"kind": "recent"}, "from when to when"),
        ({"cases": []}, "between 1 and"),
        ({"cases": cases(1) * 2}, "twice"),
        ({"cases": [{**cases(1)[0], "key": ""}]}, "key of 1 to 120"),
        ({"cases": [{**cases(1)[0], "key": "a\0"}]}, "key of 1 to 120"),
        ({"cases": [{**cases(1)[0], "input": "text"}]}, "input"),
        ({"cases": [{**cases(1)[0], "expected": {}}]}, "what is expected"),
        ({"cases": [{**cases(1)[0], "colour": "green"}]}, "known fields"),
    ],
)
def test_a_malformed_suite_is_refused_in_one_sentence(
    changes: dict[str, Any], sentence: str, workflow: Workflow, analyst: User
) -> None:
    wanted = {"kind": "golden", "cases": cases(2), **changes}
    with pytest.raises(InvalidInputError, match=sentence):
        freeze_suite(workflow, wanted["kind"], wanted["cases"], actor=analyst)
    assert not SuiteVersion.objects.exists()


def test_only_editors_freeze_a_suite(workflow: Workflow, cfo: User, outsider: User) -> None:
    for person in (cfo, outsider):
        with pytest.raises(NotAllowedError):
            freeze_suite(workflow, "golden", cases(2), actor=person)
