"""Rows as the facts of a pack: JSON values only, in the words of the product."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from governance.evals.models import EvalRun
from governance.releases.comparing import compare_releases
from governance.rollouts.models import Approval, PostMortem, Promotion, Rollback
from governance.rollouts.pilot_models import GuardDecision, Pilot
from governance.rollouts.population import Member
from governance.rollouts.recovery_models import Convergence
from governance.rollouts.road_models import FreezeException, PromotionOutcome, StandingApproval


def plain(value: Any) -> Any:
    """A value of a row as JSON: times as ISO text, decimals as text."""
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    return value


def columns(row: Any, *names: str) -> dict[str, Any]:
    """These columns of a row."""
    return {name: plain(getattr(row, name)) for name in names}


def promotion_facts(promotion: Promotion) -> dict[str, Any]:
    """The request with everything decided about it but the decisions, which are signed."""
    found = columns(
        promotion, "road", "state", "review_round", "risk", "risk_reasons", "rationale",
        "requested_by_label", "requested_at", "gate_judged_at", "base_seq", "pilot_steps",
        "documents_changed", "incident", "ratify_by", "ratified_at", "expected_change",
        "expected_note", "closed_by_label", "closed_at", "closing_reason",
    )  # fmt: skip
    policy = promotion.gate_policy
    return {
        **found,
        "id": promotion.pk,
        "workflow": promotion.workflow.slug,
        "workflow_name": promotion.workflow.name,
        "candidate": {"name": promotion.release.name, "digest": promotion.release_id},
        "base": {"name": promotion.base.name, "digest": promotion.base_id}
        if promotion.base
        else None,
        "gate_report": promotion.gate_report_id,
        "gate_verdict": promotion.gate_report.verdict if promotion.gate_report else None,
        "gate_policy": policy.digest if policy else None,
        "expected_kpi": promotion.expected_kpi.name if promotion.expected_kpi else None,
        "fixes_post_mortem": promotion.fixes_id,
        "standing_approval": _standing(promotion.standing),
        "pilot": _pilot(promotion),
        "outcome": _outcome(promotion),
        "freeze_exceptions": [_exception(row) for row in promotion.freeze_exceptions.all()],
    }


def _standing(standing: StandingApproval | None) -> dict[str, Any] | None:
    if standing is None:
        return None
    return {
        "id": standing.pk,
        "signature": standing.signature_id,
        **columns(
            standing, "title", "slot", "most_documents_changed", "pilot_steps", "uses_per_week",
            "valid_from", "valid_to", "revoked_at", "revoked_by_label", "revoking_reason",
        ),
    }  # fmt: skip


def _pilot(promotion: Promotion) -> dict[str, Any] | None:
    pilot = Pilot.objects.filter(promotion=promotion).first()
    if pilot is None:
        return None
    return columns(
        pilot, "state", "algorithm", "salt", "steps", "step", "opened_at", "ends_at", "rules",
        "paused_reason", "closed_at", "stopped_by_label", "what_happened", "what_next",
    )  # fmt: skip


def _outcome(promotion: Promotion) -> dict[str, Any] | None:
    outcome = PromotionOutcome.objects.filter(promotion=promotion).first()
    if outcome is None:
        return None
    return columns(
        outcome, "verdict", "before", "after", "change", "low", "high", "runs_before",
        "runs_after", "sentence", "measured_at",
    )  # fmt: skip


def _exception(row: FreezeException) -> dict[str, Any]:
    return {
        "window": row.window.name,
        "signature": row.signature_id,
        "granted_by": row.granted_by.as_actor().label,
        **columns(row, "reason", "granted_at"),
    }


def decision_facts(approval: Approval) -> dict[str, Any]:
    """One person's decision, with the digests it holds for and its signature."""
    behalf = approval.on_behalf_of
    return {
        "promotion": approval.promotion_id,
        "signature": approval.signature_id or "",
        "on_behalf_of": behalf.as_actor().label if behalf else "",
        "delegation_signature": approval.delegation.signature_id if approval.delegation else "",
        **columns(
            approval, "review_round", "decision", "approver_label", "meaning", "reason",
            "authenticated_by", "authenticated_at", "decided_at", "candidate_digest",
            "base_digest", "gate_report_digest", "gate_policy_digest",
        ),
    }  # fmt: skip


def run_facts(run: EvalRun) -> dict[str, Any]:
    """What came of one release on one suite. The single cases stay in Countersign."""
    return {
        "id": run.pk,
        "suite": run.suite.kind,
        "suite_version": run.suite.version,
        "suite_digest": run.suite.digest,
        "release": run.release_id,
        **columns(
            run, "evaluator", "purpose", "state", "requested_by_label", "requested_at",
            "started_at", "finished_at", "cases_total", "cases_done", "errors", "cost", "summary",
        ),
    }  # fmt: skip


def guard_facts(decision: GuardDecision) -> dict[str, Any]:
    return columns(
        decision, "step", "share", "verdict", "action", "rule", "evidence", "sentence",
        "decided_at",
    )  # fmt: skip


def change_facts(member: Member) -> dict[str, Any]:
    """One change of what was live, with the audit event that tells of it."""
    change = member.change
    return {
        "workflow": change.workflow.slug,
        "from": change.from_release_id,
        "to": change.to_release_id,
        "pilot": change.pilot_release_id,
        "promotion": change.promotion_id,
        "signature": member.signature,
        "audit_event": member.event.seq if member.event else None,
        "audit_verb": member.event.verb if member.event else None,
        **columns(
            change, "seq", "cause", "pilot_share", "switched_off", "reason", "changed_at",
            "actor_label",
        ),
    }  # fmt: skip


def rollback_facts(rollback: Rollback) -> dict[str, Any]:
    """A rollback, how fast it was served, and its post-mortem."""
    served = Convergence.objects.filter(rollback=rollback).first()
    post_mortem = PostMortem.objects.filter(rollback=rollback).first()
    return {
        "id": rollback.pk,
        "workflow": rollback.workflow.slug,
        "seq": rollback.change.seq,
        "from": rollback.from_release_id,
        "to": rollback.to_release_id,
        "served": columns(served, "clicked_at", "served_at") if served else None,
        "post_mortem": _post_mortem(post_mortem) if post_mortem else None,
        **columns(rollback, "reason", "actor_label", "done_at"),
    }


def _post_mortem(row: PostMortem) -> dict[str, Any]:
    return {
        "id": row.pk,
        "owner": row.owner.as_actor().label,
        "submitted_by": row.submitted_by.as_actor().label if row.submitted_by else None,
        "finished_by": row.finished_by.as_actor().label if row.finished_by else None,
        "actions": [
            {
                "owner": action.owner.as_actor().label if action.owner else None,
                **columns(action, "text", "due_on", "done_at"),
            }
            for action in row.actions.select_related("owner")
        ],
        **columns(
            row, "title", "timeline", "cause", "impact", "opened_at", "due_at", "impact_runs",
            "impact_money", "impact_kpi", "submitted_at", "finished_at",
        ),
    }  # fmt: skip


def changes_in_words(promotion: Promotion) -> str:
    """What the promotion changes, slot by slot, as the page says it."""
    base, candidate = promotion.base, promotion.release
    diff = compare_releases(base, candidate)
    lines = [
        f"What promotion {promotion.pk} changes in {promotion.workflow.name}",
        "",
        f"From: {base.name + ' ' + base.pk if base else 'nothing was live before'}",
        f"To:   {candidate.name} {candidate.pk}",
        f"Risk, computed from the difference: {diff.risk}",
        *(f"  because: {reason}" for reason in diff.reasons),
        "",
    ]
    for slot in diff.slots:
        lines.append(f"{slot.name}: {'' if slot.differs else 'no change'}".rstrip())
        lines.extend(f"  - {change.sentence}" for change in slot.changes)
        if slot.lines:
            lines.append("")
            lines.extend(f"    {mark} {text}" for mark, text in slot.lines)
            lines.append("")
    return "\n".join(lines) + "\n"
