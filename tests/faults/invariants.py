"""What must hold of a workflow's rows at every moment, read without the product's own rules."""

from __future__ import annotations

from governance.audit.verification import verify
from governance.people.models import User
from governance.releases.models import LiveRelease
from governance.rollouts.models import Approval, LiveChange, Promotion
from governance.workflows.models import Workflow

_verified = [0]


def broken(workflow: Workflow, after: int = 0) -> list[str]:
    """Every sentence that does not hold; none when all is well.

    Args:
        after: the history up to this seq was looked at before; it cannot be rewritten.
    """
    return [*_history(workflow, after), *_promotions(workflow)]


def _history(workflow: Workflow, after: int) -> list[str]:
    found = []
    every = LiveChange.objects.filter(workflow=workflow).order_by("seq").select_related(
        "promotion__release"
    )  # fmt: skip
    before = every.filter(seq=after).first()
    changes = list(every.filter(seq__gt=after))
    for change in changes:
        if change.seq != (before.seq + 1 if before else 1):
            found.append(f"the history jumps to {change.seq}")
        if change.from_release_id != (before.to_release_id if before else None):
            found.append(f"change {change.seq} does not start where the one before it ended")
        before = change
    live = LiveRelease.objects.filter(workflow=workflow).first()
    if (live is None) != (before is None):
        found.append("what serves and the history differ")
    elif live is not None and before is not None:
        row = (live.seq, live.release_id, live.pilot_release_id, live.switched_off)
        last = (before.seq, before.to_release_id, before.pilot_release_id, before.switched_off)
        if row != last:
            found.append(f"what serves is {row}, the history ends in {last}")
    for change in changes:
        if change.cause == LiveChange.Cause.PROMOTION and change.promotion is not None:
            found += _earned(change, change.promotion)
    return found


def _earned(change: LiveChange, promotion: Promotion) -> list[str]:
    """The people who said yes to exactly these bytes, in this round, before it went live."""
    if promotion.release_id != change.to_release_id or promotion.base_id != change.from_release_id:
        return [f"change {change.seq} is not what promotion {promotion.pk} asked for"]
    if promotion.road in (Promotion.Road.STANDING, Promotion.Road.EMERGENCY):
        return []  # signed ahead, or ratified afterwards: the reference knows
    given = Approval.objects.filter(
        promotion=promotion, decision="approved", review_round=promotion.review_round,
        candidate_digest=change.to_release_id, base_digest=change.from_release_id or "",
        gate_report_digest=promotion.gate_report_id or "", decided_at__lte=change.changed_at,
        meaning__in=("kpi_owner", "second_approver"),
    ).select_related("approver")  # fmt: skip
    people: dict[int, User] = {one.approver_id: one.approver for one in given}
    needed = 2 if promotion.risk == "high" or promotion.fixes_id else 1
    makers = {promotion.requested_by_id, promotion.release.registered_by_id}
    if len(set(people) - makers) < needed:
        return [f"change {change.seq} has {len(people)} of {needed} approvals"]
    return []


def _promotions(workflow: Workflow) -> list[str]:
    states = list(
        Promotion.objects.filter(workflow=workflow).values_list("state", flat=True).order_by("pk")
    )
    found = []
    if sum(state in Promotion.OPEN for state in states) > 1:
        found.append("two promotions are open")
    if states.count("live") > 1:
        found.append("two promotions are live")
    return found


def chain_breaks() -> list[str]:
    """What the audit chain lost or bent since this was asked the last time."""
    newest = _newest()
    if newest < _verified[0]:
        _verified[0] = 0  # another database, or an emptied one
    if newest == _verified[0]:
        return []
    result = verify(_verified[0] + 1, newest)
    _verified[0] = newest
    return [] if result.intact else [result.sentence]


def _newest() -> int:
    from django.db.models import Max

    from governance.audit.models import AuditEvent

    return int(AuditEvent.objects.aggregate(newest=Max("seq"))["newest"] or 0)


def forget_chain() -> None:
    """Start over, after the tables were emptied."""
    _verified[0] = 0
