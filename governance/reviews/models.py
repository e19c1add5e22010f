"""Review: one weekly, monthly or quarterly session with its checklist and sign-off."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from governance.people.models import User


class Review(models.Model):
    """One session. Signed off, it keeps what it showed."""

    class Kind(models.TextChoices):
        WEEKLY = "weekly", "Weekly"
        MONTHLY = "monthly", "Monthly"
        QUARTERLY = "quarterly", "Quarterly"

    kind = models.CharField(max_length=10, choices=Kind)
    period = models.CharField(max_length=10, help_text="2026-W47, 2026-11 or 2026-Q4.")
    starts_on = models.DateField()
    ends_on = models.DateField(help_text="Last day, inclusive.")
    signed_off_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    signed_off_at = models.DateTimeField(null=True)
    sign_off_note = models.TextField(blank=True)
    frozen = models.JSONField(null=True, help_text="What the page showed at sign-off.")

    class Meta:
        ordering = ("-starts_on",)
        constraints = (
            models.UniqueConstraint(fields=("kind", "period"), name="review_once_per_period"),
            models.CheckConstraint(
                condition=Q(signed_off_at=None, signed_off_by=None, frozen=None)
                | Q(signed_off_at__isnull=False, signed_off_by__isnull=False, frozen__isnull=False),
                name="review_signed_off_whole",
            ),
        )

    def __str__(self) -> str:
        return f"{self.get_kind_display()} review {self.period}"


class ChecklistItem(models.Model):
    """One item of a review's checklist, ticked by a person with a note."""

    review = models.ForeignKey(Review, models.PROTECT, related_name="items")
    key = models.CharField(max_length=60)
    position = models.PositiveSmallIntegerField()
    done_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    done_at = models.DateTimeField(null=True)
    note = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ("position",)
        constraints = (
            models.UniqueConstraint(fields=("review", "key"), name="checklist_item_once"),
            models.CheckConstraint(
                condition=Q(done_at=None, done_by=None)
                | Q(done_at__isnull=False, done_by__isnull=False),
                name="checklist_done_by_somebody",
            ),
        )

    def __str__(self) -> str:
        return self.key
