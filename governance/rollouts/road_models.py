"""The roads beside the normal one: standing approvals, freeze windows, and what was expected."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.db.models import Exists, F, Q

from governance.people.models import Signature, User
from governance.releases.models import Slot
from governance.rollouts.models import Promotion
from governance.workflows.models import Workflow


class StandingApprovalQuerySet(models.QuerySet["StandingApproval"]):
    def visible_to(self, user: User) -> StandingApprovalQuerySet:
        if user.reads_everything:
            return self
        return self.filter(workflow__in=Workflow.objects.visible_to(user))

    def in_force(self, at: datetime) -> StandingApprovalQuerySet:
        return self.filter(valid_from__lte=at, valid_to__gt=at, revoked_at=None)


class StandingApproval(models.Model):
    """An envelope that the KPI owner signs once for small, repeating changes of one slot."""

    workflow = models.ForeignKey(Workflow, models.PROTECT, related_name="standing_approvals")
    title = models.CharField(max_length=200)
    slot = models.CharField(max_length=20, choices=Slot)
    most_documents_changed = models.PositiveIntegerField(
        null=True, help_text="Retrieval: the most documents one use may change."
    )
    pilot_steps = models.JSONField(default=list, help_text="As in Promotion.pilot_steps.")
    uses_per_week = models.PositiveIntegerField()
    valid_from = models.DateTimeField()
    valid_to = models.DateTimeField()
    signed_by = models.ForeignKey(User, models.PROTECT, related_name="+")
    signature = models.ForeignKey(Signature, models.PROTECT, related_name="+")
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_by_label = models.CharField(max_length=200, blank=True)
    revoking_reason = models.TextField(blank=True)

    objects = StandingApprovalQuerySet.as_manager()

    class Meta:
        ordering = ("-valid_from",)
        constraints = (
            models.CheckConstraint(
                condition=Q(valid_to__gt=F("valid_from")), name="standing_ends_after_start"
            ),
            models.CheckConstraint(
                condition=Q(uses_per_week__gte=1, uses_per_week__lte=50), name="standing_few_uses"
            ),
        )

    def __str__(self) -> str:
        return self.title


class FreezeWindowQuerySet(models.QuerySet["FreezeWindow"]):
    def visible_to(self, user: User) -> FreezeWindowQuerySet:
        """Those of the workflows this person sees; those of all, for who sees at least one."""
        if user.reads_everything:
            return self
        seen = Workflow.objects.visible_to(user)
        return self.filter(Q(workflow__in=seen) | Q(Exists(seen), workflow=None))

    def to_come(self, at: datetime) -> FreezeWindowQuerySet:
        """Running at that moment or later, and not lifted."""
        return self.filter(cancelled_at=None, ends_at__gt=at)


class FreezeWindow(models.Model):
    """A time in which nothing goes forward, such as the month-end close. Going back always may."""

    workflow = models.ForeignKey(
        Workflow, models.PROTECT, null=True, related_name="freezes", help_text="Empty: all."
    )
    name = models.CharField(max_length=120)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    reason = models.TextField()
    set_by_label = models.CharField(max_length=200)
    set_at = models.DateTimeField()
    cancelled_at = models.DateTimeField(null=True, blank=True)
    cancelled_by_label = models.CharField(max_length=200, blank=True)

    objects = FreezeWindowQuerySet.as_manager()

    class Meta:
        ordering = ("starts_at",)
        constraints = (
            models.CheckConstraint(
                condition=Q(ends_at__gt=F("starts_at")), name="freeze_ends_after_start"
            ),
        )

    def __str__(self) -> str:
        return self.name


class FreezeException(models.Model):
    """One promotion that may go live in a freeze all the same, by name and with a reason."""

    window = models.ForeignKey(FreezeWindow, models.PROTECT, related_name="exceptions")
    promotion = models.ForeignKey(Promotion, models.PROTECT, related_name="freeze_exceptions")
    granted_by = models.ForeignKey(User, models.PROTECT, related_name="+")
    signature = models.ForeignKey(Signature, models.PROTECT, related_name="+")
    reason = models.TextField()
    granted_at = models.DateTimeField()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("window", "promotion"), name="freeze_exception_once"),
        )

    def __str__(self) -> str:
        return f"{self.promotion} in {self.window}"


class PromotionOutcome(models.Model):
    """What happened to the KPI in the 7 days after, beside what was expected (immutable)."""

    class Verdict(models.TextChoices):
        AS_EXPECTED = "as_expected", "As expected"
        MORE = "more", "More than expected"
        LESS = "less", "Less than expected"
        OPPOSITE = "opposite", "The other way"
        UNCLEAR = "unclear", "Within normal variation"
        NO_DATA = "no_data", "No data"

    promotion = models.OneToOneField(Promotion, models.PROTECT, related_name="outcome")
    verdict = models.CharField(max_length=12, choices=Verdict)
    before = models.FloatField(null=True, help_text="Seven days before; rates from 0 to 1.")
    after = models.FloatField(null=True)
    change = models.FloatField(null=True, help_text="In the unit of the KPI, as expected_change.")
    low = models.FloatField(null=True, help_text="95 % interval of the change.")
    high = models.FloatField(null=True)
    runs_before = models.PositiveIntegerField(default=0)
    runs_after = models.PositiveIntegerField(default=0)
    sentence = models.TextField()
    measured_at = models.DateTimeField()

    def __str__(self) -> str:
        return self.sentence
