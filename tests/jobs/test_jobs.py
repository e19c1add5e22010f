"""Durable work: claimed once, taken over when its worker dies, never silently missed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from governance.common.time import story_time, true_now
from governance.jobs import services
from governance.jobs.models import Job, Schedule
from governance.people.models import User
from tests.jobs import kinds

pytestmark = pytest.mark.django_db


def test_the_same_kind_and_slot_is_the_same_work() -> None:
    first = services.enqueue("tests.note", "once")
    second = services.enqueue("tests.note", "once", {"other": 1})
    assert first.pk == second.pk
    kinds.CALLS.clear()
    assert services.run(first.pk)
    assert not services.run(first.pk)
    assert kinds.CALLS == ["once"]


def test_a_job_that_fails_is_tried_again_later_and_closed_after_its_last_attempt(
    analyst: User,
) -> None:
    job = services.enqueue("tests.fail", "x")
    for attempt in range(1, job.max_attempts + 1):
        Job.objects.update(run_at=true_now())
        assert not services.run(job.pk)
        job.refresh_from_db()
        assert job.attempts == attempt
        assert job.error == "ValueError: no luck today"
    assert job.state == Job.State.FAILED
    assert job.finished_at is not None
    services.retry(job.pk, actor=analyst)
    job.refresh_from_db()
    assert job.state == Job.State.WAITING


def test_an_old_holder_is_refused_after_somebody_else_claimed() -> None:
    job = services.enqueue("tests.note", "lease")
    slow = services.claim(job.pk)
    assert slow is not None
    assert services.claim(job.pk) is None  # held
    Job.objects.update(lease_until=true_now() - timedelta(seconds=1))
    fast = services.claim(job.pk)
    assert fast is not None
    assert fast.fence == slow.fence + 1
    with pytest.raises(services.LostClaimError):
        slow.heartbeat()
    with pytest.raises(services.LostClaimError):
        slow.hold()
    fast.heartbeat()


def test_a_worker_that_dies_each_time_ends_as_failed() -> None:
    job = services.enqueue("tests.note", "deadly")
    for _ in range(job.max_attempts):
        assert services.claim(job.pk) is not None
        Job.objects.update(lease_until=true_now() - timedelta(seconds=1))
    assert services.claim(job.pk) is None
    job.refresh_from_db()
    assert job.state == Job.State.FAILED


def test_a_schedule_makes_each_slot_once_and_only_the_latest_after_an_absence() -> None:
    start = datetime(2026, 10, 5, 6, tzinfo=UTC)
    Schedule.objects.create(
        name="weekly", kind="tests.note", every=Schedule.Every.WEEK, next_at=start
    )
    with story_time(start + timedelta(minutes=1)):
        assert len(services.tick()) == 1
        assert services.tick() == []
    with story_time(start + timedelta(weeks=3, minutes=1)):
        (made,) = services.tick()
    assert made.slot == "weekly 2026-10-26T06:00:00+00:00"
    assert Schedule.objects.get().next_at == start + timedelta(weeks=4)


@pytest.mark.parametrize(
    ("every", "after", "expected"),
    [
        ("hour", datetime(2026, 3, 29, 0, tzinfo=UTC), datetime(2026, 3, 29, 1, tzinfo=UTC)),
        ("month", datetime(2026, 1, 31, 6, tzinfo=UTC), datetime(2026, 2, 28, 6, tzinfo=UTC)),
        ("month", datetime(2026, 12, 1, 6, tzinfo=UTC), datetime(2027, 1, 1, 6, tzinfo=UTC)),
    ],
)
def test_slots_follow_the_calendar_in_utc(every: str, after: datetime, expected: datetime) -> None:
    assert services.next_slot(every, after) == expected


def test_what_is_overdue_is_found() -> None:
    services.enqueue("tests.note", "late", due_within=timedelta(seconds=-1))
    services.enqueue("tests.note", "in time")
    assert [job.slot for job in Job.objects.overdue(true_now())] == ["late"]
