"""What people decide about evals beside a policy: drafts of suites, waivers, bake-offs."""

from __future__ import annotations

import json
from typing import Any

from django.db import models
from django.db.models import Q

from governance.evals.models import EvalRun, GatePolicy, SuiteVersion
from governance.people.models import User
from governance.releases.models import Release
from governance.workflows.models import Workflow


class SuiteEdit(models.Model):
    """One case put into, or taken out of, the draft of a suite's next version."""

    class State(models.TextChoices):
        OPEN = "open", "In the draft"
        FROZEN = "frozen", "In a version"
        REPLACED = "replaced", "Replaced by a later edit"
        DROPPED = "dropped", "Dropped"

    workflow = models.ForeignKey(Workflow, models.PROTECT, related_name="suite_edits")
    kind = models.CharField(max_length=15, choices=SuiteVersion.Kind)
    key = models.CharField(max_length=120)
    content = models.JSONField(null=True, help_text="The case as it shall be; null removes it.")
    state = models.CharField(max_length=10, choices=State, default=State.OPEN)
    version = models.ForeignKey(SuiteVersion, models.PROTECT, null=True, related_name="edits")
    edited_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    edited_by_label = models.CharField(max_length=200)
    edited_at = models.DateTimeField()

    class Meta:
        ordering = ("key",)
        constraints = (
            models.UniqueConstraint(
                fields=("workflow", "kind", "key"),
                condition=Q(state="open"),
                name="suite_edit_one_open_per_case",
            ),
            models.CheckConstraint(
                condition=Q(state="frozen") ^ Q(version=None), name="suite_edit_frozen_in_a_version"
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"


class GateWaiver(models.Model):
    """A named person's decision to set one finding of a gate aside, for one release."""

    workflow = models.ForeignKey(Workflow, models.PROTECT, related_name="waivers")
    candidate = models.ForeignKey(Release, models.PROTECT, related_name="waivers")
    policy = models.ForeignKey(GatePolicy, models.PROTECT, related_name="waivers")
    code = models.CharField(max_length=60, help_text="What is set aside, as the report names it.")
    suite = models.CharField(max_length=15, blank=True)
    metric = models.CharField(max_length=80, blank=True)
    finding = models.TextField(help_text="The sentence that is set aside, as it stood.")
    reason = models.CharField(max_length=500)
    granted_by = models.ForeignKey(User, models.PROTECT, related_name="+")
    granted_by_label = models.CharField(max_length=200)
    granted_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True)
    revoked_by_label = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ("-granted_at", "-pk")
        constraints = (
            models.CheckConstraint(
                condition=Q(expires_at__gt=models.F("granted_at")), name="gate_waiver_expires"
            ),
            models.CheckConstraint(condition=~Q(reason=""), name="gate_waiver_has_a_reason"),
        )

    def __str__(self) -> str:
        return f"{self.granted_by_label}: {self.finding}"


class BakeOff(models.Model):
    """Several releases on the same cases: quality against cost against latency."""

    class State(models.TextChoices):
        RUNNING = "running", "Running"
        DONE = "done", "Done"
        CANCELLED = "cancelled", "Cancelled"

    workflow = models.ForeignKey(Workflow, models.PROTECT, related_name="bake_offs")
    title = models.CharField(max_length=120)
    suite = models.ForeignKey(SuiteVersion, models.PROTECT, related_name="bake_offs")
    metric = models.CharField(max_length=80, help_text="The quality that the releases race for.")
    releases = models.ManyToManyField(Release, related_name="bake_offs")
    reference = models.ForeignKey(Release, models.PROTECT, null=True, related_name="+")
    runs = models.ManyToManyField(EvalRun, related_name="bake_offs")
    repeats = models.PositiveSmallIntegerField(default=1, help_text="How often each case is run.")
    slot = models.CharField(
        max_length=200, unique=True, help_text="What makes this bake-off one and the same."
    )
    state = models.CharField(max_length=10, choices=State, default=State.RUNNING)
    content_text = models.TextField(blank=True, help_text="Canonical JSON of the finished table.")
    digest = models.CharField(max_length=71, blank=True)
    requested_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    requested_by_label = models.CharField(max_length=200)
    requested_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)
    cancelled_by_label = models.CharField(max_length=200, blank=True)

    class Meta:
        ordering = ("-requested_at", "-pk")
        constraints = (
            models.CheckConstraint(
                condition=Q(state="running") ^ Q(finished_at__isnull=False),
                name="bake_off_finished_iff_closed",
            ),
        )

    def __str__(self) -> str:
        return self.title

    @property
    def content(self) -> dict[str, Any]:
        """The finished table; empty before."""
        return json.loads(self.content_text) if self.content_text else {}
