"""Workflow: one AI-supported business process, with the person who answers for it."""

from __future__ import annotations

from django.core.validators import RegexValidator
from django.db import models

from governance.people.models import User

SLUG = r"[a-z0-9][a-z0-9._-]{0,99}"


class WorkflowQuerySet(models.QuerySet["Workflow"]):
    def visible_to(self, user: User) -> WorkflowQuerySet:
        """Everything for installation roles; for others the workflows they answer for.

        That is: own ones, those whose lead KPI is theirs, and those of whom they decide for now.
        """
        if user.reads_everything:
            return self
        if not user.is_active:
            return self.none()
        if user.found_to_see is not None:
            return self.filter(pk__in=user.found_to_see)
        people = user.decides_for()
        leads = Workflow.objects.filter(kpis__is_lead=True, kpis__owner__in=people)
        return self.filter(models.Q(owner__in=people) | models.Q(pk__in=leads.values("pk")))


class Workflow(models.Model):
    """One AI-supported business process under change control."""

    class Authority(models.TextChoices):
        READ_ONLY = "read_only", "Read-only"
        DRAFT = "draft", "Draft"
        EXECUTE_WITH_APPROVAL = "execute_with_approval", "Execute with approval"
        EXECUTE = "execute", "Execute"

    class Mode(models.TextChoices):
        PULL = "pull", "It asks Countersign which release is live"
        PUSH = "push", "Countersign tells its pipeline"
        OBSERVE = "observe", "Receipts only"

    slug = models.CharField(max_length=100, unique=True, validators=[RegexValidator(rf"^{SLUG}\Z")])
    name = models.CharField(max_length=100)
    description = models.TextField(blank=True)
    owner = models.ForeignKey(User, models.PROTECT, related_name="owned_workflows")
    authority = models.CharField(max_length=30, choices=Authority, default=Authority.DRAFT)
    mode = models.CharField(max_length=10, choices=Mode, default=Mode.PULL)
    push_url = models.URLField(max_length=500, blank=True, help_text="Push: where it is told.")
    push_secret_ref = models.CharField(
        max_length=200, blank=True, help_text="env:NAME or file:/path; never the secret itself."
    )
    automatic_rollback = models.BooleanField(
        default=False, help_text="The owner lets the guard roll back what serves every case."
    )
    currency = models.CharField(max_length=3, default="USD")
    cost_note = models.TextField(blank=True, help_text="How the cost of a run is measured.")
    created_at = models.DateTimeField()

    objects = WorkflowQuerySet.as_manager()

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name
