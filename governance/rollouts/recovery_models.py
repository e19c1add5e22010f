"""Going back, proved: when it was served, whether the target can run, which cases it touched,
what is done so that it does not happen again.
"""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from governance.people.models import Signature, User
from governance.releases.models import Release
from governance.rollouts.models import PostMortem, Rollback
from governance.workflows.models import Workflow


class Convergence(models.Model):
    """When a rollback was clicked and when the serving path answered with its target."""

    rollback = models.OneToOneField(Rollback, models.PROTECT, related_name="convergence")
    clicked_at = models.DateTimeField()
    served_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"Served after {(self.served_at - self.clicked_at).total_seconds():.1f} s"


class Preflight(models.Model):
    """Whether the last known good could still run when somebody looked (trigger: immutable)."""

    workflow = models.ForeignKey(Workflow, models.PROTECT, related_name="preflights")
    release = models.ForeignKey(Release, models.PROTECT, related_name="+")
    ok = models.BooleanField()
    checks = models.JSONField(help_text="[{name, ok, sentence}]")
    checked_at = models.DateTimeField()

    class Meta:
        ordering = ("-checked_at", "-pk")
        indexes = (models.Index(fields=("workflow", "-checked_at"), name="preflight_by_workflow"),)

    def __str__(self) -> str:
        return f"{self.release}: {'can run' if self.ok else 'cannot run'}"


class RecallRow(models.Model):
    """One case that a bad release touched, and what was decided about it."""

    class State(models.TextChoices):
        UNDECIDED = "undecided", "Undecided"
        NOTHING_NEEDED = "nothing_needed", "Nothing needed"
        RERUN = "rerun", "Run again"
        CONTACTED = "contacted", "Customer contacted"

    post_mortem = models.ForeignKey(PostMortem, models.PROTECT, related_name="recall")
    case_id = models.CharField(max_length=200)
    runs = models.PositiveIntegerField()
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    amount = models.DecimalField(max_digits=18, decimal_places=4, null=True)
    outcome = models.CharField(max_length=100, blank=True)
    escalated = models.BooleanField(null=True)
    state = models.CharField(max_length=15, choices=State, default=State.UNDECIDED)
    decided_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    decided_at = models.DateTimeField(null=True)
    note = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ("-amount", "case_id")
        constraints = (
            models.UniqueConstraint(fields=("post_mortem", "case_id"), name="recall_case_once"),
            models.CheckConstraint(
                condition=Q(state="undecided", decided_by=None, decided_at=None)
                | ~Q(state="undecided") & Q(decided_by__isnull=False, decided_at__isnull=False),
                name="recall_decided_by_somebody",
            ),
        )
        indexes = (models.Index(fields=("post_mortem", "state"), name="recall_by_state"),)

    def __str__(self) -> str:
        return self.case_id


class DrillQuerySet(models.QuerySet["Drill"]):
    def visible_to(self, user: User) -> DrillQuerySet:
        if user.reads_everything:
            return self
        return self.filter(workflow__in=Workflow.objects.visible_to(user))


class Drill(models.Model):
    """A rollback practised on purpose: back to the last known good, and forward again.

    The KPI owner signs it beforehand; coming back needs nothing more, if nothing moved meanwhile.
    """

    class State(models.TextChoices):
        PLANNED = "planned", "Planned"
        RUNNING = "running", "Running"
        DONE = "done", "Done"
        CANCELLED = "cancelled", "Cancelled"

    workflow = models.ForeignKey(Workflow, models.PROTECT, related_name="drills")
    state = models.CharField(max_length=10, choices=State, default=State.PLANNED)
    planned_for = models.DateTimeField()
    signed_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    signature = models.ForeignKey(Signature, models.PROTECT, null=True, related_name="+")
    from_release = models.ForeignKey(Release, models.PROTECT, null=True, related_name="+")
    to_release = models.ForeignKey(Release, models.PROTECT, null=True, related_name="+")
    clicked_at = models.DateTimeField(null=True)
    served_at = models.DateTimeField(null=True)
    confirmed_at = models.DateTimeField(null=True, help_text="First receipt on the target.")
    returned_at = models.DateTimeField(null=True)
    seconds_to_restore = models.FloatField(null=True, help_text="Click to first receipt.")
    run_by_label = models.CharField(max_length=200, blank=True)
    note = models.TextField(blank=True)

    objects = DrillQuerySet.as_manager()

    class Meta:
        ordering = ("-planned_for", "-pk")
        constraints = (
            models.UniqueConstraint(
                fields=("workflow",), condition=Q(state="running"), name="drill_one_at_a_time"
            ),
            models.CheckConstraint(
                condition=~Q(state__in=("running", "done")) | Q(signature__isnull=False),
                name="drill_runs_signed",
            ),
        )

    def __str__(self) -> str:
        return f"Rollback drill of {self.workflow.name}"


class PostMortemAction(models.Model):
    """One thing that is done so that it does not happen again."""

    post_mortem = models.ForeignKey(PostMortem, models.PROTECT, related_name="actions")
    text = models.CharField(max_length=300)
    owner = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    due_on = models.DateField(null=True)
    done_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("pk",)

    def __str__(self) -> str:
        return self.text
