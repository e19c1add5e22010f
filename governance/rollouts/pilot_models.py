"""A pilot as it runs, and every decision of its guard."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from governance.people.models import User
from governance.rollouts.models import Promotion
from governance.workflows.models import Workflow


class PilotQuerySet(models.QuerySet["Pilot"]):
    def visible_to(self, user: User) -> PilotQuerySet:
        if user.reads_everything:
            return self
        return self.filter(promotion__workflow__in=Workflow.objects.visible_to(user))

    def open(self) -> PilotQuerySet:
        return self.filter(state__in=(Pilot.State.RUNNING, Pilot.State.PAUSED))


class Pilot(models.Model):
    """One promotion serving a share of the cases beside the stable release.

    What is served stands in `LiveRelease` and `LiveChange`; this row is the plan and its progress.
    """

    class State(models.TextChoices):
        RUNNING = "running", "Running"
        PAUSED = "paused", "Paused: it needs a decision"
        COMPLETED = "completed", "Completed"
        STOPPED = "stopped", "Stopped"

    promotion = models.OneToOneField(Promotion, models.PROTECT, related_name="pilot")
    state = models.CharField(max_length=10, choices=State, default=State.RUNNING)
    algorithm = models.CharField(max_length=20, default="flagd-v2")
    salt = models.CharField(max_length=40)
    steps = models.JSONField(help_text="[{share (basis points), minutes, runs}], in order.")
    step = models.PositiveIntegerField(default=0, help_text="Index of the running step.")
    step_started_at = models.DateTimeField()
    opened_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True, help_text="Pilot road: it stops by itself then.")
    rules = models.JSONField(default=list, help_text="The guard's rules, from the gate policy.")
    paused_reason = models.TextField(blank=True)
    closed_at = models.DateTimeField(null=True)
    stopped_by_label = models.CharField(max_length=200, blank=True)
    what_happened = models.TextField(blank=True, help_text="Line one of its post-mortem.")
    what_next = models.TextField(blank=True, help_text="Line two.")

    objects = PilotQuerySet.as_manager()

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=Q(state__in=("running", "paused")) ^ Q(closed_at__isnull=False),
                name="pilot_closed_iff_ended",
            ),
        )

    def __str__(self) -> str:
        return f"Pilot of {self.promotion.release}"


class GuardDecision(models.Model):
    """What the guard saw and did, with the rule it followed (trigger: immutable)."""

    class Verdict(models.TextChoices):
        PASS = "pass", "No worse"
        FAIL = "fail", "Worse"
        INCONCLUSIVE = "inconclusive", "Not enough evidence"
        NO_DATA = "no_data", "No data"

    class Action(models.TextChoices):
        NONE = "none", "Went on"
        ADVANCED = "advanced", "Widened the pilot"
        COMPLETED = "completed", "Made it live"
        PAUSED = "paused", "Paused and asked"
        ROLLED_BACK = "rolled_back", "Rolled back"
        RECOMMENDED = "recommended", "Recommended a rollback"
        ALARMED = "alarmed", "Raised an alarm"

    promotion = models.ForeignKey(Promotion, models.PROTECT, related_name="guard_decisions")
    step = models.PositiveIntegerField()
    share = models.PositiveIntegerField(help_text="Basis points.")
    verdict = models.CharField(max_length=12, choices=Verdict)
    action = models.CharField(max_length=12, choices=Action)
    rule = models.JSONField(help_text="The rule that decided.")
    evidence = models.JSONField(help_text="Counts, estimates and intervals per metric.")
    sentence = models.TextField()
    decided_at = models.DateTimeField()

    class Meta:
        ordering = ("-decided_at", "-pk")

    def __str__(self) -> str:
        return self.sentence
