"""Durable work. The Job table is the truth; Celery is only the doorbell."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from django.db import models
from django.db.models import Q

if TYPE_CHECKING:
    from governance.people.models import User


class JobQuerySet(models.QuerySet["Job"]):
    def visible_to(self, user: User) -> JobQuerySet:
        """Everything for installation roles; owners see the work that names their workflow."""
        if user.reads_everything:
            return self
        return self.filter(payload__workflow__in=user.owned_workflow_slugs())

    def claimable(self, moment: datetime) -> JobQuerySet:
        """Due and not held: waiting ones, and running ones whose lease ran out."""
        return self.filter(
            Q(state=Job.State.WAITING, run_at__lte=moment)
            | Q(state=Job.State.RUNNING, lease_until__lt=moment)
        )

    def overdue(self, moment: datetime) -> JobQuerySet:
        """Work that should have been done by now and is not."""
        return self.filter(
            state__in=(Job.State.WAITING, Job.State.RUNNING), due_by__lt=moment
        ).order_by("due_by")


class Job(models.Model):
    """One piece of work that must happen once in effect, whatever dies meanwhile."""

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        RUNNING = "running", "Running"
        DONE = "done", "Done"
        FAILED = "failed", "Failed"

    kind = models.CharField(max_length=60)
    slot = models.CharField(max_length=200, help_text="What makes this work one and the same.")
    payload = models.JSONField(default=dict)
    state = models.CharField(max_length=10, choices=State, default=State.WAITING)
    run_at = models.DateTimeField()
    due_by = models.DateTimeField(help_text="After this it shows as overdue.")
    attempts = models.PositiveIntegerField(default=0)
    max_attempts = models.PositiveIntegerField(default=5)
    fence = models.PositiveBigIntegerField(
        default=0, help_text="Grows with every claim; an old holder's writes are refused."
    )
    lease_until = models.DateTimeField(null=True, blank=True)
    error = models.TextField(blank=True)
    created_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = JobQuerySet.as_manager()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("kind", "slot"), name="job_once_per_slot"),
            models.CheckConstraint(
                condition=~Q(state="running") | Q(lease_until__isnull=False),
                name="job_running_has_lease",
            ),
            models.CheckConstraint(
                condition=Q(state__in=("done", "failed")) ^ Q(finished_at=None),
                name="job_finished_iff_closed",
            ),
        )
        indexes = (
            models.Index(
                fields=("run_at",),
                condition=Q(state__in=("waiting", "running")),
                name="job_open_by_run_at",
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.slot}"


class ScheduleQuerySet(models.QuerySet["Schedule"]):
    def visible_to(self, user: User) -> ScheduleQuerySet:
        if user.reads_everything:
            return self
        return self.filter(payload__workflow__in=user.owned_workflow_slugs())


class Schedule(models.Model):
    """Work that comes again. `tick` makes one Job per slot that has come due."""

    class Every(models.TextChoices):
        HOUR = "hour", "Every hour"
        DAY = "day", "Every day"
        WEEK = "week", "Every week"
        MONTH = "month", "Every month"

    name = models.CharField(max_length=120, unique=True)
    kind = models.CharField(max_length=60)
    payload = models.JSONField(default=dict)
    every = models.CharField(max_length=10, choices=Every)
    next_at = models.DateTimeField(help_text="The next slot, in UTC.")
    due_within_minutes = models.PositiveIntegerField(default=60)
    enabled = models.BooleanField(default=True)

    objects = ScheduleQuerySet.as_manager()

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name
