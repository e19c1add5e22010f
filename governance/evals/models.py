"""Suites of cases, eval runs with their scores, gate policies and gate reports."""

from __future__ import annotations

import json
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from governance.people.models import User
from governance.releases.models import Release
from governance.workflows.models import Workflow


class SuiteVersion(models.Model):
    """One frozen version of a workflow's suite; its cases never change (trigger)."""

    class Kind(models.TextChoices):
        GOLDEN = "golden", "Golden"
        RECENT = "recent", "Recent real"
        ADVERSARIAL = "adversarial", "Adversarial"

    workflow = models.ForeignKey(Workflow, models.PROTECT, related_name="suites")
    kind = models.CharField(max_length=15, choices=Kind)
    version = models.PositiveIntegerField()
    digest = models.CharField(max_length=71)
    case_count = models.PositiveIntegerField()
    sampled_from = models.DateTimeField(null=True, help_text="Recent: start of the sampled window.")
    sampled_to = models.DateTimeField(null=True)
    frozen_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    frozen_by_label = models.CharField(max_length=200)
    frozen_at = models.DateTimeField()

    class Meta:
        ordering = ("kind", "-version")
        constraints = (
            models.UniqueConstraint(
                fields=("workflow", "kind", "version"), name="suite_version_once"
            ),
        )

    def __str__(self) -> str:
        return f"{self.get_kind_display()} v{self.version}"


class Case(models.Model):
    """One question with the answer that is expected, and why it is there."""

    suite = models.ForeignKey(SuiteVersion, models.PROTECT, related_name="cases")
    key = models.CharField(max_length=120)
    input = models.JSONField()
    expected = models.JSONField()
    category = models.CharField(max_length=100, blank=True)
    cluster = models.CharField(max_length=100, blank=True)
    must_pass = models.BooleanField(default=False)
    reason = models.CharField(max_length=300, blank=True)

    class Meta:
        ordering = ("key",)
        constraints = (models.UniqueConstraint(fields=("suite", "key"), name="case_key_once"),)

    def __str__(self) -> str:
        return self.key


class EvalRun(models.Model):
    """One release through one suite version, scored by one evaluator."""

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        RUNNING = "running", "Running"
        DONE = "done", "Done"
        FAILED = "failed", "Failed"

    release = models.ForeignKey(Release, models.PROTECT, related_name="eval_runs")
    suite = models.ForeignKey(SuiteVersion, models.PROTECT, related_name="runs")
    evaluator = models.CharField(max_length=71, help_text="Fingerprint of scorers and target.")
    purpose = models.CharField(max_length=60, help_text="promotion, schedule or request.")
    slot = models.CharField(max_length=200, help_text="What makes this run one and the same.")
    state = models.CharField(max_length=10, choices=State, default=State.WAITING)
    requested_by_label = models.CharField(max_length=200)
    requested_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    cases_total = models.PositiveIntegerField()
    cases_done = models.PositiveIntegerField(default=0)
    errors = models.PositiveIntegerField(default=0)
    cost = models.DecimalField(max_digits=18, decimal_places=8, default=0)
    summary = models.JSONField(default=dict, help_text="Count and sum per metric.")
    error = models.TextField(blank=True)

    class Meta:
        ordering = ("-requested_at", "-pk")
        constraints = (models.UniqueConstraint(fields=("slot",), name="eval_run_once_per_slot"),)

    def __str__(self) -> str:
        return f"{self.suite} on {self.release}"


class Score(models.Model):
    """What one case came to in one run. Exactly one row per case and run."""

    run = models.ForeignKey(EvalRun, models.PROTECT, related_name="scores")
    case = models.ForeignKey(Case, models.PROTECT, related_name="+")
    correct = models.BooleanField(null=True)
    policy_ok = models.BooleanField(null=True)
    escalated = models.BooleanField(null=True)
    silent_error = models.BooleanField(null=True, help_text="Answered by itself, and wrong.")
    passed = models.BooleanField(null=True, help_text="Everything this case asks for.")
    cost = models.DecimalField(max_digits=18, decimal_places=8, null=True)
    latency_ms = models.FloatField(null=True)
    output = models.JSONField(default=dict)
    violations = ArrayField(models.CharField(max_length=100), default=list)
    error = models.CharField(max_length=500, blank=True)
    scored_at = models.DateTimeField()

    class Meta:
        constraints = (models.UniqueConstraint(fields=("run", "case"), name="score_once"),)


class GatePolicy(models.Model):
    """What a candidate must show. Versioned and digested; a change needs a second person."""

    workflow = models.ForeignKey(Workflow, models.PROTECT, related_name="gate_policies")
    version = models.PositiveIntegerField()
    digest = models.CharField(max_length=71)
    content_text = models.TextField(help_text="Canonical JSON, hashed exactly as stored.")
    proposed_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    proposed_by_label = models.CharField(max_length=200)
    proposed_at = models.DateTimeField()
    confirmed_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    confirmed_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-version",)
        constraints = (
            models.UniqueConstraint(fields=("workflow", "version"), name="gate_policy_once"),
            models.CheckConstraint(
                condition=Q(confirmed_by=None) | ~Q(confirmed_by=models.F("proposed_by")),
                name="gate_policy_second_person",
                violation_error_message="Another person confirms a gate policy.",
            ),
        )

    def __str__(self) -> str:
        return f"{self.workflow.name} gate policy v{self.version}"

    @property
    def content(self) -> dict[str, Any]:
        return json.loads(self.content_text)  # type: ignore[no-any-return]


class GateReport(models.Model):
    """The verdict of a gate policy over eval runs, by digest (trigger: immutable)."""

    class Verdict(models.TextChoices):
        PASS = "pass", "Pass"
        FAIL = "fail", "Fail"
        NOT_ENOUGH_EVIDENCE = "not_enough_evidence", "Not enough evidence"

    digest = models.CharField(max_length=71, primary_key=True)
    workflow = models.ForeignKey(Workflow, models.PROTECT, related_name="gate_reports")
    candidate = models.ForeignKey(Release, models.PROTECT, related_name="gate_reports")
    base = models.ForeignKey(Release, models.PROTECT, null=True, related_name="+")
    policy = models.ForeignKey(GatePolicy, models.PROTECT, related_name="reports")
    verdict = models.CharField(max_length=20, choices=Verdict)
    attempt = models.PositiveIntegerField()
    content_text = models.TextField(help_text="Canonical JSON, hashed exactly as stored.")
    runs = models.ManyToManyField(EvalRun, related_name="gate_reports")
    created_at = models.DateTimeField()

    class Meta:
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"{self.candidate}: {self.get_verdict_display()}"

    @property
    def content(self) -> dict[str, Any]:
        return json.loads(self.content_text)  # type: ignore[no-any-return]
