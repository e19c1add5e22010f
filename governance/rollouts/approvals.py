"""Deciding on a promotion: adopt, approve, reject; and making live what the quorum approved."""

from __future__ import annotations

from datetime import datetime, timedelta

from governance import audit
from governance.audit import Actor
from governance.audit.chain import HasActor
from governance.common.errors import InvalidInputError, NotAllowedError, StateConflictError
from governance.common.time import now
from governance.evals.models import GateReport
from governance.jobs.services import enqueue
from governance.people.models import User
from governance.people.permissions import require
from governance.people.signatures import sign
from governance.releases.models import Release
from governance.releases.services import verify_bytes
from governance.rollouts import freezes, outcomes, pilots, rules
from governance.rollouts.live import live_release, lock_promotion, lock_workflow, move
from governance.rollouts.models import Approval, LiveChange, Promotion
from governance.rollouts.rules import require_reason

Meaning = Approval.Meaning
WATCH_AFTER = timedelta(minutes=5)


@audit.atomic()
def adopt_as_found(
    release: Release,
    *,
    actor: User,
    reason: str,
    authenticated_at: datetime,
    authenticated_by: str = "password",
) -> Promotion:
    """Take what already runs under control, once per workflow; marked "not gated"."""
    workflow = lock_workflow(release.workflow_id)
    require(actor, "promotion.adopt", workflow)
    rules.require_fresh_login(authenticated_at)
    reason = require_reason(reason)
    if live_release(workflow) is not None:
        raise StateConflictError("This workflow is under control already: propose a promotion.")
    verify_bytes(release)
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
    approval = sign_decision(
        promotion, actor, Approval.Decision.APPROVED, Meaning.ACKNOWLEDGED, reason,
        authenticated_at, authenticated_by,
    )  # fmt: skip
    move(
        workflow, to=release, cause=LiveChange.Cause.ADOPT, promotion=promotion,
        actor_label=label, at=moment, reason=reason,
    )  # fmt: skip
    audit.record(
        "promotion.adopted", promotion, actor=actor, workflow=workflow.slug, reason=reason,
        digest=release.pk, after=release.pk,
        references={"signature": approval.signature_id or ""},
    )  # fmt: skip
    return promotion


def check_decidable(
    promotion: Promotion, actor: User, review_round: int, authenticated_at: datetime
) -> None:
    """Refuse a decision that is not this person's, not now, or not on what they were looking at."""
    require(actor, "promotion.approve", promotion)
    rules.require_fresh_login(authenticated_at)
    if not promotion.waits_for_approval:
        raise StateConflictError(
            f"This promotion is {promotion.get_state_display().lower()}: nothing to decide."
        )
    if promotion.review_round != review_round:
        raise StateConflictError("It was asked again since you opened this page. Read it anew.")
    if promotion.approvals.filter(review_round=review_round, approver=actor).exists():
        raise StateConflictError("You have decided on this round already.")


def sign_decision(
    promotion: Promotion,
    actor: User,
    decision: Approval.Decision,
    meaning: Approval.Meaning,
    reason: str,
    authenticated_at: datetime,
    authenticated_by: str,
) -> Approval:
    """Write one person's decision, bound to the four digests it was made on, and signed."""
    delegation = None
    if meaning in (Meaning.KPI_OWNER, Meaning.PILOT):
        delegation = rules.delegation_for(actor, promotion.workflow)
    digests = {
        "candidate_digest": promotion.release_id,
        "base_digest": promotion.base_id or "",
        "gate_report_digest": promotion.gate_report_id or "",
        "gate_policy_digest": promotion.gate_policy.digest if promotion.gate_policy else "",
    }
    signature = sign(
        actor,
        meaning,
        reason=reason,
        subject={
            "type": "promotion",
            "id": str(promotion.pk),
            "round": promotion.review_round,
            "workflow": promotion.workflow.slug,
            "decision": decision,
            **digests,
        },
        role=rules.role_in_words(actor, meaning, delegation),
        authenticated_at=authenticated_at,
        authenticated_by=authenticated_by,
        on_behalf_of=delegation.owner if delegation else None,
    )
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
        on_behalf_of=delegation.owner if delegation else None,
        delegation=delegation,
        signature=signature,
        **digests,
    )


def record_decision(verb: str, promotion: Promotion, approval: Approval) -> None:
    """One audit event per decision, with everything it was made on."""
    audit.record(
        verb, promotion, actor=approval.approver, workflow=promotion.workflow.slug,
        reason=approval.reason, digest=promotion.release_id, before=promotion.base_id or "",
        after=promotion.release_id, meaning=approval.meaning, round=approval.review_round,
        authenticated_by=approval.authenticated_by, authenticated_at=approval.authenticated_at,
        on_behalf_of=approval.on_behalf_of.as_actor().label if approval.on_behalf_of else "",
        delegation=approval.delegation_id,
        references={
            "gate_report": approval.gate_report_digest, "gate_policy": approval.gate_policy_digest,
            "signature": approval.signature_id or "",
        },
    )  # fmt: skip


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
    check_decidable(promotion, actor, review_round, authenticated_at)
    # First what asking again would mend: an edit that makes it out of date also bars its author.
    stale = rules.staleness_at_decision(promotion, live_release(promotion.workflow))
    if stale:
        raise StateConflictError(stale)
    refuse_contributors(promotion, actor)
    blocking = rules.blocking_post_mortem(promotion.workflow, promotion.fixes_id)
    if blocking is not None:
        raise StateConflictError(f"The post-mortem “{blocking.title}” is not finished.")
    freezes.refuse_frozen(promotion)
    if promotion.pilot_steps and promotion.state != Promotion.State.PILOTING:
        pilots.refuse_switched_off(promotion.workflow)
    verify_bytes(promotion.release)
    approval = sign_decision(
        promotion, actor, Approval.Decision.APPROVED, rules.meaning_for(actor, promotion), reason,
        authenticated_at, authenticated_by,
    )  # fmt: skip
    record_decision("promotion.approved", promotion, approval)
    if not rules.missing_approvals(promotion):
        promote(promotion, actor)
    return promotion


def refuse_contributors(promotion: Promotion, actor: User) -> None:
    """Nobody approves what they helped to make, nor does their delegate for them."""
    made_by = rules.contributors(promotion)
    if actor.pk in made_by:
        raise NotAllowedError("You helped to make this change, so somebody else must approve it.")
    delegation = rules.delegation_for(actor, promotion.workflow)
    if delegation is not None and delegation.owner_id in made_by:
        raise NotAllowedError(
            f"{delegation.owner} helped to make this change, so nobody approves it in their name."
        )


def promote(promotion: Promotion, actor: Actor | HasActor) -> None:
    """Let an approved promotion serve: its pilot first where it has one, else every case at once.

    The caller holds the locks and has checked the quorum; the database counts it again.
    """
    is_open_pilot = promotion.state == Promotion.State.PILOTING
    if promotion.pilot_steps and not is_open_pilot:
        pilots.open_pilot(promotion, actor=actor)
        return
    make_live(promotion, actor)


def make_live(promotion: Promotion, actor: Actor | HasActor) -> LiveChange:
    """Have the promotion's release serve every case."""
    workflow, moment = promotion.workflow, now()
    label = actor.label if isinstance(actor, Actor) else actor.as_actor().label
    pilots.complete_pilot(promotion)
    for previous in Promotion.objects.filter(workflow=workflow, state=Promotion.State.LIVE):
        previous.state = Promotion.State.SUPERSEDED
        previous.save(update_fields=["state"])
        audit.record(
            "promotion.superseded", previous, actor=actor, workflow=workflow.slug,
            digest=previous.release_id, by=promotion.pk,
        )  # fmt: skip
    promotion.close(
        Promotion.State.LIVE, by=label, at=moment, reason=_why_live(promotion),
    )  # fmt: skip
    change = move(
        workflow, to=promotion.release, cause=LiveChange.Cause.PROMOTION, promotion=promotion,
        actor_label=label, at=moment,
    )  # fmt: skip
    audit.record(
        "promotion.went_live", promotion, actor=actor, workflow=workflow.slug,
        digest=promotion.release_id, before=promotion.base_id or "", after=promotion.release_id,
        seq=change.seq, road=promotion.road,
    )  # fmt: skip
    enqueue(
        "rollouts.watch", f"promotion {promotion.pk} live", {"promotion": promotion.pk},
        run_at=moment + WATCH_AFTER,
    )  # fmt: skip
    if promotion.expected_kpi_id is not None:
        enqueue(
            "rollouts.outcome", f"promotion {promotion.pk}", {"promotion": promotion.pk},
            run_at=outcomes.due_at(moment),
        )  # fmt: skip
    return change


def _why_live(promotion: Promotion) -> str:
    if promotion.road == Promotion.Road.EMERGENCY:
        return f"Emergency change for {promotion.incident}."
    if promotion.road == Promotion.Road.STANDING:
        return "Within its standing approval."
    return "The quorum was complete."


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
    """Record a no, which closes the promotion and ends its pilot."""
    promotion = lock_promotion(promotion_id)
    reason = require_reason(reason)
    check_decidable(promotion, actor, review_round, authenticated_at)
    approval = sign_decision(
        promotion, actor, Approval.Decision.REJECTED, rules.meaning_for(actor, promotion), reason,
        authenticated_at, authenticated_by,
    )  # fmt: skip
    record_decision("promotion.rejected", promotion, approval)
    label = actor.as_actor().label
    if promotion.state == Promotion.State.PILOTING:
        pilots.end_pilot(promotion, actor=actor, why=reason)
    promotion.close(Promotion.State.REJECTED, by=label, at=now(), reason=reason)
    return promotion


@audit.atomic()
def open_evidence_pilot(
    promotion_id: int,
    *,
    actor: User,
    review_round: int,
    share: int,
    days: int,
    reason: str,
    authenticated_at: datetime,
    authenticated_by: str = "password",
) -> Promotion:
    """Serve a few cases to gather the evidence that the gate lacked; the KPI owner's decision.

    Args:
        share: basis points of the cases, at most 1,000.
        days: 1 to 14; then it stops by itself.
    """
    promotion = lock_promotion(promotion_id)
    reason = require_reason(reason)
    require(actor, "promotion.open_pilot", promotion)
    rules.require_fresh_login(authenticated_at)
    if not 1 <= share <= pilots.LARGEST_EVIDENCE_SHARE or not 1 <= days <= pilots.LONGEST_DAYS:
        raise InvalidInputError("A pilot serves at most 10 % of the cases, for at most 14 days.")
    report = promotion.gate_report
    if (
        promotion.state != Promotion.State.REFUSED
        or report is None
        or report.verdict != GateReport.Verdict.NOT_ENOUGH_EVIDENCE
    ):
        raise StateConflictError(
            "A pilot gathers what the gate lacks: it opens only after “not enough evidence”."
        )
    if promotion.review_round != review_round:
        raise StateConflictError("It was asked again since you opened this page. Read it anew.")
    others = Promotion.objects.open().filter(workflow=promotion.workflow).exclude(pk=promotion.pk)
    if others.exists():
        raise StateConflictError("Another promotion of this workflow is open.")
    refuse_contributors(promotion, actor)
    stale = rules.staleness(promotion, live_release(promotion.workflow))
    if stale:
        raise StateConflictError(stale)
    if promotion.base is None:
        raise StateConflictError("A pilot needs a stable release beside it.")
    blocking = rules.blocking_post_mortem(promotion.workflow, promotion.fixes_id)
    if blocking is not None:
        raise StateConflictError(f"The post-mortem “{blocking.title}” is not finished.")
    freezes.refuse_frozen(promotion)
    pilots.refuse_switched_off(promotion.workflow)
    verify_bytes(promotion.release)
    promotion.road = Promotion.Road.PILOT
    promotion.standing = None  # from here on it goes by the owner's own decision
    promotion.save(update_fields=["road", "standing"])
    approval = sign_decision(
        promotion, actor, Approval.Decision.APPROVED, Meaning.PILOT, reason, authenticated_at,
        authenticated_by,
    )  # fmt: skip
    record_decision("promotion.pilot_opened", promotion, approval)
    pilots.open_pilot(promotion, actor=actor, share=share, days=days)
    return promotion
