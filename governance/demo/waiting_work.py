"""Doing waiting jobs at once, in the story's time, instead of leaving them to a worker."""

from __future__ import annotations

from governance.common.time import true_now
from governance.jobs import services as jobs
from governance.jobs.kinds import is_registered
from governance.jobs.models import Job

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
