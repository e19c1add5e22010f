"""Exceptions: opened by a job, grouped, and worked on by the right people."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from governance.audit.models import AuditEvent
from governance.common.errors import InvalidInputError, NotAllowedError, StateConflictError
from governance.common.time import now
from governance.evals.models import EvalRun, SuiteVersion
from governance.jobs import services as jobs
from governance.jobs.models import Job
from governance.people.models import User
from governance.people.permissions import can
from governance.receipts.models import Receipt
from governance.receipts.services import store
from governance.releases.models import Release, ReleaseApproval
from governance.triage import services
from governance.triage.models import ExceptionCase, ExceptionReceipt
from governance.workflows.models import Workflow
from tests.receipts.drafts import STARTED, draft

Kind = ExceptionCase.Kind
State = ExceptionCase.State


def do_waiting_jobs() -> None:
    for job_id in list(Job.objects.filter(state="waiting").values_list("pk", flat=True)):
        assert jobs.run(job_id)


@pytest.fixture
def live(workflow: Workflow, make_release: Callable[..., Release]) -> Release:
    release = make_release()
    ReleaseApproval.objects.create(
        workflow=workflow, release=release, valid_from=STARTED - timedelta(days=1)
    )
    return release


@pytest.fixture
def exception(workflow: Workflow) -> ExceptionCase:
    store([draft()])
    do_waiting_jobs()
    return ExceptionCase.objects.get()


def test_receipts_of_one_group_open_one_exception(workflow: Workflow, live: Release) -> None:
    unknown = "sha256:" + "7" * 64
    store([
        draft("a", release=unknown),
        draft("b", release=unknown, started_at=STARTED + timedelta(minutes=5)),
        draft("c"),
        draft("d", release=live.digest, violations=("pii", "refund_limit")),
        draft("e", release=live.digest, violations=("pii",)),
        draft("f", release=live.digest),
    ])  # fmt: skip
    do_waiting_jobs()

    found = {
        (case.kind, case.title): (case.receipt_count, case.get_severity_display())
        for case in ExceptionCase.objects.all()
    }
    assert found == {
        ("unauthorised", "Runs of unknown release sha256:77777777…, which nobody approved"):
            (2, "High"),
        ("unattributed", "Runs that name no release"): (1, "Low"),
        ("policy_violation", "Policy violation: pii in r1"): (2, "Medium"),
        ("policy_violation", "Policy violation: refund_limit in r1"): (1, "Medium"),
    }  # fmt: skip
    case = ExceptionCase.objects.get(kind=Kind.UNAUTHORISED)
    assert (case.first_at, case.last_at) == (STARTED, STARTED + timedelta(minutes=5))
    assert case.release_digest == unknown
    assert set(case.receipts.values_list("run_id", flat=True)) == {"a", "b"}
    assert AuditEvent.objects.filter(verb="exception.opened").count() == 4


def test_later_receipts_join_while_it_is_open_and_the_severity_follows(
    workflow: Workflow, live: Release
) -> None:
    for batch in range(3):
        store([
            draft(f"{batch}-{number}", release=live.digest, violations=("pii",))
            for number in range(4)
        ])  # fmt: skip
        do_waiting_jobs()

    case = ExceptionCase.objects.get()
    assert (case.receipt_count, case.severity) == (12, ExceptionCase.Severity.HIGH)
    assert AuditEvent.objects.filter(verb="exception.opened").count() == 1


def test_the_same_receipts_again_change_nothing(
    workflow: Workflow, exception: ExceptionCase, analyst: User
) -> None:
    refs = [(STARTED.date(), "run-1")]

    assert services.triage_receipts(refs) == []
    services.resolve(exception.pk, actor=analyst, comment="The sender names it now.")
    assert services.triage_receipts(refs) == []

    assert ExceptionCase.objects.count() == 1
    assert ExceptionReceipt.objects.count() == 1


def test_a_new_receipt_after_closing_opens_a_new_exception(
    workflow: Workflow, exception: ExceptionCase, analyst: User
) -> None:
    services.dismiss(exception.pk, actor=analyst, comment="A test mailbox.")
    store([draft("run-2")])
    do_waiting_jobs()

    assert list(ExceptionCase.objects.order_by("pk").values_list("state", "receipt_count")) == [
        ("dismissed", 1), ("open", 1),
    ]  # fmt: skip


def test_what_the_senders_claim_separates_groups(workflow: Workflow) -> None:
    store([draft("a", observed={"release_claimed": "v1.4"}), draft("b"), draft("c")])
    do_waiting_jobs()

    assert dict(ExceptionCase.objects.values_list("title", "receipt_count")) == {
        "Runs that name no release (they say 'v1.4')": 1,
        "Runs that name no release": 2,
    }


def test_a_receipt_corrected_meanwhile_is_left_alone(workflow: Workflow, live: Release) -> None:
    store([draft()])
    Receipt.objects.update(standing=Receipt.Standing.AUTHORISED)
    do_waiting_jobs()

    assert not ExceptionCase.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_two_workers_at_once_open_one_exception(workflow: Workflow) -> None:
    store([draft(f"run-{number}") for number in range(40)], triage=False)
    start = threading.Barrier(4)
    errors = []

    def work(part: int) -> None:
        refs = [(STARTED.date(), f"run-{number}") for number in range(part * 5, part * 5 + 25)]
        try:
            start.wait()
            services.triage_receipts(refs)
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    workers = [threading.Thread(target=work, args=(part,)) for part in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert not errors
    case = ExceptionCase.objects.get()
    assert case.receipt_count == case.receipts.count() == 40
    assert AuditEvent.objects.filter(verb="exception.opened").count() == 1


def test_the_doorbell_rings_when_the_receipts_are_stored(
    workflow: Workflow, django_capture_on_commit_callbacks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung: list[int] = []
    monkeypatch.setattr(jobs, "ring", rung.append)

    with django_capture_on_commit_callbacks(execute=True):
        store([draft()])

    assert rung == [Job.objects.get(kind="triage.receipts").pk]


@pytest.mark.parametrize("state", ["failed", "done"])
def test_a_failed_eval_opens_one_exception(
    workflow: Workflow, live: Release, analyst: User, state: str
) -> None:
    suite = SuiteVersion.objects.create(
        workflow=workflow, kind="golden", version=3, digest="sha256:" + "1" * 64, case_count=1,
        frozen_by_label="Analyst", frozen_at=now(),
    )  # fmt: skip
    run = EvalRun.objects.create(
        release=live, suite=suite, evaluator="e", purpose="schedule", slot="s", state=state,
        requested_by_label="schedule", requested_at=now(), finished_at=now(), cases_total=1,
    )  # fmt: skip

    for _ in range(2):
        jobs.enqueue(
            "triage.eval_failed", f"run {run.pk}",
            {"run": run.pk, "workflow": workflow.slug, "error": "accuracy 0.7 is below 0.9"},
        )  # fmt: skip
        do_waiting_jobs()

    case = ExceptionCase.objects.get()
    assert (case.kind, case.eval_run_id, case.receipt_count) == (Kind.EVAL_FAILED, run.pk, 0)
    assert case.title == {
        "failed": "The eval of Golden v3 on r1 could not finish",
        "done": "Golden v3 on r1: accuracy 0.7 is below 0.9",
    }[state]  # fmt: skip
    services.resolve(case.pk, actor=analyst, comment="Fixed the suite.")
    assert services.triage_failed_eval(workflow, run.pk, "again") is None


def test_a_schedule_that_could_not_start_is_an_exception(workflow: Workflow) -> None:
    jobs.enqueue(
        "triage.eval_failed", "scheduled x",
        {"run": None, "workflow": workflow.slug, "error": "no suite"},
    )  # fmt: skip
    do_waiting_jobs()

    assert ExceptionCase.objects.get().title == "A scheduled eval could not start: no suite"


def test_taking_and_resolving_say_who_and_when(exception: ExceptionCase, analyst: User) -> None:
    services.take(exception.pk, actor=analyst)
    services.take(exception.pk, actor=analyst)
    services.resolve(exception.pk, actor=analyst, comment="Asked the team to name it.\0")

    exception.refresh_from_db()
    assert (exception.state, exception.taken_by, exception.closed_by) == (
        State.RESOLVED, analyst, analyst,
    )  # fmt: skip
    assert exception.comment == "Asked the team to name it.\ufffd"
    events = AuditEvent.objects.filter(verb__startswith="exception.").order_by("seq")
    assert list(events.values_list("verb", flat=True)) == [
        "exception.opened",
        "exception.taken",
        "exception.resolved",
    ]


def test_the_second_person_hears_who_was_faster(
    exception: ExceptionCase, analyst: User, owner: User
) -> None:
    services.take(exception.pk, actor=owner)

    with pytest.raises(StateConflictError, match="Head of Support has taken"):
        services.take(exception.pk, actor=analyst)
    services.dismiss(exception.pk, actor=analyst, comment="Known.")
    for act in (services.resolve, services.dismiss):
        with pytest.raises(StateConflictError, match="Already dismissed"):
            act(exception.pk, actor=owner, comment="Late.")
    with pytest.raises(StateConflictError, match="Already dismissed"):
        services.take(exception.pk, actor=owner)


@pytest.mark.parametrize("act", [services.resolve, services.dismiss])
@pytest.mark.parametrize("comment", ["", "  \n", "x" * 4_001])
def test_closing_needs_a_comment_of_a_sensible_length(
    exception: ExceptionCase, analyst: User, act: Callable[..., Any], comment: str
) -> None:
    with pytest.raises(InvalidInputError):
        act(exception.pk, actor=analyst, comment=comment)

    exception.refresh_from_db()
    assert exception.state == State.OPEN


def test_only_analysts_and_the_owner_work_on_exceptions(
    exception: ExceptionCase, owner: User, analyst: User, controller: User, cfo: User,
    builder: User, auditor: User, admin: User, outsider: User,
) -> None:  # fmt: skip
    before = AuditEvent.objects.count()

    for person in (controller, cfo, builder, auditor, admin, outsider):
        assert not can(person, "triage.work", exception)
        with pytest.raises(NotAllowedError):
            services.take(exception.pk, actor=person)
        with pytest.raises(NotAllowedError):
            services.dismiss(exception.pk, actor=person, comment="Mine.")

    exception.refresh_from_db()
    assert exception.state == State.OPEN
    assert AuditEvent.objects.count() == before
    assert can(owner, "triage.work", exception)
    assert can(analyst, "triage.work", exception)
