"""The only doors to production: adopt, decide, promote, roll back (and propose, re-exported).

Every function locks the workflow first, then checks, changes and records.
"""

from __future__ import annotations

from datetime import datetime

from governance import audit
from governance.audit import Actor
from governance.audit.chain import HasActor
from governance.common.errors import NotAllowedError, StateConflictError
from governance.common.time import now
from governance.people.models import User
from governance.people.permissions import require
from governance.releases.models import Release
from governance.rollouts import rules
from governance.rollouts.live import live_release, lock_promotion, lock_workflow, move
from governance.rollouts.models import Approval, LiveChange, Promotion, Rollback
from governance.rollouts.post_mortems import (
    add_action,
    finish_action,
    finish_post_mortem,
    open_post_mortem,
    write_post_mortem,
)
from governance.rollouts.proposals import (
    judge_promotion,
    propose_promotion,
    repropose_promotion,
    withdraw_promotion,
)
from governance.rollouts.rules import require_reason
from governance.workflows.models import Workflow

__all__ = (
    "add_action",
    "adopt_as_found",
    "approve_promotion",
    "finish_action",
    "finish_post_mortem",
    "judge_promotion",
    "promote",
    "propose_promotion",
    "reject_promotion",
    "repropose_promotion",
    "roll_back",
    "withdraw_promotion",
    "write_post_mortem",
)


@audit.atomic()
def adopt_as_found(
    release: Release, *, actor: User, reason: str, authenticated_at: datetime
) -> Promotion:
    """Take what already runs under control, once per workflow; marked "not gated"."""
    workflow = lock_workflow(release.workflow_id)
    require(actor, "promotion.adopt", workflow)
    rules.require_fresh_login(authenticated_at)
    reason = require_reason(reason)
    if live_release(workflow) is not None:
        raise StateConflictError("This workflow is under control already: propose a promotion.")
    moment = now()
    label = actor.as_actor().label
    promotion = Promotion.objects.create(
        workflow=workflow,
        release=release,
        road=Promotion.Road.ADOPT,
        state=Promotion.State.LIVE,
        risk=Promotion.Risk.HIGH,
        risk_reasons=["What already ran was taken over without a gate."],
        rationale=reason,
        requested_by=actor,
        requested_by_label=label,
        requested_at=moment,
        closed_by_label=label,
        closed_at=moment,
        closing_reason=reason,
    )
    _sign(promotion, actor, Approval.Decision.APPROVED, Approval.Meaning.ACKNOWLEDGED, reason,
          authenticated_at, "password")  # fmt: skip
    move(
        workflow, to=release, cause=LiveChange.Cause.ADOPT, promotion=promotion,
        actor_label=label, at=moment,
    )  # fmt: skip
    audit.record(
        "promotion.adopted", promotion, actor=actor, workflow=workflow.slug, reason=reason,
        digest=release.pk, after=release.pk,
    )  # fmt: skip
    return promotion


def _check_decidable(
    promotion: Promotion, actor: User, review_round: int, authenticated_at: datetime
) -> None:
    require(actor, "promotion.approve", promotion)
    rules.require_fresh_login(authenticated_at)
    if promotion.state != Promotion.State.AWAITING_OWNER:
        raise StateConflictError(
            f"This promotion is {promotion.get_state_display().lower()}: nothing to decide."
        )
    if promotion.review_round != review_round:
        raise StateConflictError("It was asked again since you opened this page. Read it anew.")
    if promotion.approvals.filter(review_round=review_round, approver=actor).exists():
        raise StateConflictError("You have decided on this round already.")


def _sign(
    promotion: Promotion,
    actor: User,
    decision: Approval.Decision,
    meaning: Approval.Meaning,
    reason: str,
    authenticated_at: datetime,
    authenticated_by: str,
) -> Approval:
    """Write one person's decision, bound to the four digests it was made on."""
    return Approval.objects.create(
        promotion=promotion,
        review_round=promotion.review_round,
        decision=decision,
        approver=actor,
        approver_label=actor.as_actor().label,
        meaning=meaning,
        reason=reason,
        authenticated_by=authenticated_by,
        authenticated_at=authenticated_at,
        decided_at=now(),
        candidate_digest=promotion.release_id,
        base_digest=promotion.base_id or "",
        gate_report_digest=promotion.gate_report_id or "",
        gate_policy_digest=promotion.gate_policy.digest if promotion.gate_policy else "",
    )


@audit.atomic()
def approve_promotion(
    promotion_id: int,
    *,
    actor: User,
    review_round: int,
    reason: str,
    authenticated_at: datetime,
    authenticated_by: str = "password",
) -> Promotion:
    """Record one yes; the one that completes the quorum promotes in the same transaction."""
    promotion = lock_promotion(promotion_id)
    reason = require_reason(reason)
    _check_decidable(promotion, actor, review_round, authenticated_at)
    if actor.pk in rules.contributors(promotion):
        raise NotAllowedError("You helped to make this change, so somebody else must approve it.")
    stale = rules.staleness(promotion, live_release(promotion.workflow))
    if stale:
        raise StateConflictError(stale)
    blocking = rules.blocking_post_mortem(promotion.workflow, promotion.fixes_id)
    if blocking is not None:
        raise StateConflictError(f"The post-mortem “{blocking.title}” is not finished.")
    meaning = rules.meaning_for(actor, promotion)
    approval = _sign(
        promotion, actor, Approval.Decision.APPROVED, meaning, reason, authenticated_at,
        authenticated_by,
    )  # fmt: skip
    audit.record(
        "promotion.approved", promotion, actor=actor, workflow=promotion.workflow.slug,
        reason=reason, digest=promotion.release_id, before=promotion.base_id or "",
        after=promotion.release_id, meaning=meaning, round=review_round,
        authenticated_by=authenticated_by, authenticated_at=authenticated_at,
        references={
            "gate_report": approval.gate_report_digest, "gate_policy": approval.gate_policy_digest,
        },
    )  # fmt: skip
    if not rules.missing_approvals(promotion):
        promote(promotion, actor)
    return promotion


def promote(promotion: Promotion, actor: User) -> None:
    """Make an approved promotion live. The caller holds the locks and has checked the quorum."""
    workflow, moment, label = promotion.workflow, now(), actor.as_actor().label
    for previous in Promotion.objects.filter(workflow=workflow, state=Promotion.State.LIVE):
        previous.state = Promotion.State.SUPERSEDED
        previous.save(update_fields=["state"])
        audit.record(
            "promotion.superseded", previous, actor=actor, workflow=workflow.slug,
            digest=previous.release_id, by=promotion.pk,
        )  # fmt: skip
    promotion.close(Promotion.State.LIVE, by=label, at=moment, reason="The quorum was complete.")
    change = move(
        workflow, to=promotion.release, cause=LiveChange.Cause.PROMOTION, promotion=promotion,
        actor_label=label, at=moment,
    )  # fmt: skip
    audit.record(
        "promotion.went_live", promotion, actor=actor, workflow=workflow.slug,
        digest=promotion.release_id, before=promotion.base_id or "", after=promotion.release_id,
        seq=change.seq,
    )  # fmt: skip


@audit.atomic()
def reject_promotion(
    promotion_id: int,
    *,
    actor: User,
    review_round: int,
    reason: str,
    authenticated_at: datetime,
    authenticated_by: str = "password",
) -> Promotion:
    """Record a no, which closes the promotion."""
    promotion = lock_promotion(promotion_id)
    reason = require_reason(reason)
    _check_decidable(promotion, actor, review_round, authenticated_at)
    meaning = rules.meaning_for(actor, promotion)
    _sign(
        promotion, actor, Approval.Decision.REJECTED, meaning, reason, authenticated_at,
        authenticated_by,
    )  # fmt: skip
    promotion.close(Promotion.State.REJECTED, by=actor.as_actor().label, at=now(), reason=reason)
    audit.record(
        "promotion.rejected", promotion, actor=actor, workflow=promotion.workflow.slug,
        reason=reason, digest=promotion.release_id, meaning=meaning, round=review_round,
    )  # fmt: skip
    return promotion


@audit.atomic()
def roll_back(
    workflow: Workflow, *, actor: Actor | HasActor, reason: str, seen_seq: int | None = None
) -> Rollback:
    """Go back to the last known good. No gate, no approval, nothing but PostgreSQL is needed.

    Args:
        seen_seq: the live `seq` that the person was looking at; a second click then finds that
            somebody was faster instead of going back twice.
    """
    workflow = lock_workflow(workflow.pk)
    if isinstance(actor, User):
        require(actor, "workflow.roll_back", workflow)
    reason = require_reason(reason)
    live = live_release(workflow)
    if live is None:
        raise StateConflictError("Nothing is live in this workflow.")
    if seen_seq is not None and seen_seq != live.seq:
        raise StateConflictError(f"Somebody was faster: {live.release.name} is live now.")
    target = live.last_known_good
    if target is None:
        raise StateConflictError("There is no earlier good release to go back to.")
    moment = now()
    label = actor.label if isinstance(actor, Actor) else actor.as_actor().label
    bad = live.release
    change = move(
        workflow, to=target, cause=LiveChange.Cause.ROLLBACK,
        actor_label=label, at=moment, reason=reason,
    )  # fmt: skip
    rollback = Rollback.objects.create(
        change=change, workflow=workflow, from_release=bad, to_release=target, reason=reason,
        actor_label=label, done_at=moment,
    )  # fmt: skip
    Promotion.objects.filter(workflow=workflow, release=bad, state=Promotion.State.LIVE).update(
        state=Promotion.State.ROLLED_BACK
    )
    reinstated = (
        Promotion.objects.filter(
            workflow=workflow, release=target, state=Promotion.State.SUPERSEDED
        )
        .order_by("-closed_at")
        .first()
    )
    if reinstated is not None:
        reinstated.state = Promotion.State.LIVE
        reinstated.save(update_fields=["state"])
    audit.record(
        "rollback.done", rollback, actor=actor, workflow=workflow.slug, reason=reason,
        before=bad.pk, after=target.pk, seq=change.seq,
    )  # fmt: skip
    open_post_mortem(rollback, actor=actor)
    return rollback
