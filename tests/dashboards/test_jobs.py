"""The jobs page: overdue first, failed ones tried again by those who may."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client

from governance.audit.models import AuditEvent
from governance.common.time import now
from governance.jobs.models import Job, Schedule
from governance.jobs.services import enqueue
from governance.people.models import User
from governance.workflows.models import Workflow

pytestmark = pytest.mark.django_db
Login = Callable[[User], Client]


@pytest.fixture
def failed() -> Job:
    job = enqueue("evals.run", "run 7", {"workflow": "support-triage"})
    Job.objects.filter(pk=job.pk).update(
        state=Job.State.FAILED, finished_at=now(), attempts=5, error="<b>no luck</b>"
    )
    job.refresh_from_db()
    return job


def test_what_is_overdue_is_named_first(workflow: Workflow, analyst: User, login: Login) -> None:
    job = enqueue("evals.run", "weekly eval", {"workflow": "support-triage"})
    client = login(analyst)
    assert "Nothing is overdue" in client.get("/jobs/").content.decode()
    Job.objects.filter(pk=job.pk).update(due_by=now() - timedelta(minutes=1))
    page = client.get("/jobs/").content.decode()
    assert "Nothing is overdue" not in page
    assert page.index("Overdue") < page.index("weekly eval")


def test_a_failed_job_is_tried_again_once(failed: Job, analyst: User, login: Login) -> None:
    client = login(analyst)
    page = client.get("/jobs/").content.decode()
    assert "&lt;b&gt;no luck&lt;/b&gt;" in page
    assert client.post(f"/jobs/{failed.pk}/retry/").status_code == 302
    failed.refresh_from_db()
    assert failed.state == Job.State.WAITING
    assert failed.max_attempts > failed.attempts
    assert AuditEvent.objects.get(verb="job.retried").actor_id == str(analyst.pk)
    again = client.post(f"/jobs/{failed.pk}/retry/")
    assert again.status_code == 409
    assert "not failed" in again.content.decode()


def test_those_who_may_only_look_are_refused(
    failed: Job, auditor: User, controller: User, workflow: Workflow, login: Login
) -> None:
    client = login(auditor)
    page = client.get("/jobs/").content.decode()
    assert "run 7" in page
    assert "Try again" not in page
    assert client.post(f"/jobs/{failed.pk}/retry/").status_code == 403
    assert client.get(f"/jobs/{failed.pk}/retry/").status_code == 405
    stranger = login(controller)
    assert "run 7" not in stranger.get("/jobs/").content.decode()
    assert stranger.post(f"/jobs/{failed.pk}/retry/").status_code == 404
    failed.refresh_from_db()
    assert failed.state == Job.State.FAILED


def test_the_schedule_tells_a_passed_slot_from_a_planned_one(
    workflow: Workflow, owner: User, controller: User, login: Login
) -> None:
    payload = {"workflow": "support-triage"}
    Schedule.objects.create(
        name="Late one", kind="evals.scheduled", every="week", payload=payload,
        next_at=now() - timedelta(hours=2),
    )  # fmt: skip
    Schedule.objects.create(
        name="Next one", kind="evals.scheduled", every="week", payload=payload,
        next_at=now() + timedelta(hours=2),
    )  # fmt: skip
    page = login(owner).get("/jobs/").content.decode()
    assert page.index("Late one") < page.index("Slot passed") < page.index("Next one")
    assert "Planned" in page
    assert "Late one" not in login(controller).get("/jobs/").content.decode()


def test_the_list_is_filtered_by_state(failed: Job, analyst: User, login: Login) -> None:
    enqueue("evals.run", "waiting one", {})
    client = login(analyst)
    listed = client.get("/jobs/?state=failed").context["page_obj"].object_list
    assert [job.pk for job in listed] == [failed.pk]
    assert client.get("/jobs/?state=%00&page=-3").status_code == 200
