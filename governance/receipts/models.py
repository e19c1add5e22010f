"""Run receipts and spans, partitioned by UTC day, and the roll-ups summed from receipts.

The tables of Receipt and Span are made by hand in a migration (partitions), so other tables keep
`day` and `run_id` as two columns instead of a foreign key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib.postgres.fields import ArrayField
from django.db import models

from governance.workflows.models import Workflow

if TYPE_CHECKING:
    from governance.people.models import User


class ReceiptQuerySet(models.QuerySet["Receipt"]):
    def visible_to(self, user: User) -> ReceiptQuerySet:
        if user.reads_everything:
            return self
        return self.filter(workflow__in=Workflow.objects.visible_to(user))


class Receipt(models.Model):
    """The record of one run: which release produced it, what it cost, how good it was."""

    class Standing(models.TextChoices):
        AUTHORISED = "authorised", "Approved release"
        UNAUTHORISED = "unauthorised", "Release nobody approved"
        UNATTRIBUTED = "unattributed", "No release named"

    class Acceptance(models.TextChoices):
        UNKNOWN = "", "Not known"
        AS_IS = "as_is", "Accepted as is"
        EDITED = "edited", "Edited"
        REJECTED = "rejected", "Rejected"

    pk = models.CompositePrimaryKey("run_id", "day")
    day = models.DateField(help_text="UTC day of started_at.")
    run_id = models.CharField(max_length=200)
    workflow = models.ForeignKey(
        Workflow, models.DO_NOTHING, related_name="receipts", db_constraint=False, db_index=False
    )
    release_digest = models.CharField(max_length=71, blank=True)
    resolved_by = models.CharField(max_length=60, blank=True, help_text="What named the release.")
    standing = models.CharField(max_length=15, choices=Standing)
    segment = models.CharField(max_length=100, blank=True)
    case_id = models.CharField(max_length=200, blank=True)
    started_at = models.DateTimeField()
    duration_ms = models.FloatField(null=True)
    cost = models.DecimalField(max_digits=18, decimal_places=8, null=True)
    currency = models.CharField(max_length=3, blank=True)
    escalated = models.BooleanField(null=True)
    outcome = models.CharField(max_length=100, blank=True)
    quality = models.FloatField(null=True, help_text="0 to 1, as reported.")
    acceptance = models.CharField(max_length=10, choices=Acceptance, blank=True)
    amount = models.DecimalField(max_digits=18, decimal_places=4, null=True)
    refs = models.JSONField(default=dict)
    measures = models.JSONField(default=dict, help_text="Further numbers of the run, by name.")
    violations = ArrayField(models.CharField(max_length=100), default=list)
    observed = models.JSONField(default=dict, help_text="Digests or names observed per slot.")
    model_answered = models.CharField(max_length=200, blank=True)
    tokens_in = models.BigIntegerField(null=True)
    tokens_out = models.BigIntegerField(null=True)
    error = models.CharField(max_length=500, blank=True)
    trace_id = models.CharField(max_length=32, blank=True)
    output_sha256 = models.CharField(max_length=71, blank=True)
    body_sha256 = models.CharField(max_length=64, help_text="Tells a repeat from a conflict.")
    received_at = models.DateTimeField()
    token_id = models.BigIntegerField(null=True)

    objects = ReceiptQuerySet.as_manager()

    class Meta:
        db_table = "governance_receipt"
        ordering = ("-started_at",)
        indexes = (
            models.Index(fields=("workflow", "-started_at"), name="receipt_by_time"),
            models.Index(fields=("case_id",), name="receipt_by_case"),
        )

    def __str__(self) -> str:
        return self.run_id


class Span(models.Model):
    """One OpenTelemetry span, from which receipts are assembled per trace."""

    pk = models.CompositePrimaryKey("trace_id", "span_id", "day")
    day = models.DateField(help_text="UTC day of started_at.")
    trace_id = models.CharField(max_length=32)
    span_id = models.CharField(max_length=16)
    parent_span_id = models.CharField(max_length=16, blank=True)
    name = models.CharField(max_length=200)
    service = models.CharField(max_length=200, blank=True)
    started_at = models.DateTimeField()
    duration_ns = models.BigIntegerField()
    status = models.SmallIntegerField(default=0)
    attributes = models.JSONField(default=dict)
    received_at = models.DateTimeField()

    class Meta:
        db_table = "governance_span"


class RollUp(models.Model):
    """Receipts summed per workflow × release × segment × hour, one row per measure.

    Kept in the transaction that stores the receipts. Rows of grain "day" hold the same sums per
    UTC day with the segment left empty: pages read those.
    """

    class Grain(models.TextChoices):
        HOUR = "hour", "Hour"
        DAY = "day", "Day"

    workflow = models.ForeignKey(Workflow, models.PROTECT, related_name="+")
    grain = models.CharField(max_length=4, choices=Grain)
    starts_at = models.DateTimeField()
    release_digest = models.CharField(max_length=71, blank=True)
    segment = models.CharField(max_length=100, blank=True)
    measure = models.CharField(max_length=60)
    n = models.BigIntegerField(help_text="Receipts that report this measure.")
    total = models.FloatField()
    total_squares = models.FloatField()

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=(
                    "workflow", "grain", "starts_at", "release_digest", "segment", "measure",
                ),
                name="rollup_once",
            ),
        )  # fmt: skip
        indexes = (
            models.Index(
                fields=("grain", "starts_at", "workflow", "measure"), name="rollup_by_time"
            ),
        )

    def __str__(self) -> str:
        return f"{self.measure} {self.starts_at:%Y-%m-%d %H:%M}"
