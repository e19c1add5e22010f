"""What belongs into an evidence pack: which rows of a promotion or a period, which events."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet

from governance.audit.models import AuditEvent, AuditQuerySet
from governance.evals.models import GatePolicy
from governance.rollouts.models import Approval, LiveChange, Promotion, Rollback
from governance.rollouts.population import Population, population
from governance.rollouts.recovery_models import Drill
from governance.workflows.models import Workflow


def touched(
    workflows: Iterable[Workflow], start: datetime, end: datetime
) -> tuple[list[int], list[int], list[int]]:
    """The promotions that were asked for, decided or moved; the rollbacks; the drills."""
    moved = LiveChange.objects.filter(
        within("changed_at", start, end), workflow__in=[row.pk for row in workflows]
    )
    decided = Approval.objects.filter(within("decided_at", start, end))
    promotions = Promotion.objects.filter(workflow__in=[row.pk for row in workflows]).filter(
        within("requested_at", start, end)
        | within("closed_at", start, end)
        | Q(pk__in=decided.values("promotion"))
        | Q(pk__in=moved.values("promotion"))
    )
    rollbacks = Rollback.objects.filter(change__in=moved)
    drills = Drill.objects.filter(changes__in=moved).distinct()
    return (
        list(promotions.order_by("pk").values_list("pk", flat=True)),
        list(rollbacks.order_by("pk").values_list("pk", flat=True)),
        list(drills.order_by("pk").values_list("pk", flat=True)),
    )


def rollbacks_of(promotion: Promotion) -> QuerySet[Rollback]:
    """What ended its time; not the rollbacks of another promotion of the same release."""
    rollbacks = Rollback.objects.filter(
        workflow=promotion.workflow_id, from_release=promotion.release_id
    )
    came = LiveChange.objects.filter(
        workflow=promotion.workflow_id, to_release=promotion.release_id,
        cause__in=(LiveChange.Cause.ADOPT, LiveChange.Cause.PROMOTION),
    ).order_by("seq")  # fmt: skip
    own = came.filter(promotion=promotion).first()
    if own is None:
        return rollbacks.none()
    following = came.filter(seq__gt=own.seq).first()
    rollbacks = rollbacks.filter(change__seq__gt=own.seq)
    if following is not None:
        rollbacks = rollbacks.filter(change__seq__lt=following.seq)
    return rollbacks


def changes_of(promotion: Promotion, rollbacks: list[int]) -> Population:
    """The changes that this promotion made, and those that took its release back."""
    rows = LiveChange.objects.filter(
        Q(promotion=promotion) | Q(rollback__in=rollbacks), workflow=promotion.workflow_id
    ).order_by("seq")
    times = list(rows.values_list("seq", "changed_at"))
    if not times:
        return Population((), (), (), 0)
    moments = [at for _, at in times]
    found = population([promotion.workflow], min(moments), max(moments) + max(moments).resolution)
    seqs = {seq for seq, _ in times}
    kept = tuple(member for member in found.members if member.change.seq in seqs)
    return Population(kept, found.proofs, found.faults, found.events)


def about(promotions: list[int], rollbacks: list[int], drills: list[int]) -> AuditQuerySet:
    """The events of these promotions and of everything their decisions stood on."""
    asked = Promotion.objects.filter(pk__in=promotions)
    runs: set[int] = set()
    suites: set[int] = set()
    for run, suite in asked.filter(gate_report__isnull=False).values_list(
        "gate_report__runs", "gate_report__runs__suite"
    ):
        if run is not None:
            runs.add(run)
            suites.add(suite)
    named: dict[str, set[Any]] = {
        "promotion": set(promotions),
        "rollback": set(rollbacks),
        "drill": set(drills),
        "evalrun": runs,
        "suiteversion": suites,
        "gatereport": {
            *asked.values_list("gate_report", flat=True),
            *asked.values_list("approvals__gate_report_digest", flat=True),
        },
        "gatepolicy": {
            *asked.values_list("gate_policy", flat=True),
            *GatePolicy.objects.filter(
                workflow__in=asked.values("workflow"),
                digest__in=asked.values("approvals__gate_policy_digest"),
            ).values_list("pk", flat=True),
        },
        "release": {
            *asked.values_list("release", flat=True),
            *asked.values_list("base", flat=True),
        },
        "standingapproval": set(asked.values_list("standing", flat=True)),
        "freezewindow": set(asked.values_list("freeze_exceptions__window", flat=True)),
        "postmortem": set(
            Rollback.objects.filter(pk__in=rollbacks).values_list("post_mortem", flat=True)
        ),
        "delegation": set(asked.values_list("approvals__delegation", flat=True)),
    }
    wanted = Q(pk__in=())
    for kind, keys in named.items():
        texts = sorted(str(key) for key in keys if key is not None)
        if texts:
            wanted |= Q(object_type=kind, object_id__in=texts)
    return AuditEvent.objects.filter(wanted)


def within(name: str, start: datetime, end: datetime) -> Q:
    return Q(**{f"{name}__gte": start, f"{name}__lt": end})
