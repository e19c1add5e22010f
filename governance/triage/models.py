"""ExceptionCase: a group of receipts or events that somebody must look at."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from governance.people.models import User
from governance.workflows.models import Workflow


class ExceptionCaseQuerySet(models.QuerySet["ExceptionCase"]):
    def visible_to(self, user: User) -> ExceptionCaseQuerySet:
        if user.reads_everything:
            return self
        return self.filter(workflow__in=Workflow.objects.visible_to(user))

    def open(self) -> ExceptionCaseQuerySet:
        return self.filter(state__in=(ExceptionCase.State.OPEN, ExceptionCase.State.TAKEN))

    def ranked(self) -> ExceptionCaseQuerySet:
        """Most severe first, then the largest, then the oldest."""
        return self.order_by("severity", "-receipt_count", "first_at")


class ExceptionCase(models.Model):
    """One thing to look at. New receipts of the same group join it while it is open."""

    class Kind(models.TextChoices):
        UNAUTHORISED = "unauthorised", "Release nobody approved"
        UNATTRIBUTED = "unattributed", "No release named"
        POLICY_VIOLATION = "policy_violation", "Policy violation"
        EVAL_FAILED = "eval_failed", "Eval failed"
        UNDECLARED = "undeclared", "Undeclared change"
        GUARD = "guard", "Guard alarm"

    class Severity(models.IntegerChoices):
        HIGH = 1, "High"
        MEDIUM = 2, "Medium"
        LOW = 3, "Low"

    class State(models.TextChoices):
        OPEN = "open", "Open"
        TAKEN = "taken", "Taken"
        RESOLVED = "resolved", "Resolved"
        DISMISSED = "dismissed", "Dismissed"

    workflow = models.ForeignKey(Workflow, models.PROTECT, related_name="exceptions")
    kind = models.CharField(max_length=20, choices=Kind)
    group_key = models.CharField(max_length=200, help_text="What makes receipts one group.")
    severity = models.PositiveSmallIntegerField(choices=Severity)
    title = models.CharField(max_length=200)
    release_digest = models.CharField(max_length=71, blank=True)
    eval_run_id = models.BigIntegerField(null=True)
    state = models.CharField(max_length=10, choices=State, default=State.OPEN)
    receipt_count = models.PositiveIntegerField(default=0)
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    opened_at = models.DateTimeField()
    taken_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    taken_at = models.DateTimeField(null=True)
    closed_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    closed_at = models.DateTimeField(null=True)
    comment = models.TextField(blank=True)

    objects = ExceptionCaseQuerySet.as_manager()

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("workflow", "kind", "group_key"),
                condition=Q(state__in=("open", "taken")),
                name="exception_one_open_per_group",
            ),
            models.CheckConstraint(
                condition=Q(state__in=("resolved", "dismissed"))
                ^ Q(closed_by=None, closed_at=None),
                name="exception_closed_by_somebody",
            ),
            models.CheckConstraint(
                condition=~Q(state="dismissed") | ~Q(comment=""),
                name="exception_dismissed_with_comment",
            ),
        )
        indexes = (models.Index(fields=("state", "severity"), name="exception_queue"),)

    def __str__(self) -> str:
        return self.title


class ExceptionReceipt(models.Model):
    """Which receipts stand behind an exception: two columns, not a foreign key (partitions)."""

    exception = models.ForeignKey(ExceptionCase, models.PROTECT, related_name="receipts")
    day = models.DateField()
    run_id = models.CharField(max_length=200)

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("exception", "day", "run_id"), name="exception_receipt_once"
            ),
        )
