"""Kpi: a number somebody answers for, read from the roll-ups."""

from __future__ import annotations

from django.db import models

from governance.people.models import User
from governance.workflows.models import Workflow


class KpiQuerySet(models.QuerySet["Kpi"]):
    def visible_to(self, user: User) -> KpiQuerySet:
        if user.reads_everything:
            return self
        return self.filter(workflow__in=Workflow.objects.visible_to(user))


class Kpi(models.Model):
    """One number of a workflow with its owner, target and limit."""

    class Unit(models.TextChoices):
        SHARE = "share", "Share (0 to 1, shown in %)"
        SECONDS = "seconds", "Seconds"
        MILLISECONDS = "ms", "Milliseconds"
        MONEY = "money", "Money per run"

    workflow = models.ForeignKey(Workflow, models.PROTECT, related_name="kpis")
    slug = models.CharField(max_length=60)
    name = models.CharField(max_length=100)
    owner = models.ForeignKey(User, models.PROTECT, related_name="owned_kpis")
    measure = models.CharField(max_length=60, help_text="Mean of this measure over runs.")
    unit = models.CharField(max_length=10, choices=Unit)
    lower_is_better = models.BooleanField(default=True)
    target = models.FloatField(null=True, blank=True)
    limit = models.FloatField(null=True, blank=True)
    is_lead = models.BooleanField(default=False, help_text="Its owner approves promotions.")
    is_business = models.BooleanField(default=True, help_text="Shown before the technical ones.")
    position = models.PositiveSmallIntegerField(default=0)

    objects = KpiQuerySet.as_manager()

    class Meta:
        ordering = ("workflow__name", "position", "name")
        constraints = (
            models.UniqueConstraint(fields=("workflow", "slug"), name="kpi_slug_once"),
            models.UniqueConstraint(
                fields=("workflow",), condition=models.Q(is_lead=True), name="kpi_one_lead"
            ),
        )

    def __str__(self) -> str:
        return self.name


class KpiNote(models.Model):
    """What the owner says about a KPI in one week."""

    kpi = models.ForeignKey(Kpi, models.PROTECT, related_name="notes")
    week_start = models.DateField()
    text = models.CharField(max_length=300)
    written_by = models.ForeignKey(User, models.PROTECT, related_name="+")
    written_at = models.DateTimeField()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("kpi", "week_start"), name="kpi_note_once_a_week"),
        )
