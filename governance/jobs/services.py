"""Enqueue, claim, finish and sweep durable work."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q

from governance import audit
from governance.common.errors import StateConflictError
from governance.common.failpoints import reach
from governance.common.time import now, true_now
from governance.jobs.kinds import kind, recurring
from governance.jobs.models import Job, Schedule
from governance.people.models import User
from governance.people.permissions import has_role, register_rule, require

log = logging.getLogger(__name__)
BACKOFF = timedelta(seconds=2)
LONGEST_BACKOFF = timedelta(minutes=10)
ATTEMPTS_AGAIN = 5
SILENT_AFTER_FAILURE = 10.0  # seconds

_silent_until = 0.0  # of this process, by its monotonic clock

register_rule(
    "job.retry",
    has_role(User.Role.ADMIN, User.Role.BUILDER, User.Role.ANALYST),
    "You may look at the jobs, but not start one again.",
)


class LostClaimError(Exception):
    """Another worker holds this job by now. Stop, and write nothing more."""


def enqueue(
    kind_name: str,
    slot: str,
    payload: dict[str, Any] | None = None,
    *,
    run_at: datetime | None = None,
    due_within: timedelta = timedelta(hours=1),
) -> Job:
    """Write the job in the caller's transaction and ring the bell on commit.

    The same kind and slot is the same work: a second call returns the first job.
    """
    moment = true_now()
    starts = run_at or moment
    job, created = Job.objects.get_or_create(
        kind=kind_name,
        slot=slot,
        defaults={
            "payload": payload or {},
            "run_at": starts,
            "due_by": starts + due_within,
            "created_at": moment,
        },
    )
    if created and starts <= moment:
        transaction.on_commit(lambda: ring(job.pk))
    return job


def ring(job_id: int) -> None:
    """Tell Celery that a job waits. When that fails the sweeper finds the job.

    A broker that hangs must not hold up requests, so after one failure nobody rings for a while.
    """
    global _silent_until
    reach("before the nudge")
    if time.monotonic() < _silent_until:
        return
    from governance.jobs.tasks import run_job

    try:
        run_job.apply_async((job_id,), retry=False)
    except Exception as error:  # the broker's client raises many kinds
        _silent_until = time.monotonic() + SILENT_AFTER_FAILURE
        log.warning(
            "The doorbell is out of order (%s); the sweeper will find job %s", error, job_id
        )


@dataclass(slots=True)
class Claim:
    """One worker's hold on a job."""

    job_id: int
    kind: str
    slot: str
    payload: dict[str, Any]
    fence: int
    lease: timedelta

    def heartbeat(self) -> None:
        """Renew the lease.

        Raises:
            LostClaimError: the lease ran out and somebody else claimed the job.
        """
        held = Job.objects.filter(pk=self.job_id, fence=self.fence, state=Job.State.RUNNING).update(
            lease_until=true_now() + self.lease
        )
        if not held:
            raise LostClaimError(f"job {self.job_id} was claimed again")

    def hold(self) -> None:
        """Lock the job's row in the caller's transaction: what it writes counts, or nothing does.

        Raises:
            LostClaimError: somebody else claimed the job.
        """
        row = Job.objects.select_for_update().get(pk=self.job_id)
        if row.fence != self.fence or row.state != Job.State.RUNNING:
            raise LostClaimError(f"job {self.job_id} was claimed again")


def claim(job_id: int) -> Claim | None:
    """Take a job that is due, or return None when there is nothing to take."""
    with transaction.atomic():
        moment = true_now()
        job = (
            Job.objects.claimable(moment)
            .select_for_update(skip_locked=True)
            .filter(pk=job_id)
            .first()
        )
        if job is None:
            return None
        lease = kind(job.kind).lease
        given_up = job.attempts >= job.max_attempts
        if given_up:
            _close(job, Job.State.FAILED, job.error or "The worker died each time.")
        else:
            job.state = Job.State.RUNNING
            job.attempts += 1
            job.fence += 1
            job.lease_until = moment + lease
            job.save(update_fields=["state", "attempts", "fence", "lease_until"])
    if given_up:
        _tell_given_up(job)
        return None
    return Claim(job.pk, job.kind, job.slot, job.payload, job.fence, lease)


def _tell_given_up(job: Job) -> None:
    """Let the kind's own package react to a job that will not be tried again."""
    on_failed = kind(job.kind).on_failed
    if on_failed is not None:
        on_failed(job.payload, job.slot, job.error)


def run(job_id: int) -> bool:
    """Claim a job and do it. Safe to call any number of times. Returns whether it was done."""
    held = claim(job_id)
    if held is None:
        return False
    try:
        kind(held.kind).handler(held)
    except LostClaimError:
        log.warning("Job %s was taken over by another worker", job_id)
        return False
    except Exception as error:
        log.exception("Job %s (%s) failed", job_id, held.kind)
        _give_back(held, f"{type(error).__name__}: {error}")
        return False
    with transaction.atomic():
        job = Job.objects.select_for_update().get(pk=job_id)
        if job.fence != held.fence:
            return False
        _close(job, Job.State.DONE, "")
    return True


def _close(job: Job, state: Job.State, error: str) -> None:
    job.state = state
    job.error = error
    job.lease_until = None
    job.finished_at = true_now()
    job.save(update_fields=["state", "error", "lease_until", "finished_at"])


def _give_back(held: Claim, error: str) -> None:
    """Put a failed job back with a growing pause, or close it after its last attempt."""
    with transaction.atomic():
        job = Job.objects.select_for_update().get(pk=held.job_id)
        if job.fence != held.fence:
            return
        given_up = job.attempts >= job.max_attempts
        if given_up:
            _close(job, Job.State.FAILED, error[:4000])
        else:
            job.state = Job.State.WAITING
            job.error = error[:4000]
            job.lease_until = None
            job.run_at = true_now() + min(BACKOFF * 2**job.attempts, LONGEST_BACKOFF)
            job.save(update_fields=["state", "error", "lease_until", "run_at"])
    if given_up:
        _tell_given_up(job)


def sweep(limit: int = 200) -> int:
    """Ring again for everything that is due and not held. Returns how many."""
    due = list(
        Job.objects.claimable(true_now()).order_by("run_at").values_list("pk", flat=True)[:limit]
    )
    for job_id in due:
        ring(job_id)
    return len(due)


@audit.atomic()
def retry(job_id: int, *, actor: User) -> Job:
    """Give a failed job a new set of attempts."""
    require(actor, "job.retry")
    job = Job.objects.select_for_update().get(pk=job_id)
    if job.state != Job.State.FAILED:
        raise StateConflictError(f"This job is {job.get_state_display().lower()}, not failed.")
    job.state = Job.State.WAITING
    job.finished_at = None
    job.run_at = true_now()
    job.due_by = job.run_at + timedelta(hours=1)
    job.max_attempts = job.attempts + ATTEMPTS_AGAIN
    job.save(update_fields=["state", "finished_at", "run_at", "due_by", "max_attempts"])
    audit.record(
        "job.retried", job, actor=actor, workflow=str(job.payload.get("workflow", "")),
        reason="", error=job.error[:300],
    )  # fmt: skip
    transaction.on_commit(lambda: ring(job.pk))
    return job


def next_slot(every: str, after: datetime) -> datetime:
    """The slot that follows `after`, in UTC, so that clock changes do not matter."""
    if every == Schedule.Every.HOUR:
        return after + timedelta(hours=1)
    if every == Schedule.Every.DAY:
        return after + timedelta(days=1)
    if every == Schedule.Every.WEEK:
        return after + timedelta(weeks=1)
    year, month = divmod(after.year * 12 + after.month, 12)
    return after.replace(year=year, month=month + 1, day=min(after.day, 28))


def tick() -> list[Job]:
    """Make the job of every schedule slot that has come due, each exactly once.

    After a long absence only the latest missed slot is made: one late eval is worth as much as
    five late ones.
    """
    made = []
    with transaction.atomic():
        moment = now()
        due = Schedule.objects.select_for_update(skip_locked=True).filter(
            enabled=True, next_at__lte=moment
        )
        for schedule in due:
            slot_at = schedule.next_at
            while (following := next_slot(schedule.every, slot_at)) <= moment:
                slot_at = following
            schedule.next_at = following
            schedule.save(update_fields=["next_at"])
            made.append(
                enqueue(
                    schedule.kind,
                    f"{schedule.name} {slot_at.isoformat()}",
                    {**schedule.payload, "slot_at": slot_at.isoformat()},
                    due_within=timedelta(minutes=schedule.due_within_minutes),
                )
            )
    return made


def tick_recurring() -> list[Job]:
    """Make the job of each kind that comes again by itself, unless its last one is still open.

    Only the last finished one of a kind stays: a row a minute for ever says nothing more.
    """
    made = []
    moment = true_now()
    for name, every in recurring():
        slot = str(int(moment.timestamp() // every.total_seconds()))
        jobs = Job.objects.filter(kind=name)
        is_open = Q(state__in=(Job.State.WAITING, Job.State.RUNNING))
        if jobs.filter(Q(slot=slot) | is_open).exists():
            continue
        with transaction.atomic():
            job = enqueue(name, slot, due_within=5 * every)
        finished = jobs.filter(state__in=(Job.State.DONE, Job.State.FAILED), pk__lt=job.pk)
        kept = finished.order_by("-pk").values("pk")[:1]
        finished.exclude(pk__in=kept).delete()
        made.append(job)
    return made
