"""How a workflow's releases are called and scored: targets, evaluators, and judges on trial."""

from __future__ import annotations

import json
from typing import Any

from django.db import models
from django.db.models import Q

from governance.evals.models import EvalRun, Score
from governance.people.models import User
from governance.workflows.models import Workflow


class EvalTarget(models.Model):
    """How a release of a workflow is called. Versioned; the newest one is used.

    A secret in it is a reference, such as `env:COUNTERSIGN_MODEL_KEY`, never the secret.
    """

    workflow = models.ForeignKey(Workflow, models.PROTECT, related_name="eval_targets")
    version = models.PositiveIntegerField()
    digest = models.CharField(max_length=71)
    content_text = models.TextField(help_text="Canonical JSON, hashed exactly as stored.")
    reason = models.CharField(max_length=500, blank=True)
    created_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    created_by_label = models.CharField(max_length=200)
    created_at = models.DateTimeField()
    confirmed_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    confirmed_by_label = models.CharField(max_length=200, blank=True)
    confirmed_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-version",)
        constraints = (
            models.UniqueConstraint(fields=("workflow", "version"), name="eval_target_once"),
            models.CheckConstraint(
                condition=Q(confirmed_by=None) | ~Q(confirmed_by=models.F("created_by")),
                name="eval_target_second_person",
                violation_error_message="Another person confirms a target.",
            ),
        )

    def __str__(self) -> str:
        return f"Target v{self.version}"

    @property
    def content(self) -> dict[str, Any]:
        return json.loads(self.content_text)  # type: ignore[no-any-return]


class Evaluator(models.Model):
    """The scorers that turn a workflow's answers into scores. Versioned; the newest one is used."""

    workflow = models.ForeignKey(Workflow, models.PROTECT, related_name="evaluators")
    version = models.PositiveIntegerField()
    digest = models.CharField(max_length=71)
    content_text = models.TextField(help_text="Canonical JSON, hashed exactly as stored.")
    reason = models.CharField(max_length=500, blank=True)
    created_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    created_by_label = models.CharField(max_length=200)
    created_at = models.DateTimeField()
    confirmed_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    confirmed_by_label = models.CharField(max_length=200, blank=True)
    confirmed_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-version",)
        constraints = (
            models.UniqueConstraint(fields=("workflow", "version"), name="evaluator_once"),
            models.CheckConstraint(
                condition=Q(confirmed_by=None) | ~Q(confirmed_by=models.F("created_by")),
                name="evaluator_second_person",
                violation_error_message="Another person confirms an evaluator.",
            ),
        )

    def __str__(self) -> str:
        return f"Evaluator v{self.version}"

    @property
    def content(self) -> dict[str, Any]:
        return json.loads(self.content_text)  # type: ignore[no-any-return]


class HumanLabel(models.Model):
    """A person's own verdict on one answer, given without seeing the judge's."""

    score = models.ForeignKey(Score, models.PROTECT, related_name="labels")
    scorer = models.CharField(max_length=60, help_text="The judge that it is compared with.")
    good = models.BooleanField()
    note = models.CharField(max_length=500, blank=True)
    labelled_by = models.ForeignKey(User, models.PROTECT, related_name="+")
    labelled_by_label = models.CharField(max_length=200)
    labelled_at = models.DateTimeField()

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("score", "scorer", "labelled_by"), name="human_label_once"
            ),
        )

    def __str__(self) -> str:
        return f"{self.labelled_by_label}: {'good' if self.good else 'bad'}"


class JudgeCalibration(models.Model):
    """How well one judge agreed with people, once (trigger: immutable).

    It holds for exactly this fingerprint: another model, prompt or bar voids it.
    """

    workflow = models.ForeignKey(Workflow, models.PROTECT, related_name="calibrations")
    scorer = models.CharField(max_length=60)
    fingerprint = models.CharField(max_length=71)
    run = models.ForeignKey(EvalRun, models.PROTECT, null=True, related_name="+")
    content = models.JSONField(help_text="Counts, rates with intervals, kappa, bar, labellers.")
    passed = models.BooleanField()
    calibrated_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    calibrated_by_label = models.CharField(max_length=200)
    calibrated_at = models.DateTimeField()

    class Meta:
        ordering = ("-calibrated_at", "-pk")
        indexes = (models.Index(fields=("workflow", "scorer", "fingerprint")),)

    def __str__(self) -> str:
        return f"{self.scorer}: {'calibrated' if self.passed else 'not calibrated'}"
