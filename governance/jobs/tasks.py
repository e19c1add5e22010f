"""The doorbell: Celery only calls `jobs.services`, which decides by the Job table."""

from __future__ import annotations

from celery import shared_task

from governance.jobs import services


@shared_task(name="jobs.run_job", ignore_result=True)
def run_job(job_id: int) -> None:
    """Do one job. Safe to deliver twice: only one worker wins the claim."""
    services.run(job_id)


@shared_task(name="jobs.sweep", ignore_result=True)
def sweep() -> None:
    """Find work whose bell was lost or whose worker died."""
    services.sweep()


@shared_task(name="jobs.tick", ignore_result=True)
def tick() -> None:
    """Make the jobs of schedule slots that have come due, and those that come by themselves."""
    services.tick()
    services.tick_recurring()
