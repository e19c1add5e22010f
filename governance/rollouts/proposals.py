"""Asking for a release to become live, the gate's verdict on it, and taking the request back."""

from __future__ import annotations

from governance import audit
from governance.audit import Actor
from governance.common.errors import InvalidInputError, StateConflictError
from governance.common.time import now
from governance.evals import services as evals
from governance.evals.models import EvalRun, GateReport
from governance.jobs.services import enqueue
from governance.people.models import ApiToken, User
from governance.people.permissions import require
from governance.releases.diff import compare
from governance.releases.models import Release
from governance.rollouts import rules
from governance.rollouts.live import live_release, lock_promotion, lock_workflow
from governance.rollouts.models import PostMortem, Promotion
from governance.rollouts.rules import require_reason


@audit.atomic()
def propose_promotion(
    release: Release,
    *,
    actor: User | ApiToken,
    rationale: str,
    fixes: PostMortem | None = None,
) -> Promotion:
    """Ask for a release to become live. Its evals start; the gate judges when they are done.

    The JSON API checks a token's scope before it calls this; no token can approve.
    """
    workflow = lock_workflow(release.workflow_id)
    if isinstance(actor, User):
        require(actor, "promotion.propose", workflow)
    open_one = Promotion.objects.open().filter(workflow=workflow).first()
    if open_one is not None:
        raise StateConflictError(
            f"Promotion {open_one.pk} of this workflow is open. Decide or withdraw it first."
        )
    promotion = Promotion(
        workflow=workflow, release=release, fixes=fixes, review_round=0,
        state=Promotion.State.EVALUATING, risk=Promotion.Risk.LOW,
    )  # fmt: skip
    _ask(promotion, actor, rationale)
    audit.record(
        "promotion.proposed", promotion, actor=actor, workflow=workflow.slug,
        reason=promotion.rationale, digest=release.pk, before=promotion.base_id or "",
        after=release.pk, risk=promotion.risk, risk_reasons=promotion.risk_reasons,
        round=promotion.review_round, fixes=fixes.pk if fixes else None,
    )  # fmt: skip
    return promotion


@audit.atomic()
def repropose_promotion(promotion_id: int, *, actor: User, rationale: str) -> Promotion:
    """Ask again in a new round, against what is live now. Old approvals do not carry over."""
    promotion = lock_promotion(promotion_id)
    require(actor, "promotion.propose", promotion.workflow)
    again = (
        Promotion.State.WITHDRAWN, Promotion.State.REFUSED, Promotion.State.REJECTED,
        Promotion.State.AWAITING_OWNER,
    )  # fmt: skip
    if promotion.state not in again:
        raise StateConflictError(
            f"This promotion is {promotion.get_state_display().lower()}: it cannot be asked again."
        )
    others = Promotion.objects.open().filter(workflow=promotion.workflow).exclude(pk=promotion.pk)
    if others.exists():
        raise StateConflictError("Another promotion of this workflow is open.")
    _ask(promotion, actor, rationale)
    audit.record(
        "promotion.reproposed", promotion, actor=actor, workflow=promotion.workflow.slug,
        reason=promotion.rationale, digest=promotion.release_id, before=promotion.base_id or "",
        after=promotion.release_id, round=promotion.review_round,
    )  # fmt: skip
    return promotion


def _ask(promotion: Promotion, actor: User | ApiToken, rationale: str) -> None:
    """Check and write what is asked, against what is live now, and start the evals."""
    workflow, release = promotion.workflow, promotion.release
    promotion.rationale = require_reason(rationale)
    fixes = promotion.fixes
    if fixes is not None and (
        fixes.finished_at is not None or fixes.rollback.workflow_id != workflow.pk
    ):
        raise InvalidInputError("That post-mortem is finished, or of another workflow.")
    blocking = rules.blocking_post_mortem(workflow, promotion.fixes_id)
    if blocking is not None:
        raise StateConflictError(
            f"The post-mortem “{blocking.title}” is not finished. Finish it first, or propose"
            " this promotion as its fix."
        )
    live = live_release(workflow)
    base = live.release if live else None
    if base is not None and base.pk == release.pk:
        raise StateConflictError(f"{release.name} is live already.")
    difference = compare(base.contents() if base else {}, release.contents())
    if difference.is_empty:
        raise InvalidInputError("There is no difference from what is live.")
    policy = evals.current_policy(workflow)
    if policy is None:
        raise StateConflictError(
            "This workflow has no confirmed gate policy. One person proposes it, another confirms."
        )
    promotion.base = base
    promotion.base_seq = live.seq if live else 0
    promotion.review_round += 1
    promotion.state = Promotion.State.EVALUATING
    promotion.risk = difference.risk
    promotion.risk_reasons = list(difference.reasons)
    promotion.requested_by = actor if isinstance(actor, User) else None
    promotion.requested_by_label = actor.as_actor().label
    promotion.requested_at = now()
    promotion.gate_policy = promotion.gate_report = promotion.gate_judged_at = None
    promotion.closed_by_label = promotion.closing_reason = ""
    promotion.closed_at = None
    promotion.save()
    for kind, suite in evals.evidence_suites(workflow).items():
        for side in (release, base):
            if side is not None and evals.finished_run(side, suite) is None:
                evals.request_run(
                    side, suite, actor=actor, purpose="promotion",
                    slot=f"promotion {promotion.pk} round {promotion.review_round}"
                         f" {kind} {side.name}",
                )  # fmt: skip
    # Where every run was finished before, nothing else would wake the gate.
    enqueue(
        "rollouts.gate", f"promotion {promotion.pk} round {promotion.review_round}",
        {"promotion": promotion.pk},
    )  # fmt: skip


def judge_promotion(promotion_id: int) -> Promotion:
    """Judge the gate once every run it needs has ended. Safe to call at any time, any number."""
    promotion = Promotion.objects.for_page().get(pk=promotion_id)
    if promotion.state != Promotion.State.EVALUATING or _runs_open(promotion):
        return promotion
    policy = evals.current_policy(promotion.workflow)
    if policy is None:
        raise StateConflictError("This workflow has no confirmed gate policy.")
    # The arithmetic happens before the lock: a rollback never waits for it.
    report = evals.judge(promotion.workflow, promotion.release, promotion.base, policy)
    return _take_verdict(promotion_id, promotion.review_round, report)


def _runs_open(promotion: Promotion) -> bool:
    suites = evals.evidence_suites(promotion.workflow).values()
    sides = [side for side in (promotion.release, promotion.base) if side is not None]
    return EvalRun.objects.filter(
        suite__in=[suite.pk for suite in suites],
        release__in=sides,
        state__in=(EvalRun.State.WAITING, EvalRun.State.RUNNING),
    ).exists()


@audit.atomic()
def _take_verdict(promotion_id: int, review_round: int, report: GateReport) -> Promotion:
    promotion = lock_promotion(promotion_id)
    if (
        promotion.state != Promotion.State.EVALUATING
        or promotion.review_round != review_round
        or promotion.base_id != report.base_id
    ):
        return promotion
    gate = Actor.system("gate")
    passed = report.verdict == GateReport.Verdict.PASS
    sentence = str(report.content.get("sentence", ""))
    promotion.gate_report = report
    promotion.gate_policy = report.policy
    promotion.gate_judged_at = now()
    if passed:
        promotion.state = Promotion.State.AWAITING_OWNER
    promotion.save(update_fields=["gate_report", "gate_policy", "gate_judged_at", "state"])
    if not passed:
        promotion.close(
            Promotion.State.REFUSED,
            by=gate.label,
            at=now(),
            reason=sentence or report.get_verdict_display(),
        )
    audit.record(
        "promotion.gate_passed" if passed else "promotion.gate_refused", promotion, actor=gate,
        workflow=promotion.workflow.slug, reason=sentence, digest=promotion.release_id,
        references={"gate_report": report.pk, "gate_policy": report.policy.digest},
        verdict=report.verdict, attempt=report.attempt, round=review_round,
    )  # fmt: skip
    return promotion


@audit.atomic()
def withdraw_promotion(promotion_id: int, *, actor: User, reason: str) -> Promotion:
    """Take an open request back."""
    promotion = lock_promotion(promotion_id)
    require(actor, "promotion.propose", promotion.workflow)
    reason = require_reason(reason)
    if not promotion.is_open:
        raise StateConflictError(
            f"This promotion is {promotion.get_state_display().lower()} already."
        )
    promotion.close(Promotion.State.WITHDRAWN, by=actor.as_actor().label, at=now(), reason=reason)
    audit.record(
        "promotion.withdrawn", promotion, actor=actor, workflow=promotion.workflow.slug,
        reason=reason, digest=promotion.release_id, round=promotion.review_round,
    )  # fmt: skip
    return promotion
