"""Emergency changes: live at once by one person; a second ratifies it in time, or it is undone."""

from __future__ import annotations

from datetime import datetime, timedelta

from governance import audit
from governance.audit import Actor
from governance.common.errors import InvalidInputError, NotAllowedError, StateConflictError
from governance.common.time import now
from governance.evals import services as evals
from governance.jobs.services import enqueue
from governance.people.models import User
from governance.people.permissions import register_rule, require
from governance.releases.diff import compare
from governance.releases.models import Release
from governance.releases.services import verify_bytes
from governance.rollouts import pilots, rules
from governance.rollouts.approvals import make_live, record_decision, sign_decision
from governance.rollouts.live import live_release, lock_promotion, lock_workflow
from governance.rollouts.models import Approval, Promotion
from governance.rollouts.rolling_back import go_back
from governance.rollouts.rules import require_reason

RATIFIED_WITHIN = timedelta(hours=4)
SYSTEM = Actor.system("emergency change")

register_rule(
    "promotion.emergency",
    lambda user, workflow: user.emergency_changes,
    "An administrator gives the right to make emergency changes; you do not have it.",
)
register_rule(
    "promotion.ratify",
    lambda user, promotion: (
        user.pk == rules.kpi_owner(promotion.workflow).pk
        or rules.is_second_approver(user, promotion.workflow)
    ),
    "The KPI owner, an executive or the KPI owner of another workflow ratifies it.",
)


@audit.atomic()
def emergency_change(
    release: Release,
    *,
    actor: User,
    incident: str,
    reason: str,
    authenticated_at: datetime,
    authenticated_by: str = "password",
) -> Promotion:
    """Make a release live at once, for a named incident. A second person must ratify it.

    It ends an open pilot and takes back an open promotion; freezes and post-mortems do not hold it
    up. The evals run afterwards, so that the evidence follows.
    """
    workflow = lock_workflow(release.workflow_id)
    require(actor, "promotion.emergency", workflow)
    rules.require_fresh_login(authenticated_at)
    reason = require_reason(reason)
    incident = incident.strip()[:200]
    if not incident:
        raise InvalidInputError("Name the incident, such as INC-1042: it stays in the record.")
    live = live_release(workflow)
    if live is None:
        raise StateConflictError("Nothing is live in this workflow: adopt what runs first.")
    if live.release_id == release.pk:
        raise StateConflictError(f"{release.name} is live already.")
    verify_bytes(release)
    difference = compare(live.release.contents(), release.contents())
    pilots.close_open_pilot(workflow, actor=actor, why=f"Emergency change for {incident}.")
    label, moment = actor.as_actor().label, now()
    for waiting in Promotion.objects.open().filter(workflow=workflow):
        waiting.close(
            Promotion.State.WITHDRAWN, by=label, at=moment,
            reason=f"An emergency change for {incident} went live.",
        )  # fmt: skip
        audit.record(
            "promotion.withdrawn", waiting, actor=actor, workflow=workflow.slug,
            reason=waiting.closing_reason, digest=waiting.release_id, round=waiting.review_round,
        )  # fmt: skip
    promotion = Promotion.objects.create(
        workflow=workflow,
        release=release,
        base=live.release,
        base_seq=live.seq,
        road=Promotion.Road.EMERGENCY,
        state=Promotion.State.EVALUATING,  # until it is live, a few lines below
        risk=difference.risk,
        risk_reasons=list(difference.reasons),
        rationale=reason,
        requested_by=actor,
        requested_by_label=label,
        requested_at=moment,
        incident=incident,
        ratify_by=moment + RATIFIED_WITHIN,
    )
    approval = sign_decision(
        promotion, actor, Approval.Decision.APPROVED, Approval.Meaning.EMERGENCY, reason,
        authenticated_at, authenticated_by,
    )  # fmt: skip
    record_decision("promotion.emergency", promotion, approval)
    make_live(promotion, actor)
    enqueue(
        "rollouts.emergency", f"promotion {promotion.pk}", {"promotion": promotion.pk},
        run_at=promotion.ratify_by, due_within=timedelta(minutes=5),
    )  # fmt: skip
    for kind, suite in evals.evidence_suites(workflow).items():
        if evals.finished_run(release, suite) is None:
            evals.request_run(
                release, suite, actor=SYSTEM, purpose="emergency",
                slot=f"promotion {promotion.pk} emergency {kind}",
            )  # fmt: skip
    return promotion


@audit.atomic()
def ratify_emergency(
    promotion_id: int,
    *,
    actor: User,
    reason: str,
    authenticated_at: datetime,
    authenticated_by: str = "password",
) -> Promotion:
    """Agree afterwards, as a second person, that the emergency change may stay."""
    promotion = lock_promotion(promotion_id)
    require(actor, "promotion.ratify", promotion)
    rules.require_fresh_login(authenticated_at)
    reason = require_reason(reason)
    if promotion.road != Promotion.Road.EMERGENCY or promotion.state != Promotion.State.LIVE:
        raise StateConflictError("There is no emergency change here that waits to be ratified.")
    if promotion.ratified_at is not None:
        raise StateConflictError("It was ratified already.")
    if promotion.ratify_by is None or now() >= promotion.ratify_by:
        raise StateConflictError("The four hours are over: it is being reverted.")
    if actor.pk in rules.contributors(promotion):
        raise NotAllowedError("You made or asked for this change: a second person ratifies it.")
    verify_bytes(promotion.release)
    approval = sign_decision(
        promotion, actor, Approval.Decision.APPROVED, Approval.Meaning.RATIFIED, reason,
        authenticated_at, authenticated_by,
    )  # fmt: skip
    promotion.ratified_at = now()
    promotion.save(update_fields=["ratified_at"])
    record_decision("promotion.ratified", promotion, approval)
    return promotion


@audit.atomic()
def revert_unratified(promotion_id: int) -> bool:
    """Undo an emergency change that nobody ratified in time. Safe to call at any time.

    Returns:
        Whether something was undone.
    """
    promotion = lock_promotion(promotion_id)
    if (
        promotion.road != Promotion.Road.EMERGENCY
        or promotion.state != Promotion.State.LIVE
        or promotion.ratified_at is not None
        or promotion.ratify_by is None
        or now() < promotion.ratify_by
    ):
        return False
    live = live_release(promotion.workflow)
    if live is None or live.release_id != promotion.release_id:
        return False
    go_back(
        promotion.workflow, actor=SYSTEM,
        reason=f"The emergency change for {promotion.incident} was not ratified in four hours.",
    )  # fmt: skip
    audit.record(
        "promotion.lapsed", promotion, actor=SYSTEM, workflow=promotion.workflow.slug,
        digest=promotion.release_id,
    )  # fmt: skip
    return True


def unratified() -> list[Promotion]:
    """Live emergency changes that wait for a second person, the most urgent first."""
    return list(
        Promotion.objects.filter(
            road=Promotion.Road.EMERGENCY, state=Promotion.State.LIVE, ratified_at=None
        )
        .select_related("workflow__owner", "release", "base")
        .order_by("ratify_by")
    )
