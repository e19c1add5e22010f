"""Promotion, Approval, the history of live changes, Rollback and PostMortem."""

from __future__ import annotations

from datetime import datetime

from django.db import models
from django.db.models import Exists, F, Q

from governance.evals.models import GatePolicy, GateReport
from governance.kpis.models import Kpi
from governance.people.models import Delegation, Signature, User
from governance.releases.models import Release
from governance.workflows.models import Workflow


class PromotionQuerySet(models.QuerySet["Promotion"]):
    def visible_to(self, user: User) -> PromotionQuerySet:
        """Own workflows, those one stands in for, and what a KPI owner may second or ratify."""
        if user.reads_everything:
            return self
        if not user.is_active:
            return self.none()
        needs_two = Q(risk=Promotion.Risk.HIGH) | Q(fixes__isnull=False)
        answers_for_a_kpi = Exists(
            Workflow.objects.filter(Q(owner=user) | Q(kpis__is_lead=True, kpis__owner=user))
        )
        return self.filter(
            Q(workflow__in=Workflow.objects.visible_to(user))
            | Q(needs_two, answers_for_a_kpi, state=Promotion.State.AWAITING_OWNER)
            | Q(
                answers_for_a_kpi,
                road=Promotion.Road.EMERGENCY,
                state=Promotion.State.LIVE,
                ratified_at=None,
            )
        )

    def open(self) -> PromotionQuerySet:
        return self.filter(state__in=Promotion.OPEN)

    def waiting(self) -> PromotionQuerySet:
        """Those on which somebody has to decide: approve, or what becomes of a paused pilot."""
        passed = Q(gate_report__verdict=GateReport.Verdict.PASS, gate_round=F("review_round"))
        return self.filter(
            Q(state=Promotion.State.AWAITING_OWNER)
            | Q(state=Promotion.State.PILOTING, pilot__state="paused")
            | Q(passed, state=Promotion.State.PILOTING, road=Promotion.Road.PILOT)
        )

    def for_page(self) -> PromotionQuerySet:
        """Load what a card shows, in a single query."""
        return self.select_related(
            "workflow__owner", "release", "base", "gate_report", "gate_policy", "requested_by"
        )


class Promotion(models.Model):
    """A request to make one release live, with everything decided about it."""

    class State(models.TextChoices):
        EVALUATING = "evaluating", "Waiting for its gate"
        AWAITING_OWNER = "awaiting_owner", "Waiting for approval"
        PILOTING = "piloting", "In its pilot"
        REFUSED = "refused", "Refused by the gate"
        REJECTED = "rejected", "Rejected"
        WITHDRAWN = "withdrawn", "Withdrawn"
        LIVE = "live", "Live"
        SUPERSEDED = "superseded", "Superseded"
        ROLLED_BACK = "rolled_back", "Rolled back"
        STOPPED = "stopped", "Pilot stopped"

    OPEN = (State.EVALUATING, State.AWAITING_OWNER, State.PILOTING)

    class Road(models.TextChoices):
        ADOPT = "adopt", "Adopted as found"
        PROMOTION = "promotion", "Promotion"
        PILOT = "pilot", "Pilot"
        STANDING = "standing", "Standing approval"
        MAINTENANCE = "maintenance", "Maintenance change"
        EMERGENCY = "emergency", "Emergency change"

    class Risk(models.TextChoices):
        HIGH = "high", "High"
        MEDIUM = "medium", "Medium"
        LOW = "low", "Low"

    workflow = models.ForeignKey(Workflow, models.PROTECT, related_name="promotions")
    release = models.ForeignKey(Release, models.PROTECT, related_name="promotions")
    base = models.ForeignKey(Release, models.PROTECT, null=True, related_name="+")
    base_seq = models.PositiveBigIntegerField(default=0, help_text="The live seq when asked.")
    road = models.CharField(max_length=12, choices=Road, default=Road.PROMOTION)
    state = models.CharField(max_length=20, choices=State)
    review_round = models.PositiveIntegerField(default=1)
    risk = models.CharField(max_length=10, choices=Risk)
    risk_reasons = models.JSONField(default=list)
    rationale = models.TextField()
    requested_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    requested_by_label = models.CharField(max_length=200)
    requested_at = models.DateTimeField()
    gate_policy = models.ForeignKey(GatePolicy, models.PROTECT, null=True, related_name="+")
    gate_report = models.ForeignKey(GateReport, models.PROTECT, null=True, related_name="+")
    gate_judged_at = models.DateTimeField(null=True)
    gate_round = models.PositiveIntegerField(default=0, help_text="The round it was judged in.")
    fixes = models.ForeignKey(
        "PostMortem", models.PROTECT, null=True, blank=True, related_name="fix_promotions"
    )
    pilot_steps = models.JSONField(
        default=list,
        help_text="How it reaches every case: [{share (basis points), minutes, runs}]; empty: at"
        " once.",
    )
    standing = models.ForeignKey("StandingApproval", models.PROTECT, null=True, related_name="uses")
    documents_changed = models.PositiveIntegerField(
        null=True, help_text="Added, removed and edited documents of the corpus, by the diff."
    )
    incident = models.CharField(max_length=200, blank=True, help_text="Emergency: its reference.")
    ratify_by = models.DateTimeField(null=True, help_text="Emergency: reverted after this.")
    ratified_at = models.DateTimeField(null=True)
    expected_kpi = models.ForeignKey(Kpi, models.PROTECT, null=True, related_name="+")
    expected_change = models.FloatField(
        null=True, help_text="In the unit of the KPI; rates in percentage points."
    )
    expected_note = models.CharField(max_length=300, blank=True)
    closed_by_label = models.CharField(max_length=200, blank=True)
    closed_at = models.DateTimeField(null=True)
    closing_reason = models.TextField(blank=True)

    objects = PromotionQuerySet.as_manager()

    class Meta:
        ordering = ("-requested_at", "-pk")
        constraints = (
            models.UniqueConstraint(
                fields=("workflow",),
                condition=Q(state__in=("evaluating", "awaiting_owner", "piloting")),
                name="promotion_one_open_per_workflow",
            ),
            models.UniqueConstraint(
                fields=("workflow",), condition=Q(state="live"), name="promotion_one_live"
            ),
            models.UniqueConstraint(
                fields=("workflow",), condition=Q(road="adopt"), name="promotion_adopt_once"
            ),
            models.CheckConstraint(
                condition=Q(state__in=("evaluating", "awaiting_owner", "piloting"))
                ^ Q(closed_at__isnull=False),
                name="promotion_closed_iff_decided",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=("awaiting_owner", "piloting"))
                | Q(gate_report__isnull=False, gate_policy__isnull=False),
                name="promotion_waits_with_evidence",
            ),
            models.CheckConstraint(
                condition=Q(road="standing") ^ Q(standing=None),
                name="promotion_standing_has_its_envelope",
            ),
            models.CheckConstraint(
                condition=Q(road="emergency", ratify_by__isnull=False) & ~Q(incident="")
                | ~Q(road="emergency") & Q(ratify_by=None, ratified_at=None),
                name="promotion_emergency_names_its_incident",
            ),
            models.CheckConstraint(
                condition=Q(expected_change=None) | Q(expected_kpi__isnull=False),
                name="promotion_expects_of_a_kpi",
            ),
        )

    def __str__(self) -> str:
        return str(self.release)

    @property
    def is_open(self) -> bool:
        return self.state in self.OPEN

    @property
    def waits_for_approval(self) -> bool:
        """Waiting for people; also a pilot that gathered the evidence its gate lacked."""
        if self.state == self.State.PILOTING and self.road == self.Road.PILOT:
            report = self.gate_report
            return (
                report is not None
                and report.verdict == GateReport.Verdict.PASS
                and self.gate_round == self.review_round
            )
        return self.state == self.State.AWAITING_OWNER

    def close(self, state: State, *, by: str, at: datetime, reason: str) -> None:
        """Decide; never half-written."""
        self.state = state
        self.closed_by_label = by
        self.closed_at = at
        self.closing_reason = reason
        self.save(update_fields=["state", "closed_by_label", "closed_at", "closing_reason"])


class Approval(models.Model):
    """One person's decision on exactly these bytes and this evidence (trigger: immutable)."""

    class Decision(models.TextChoices):
        APPROVED = "approved", "Approved"
        REJECTED = "rejected", "Rejected"

    class Meaning(models.TextChoices):
        KPI_OWNER = "kpi_owner", "I answer for this KPI"
        SECOND_APPROVER = "second_approver", "I agree as second approver"
        ACKNOWLEDGED = "acknowledged", "I acknowledge what already runs"
        PILOT = "pilot", "I open a pilot to gather evidence"
        EMERGENCY = "emergency", "I make this emergency change"
        RATIFIED = "ratified", "I ratify this emergency change"

    promotion = models.ForeignKey(Promotion, models.PROTECT, related_name="approvals")
    review_round = models.PositiveIntegerField()
    decision = models.CharField(max_length=10, choices=Decision)
    approver = models.ForeignKey(User, models.PROTECT, related_name="+")
    approver_label = models.CharField(max_length=200)
    meaning = models.CharField(max_length=20, choices=Meaning)
    reason = models.TextField()
    authenticated_by = models.CharField(max_length=40)
    authenticated_at = models.DateTimeField()
    decided_at = models.DateTimeField()
    candidate_digest = models.CharField(max_length=71)
    base_digest = models.CharField(max_length=71, blank=True)
    gate_report_digest = models.CharField(max_length=71, blank=True)
    gate_policy_digest = models.CharField(max_length=71, blank=True)
    on_behalf_of = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    delegation = models.ForeignKey(Delegation, models.PROTECT, null=True, related_name="approvals")
    signature = models.OneToOneField(
        Signature, models.PROTECT, null=True, related_name="approval",
        help_text="Null only for decisions before signatures were kept.",
    )  # fmt: skip

    class Meta:
        ordering = ("decided_at",)
        constraints = (
            models.UniqueConstraint(
                fields=("promotion", "review_round", "approver"), name="approval_once_per_round"
            ),
            models.CheckConstraint(condition=~Q(reason=""), name="approval_with_reason"),
            models.CheckConstraint(
                condition=Q(on_behalf_of=None, delegation=None)
                | Q(on_behalf_of__isnull=False, delegation__isnull=False),
                name="approval_delegated_by_somebody",
            ),
        )


class LiveChange(models.Model):
    """One change of what a workflow serves; gapless, never rewritten (triggers).

    `to_release` is the stable release after the change. Pilots and the kill switch leave it as it
    was: then `from_release` and `to_release` are equal.
    """

    class Cause(models.TextChoices):
        ADOPT = "adopt", "Adopted as found"
        PROMOTION = "promotion", "Promotion"
        ROLLBACK = "rollback", "Rollback"
        PILOT_OPENED = "pilot_opened", "Pilot opened"
        PILOT_WIDENED = "pilot_widened", "Pilot widened"
        PILOT_STOPPED = "pilot_stopped", "Pilot stopped"
        SWITCHED_OFF = "switched_off", "Switched off"
        SWITCHED_ON = "switched_on", "Switched on"
        DRILL = "drill", "Rollback drill"
        DRILL_RETURNED = "drill_returned", "Back from the drill"

    OF_A_PROMOTION = (
        Cause.ADOPT, Cause.PROMOTION, Cause.PILOT_OPENED, Cause.PILOT_WIDENED, Cause.PILOT_STOPPED,
    )  # fmt: skip

    workflow = models.ForeignKey(Workflow, models.PROTECT, related_name="live_changes")
    seq = models.PositiveBigIntegerField()
    cause = models.CharField(max_length=20, choices=Cause)
    from_release = models.ForeignKey(Release, models.PROTECT, null=True, related_name="+")
    to_release = models.ForeignKey(Release, models.PROTECT, related_name="+")
    promotion = models.ForeignKey(Promotion, models.PROTECT, null=True, related_name="changes")
    drill = models.ForeignKey("Drill", models.PROTECT, null=True, related_name="changes")
    signature = models.ForeignKey(Signature, models.PROTECT, null=True, related_name="+")
    pilot_release = models.ForeignKey(Release, models.PROTECT, null=True, related_name="+")
    pilot_share = models.PositiveIntegerField(default=0, help_text="Basis points of the cases.")
    pilot_salt = models.CharField(max_length=40, blank=True)
    pilot_authority = models.CharField(max_length=30, blank=True)
    switched_off = models.BooleanField(default=False)
    reason = models.TextField(blank=True)
    changed_at = models.DateTimeField()
    actor_label = models.CharField(max_length=200)

    class Meta:
        ordering = ("-changed_at", "-seq")
        constraints = (
            models.UniqueConstraint(fields=("workflow", "seq"), name="live_change_once"),
            models.UniqueConstraint(
                fields=("promotion",),
                condition=Q(cause__in=("adopt", "promotion")),
                name="promotion_live_once",
            ),
            models.CheckConstraint(
                condition=Q(
                    cause__in=(
                        "adopt", "promotion", "pilot_opened", "pilot_widened", "pilot_stopped",
                    )
                )
                ^ Q(promotion=None),
                name="live_change_has_cause",
            ),
            models.CheckConstraint(
                condition=Q(cause__in=("drill", "drill_returned")) ^ Q(drill=None),
                name="live_change_of_a_drill",
            ),
        )  # fmt: skip

    def __str__(self) -> str:
        return f"{self.get_cause_display()} to {self.to_release}"


class Rollback(models.Model):
    """One click back to the last known good, with its reason."""

    change = models.OneToOneField(LiveChange, models.PROTECT, related_name="rollback")
    workflow = models.ForeignKey(Workflow, models.PROTECT, related_name="rollbacks")
    from_release = models.ForeignKey(Release, models.PROTECT, related_name="+")
    to_release = models.ForeignKey(Release, models.PROTECT, related_name="+")
    reason = models.TextField()
    actor_label = models.CharField(max_length=200)
    done_at = models.DateTimeField()

    class Meta:
        constraints = (
            models.CheckConstraint(condition=~Q(reason=""), name="rollback_with_reason"),
            models.CheckConstraint(
                condition=~Q(from_release=F("to_release")), name="rollback_goes_somewhere"
            ),
        )

    def __str__(self) -> str:
        return f"{self.from_release} to {self.to_release.name}"


class PostMortemQuerySet(models.QuerySet["PostMortem"]):
    def visible_to(self, user: User) -> PostMortemQuerySet:
        if user.reads_everything:
            return self
        return self.filter(rollback__workflow__in=Workflow.objects.visible_to(user))

    def unfinished(self) -> PostMortemQuerySet:
        return self.filter(finished_at=None)


class PostMortem(models.Model):
    """What happened, why, and what is done about it. Unfinished, it blocks the next promotion."""

    rollback = models.OneToOneField(Rollback, models.PROTECT, related_name="post_mortem")
    title = models.CharField(max_length=200)
    timeline = models.JSONField(default=list, help_text="Prefilled from the audit.")
    cause = models.TextField(blank=True)
    impact = models.TextField(blank=True)
    owner = models.ForeignKey(User, models.PROTECT, related_name="+")
    opened_at = models.DateTimeField()
    due_at = models.DateTimeField()
    impact_runs = models.PositiveIntegerField(null=True, help_text="Runs on the bad release.")
    impact_money = models.DecimalField(max_digits=18, decimal_places=2, null=True)
    impact_kpi = models.CharField(max_length=300, blank=True)
    submitted_at = models.DateTimeField(null=True, help_text="Handed to a second person.")
    submitted_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")
    finished_at = models.DateTimeField(null=True)
    finished_by = models.ForeignKey(User, models.PROTECT, null=True, related_name="+")

    objects = PostMortemQuerySet.as_manager()

    class Meta:
        ordering = ("-opened_at",)
        constraints = (
            models.CheckConstraint(
                condition=Q(finished_at=None) | ~Q(cause=""), name="post_mortem_names_its_cause"
            ),
            models.CheckConstraint(
                condition=Q(finished_at=None, finished_by=None)
                | Q(finished_at__isnull=False, finished_by__isnull=False),
                name="post_mortem_finished_by_somebody",
            ),
        )

    def __str__(self) -> str:
        return self.title
