"""Asking for a release to become live, the gate's verdict on it, and taking the request back."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from governance import audit
from governance.audit import Actor
from governance.common.errors import InvalidInputError, StateConflictError
from governance.common.time import now
from governance.evals import services as evals
from governance.evals.models import EvalRun, GateReport
from governance.evals.targets import TargetError
from governance.jobs.services import enqueue
from governance.kpis.models import Kpi
from governance.people.models import ApiToken, User
from governance.people.permissions import can, require
from governance.releases.diff import ReleaseDiff, compare, documents_changed
from governance.releases.models import Release, Slot
from governance.releases.services import verify_bytes
from governance.rollouts import pilots, rules
from governance.rollouts.approvals import promote
from governance.rollouts.live import live_release, lock_promotion, lock_workflow
from governance.rollouts.models import PostMortem, Promotion
from governance.rollouts.road_models import StandingApproval
from governance.rollouts.rules import require_reason
from governance.rollouts.standing import SYSTEM as STANDING_ACTOR
from governance.rollouts.standing import blocked, lock_standing, misfit

PROPOSED = (Promotion.Road.PROMOTION, Promotion.Road.MAINTENANCE, Promotion.Road.STANDING)


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the change is meant to do to one KPI.

    `change` is in the KPI's unit, rates in percentage points (-2.0 is two points fewer).
    """

    kpi: Kpi
    change: float
    note: str = ""


@audit.atomic()
def propose_promotion(
    release: Release,
    *,
    actor: User | ApiToken,
    rationale: str,
    fixes: PostMortem | None = None,
    road: str = Promotion.Road.PROMOTION,
    pilot_steps: Sequence[Mapping[str, Any]] = (),
    expects: Expectation | None = None,
    standing: StandingApproval | None = None,
) -> Promotion:
    """Ask for a release to become live. Its evals start; the gate judges when they are done.

    The JSON API checks a token's scope before it calls this; no token can approve.

    Args:
        road: promotion, maintenance or standing; the others have their own doors.
        pilot_steps: how it reaches every case, see `pilots.checked_steps`; empty is at once.
        standing: the standing approval this is a use of; the road is standing then.
    """
    workflow = lock_workflow(release.workflow_id)
    if isinstance(actor, User):
        require(actor, "promotion.propose", workflow)
    open_one = Promotion.objects.open().filter(workflow=workflow).first()
    if open_one is not None:
        raise StateConflictError(
            f"Promotion {open_one.pk} of this workflow is open. Decide or withdraw it first."
        )
    if standing is not None:
        standing = lock_standing(standing.pk)
        road = Promotion.Road.STANDING
        pilot_steps = standing.pilot_steps
    if road not in PROPOSED or (road == Promotion.Road.STANDING) != (standing is not None):
        raise InvalidInputError("Propose a promotion, a maintenance change, or a standing change.")
    promotion = Promotion(
        workflow=workflow, release=release, fixes=fixes, review_round=0, road=road,
        standing=standing, state=Promotion.State.EVALUATING, risk=Promotion.Risk.LOW,
        pilot_steps=pilots.checked_steps(pilot_steps),
    )  # fmt: skip
    if expects is not None:
        _expect(promotion, expects)
    difference = _ask(promotion, actor, rationale)
    if standing is not None and (why := misfit(standing, promotion, difference)):
        raise StateConflictError(f"It does not fit the standing approval. {why}")
    audit.record(
        "promotion.proposed", promotion, actor=actor, workflow=workflow.slug,
        reason=promotion.rationale, digest=release.pk, before=promotion.base_id or "",
        after=release.pk, risk=promotion.risk, risk_reasons=promotion.risk_reasons,
        round=promotion.review_round, fixes=fixes.pk if fixes else None, road=promotion.road,
        pilot_steps=promotion.pilot_steps, standing=standing.pk if standing else None,
        expected={
            "kpi": str(promotion.expected_kpi), "change": promotion.expected_change,
            "note": promotion.expected_note,
        } if promotion.expected_kpi else None,
    )  # fmt: skip
    return promotion


def _expect(promotion: Promotion, expects: Expectation) -> None:
    if expects.kpi.workflow_id != promotion.workflow_id:
        raise InvalidInputError("The expected effect names a KPI of another workflow.")
    if not isfinite(expects.change) or expects.change == 0 or abs(expects.change) > 1e9:
        raise InvalidInputError("The expected effect is a number other than zero, such as -2.")
    promotion.expected_kpi = expects.kpi
    promotion.expected_change = expects.change
    promotion.expected_note = expects.note.strip()[:300]


@audit.atomic()
def repropose_promotion(promotion_id: int, *, actor: User, rationale: str) -> Promotion:
    """Ask again in a new round, against what is live now. Old approvals do not carry over."""
    promotion = lock_promotion(promotion_id)
    require(actor, "promotion.propose", promotion.workflow)
    again = (
        Promotion.State.WITHDRAWN, Promotion.State.REFUSED, Promotion.State.REJECTED,
        Promotion.State.AWAITING_OWNER, Promotion.State.STOPPED,
    )  # fmt: skip
    if promotion.state not in again:
        raise StateConflictError(
            f"This promotion is {promotion.get_state_display().lower()}: it cannot be asked again."
        )
    others = Promotion.objects.open().filter(workflow=promotion.workflow).exclude(pk=promotion.pk)
    if others.exists():
        raise StateConflictError("Another promotion of this workflow is open.")
    if promotion.road == Promotion.Road.PILOT:
        is_maintenance = _is_maintenance(promotion)
        promotion.road = Promotion.Road.MAINTENANCE if is_maintenance else Promotion.Road.PROMOTION
    _ask(promotion, actor, rationale)
    audit.record(
        "promotion.reproposed", promotion, actor=actor, workflow=promotion.workflow.slug,
        reason=promotion.rationale, digest=promotion.release_id, before=promotion.base_id or "",
        after=promotion.release_id, round=promotion.review_round,
    )  # fmt: skip
    return promotion


def _ask(promotion: Promotion, actor: User | ApiToken, rationale: str) -> ReleaseDiff:
    """Check and write what is asked, against what is live now, and start the evals."""
    workflow, release = promotion.workflow, promotion.release
    promotion.rationale = require_reason(rationale)
    verify_bytes(release)
    fixes = promotion.fixes
    if fixes is not None and (
        fixes.finished_at is not None or fixes.rollback.workflow_id != workflow.pk
    ):
        raise InvalidInputError("That post-mortem is finished, or of another workflow.")
    blocking = rules.blocking_post_mortem(workflow, promotion.fixes_id)
    if blocking is not None:
        way = "Finish it first, or propose this promotion as its fix."
        if fixes is not None:
            way = "Finish it first: a promotion is the fix of one post-mortem only."
        raise StateConflictError(f"The post-mortem “{blocking.title}” is not finished. {way}")
    live = live_release(workflow)
    base = live.release if live else None
    if base is not None and base.pk == release.pk:
        raise StateConflictError(f"{release.name} is live already.")
    if base is None and promotion.pilot_steps:
        raise InvalidInputError("A pilot needs a stable release beside it, and nothing is live.")
    difference = compare(base.contents() if base else {}, release.contents())
    if difference.is_empty:
        raise InvalidInputError("There is no difference from what is live.")
    if promotion.road == Promotion.Road.MAINTENANCE and Slot.MODEL not in {
        slot.slot for slot in difference.changed
    }:
        raise InvalidInputError(
            "A maintenance change replaces the model. This one does not touch it: propose a"
            " promotion."
        )
    policy = evals.current_policy(workflow, difference.risk)
    if policy is None:
        raise StateConflictError(
            "This workflow has no confirmed gate policy. One person proposes it, another confirms."
        )
    if promotion.road == Promotion.Road.MAINTENANCE and not policy.content.get("guardrails"):
        raise StateConflictError(
            "A maintenance change is judged on the guardrails of the gate policy, and it has none."
        )
    promotion.base = base
    promotion.base_seq = live.seq if live else 0
    promotion.review_round += 1
    promotion.state = Promotion.State.EVALUATING
    promotion.risk = difference.risk
    promotion.risk_reasons = list(difference.reasons)
    promotion.documents_changed = documents_changed(
        base.contents() if base else {}, release.contents()
    )
    promotion.requested_by = actor if isinstance(actor, User) else None
    promotion.requested_by_label = actor.as_actor().label
    promotion.requested_at = now()
    promotion.gate_policy = promotion.gate_report = promotion.gate_judged_at = None
    promotion.closed_by_label = promotion.closing_reason = ""
    promotion.closed_at = None
    promotion.save()
    _start_evals(promotion, actor)
    return difference


def _start_evals(promotion: Promotion, actor: User | ApiToken) -> None:
    _ask_for_missing_runs(promotion, actor)
    # Where every run was finished before, nothing else would wake the gate.
    enqueue(
        "rollouts.gate", f"promotion {promotion.pk} round {promotion.review_round}",
        {"promotion": promotion.pk},
    )  # fmt: skip


def _ask_for_missing_runs(promotion: Promotion, actor: Actor | User | ApiToken) -> None:
    """Ask for what the newest suites lack. The same round asks for each of their versions once."""
    release, base = promotion.release, promotion.base
    for kind, suite in evals.evidence_suites(promotion.workflow).items():
        runs = evals.comparable_runs(release, base, suite)
        for side, run in zip((release, base), runs, strict=True):
            if side is not None and run is None:
                evals.request_run(
                    side, suite, actor=actor, purpose="promotion",
                    slot=f"promotion {promotion.pk} round {promotion.review_round}"
                         f" {kind} v{suite.version} {side.name}",
                )  # fmt: skip


@audit.atomic()
def ask_gate_again(promotion_id: int, *, actor: User) -> Promotion:
    """Have the gate of a running pilot judged anew, in a new round. The pilot goes on meanwhile."""
    promotion = lock_promotion(promotion_id)
    if not can(actor, "promotion.open_pilot", promotion):
        require(actor, "promotion.propose", promotion.workflow)
    if promotion.state != Promotion.State.PILOTING or promotion.road != Promotion.Road.PILOT:
        raise StateConflictError("Only a pilot that gathers evidence asks its gate again.")
    stale = rules.staleness(promotion, live_release(promotion.workflow), ignore_policy=True)
    if stale:
        raise StateConflictError(stale)
    promotion.review_round += 1
    promotion.requested_at = now()  # margins confirmed before this round are no late edits
    promotion.save(update_fields=["review_round", "requested_at"])
    _start_evals(promotion, actor)
    audit.record(
        "promotion.reproposed", promotion, actor=actor, workflow=promotion.workflow.slug,
        digest=promotion.release_id, round=promotion.review_round, pilot=True,
    )  # fmt: skip
    return promotion


def judge_promotion(promotion_id: int) -> Promotion:
    """Judge the gate once every run it needs has ended. Safe to call at any time, any number."""
    promotion = Promotion.objects.for_page().get(pk=promotion_id)
    if not _waits_for_gate(promotion) or _runs_open(promotion):
        return promotion
    # A suite may have been frozen since the round began: its newest version judges. Where only
    # results of another tool count, nobody can be asked for more.
    with contextlib.suppress(TargetError), audit.atomic():
        _ask_for_missing_runs(promotion, Actor.system("gate"))
    if _runs_open(promotion):
        return promotion
    policy = evals.current_policy(promotion.workflow, promotion.risk)
    if policy is None:
        raise StateConflictError("This workflow has no confirmed gate policy.")

    def check() -> None:
        fresh = Promotion.objects.get(pk=promotion_id)
        if not _waits_for_gate(fresh) or fresh.review_round != promotion.review_round:
            raise _JudgedMeanwhileError

    try:
        with audit.atomic():
            # The arithmetic happens before the lock: a rollback never waits for it. Verdict and
            # report come together, so that who asked at the same time counts no second attempt.
            report = evals.judge(
                promotion.workflow, promotion.release, promotion.base, policy,
                is_maintenance=_is_maintenance(promotion),
                pilot=pilots.gathered(promotion), check=check,
            )  # fmt: skip
            return _take_verdict(promotion_id, promotion.review_round, report)
    except _JudgedMeanwhileError:
        return Promotion.objects.for_page().get(pk=promotion_id)


class _JudgedMeanwhileError(Exception):
    """Another worker took the verdict of this round."""


def _is_maintenance(promotion: Promotion) -> bool:
    """Nothing has to become better; also where it became a pilot on the way."""
    if promotion.road != Promotion.Road.PILOT:
        return promotion.road == Promotion.Road.MAINTENANCE
    report = promotion.gate_report
    return report is not None and report.content.get("road") == "maintenance"


def _waits_for_gate(promotion: Promotion) -> bool:
    """Evaluating; or a pilot that asked again and whose newest report is from an older round."""
    if promotion.state == Promotion.State.EVALUATING:
        return True
    return (
        promotion.state == Promotion.State.PILOTING
        and promotion.road == Promotion.Road.PILOT
        and promotion.gate_round < promotion.review_round
    )


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
        not _waits_for_gate(promotion)
        or promotion.review_round != review_round
        or promotion.base_id != report.base_id
    ):
        return promotion
    gate = Actor.system("gate")
    passed = report.verdict == GateReport.Verdict.PASS
    sentence = str(report.content.get("sentence", ""))
    is_pilot = promotion.state == Promotion.State.PILOTING
    promotion.gate_report = report
    promotion.gate_policy = report.policy
    promotion.gate_judged_at = now()
    promotion.gate_round = review_round
    if passed and not is_pilot:
        promotion.state = Promotion.State.AWAITING_OWNER
    promotion.save(
        update_fields=["gate_report", "gate_policy", "gate_judged_at", "gate_round", "state"]
    )
    audit.record(
        "promotion.gate_passed" if passed else "promotion.gate_refused", promotion, actor=gate,
        workflow=promotion.workflow.slug, reason=sentence, digest=promotion.release_id,
        references={"gate_report": report.pk, "gate_policy": report.policy.digest},
        verdict=report.verdict, attempt=report.attempt, round=review_round,
    )  # fmt: skip
    if is_pilot and report.verdict == GateReport.Verdict.FAIL:
        # It was opened because harm could not be seen. Now it is seen.
        pilots.stop(promotion, actor=gate, why=sentence or "The gate failed.")
    elif not passed and not is_pilot:
        promotion.close(
            Promotion.State.REFUSED,
            by=gate.label,
            at=now(),
            reason=sentence or report.get_verdict_display(),
        )
    elif passed and promotion.standing is not None:
        _go_by_itself(promotion, lock_standing(promotion.standing.pk))
    return promotion


def _go_by_itself(promotion: Promotion, standing: StandingApproval) -> None:
    """Use the standing approval; where it does not fit any more, the owner decides as always."""
    base = promotion.base
    difference = compare(base.contents() if base else {}, promotion.release.contents())
    live = live_release(promotion.workflow)
    why = rules.staleness(promotion, live) or blocked(standing, promotion, difference)
    if not why:
        promote(promotion, STANDING_ACTOR)
        return
    promotion.road = Promotion.Road.PROMOTION
    promotion.standing = None
    promotion.save(update_fields=["road", "standing"])
    audit.record(
        "promotion.standing_held", promotion, actor=STANDING_ACTOR,
        workflow=promotion.workflow.slug, reason=why, digest=promotion.release_id,
        standing=standing.pk,
    )  # fmt: skip


@audit.atomic()
def withdraw_promotion(promotion_id: int, *, actor: User, reason: str) -> Promotion:
    """Take an open request back."""
    promotion = lock_promotion(promotion_id)
    require(actor, "promotion.propose", promotion.workflow)
    reason = require_reason(reason)
    if promotion.state not in (Promotion.State.EVALUATING, Promotion.State.AWAITING_OWNER):
        raise StateConflictError(
            "Stop the pilot instead: it serves cases now."
            if promotion.is_open
            else f"This promotion is {promotion.get_state_display().lower()} already."
        )
    promotion.close(Promotion.State.WITHDRAWN, by=actor.as_actor().label, at=now(), reason=reason)
    audit.record(
        "promotion.withdrawn", promotion, actor=actor, workflow=promotion.workflow.slug,
        reason=reason, digest=promotion.release_id, round=promotion.review_round,
    )  # fmt: skip
    return promotion
