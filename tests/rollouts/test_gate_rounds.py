"""One round of a gate: which versions and runs it looks at, and that it counts once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from governance.audit.models import AuditEvent
from governance.common.errors import NotAllowedError, StateConflictError
from governance.evals import services as evals
from governance.evals.models import EvalRun, GateReport, SuiteVersion
from governance.jobs import services as jobs
from governance.jobs.models import Job
from governance.people.models import User
from governance.releases.models import Release
from governance.rollouts import rules, services
from governance.rollouts.models import Promotion
from governance.rollouts.proposals import judge_promotion
from governance.workflows.models import Workflow
from tests.rollouts.conftest import again, open_pilot, work

pytestmark = pytest.mark.django_db(transaction=True)
Propose = Callable[..., Promotion]


def asked(
    builder: User, make_release: Callable[..., Release], model: Callable[..., dict[str, Any]]
) -> Promotion:
    """A better release is proposed, and no job of it is done yet."""
    return services.propose_promotion(
        make_release(model=model(90)), actor=builder, rationale="It answers more."
    )


def more(suite: SuiteVersion, workflow: Workflow, *, actor: User) -> SuiteVersion:
    """The next version of a suite: with one case more."""
    rows = [
        {
            "key": case.key, "input": case.input, "expected": case.expected,
            "category": case.category, "reason": case.reason,
        }
        for case in suite.cases.all()
    ]  # fmt: skip
    number = len(rows)
    rows.append({**rows[0], "key": f"more {number}", "input": {"number": number % 100}})
    return evals.freeze_suite(workflow, suite.kind, rows, actor=actor)


def test_workers_that_judge_at_once_count_one_attempt(
    live: Release, builder: User, make_release: Callable[..., Release], model: Any
) -> None:
    promotion = asked(builder, make_release, model)
    for pk in Job.objects.filter(kind="evals.run").values_list("pk", flat=True):
        assert jobs.run(pk)
    ready = threading.Barrier(3, timeout=30)

    def judge(_: int) -> str:
        ready.wait()
        try:
            return judge_promotion(promotion.pk).state
        finally:
            connection.close()

    with ThreadPoolExecutor(3) as pool:
        assert set(pool.map(judge, range(3))) == {Promotion.State.AWAITING_OWNER}
    assert GateReport.objects.get().attempt == 1
    assert AuditEvent.objects.filter(verb="gate.judged").count() == 1


def test_a_suite_that_is_frozen_meanwhile_judges_and_is_not_missing(
    live: Release, workflow: Workflow, suites: dict[str, SuiteVersion], builder: User,
    analyst: User, make_release: Callable[..., Release], model: Any,
) -> None:  # fmt: skip
    promotion = asked(builder, make_release, model)
    newer = more(suites["golden"], workflow, actor=analyst)
    work()
    found = again(promotion)
    assert found.state == Promotion.State.AWAITING_OWNER
    report = found.gate_report
    assert report is not None
    assert {run["suite_version"] for run in report.content["runs"]} == {newer.version}


def test_a_run_with_repeats_on_one_side_holds_nothing_up(
    live: Release, suites: dict[str, SuiteVersion], propose: Propose, analyst: User
) -> None:
    evals.request_run(
        live, suites["golden"], actor=analyst, purpose="request", slot="thrice", repeats=3
    )
    work()
    promotion = propose()
    assert promotion.state == Promotion.State.AWAITING_OWNER
    report = promotion.gate_report
    assert report is not None
    judged = EvalRun.objects.filter(pk__in=[run["id"] for run in report.content["runs"]])
    assert {run.repeats for run in judged} == {1}


def test_who_confirms_a_version_confirms_the_edits_of_those_before_it(
    live: Release, workflow: Workflow, suites: dict[str, SuiteVersion], propose: Propose,
    owner: User, analyst: User, cfo: User, approve: Callable[..., Promotion],
) -> None:  # fmt: skip
    second = more(suites["golden"], workflow, actor=owner)
    third = more(second, workflow, actor=analyst)
    with pytest.raises(NotAllowedError):  # edits of the owner are in it, and nobody confirmed them
        evals.confirm_suite(third, actor=owner)
    evals.confirm_suite(third, actor=cfo)
    promotion = propose()
    assert owner.pk not in rules.contributors(promotion)
    assert approve(promotion, owner).state == Promotion.State.LIVE


def test_evidence_that_aged_since_the_gate_is_asked_for_again(
    propose: Propose, approve: Callable[..., Promotion], owner: User, analyst: User,
    workflow: Workflow,
) -> None:  # fmt: skip
    promotion = propose()
    report = promotion.gate_report
    assert report is not None
    assert evals.outdated(report) == ""
    content = {"scorers": [{"name": "answer", "kind": "exact"}]}
    evals.set_evaluator(workflow, content, actor=analyst, reason="Stricter.")
    assert "How answers are scored changed" in evals.outdated(report)
    with pytest.raises(StateConflictError, match="How answers are scored changed"):
        approve(promotion, owner)


def test_a_promotion_says_who_rolled_it_back(
    propose: Propose, approve: Callable[..., Promotion], owner: User, analyst: User,
    workflow: Workflow,
) -> None:  # fmt: skip
    promotion = approve(propose(), owner)
    services.roll_back(workflow, actor=analyst, reason="Customers complain.")
    found = again(promotion)
    assert found.closed_by_label.startswith(str(analyst))
    assert found.closing_reason == "Customers complain."


def test_a_maintenance_change_stays_one_when_it_was_a_pilot_on_the_way(
    live: Release, make_release: Callable[..., Release], model: Any, builder: User, owner: User
) -> None:
    asked_for = services.propose_promotion(
        make_release(model=model(48)), actor=builder, rationale="The provider retires the model.",
        road="maintenance",
    )  # fmt: skip
    work()
    assert _road(asked_for) == "maintenance"
    open_pilot(again(asked_for), owner)
    services.ask_gate_again(asked_for.pk, actor=owner)
    work()
    assert _road(asked_for) == "maintenance"
    services.stop_pilot(asked_for.pk, actor=owner, reason="Enough was seen.")
    services.write_stop(asked_for.pk, actor=owner, what_happened="This.", what_next="That.")
    services.repropose_promotion(asked_for.pk, actor=builder, rationale="Once more.")
    assert again(asked_for).road == Promotion.Road.MAINTENANCE


def _road(promotion: Promotion) -> str:
    report = again(promotion).gate_report
    assert report is not None
    assert report.verdict == "not_enough_evidence"
    return str(report.content.get("road"))
