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
    editors = models.ManyToManyField(
        User, related_name="+", help_text="Whose edits came in since the version before."
    )
    reason = models.CharField(max_length=500, blank=True, help_text="Why this version was made.")
    origin = models.JSONField(
        default=dict, help_text="Where the cases came from: a sampling rule, a file, edits."
    )
    # An edit that another person confirmed does not make its author a contributor.
    confirmed_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    confirmed_by_label = models.CharField(max_length=200, blank=True)
    confirmed_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("kind", "-version")
        constraints = (
            models.UniqueConstraint(
                fields=("workflow", "kind", "version"), name="suite_version_once"
            ),
            models.CheckConstraint(
                condition=Q(confirmed_by=None) | ~Q(confirmed_by=models.F("frozen_by")),
                name="suite_version_second_person",
                violation_error_message="Another person confirms a suite.",
            ),
        )

    def __str__(self) -> str:
        return f"{self.get_kind_display()} v{self.version}"


class Case(models.Model):
    """One question with the answer that is expected, and why it is there."""

    class Channel(models.TextChoices):
        """How an attack reaches the workflow."""

        DIRECT = "direct", "Direct"
        DOCUMENT = "document", "In a document"
        TOOL = "tool", "In a tool's answer"
        MEMORY = "memory", "In memory"

    suite = models.ForeignKey(SuiteVersion, models.PROTECT, related_name="cases")
    key = models.CharField(max_length=120)
    input = models.JSONField()
    expected = models.JSONField()
    category = models.CharField(max_length=100, blank=True)
    segment = models.CharField(max_length=100, blank=True, help_text="As receipts name it.")
    cluster = models.CharField(max_length=100, blank=True)
    channel = models.CharField(max_length=10, choices=Channel, blank=True)
    must_pass = models.BooleanField(default=False)
    reason = models.CharField(max_length=300, blank=True)
    source = models.JSONField(
        default=dict, help_text="The receipt, exception or file that it was made from."
    )
    labelled_by_label = models.CharField(max_length=200, blank=True)

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
        CANCELLED = "cancelled", "Cancelled"

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
    # A run asks each case `repeats` times: counts of scores go up to cases_total * repeats.
    repeats = models.PositiveSmallIntegerField(default=1)
    seed = models.BigIntegerField(default=0, help_text="Handed to the target with the repeat.")
    cases_total = models.PositiveIntegerField()
    cases_done = models.PositiveIntegerField(default=0, help_text="Scores written, with repeats.")
    errors = models.PositiveIntegerField(default=0)
    cost = models.DecimalField(max_digits=18, decimal_places=8, default=0)
    budget = models.DecimalField(
        max_digits=18, decimal_places=8, null=True, help_text="The run stops before it spends more."
    )
    target = models.ForeignKey("EvalTarget", models.PROTECT, null=True, related_name="runs")
    definition = models.ForeignKey("Evaluator", models.PROTECT, null=True, related_name="runs")
    scorers = models.JSONField(default=dict, help_text="Fingerprint per scorer.")
    provenance = models.JSONField(
        default=dict, help_text="Finished results of another tool: which, from what file, by whom."
    )
    cancelled_by_label = models.CharField(max_length=200, blank=True)
    summary = models.JSONField(default=dict, help_text="Count and sum per metric.")
    error = models.TextField(blank=True)

    class Meta:
        ordering = ("-requested_at", "-pk")
        constraints = (
            models.UniqueConstraint(fields=("slot",), name="eval_run_once_per_slot"),
            models.CheckConstraint(condition=Q(repeats__gte=1), name="eval_run_asks_once_at_least"),
        )

    def __str__(self) -> str:
        return f"{self.suite} on {self.release}"

    @property
    def asks_total(self) -> int:
        """How many scores the finished run has."""
        return self.cases_total * self.repeats


class Score(models.Model):
    """What one case came to in one run. Exactly one row per case, repeat and run."""

    run = models.ForeignKey(EvalRun, models.PROTECT, related_name="scores")
    case = models.ForeignKey(Case, models.PROTECT, related_name="+")
    repeat = models.PositiveSmallIntegerField(default=0, help_text="0 is the first.")
    correct = models.BooleanField(null=True)
    policy_ok = models.BooleanField(null=True)
    escalated = models.BooleanField(null=True)
    silent_error = models.BooleanField(null=True, help_text="Answered by itself, and wrong.")
    passed = models.BooleanField(null=True, help_text="Everything this case asks for.")
    cost = models.DecimalField(max_digits=18, decimal_places=8, null=True)
    latency_ms = models.FloatField(null=True)
    metrics = models.JSONField(
        default=dict, help_text="Scorer: number, true or false; null where it does not apply."
    )
    notes = models.JSONField(default=dict, help_text="Scorer: why, in its own words.")
    usage = models.JSONField(
        default=dict, help_text="Tokens, the model that answered, its fingerprint, tries."
    )
    output = models.JSONField(default=dict)
    violations = ArrayField(models.CharField(max_length=100), default=list)
    error = models.CharField(max_length=500, blank=True)
    scored_at = models.DateTimeField()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("run", "case", "repeat"), name="score_once"),
        )


class GatePolicy(models.Model):
    """What a candidate must show. Versioned and digested; a change needs a second person."""

    class Risk(models.TextChoices):
        """The class of change that a policy judges."""

        EVERY = "", "Every change"
        LOW = "low", "Low"
        MEDIUM = "medium", "Medium"
        HIGH = "high", "High"

    workflow = models.ForeignKey(Workflow, models.PROTECT, related_name="gate_policies")
    risk = models.CharField(max_length=10, choices=Risk, blank=True, default=Risk.EVERY)
    version = models.PositiveIntegerField()
    digest = models.CharField(max_length=71)
    content_text = models.TextField(help_text="Canonical JSON, hashed exactly as stored.")
    reason = models.CharField(max_length=500, blank=True)
    effect = models.JSONField(
        default=dict, help_text="What it would have made of the last decisions, when proposed."
    )
    proposed_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    proposed_by_label = models.CharField(max_length=200)
    proposed_at = models.DateTimeField()
    confirmed_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    confirmed_at = models.DateTimeField(null=True)
    withdrawn_at = models.DateTimeField(null=True)
    withdrawn_by_label = models.CharField(max_length=200, blank=True)

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
