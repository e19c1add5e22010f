"""Doing waiting jobs at once, in the story's time, instead of leaving them to a worker."""

from __future__ import annotations

from governance.common.time import now, true_now
from governance.jobs import services as jobs
from governance.jobs.kinds import is_registered
from governance.jobs.models import Job, Schedule

MOST_ROUNDS = 200  # a job may wake another one


def finish_waiting_jobs() -> int:
    """Do every job that is due, also those that these make; returns how many were done.

    Raises:
        RuntimeError: a job failed, so the story cannot go on.
    """
    done = 0
    for _ in range(MOST_ROUNDS):
        due = [job for job in Job.objects.claimable(true_now()) if is_registered(job.kind)]
        if not due:
            break
        for job in due:
            if not jobs.run(job.pk):
                job.refresh_from_db()
                raise RuntimeError(f"The job {job} did not end: {job.error or job.state}")
            done += 1
    return done


def go_on_from_now() -> None:
    """Let each schedule continue with its next slot: the story told the earlier ones itself."""
    for schedule in Schedule.objects.all():
        while schedule.next_at <= now():
            schedule.next_at = jobs.next_slot(schedule.every, schedule.next_at)
        schedule.save(update_fields=["next_at"])
