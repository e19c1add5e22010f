"""Eval runs: every case exactly once, whatever dies, and errors that stay where they belong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import F

from governance.audit.models import AuditEvent
from governance.common.errors import InvalidInputError, NotAllowedError, StateConflictError
from governance.common.time import true_now
from governance.evals import running
from governance.evals.models import EvalRun, Score, SuiteVersion
from governance.evals.services import finished_run, freeze_suite, request_run
from governance.jobs.models import Job
from governance.people.models import User
from governance.releases.models import Release
from governance.workflows.models import Workflow
from tests.evals import target
from tests.evals.conftest import cases, job_of, work

Make = Callable[..., Release]
Do = Callable[..., EvalRun]


def lapse(run: EvalRun) -> None:
    """Let the dead worker's lease run out."""
    past = true_now() - timedelta(minutes=5)
    Job.objects.filter(pk=job_of(run).pk).update(lease_until=past)


def test_a_run_scores_every_case_and_wakes_the_gate(
    make_release: Make, golden: SuiteVersion, score: Do
) -> None:
    run = score(make_release(), golden)
    assert run.state == EvalRun.State.DONE
    assert (run.cases_done, run.errors, run.cost) == (60, 0, Decimal("0.12"))
    assert run.summary["correct"] == {"n": 60, "sum": 30}
    assert run.summary["escalated"] == {"n": 60, "sum": 12}
    assert run.summary["silent_error"] == {"n": 60, "sum": 24}
    assert Job.objects.get(kind="rollouts.gate").payload["run"] == run.pk
    assert not Job.objects.filter(kind="triage.eval_failed").exists()
    assert set(AuditEvent.objects.values_list("verb", flat=True)) >= {
        "suite.frozen", "eval_run.requested", "eval_run.finished",
    }  # fmt: skip


def test_a_worker_that_dies_in_the_middle_scores_every_case_exactly_once(
    make_release: Make, golden: SuiteVersion, builder: User
) -> None:
    run = request_run(make_release(), golden, actor=builder, purpose="request", slot="a")
    target.die_at.update({10, 33})
    for _ in range(2):
        with pytest.raises(target.WorkerDied):
            work(run)
        assert not work(run)  # its lease still holds
        lapse(run)
    assert work(run)
    run.refresh_from_db()
    scored = Counter(Score.objects.filter(run=run).values_list("case__key", flat=True))
    assert set(scored.values()) == {1}
    assert len(scored) == run.cases_done == 60
    # What was written was not asked again; only the unwritten part of a chunk was.
    assert max(Counter(target.calls).values()) == 2
    assert len(target.calls) <= 60 + 2 * running.CHUNK_CASES


def test_a_worker_that_lost_its_claim_writes_nothing_more(
    make_release: Make, golden: SuiteVersion, builder: User
) -> None:
    run = request_run(make_release(), golden, actor=builder, purpose="request", slot="a")

    def take_over(number: int) -> None:
        if number == 20:
            Job.objects.filter(pk=job_of(run).pk).update(fence=F("fence") + 1)

    target.on_call.append(take_over)
    assert not work(run)
    assert run.scores.count() == 14
    run.refresh_from_db()
    assert (run.state, run.cases_done) == (EvalRun.State.RUNNING, 14)


def test_doing_a_finished_run_again_changes_nothing(
    make_release: Make, golden: SuiteVersion, score: Do
) -> None:
    run = score(make_release(), golden)
    before = AuditEvent.objects.count()
    Job.objects.filter(pk=job_of(run).pk).update(state=Job.State.WAITING, finished_at=None)
    assert work(run)
    assert run.scores.count() == 60
    assert AuditEvent.objects.count() == before


def test_the_same_slot_is_the_same_run_and_never_another(
    make_release: Make, golden: SuiteVersion, builder: User, outsider: User
) -> None:
    first, other = make_release(), make_release(0.5)
    ask: dict[str, Any] = {"actor": builder, "purpose": "request", "slot": "a"}
    assert request_run(first, golden, **ask) == request_run(first, golden, **ask)
    assert Job.objects.filter(kind="evals.run").count() == 1
    with pytest.raises(StateConflictError):
        request_run(other, golden, **ask)
    for more in ({"repeats": 2}, {"seed": 1}, {"budget": Decimal(5)}):
        with pytest.raises(StateConflictError, match="Load the page again"):
            request_run(first, golden, **{**ask, **more})
    with pytest.raises(NotAllowedError):
        request_run(first, golden, **{**ask, "actor": outsider, "slot": "b"})


def test_an_error_belongs_to_its_case(
    make_release: Make, workflow: Workflow, analyst: User, score: Do
) -> None:
    mixed = cases(20)
    mixed[3]["input"]["broken"] = True
    suite = freeze_suite(workflow, "golden", mixed, actor=analyst)
    run = score(make_release(), suite)
    assert (run.state, run.cases_done, run.errors) == (EvalRun.State.DONE, 20, 1)
    broken = run.scores.get(case__key="n0003")
    assert broken.error == "RuntimeError: cannot read number 3"
    assert (broken.correct, broken.cost) == (None, None)
    assert run.summary["correct"]["n"] == 19


def test_a_run_without_a_single_score_fails_and_opens_an_exception(
    make_release: Make, workflow: Workflow, analyst: User, score: Do
) -> None:
    suite = freeze_suite(workflow, "golden", cases(5, broken=True), actor=analyst)
    run = score(make_release(), suite)
    assert run.state == EvalRun.State.FAILED
    assert "cannot read number 0" in run.error
    alarm = Job.objects.get(kind="triage.eval_failed")
    assert (alarm.payload["run"], alarm.payload["error"]) == (run.pk, run.error)
    assert Job.objects.filter(kind="rollouts.gate").exists()


def test_a_target_that_refuses_the_release_fails_the_run_at_once(
    make_release: Make, golden: SuiteVersion, score: Do
) -> None:
    run = score(make_release(guardrails={"escalation_threshold": 0.3, "refuse": True}), golden)
    assert run.state == EvalRun.State.FAILED
    assert "these guardrails cannot run" in run.error


def test_a_workflow_without_a_target_cannot_be_evaluated(
    make_release: Make, golden: SuiteVersion, builder: User, settings: Any
) -> None:
    release = make_release()
    settings.EVAL_TARGETS = {}
    with pytest.raises(InvalidInputError, match="names no target"):
        request_run(release, golden, actor=builder, purpose="request", slot="a")
    assert finished_run(release, golden) is None


def test_scores_of_another_evaluator_are_no_evidence(
    make_release: Make, golden: SuiteVersion, score: Do
) -> None:
    run = score(make_release(), golden)
    assert finished_run(run.release, golden) == run
    EvalRun.objects.filter(pk=run.pk).update(evaluator="sha256:" + "0" * 64)
    assert finished_run(run.release, golden) is None


def test_an_evaluator_that_changed_meanwhile_fails_the_run(
    make_release: Make, golden: SuiteVersion, builder: User
) -> None:
    run = request_run(make_release(), golden, actor=builder, purpose="request", slot="a")
    EvalRun.objects.filter(pk=run.pk).update(evaluator="sha256:" + "0" * 64)
    assert work(run)
    run.refresh_from_db()
    assert run.state == EvalRun.State.FAILED
    assert not run.scores.exists()


def test_a_run_whose_worker_died_each_time_is_closed(
    make_release: Make, golden: SuiteVersion, builder: User
) -> None:
    run = request_run(make_release(), golden, actor=builder, purpose="request", slot="a")
    Job.objects.filter(pk=job_of(run).pk).update(attempts=5)
    assert not work(run)
    run.refresh_from_db()
    assert (run.state, run.error) == (EvalRun.State.FAILED, "The worker died each time.")
    assert Job.objects.filter(kind="triage.eval_failed").exists()


def test_a_job_given_up_without_a_word_is_found_by_the_watch(
    make_release: Make, golden: SuiteVersion, builder: User
) -> None:
    run = request_run(make_release(), golden, actor=builder, purpose="request", slot="a")
    Job.objects.filter(pk=job_of(run).pk).update(
        state=Job.State.FAILED, error="out of memory", finished_at=true_now()
    )
    assert running.watch() == 1
    run.refresh_from_db()
    assert (run.state, run.error) == (EvalRun.State.FAILED, "out of memory")
    assert running.watch() == 0


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {"answer": 3, "escalated": False},
        {"answer": "x", "escalated": "no"},
        {"answer": "x", "escalated": False, "violations": "promise"},
        {"answer": "x", "escalated": False, "cost": "NaN"},
        {"answer": "x", "escalated": False, "cost": "-1"},
        {"answer": "x", "escalated": False, "latency_ms": float("inf")},
    ],
)
def test_a_nonsense_answer_is_an_error_of_its_case(
    answer: Any, make_release: Make, golden: SuiteVersion, score: Do,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(target, "build", lambda components: lambda case: answer)
    run = score(make_release(), golden)
    assert run.state == EvalRun.State.FAILED
    assert run.errors == 60


def test_text_that_the_database_cannot_hold_is_scored_all_the_same(
    make_release: Make, golden: SuiteVersion, score: Do, monkeypatch: pytest.MonkeyPatch
) -> None:
    nasty = {"answer": "a\0b\ud800", "escalated": True, "violations": ["\0"], "cost": "0.1"}
    monkeypatch.setattr(target, "build", lambda components: lambda case: nasty)
    run = score(make_release(), golden)
    assert run.state == EvalRun.State.DONE
    assert run.scores.first() is not None
