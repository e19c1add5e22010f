"""Component, Release, and which release is live. Immutable rows, named by their digests."""

from __future__ import annotations

import json
from typing import Any

from django.db import models

from governance.people.models import User
from governance.workflows.models import Workflow


class Slot(models.TextChoices):
    """The seven things that change behaviour."""

    PROMPT_POLICY = "prompt_policy", "Prompt and policy"
    MODEL = "model", "Model"
    TOOLS = "tools", "Tools"
    RETRIEVAL = "retrieval", "Retrieval"
    GUARDRAILS = "guardrails", "Guardrails"
    ROUTING = "routing", "Routing"
    FEEDBACK = "feedback", "Feedback"


class Component(models.Model):
    """The content of one slot, stored once by its digest (trigger: immutable)."""

    digest = models.CharField(max_length=71, primary_key=True)
    slot = models.CharField(max_length=20, choices=Slot)
    content_text = models.TextField(help_text="Canonical JSON, hashed exactly as stored.")
    author = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    author_label = models.CharField(max_length=200)
    created_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.get_slot_display()} {self.digest[7:15]}"

    @property
    def content(self) -> dict[str, Any]:
        """What the slot holds; the stored text wraps it with the name of its slot."""
        return json.loads(self.content_text)["content"]  # type: ignore[no-any-return]


class ReleaseQuerySet(models.QuerySet["Release"]):
    def visible_to(self, user: User) -> ReleaseQuerySet:
        if user.reads_everything:
            return self
        return self.filter(workflow__in=Workflow.objects.visible_to(user))


class Release(models.Model):
    """An immutable manifest naming one component per slot (trigger: immutable)."""

    digest = models.CharField(max_length=71, primary_key=True)
    workflow = models.ForeignKey(Workflow, models.PROTECT, related_name="releases")
    number = models.PositiveIntegerField(help_text="r1, r2, … within the workflow.")
    title = models.CharField(max_length=200)
    manifest_text = models.TextField(help_text="Canonical JSON, hashed exactly as stored.")
    registered_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    registered_by_label = models.CharField(max_length=200)
    registered_at = models.DateTimeField()
    components = models.ManyToManyField(
        Component, through="ReleaseComponent", related_name="releases"
    )

    objects = ReleaseQuerySet.as_manager()

    class Meta:
        ordering = ("-number",)
        constraints = (
            models.UniqueConstraint(fields=("workflow", "number"), name="release_number_once"),
        )

    def __str__(self) -> str:
        return f"{self.workflow.name} r{self.number}"

    @property
    def name(self) -> str:
        return f"r{self.number}"

    @property
    def short_digest(self) -> str:
        return f"{self.digest[:11]}…{self.digest[-4:]}"

    @property
    def manifest(self) -> dict[str, Any]:
        return json.loads(self.manifest_text)  # type: ignore[no-any-return]

    def contents(self) -> dict[str, dict[str, Any] | None]:
        """The content per slot; None where the slot is not declared. One query."""
        found: dict[str, dict[str, Any] | None] = dict.fromkeys(Slot.values)
        for component in self.components.all():
            found[component.slot] = component.content
        return found


class ReleaseComponent(models.Model):
    """Which component fills a slot of a release (trigger: immutable)."""

    release = models.ForeignKey(Release, models.PROTECT, related_name="slots")
    component = models.ForeignKey(Component, models.PROTECT, related_name="uses")
    slot = models.CharField(max_length=20, choices=Slot)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("release", "slot"), name="release_slot_once"),
        )


class LiveRelease(models.Model):
    """Which release serves a workflow now. Written by `rollouts.services` only.

    A trigger lets it move only together with a `rollouts.LiveChange` that explains the move.
    """

    class Stage(models.TextChoices):
        STABLE = "stable", "Stable"
        ROLLED_BACK = "rolled_back", "Rolled back"

    WHOLE = 10_000  # shares are in basis points

    workflow = models.OneToOneField(Workflow, models.PROTECT, primary_key=True, related_name="live")
    release = models.ForeignKey(Release, models.PROTECT, related_name="+")
    seq = models.PositiveBigIntegerField(help_text="Grows by one with every change.")
    stage = models.CharField(max_length=20, choices=Stage)
    last_known_good = models.ForeignKey(Release, models.PROTECT, null=True, related_name="+")
    gated = models.BooleanField(help_text="False for what was adopted as found.")
    decided_at = models.DateTimeField()
    pilot_release = models.ForeignKey(Release, models.PROTECT, null=True, related_name="+")
    pilot_share = models.PositiveIntegerField(
        default=0, help_text="Basis points of the cases that the pilot serves."
    )
    pilot_salt = models.CharField(max_length=40, blank=True)
    pilot_authority = models.CharField(
        max_length=30, blank=True, help_text="A cap on what the pilot may do; empty: no cap."
    )
    switched_off = models.BooleanField(
        default=False, help_text="The kill switch: no release serves, applications do without."
    )

    class Meta:
        constraints = (
            models.CheckConstraint(
                condition=models.Q(
                    pilot_release=None, pilot_share=0, pilot_salt="", pilot_authority=""
                )
                | models.Q(pilot_release__isnull=False, pilot_share__gt=0, pilot_share__lt=10_000)
                & ~models.Q(pilot_salt="")
                & ~models.Q(pilot_release=models.F("release")),
                name="live_pilot_is_whole",
            ),
        )

    def __str__(self) -> str:
        return f"{self.release} (#{self.seq})"


class Pin(models.Model):
    """One case (a customer, an invoice) that one release serves, whatever the share says."""

    workflow = models.ForeignKey(Workflow, models.PROTECT, related_name="pins")
    targeting_key = models.CharField(max_length=512)
    release = models.ForeignKey(Release, models.PROTECT, related_name="+")
    reason = models.TextField()
    pinned_by_label = models.CharField(max_length=200)
    pinned_at = models.DateTimeField()

    class Meta:
        ordering = ("targeting_key",)
        constraints = (
            models.UniqueConstraint(fields=("workflow", "targeting_key"), name="pin_once_per_case"),
        )

    def __str__(self) -> str:
        return f"{self.targeting_key} on {self.release.name}"


class KnownGood(models.Model):
    """A release proved itself, by rule or because somebody said so (trigger: immutable).

    A rollback returns to the newest one. `release` must have been live in the workflow.
    """

    class By(models.TextChoices):
        RULE = "rule", "By rule"
        HAND = "hand", "By hand"

    workflow = models.ForeignKey(Workflow, models.PROTECT, related_name="known_good")
    release = models.ForeignKey(Release, models.PROTECT, related_name="known_good")
    by = models.CharField(max_length=4, choices=By)
    evidence = models.JSONField(default=dict, help_text="What the rule saw, in numbers.")
    reason = models.TextField()
    marked_by_label = models.CharField(max_length=200)
    marked_at = models.DateTimeField()

    class Meta:
        ordering = ("-pk",)

    def __str__(self) -> str:
        return f"{self.release} is known good"


class ReleaseApproval(models.Model):
    """From when to when a release was allowed to serve its workflow."""

    workflow = models.ForeignKey(Workflow, models.PROTECT, related_name="release_approvals")
    release = models.ForeignKey(Release, models.PROTECT, related_name="approvals")
    valid_from = models.DateTimeField()
    valid_to = models.DateTimeField(null=True, blank=True)
    switched_off = models.BooleanField(
        default=False, help_text="The kill switch ended it: runs have less time to end than else."
    )

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("workflow", "release"),
                condition=models.Q(valid_to=None),
                name="approval_open_once",
            ),
            models.CheckConstraint(
                condition=models.Q(valid_to=None) | models.Q(valid_to__gte=models.F("valid_from")),
                name="approval_ends_after_start",
            ),
        )
        indexes = (models.Index(fields=("release", "valid_from"), name="approval_by_release"),)
