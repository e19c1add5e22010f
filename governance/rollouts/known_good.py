"""When a release counts as known good: by a rule that the page shows, or by hand."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Sum

from governance import audit
from governance.audit import Actor
from governance.common.errors import InvalidInputError, StateConflictError
from governance.common.time import now
from governance.people.models import User
from governance.people.permissions import register_rule, require
from governance.people.signatures import sign
from governance.receipts.models import RollUp
from governance.releases.models import KnownGood, LiveRelease, Release, ReleaseApproval
from governance.rollouts import rules
from governance.rollouts.live import bad_releases, live_release, lock_workflow, passed_a_gate
from governance.rollouts.models import LiveChange, Rollback
from governance.triage.models import ExceptionCase
from governance.workflows.models import Workflow

ACTOR = Actor.system("last known good")

register_rule(
    "known_good.pin",
    lambda user, workflow: (
        user.role == User.Role.EXECUTIVE or user.pk == rules.kpi_owner(workflow).pk
    ),
    "The KPI owner or an executive says which release a rollback returns to.",
)


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a release is on its way to being known good; every condition in numbers."""

    receipts: int
    receipts_needed: int
    days: float
    days_needed: int
    severe_exceptions: int
    passed_a_gate: bool

    @property
    def is_good(self) -> bool:
        return (
            self.receipts >= self.receipts_needed
            and self.days >= self.days_needed
            and self.severe_exceptions == 0
            and self.passed_a_gate
        )

    @property
    def sentence(self) -> str:
        severe = self.severe_exceptions
        return (
            f"{self.receipts:,} run receipts (at least {self.receipts_needed:,}), {self.days:.1f}"
            f" days (at least {self.days_needed}), "
            + (f"{severe} severe exception{'s' if severe > 1 else ''} open" if severe
               else "no severe exception open")
            + (", gate passed" if self.passed_a_gate else ", no gate passed")
        )  # fmt: skip


def standing(workflow: Workflow, release: Release) -> Standing:
    """Measure the live release against the rule."""
    moment = now()
    runs = (
        RollUp.objects.filter(
            workflow=workflow, grain=RollUp.Grain.DAY, measure="runs", release_digest=release.pk
        ).aggregate(runs=Sum("n"))["runs"]
        or 0
    )
    return Standing(
        receipts=int(runs),
        receipts_needed=settings.LKG_RECEIPTS,
        days=_served_for(workflow, release, moment) / timedelta(days=1),
        days_needed=settings.LKG_DAYS,
        severe_exceptions=ExceptionCase.objects.open()
        .filter(workflow=workflow, severity=ExceptionCase.Severity.HIGH, release_digest=release.pk)
        .count(),
        passed_a_gate=passed_a_gate(workflow, release),
    )


def _served_for(workflow: Workflow, release: Release, moment: datetime) -> timedelta:
    """How long it was allowed to serve, breaks left out, since it was last rolled back itself."""
    periods = ReleaseApproval.objects.filter(workflow=workflow, release=release)
    bad = (
        Rollback.objects.filter(workflow=workflow, from_release=release)
        .order_by("-change__seq")
        .values_list("change__changed_at", flat=True)
        .first()
    )
    if bad is not None:
        periods = periods.filter(valid_from__gte=bad)
    return sum(
        (
            max((until or moment) - since, timedelta())
            for since, until in periods.values_list("valid_from", "valid_to")
        ),
        timedelta(),
    )


@audit.atomic()
def mark_by_rule(workflow_id: int) -> KnownGood | None:
    """Mark the live release as known good when it has earned it. Safe to repeat."""
    workflow = lock_workflow(workflow_id)
    live = live_release(workflow)
    if live is None or live.switched_off:
        return None
    newest = KnownGood.objects.filter(workflow=workflow).first()
    came = _came_at(workflow, live.release)
    if newest is not None and newest.release_id == live.release_id and newest.marked_at >= came:
        return None
    found = standing(workflow, live.release)
    if not found.is_good:
        return None
    marked = KnownGood.objects.create(
        workflow=workflow, release=live.release, by=KnownGood.By.RULE,
        evidence={
            "receipts": found.receipts, "days": round(found.days, 2),
            "severe_exceptions": found.severe_exceptions, "passed_a_gate": found.passed_a_gate,
        },
        reason=found.sentence, marked_by_label=ACTOR.label, marked_at=now(),
    )  # fmt: skip
    audit.record(
        "known_good.marked", live.release, actor=ACTOR, workflow=workflow.slug,
        reason=found.sentence, digest=live.release_id, evidence=marked.evidence,
    )  # fmt: skip
    return marked


def _came_at(workflow: Workflow, release: Release) -> datetime:
    """When this release last became the stable one."""
    change = (
        LiveChange.objects.filter(workflow=workflow, to_release=release)
        .exclude(from_release=release)
        .order_by("-seq")
        .first()
    )
    return change.changed_at if change is not None else now() - timedelta(days=36_500)


@audit.atomic()
def pin_known_good(
    workflow: Workflow,
    release: Release,
    *,
    actor: User,
    reason: str,
    authenticated_at: datetime,
    authenticated_by: str = "password",
) -> KnownGood:
    """Say by hand which release a rollback returns to, from now on."""
    workflow = lock_workflow(workflow.pk)
    require(actor, "known_good.pin", workflow)
    rules.require_fresh_login(authenticated_at)
    reason = rules.require_reason(reason)
    live = live_release(workflow)
    if live is None or live.release_id == release.pk:
        raise StateConflictError("A rollback leads away from what is live: choose another release.")
    if (
        release.workflow_id != workflow.pk
        or not LiveChange.objects.filter(workflow=workflow, to_release=release).exists()
    ):
        raise InvalidInputError(f"{release.name} never served this workflow.")
    if release.pk in bad_releases(workflow):
        raise StateConflictError(
            f"{release.name} was rolled back, or nobody ratified it: it is not good."
        )
    signature = sign(
        actor, "known_good", reason=reason,
        subject={
            "type": "known_good", "workflow": workflow.slug, "candidate_digest": release.pk,
            "seq": live.seq,
        },
        role=rules.role_in_words(actor, "known_good", None),
        authenticated_at=authenticated_at, authenticated_by=authenticated_by,
    )  # fmt: skip
    marked = KnownGood.objects.create(
        workflow=workflow, release=release, by=KnownGood.By.HAND,
        evidence={"signature": signature.pk}, reason=reason,
        marked_by_label=actor.as_actor().label, marked_at=now(),
    )  # fmt: skip
    LiveRelease.objects.filter(workflow=workflow).update(last_known_good=release)
    audit.record(
        "known_good.pinned", release, actor=actor, workflow=workflow.slug, reason=reason,
        digest=release.pk, before=live.last_known_good_id or "", after=release.pk,
        references={"signature": signature.pk},
    )  # fmt: skip
    return marked
