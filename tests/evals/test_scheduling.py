"""Evals that come again, samples of what really ran, and the command."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from governance.audit import Actor
from governance.audit.models import AuditEvent
from governance.common.errors import InvalidInputError
from governance.common.time import now, story_time
from governance.evals.models import EvalRun, SuiteVersion
from governance.evals.sampling import sample_recent_suite
from governance.evals.scheduling import complete_schedules, ensure_schedules, request_scheduled
from governance.evals.services import confirm_policy, set_policy
from governance.jobs import services as jobs
from governance.jobs.models import Job, Schedule
from governance.people.models import User
from governance.receipts.models import Receipt
from governance.releases.models import Release
from governance.rollouts.services import adopt_as_found
from governance.workflows.models import Workflow

TESTER = Actor.system("tests")
Make = Callable[..., Release]


@pytest.fixture
def live(make_release: Make, owner: User) -> Release:
    release = make_release()
    adopt_as_found(release, actor=owner, reason="It ran before.", authenticated_at=now())
    return release


def source(case_ids: Sequence[str]) -> Mapping[str, Mapping[str, Any]]:
    """Texts and labels for every case but the odd thousands."""
    return {
        case_id: {"input": {"number": int(case_id)}, "expected": {"answer": f"answer {case_id}"}}
        for case_id in case_ids
        if int(case_id) % 7
    }


LABELLED = source([str(number) for number in range(2_000)])


def receipts(workflow: Workflow, count: int, *, days_ago: float = 1, first: int = 0) -> None:
    """Runs in two segments, three to one."""
    at = now() - timedelta(days=days_ago)
    with connection.cursor() as cursor:
        cursor.execute("SELECT cs_make_partitions(%s)", [at.date()])
    Receipt.objects.bulk_create(
        Receipt(
            day=at.date(),
            run_id=f"run-{first + number}",
            workflow=workflow,
            standing=Receipt.Standing.AUTHORISED,
            segment="billing" if number % 4 else "fraud",
            case_id=str(first + number),
            started_at=at,
            body_sha256="0" * 64,
            received_at=at,
        )
        for number in range(count)
    )


def test_a_recent_suite_is_drawn_from_what_ran_in_its_window(workflow: Workflow) -> None:
    receipts(workflow, 400)
    receipts(workflow, 100, days_ago=15, first=1_000)
    suite = sample_recent_suite(workflow, actor=TESTER, cases_by_case_id=LABELLED, size=40)
    keys = [int(key) for key in suite.cases.values_list("key", flat=True)]
    assert 38 <= len(keys) <= 42
    assert max(keys) < 1_000
    assert all(key % 7 for key in keys)
    segments = Counter("billing" if key % 4 else "fraud" for key in keys)
    assert 8 <= segments["fraud"] <= 12
    assert suite.sampled_from is not None
    assert suite.sampled_to is not None
    assert suite.sampled_to - suite.sampled_from == timedelta(days=14)


def test_drawing_again_on_the_same_day_draws_the_same_cases(workflow: Workflow) -> None:
    receipts(workflow, 200)
    drawn = []
    for hours in (0, 1):
        with story_time(now().replace(hour=12) + timedelta(hours=hours)):
            # Midday may lie ahead of the clock; the window still ends at the story's own time.
            suite = sample_recent_suite(workflow, actor=TESTER, cases_by_case_id=LABELLED, size=40)
            drawn.append(set(suite.cases.values_list("key", flat=True)))
    assert drawn[0] == drawn[1]


def test_the_same_text_is_drawn_once(workflow: Workflow) -> None:
    receipts(workflow, 60)
    repeated = {
        str(n): {"input": {"number": n % 9}, "expected": {"answer": "x"}} for n in range(60)
    }
    suite = sample_recent_suite(workflow, actor=TESTER, cases_by_case_id=repeated)
    assert suite.case_count == 9


def test_nothing_labelled_is_no_suite(workflow: Workflow) -> None:
    with pytest.raises(InvalidInputError, match="has a label"):
        sample_recent_suite(workflow, actor=TESTER, cases_by_case_id=LABELLED)
    with pytest.raises(InvalidInputError, match="EVAL_CASE_SOURCES"):
        sample_recent_suite(workflow, actor=TESTER)


def test_the_calendar_holds_weekly_and_monthly_evals_once(workflow: Workflow) -> None:
    first = ensure_schedules(workflow, actor=TESTER)
    assert ensure_schedules(workflow, actor=TESTER) == first
    assert {(row.kind, row.every) for row in Schedule.objects.all()} == {
        ("evals.scheduled", "week"),
        ("evals.scheduled", "month"),
        ("evals.watch", "hour"),
    }
    weekly = [row.payload["suites"] for row in first if row.every == "week"]
    assert weekly == [["recent"], ["adversarial"]]
    assert all(row.next_at > now() for row in first)
    assert AuditEvent.objects.filter(verb="schedule.created").count() == 4


def test_an_older_calendar_gets_what_was_added_since(workflow: Workflow) -> None:
    ensure_schedules(workflow, actor=TESTER)
    Schedule.objects.filter(name__startswith="Adversarial").delete()
    complete_schedules()
    complete_schedules()
    assert Schedule.objects.filter(name="Adversarial cases, support-triage").count() == 1
    assert Schedule.objects.count() == 4


def test_a_slot_that_comes_due_runs_the_live_release_once(
    workflow: Workflow, golden: SuiteVersion, live: Release
) -> None:
    ensure_schedules(workflow, actor=TESTER)
    Schedule.objects.filter(every="month").update(next_at=now() - timedelta(minutes=1))
    (job,) = jobs.tick()
    assert jobs.tick() == []
    assert jobs.run(job.pk)
    assert request_scheduled(workflow.slug, ["golden", "recent"], slot=job.slot)
    run = EvalRun.objects.get()
    assert (run.release, run.suite, run.purpose) == (live, golden, "schedule")


def test_a_scheduled_recent_run_samples_a_fresh_suite(
    workflow: Workflow, live: Release, settings: Any
) -> None:
    settings.EVAL_CASE_SOURCES = {workflow.slug: "tests.evals.test_scheduling.source"}
    receipts(workflow, 60)
    (run,) = request_scheduled(workflow.slug, ["recent"], slot="week 1")
    (again,) = request_scheduled(workflow.slug, ["recent"], slot="week 1")
    assert run == again
    assert run.suite.frozen_by is None
    assert SuiteVersion.objects.filter(kind="recent").count() == 1


def test_a_scheduled_run_below_a_floor_opens_an_exception(
    workflow: Workflow, golden: SuiteVersion, live: Release, owner: User, analyst: User
) -> None:
    content = {
        "suites": {"golden": {}},
        "floors": [{"metric": "correct", "limit_percent": 90}],
    }
    confirm_policy(set_policy(workflow, content, actor=owner), actor=analyst)
    (run,) = request_scheduled(workflow.slug, ["golden"], slot="month 1")
    assert jobs.run(Job.objects.get(kind="evals.run").pk)
    alarm = Job.objects.get(kind="triage.eval_failed")
    assert alarm.payload["run"] == run.pk
    assert "the limit is 90 %" in alarm.payload["error"]


def test_nothing_live_asks_for_nothing(workflow: Workflow, golden: SuiteVersion) -> None:
    assert request_scheduled(workflow.slug, ["golden"], slot="week 1") == []


def test_the_command_runs_the_newest_suites_and_prints_them(
    workflow: Workflow, golden: SuiteVersion, make_release: Make
) -> None:
    make_release()
    out = StringIO()
    call_command("run_evals", workflow.slug, "--release", "r1", stdout=out)
    assert "Golden v1 on Support triage r1: correct 30 of 60" in out.getvalue()
    assert AuditEvent.objects.get(verb="eval_run.requested").actor_type == "operator"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere"], "no workflow"),
        (["support-triage"], "Nothing is live"),
        (["support-triage", "--release", "r9"], "no release"),
        (["support-triage", "--release", "r1", "--suite", "recent"], "no such suite"),
    ],
)
def test_the_command_says_in_one_sentence_what_is_missing(
    arguments: list[str], sentence: str, golden: SuiteVersion, make_release: Make
) -> None:
    make_release()
    with pytest.raises(CommandError, match=sentence):
        call_command("run_evals", *arguments)
