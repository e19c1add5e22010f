"""For whom and since when promotions wait, in lists: a fixed number of queries for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import OuterRef, Q, Subquery

from governance.rollouts import rules
from governance.rollouts.models import Approval, Promotion, PromotionQuerySet
from governance.rollouts.pilot_models import GuardDecision, Pilot
from governance.rollouts.pilots import percent
from governance.rollouts.road_models import FreezeWindow


@dataclass(frozen=True, slots=True)
class Wait:
    """What one open promotion waits for."""

    whom: str
    since: datetime
    pilot: str = ""  # "pilot at 5 %", "pilot at 5 %, paused"
    why: str = ""  # why a pilot is paused
    stale: bool = False
    frozen: FreezeWindow | None = None
    needs_second: bool = False  # the owner said yes, somebody else has not


def with_waits(promotions: PromotionQuerySet) -> PromotionQuerySet:
    """Load what `waits` reads beside the promotions themselves."""
    paused = (
        GuardDecision.objects.filter(promotion=OuterRef("pk"), action=GuardDecision.Action.PAUSED)
        .order_by("-decided_at")
        .values("decided_at")[:1]
    )
    return (
        promotions.select_related("pilot", "workflow__live__release")
        .prefetch_related("approvals")
        .annotate(paused_at=Subquery(paused))
    )


def waits(promotions: Sequence[Promotion], at: datetime) -> dict[int, Wait]:
    """Say for whom each open promotion waits.

    The promotion's own page counts the approvals to the letter; here those count that are in time.

    Args:
        promotions: loaded by `with_waits`.
    """
    opened = [promotion for promotion in promotions if promotion.is_open]
    if not opened:
        return {}
    rules.load_kpi_owners(promotion.workflow for promotion in opened)
    windows = list(
        FreezeWindow.objects.filter(
            Q(workflow=None) | Q(workflow__in=[promotion.workflow_id for promotion in opened]),
            starts_at__lte=at,
            ends_at__gt=at,
            cancelled_at=None,
        ).prefetch_related("exceptions")
    )
    return {
        promotion.pk: _wait(promotion, at, rules.kpi_owner(promotion.workflow), windows)
        for promotion in opened
    }


def _wait(promotion: Promotion, at: datetime, owner: object, windows: list[FreezeWindow]) -> Wait:
    live = getattr(promotion.workflow, "live", None)
    stale = (live.release_id if live is not None else None) != promotion.base_id
    frozen = next(
        (
            window
            for window in windows
            if window.workflow_id in (None, promotion.workflow_id)
            and all(granted.promotion_id != promotion.pk for granted in window.exceptions.all())
        ),
        None,
    )
    pilot: Pilot | None = getattr(promotion, "pilot", None)
    is_piloting = promotion.state == Promotion.State.PILOTING and pilot is not None
    share = percent(pilot.steps[pilot.step]["share"]) if is_piloting and pilot else ""
    state = f"pilot at {share}" if share else ""
    if is_piloting and pilot is not None and pilot.state == Pilot.State.PAUSED:
        since = vars(promotion).get("paused_at") or pilot.step_started_at
        return Wait(str(owner), since, f"{state}, paused", pilot.paused_reason, stale, frozen)
    if is_piloting and pilot is not None and not promotion.waits_for_approval:
        return Wait("the guard", pilot.step_started_at, state, "", stale, frozen)
    if promotion.state == Promotion.State.EVALUATING:
        return Wait("its gate", promotion.requested_at, "", "", stale, frozen)
    whom, by_owner = _missing(promotion, at, owner)
    since = promotion.gate_judged_at or promotion.requested_at
    return Wait(whom, since, state, "", stale, frozen, by_owner)


def _missing(promotion: Promotion, at: datetime, owner: object) -> tuple[str, bool]:
    """Whose yes is missing, and whether the owner's is there."""
    oldest = at - rules.APPROVAL_LASTS[Promotion.Risk(promotion.risk)]
    given = {
        approval.meaning
        for approval in promotion.approvals.all()
        if approval.review_round == promotion.review_round
        and approval.decision == Approval.Decision.APPROVED
        and approval.decided_at > oldest
    }
    by_owner = Approval.Meaning.KPI_OWNER in given
    missing = [] if by_owner else [str(owner)]
    if rules.needs_second_approver(promotion) and Approval.Meaning.SECOND_APPROVER not in given:
        missing.append("a second approver")
    return " and ".join(missing), by_owner
