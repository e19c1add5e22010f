"""Pilots: a promotion serving a share of the cases beside the stable release.

Opening and widening stand on approvals, which the database counts. Stopping stands on nothing: it
is a step back.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from governance import audit
from governance.audit import Actor
from governance.audit.chain import HasActor
from governance.common.errors import InvalidInputError, StateConflictError
from governance.common.time import now
from governance.evals.gate_beside import PilotEvidence
from governance.jobs.services import enqueue
from governance.people.models import User
from governance.people.permissions import require
from governance.releases.models import LiveRelease
from governance.rollouts import freezes, rules
from governance.rollouts.assignment import ALGORITHM
from governance.rollouts.live import PilotShare, live_release, lock_promotion, move
from governance.rollouts.models import LiveChange, Promotion
from governance.rollouts.pilot_models import GuardDecision, Pilot
from governance.rollouts.rules import require_reason
from governance.workflows.models import Workflow

LARGEST_EVIDENCE_SHARE = 1_000  # basis points, on the pilot road
LONGEST_DAYS = 14
GUARD_EVERY = timedelta(minutes=1)
MOST_STEPS = 8
DRAFT_OR_LOWER = (Workflow.Authority.READ_ONLY, Workflow.Authority.DRAFT)


def checked_steps(steps: Sequence[Mapping[str, Any]]) -> list[dict[str, int]]:
    """Return the steps of a pilot as they are stored: growing shares below the whole.

    Raises:
        InvalidInputError: with the sentence that says which step is wrong.
    """
    if len(steps) > MOST_STEPS:
        raise InvalidInputError(f"A pilot has at most {MOST_STEPS} steps.")
    found: list[dict[str, int]] = []
    for number, step in enumerate(steps, 1):
        if not isinstance(step, Mapping) or set(step) - {"share", "minutes", "runs"}:
            raise InvalidInputError(f"Step {number}: give share, minutes and runs.")
        values = {key: step.get(key, 0) for key in ("share", "minutes", "runs")}
        if any(isinstance(v, bool) or not isinstance(v, int) or v < 0 for v in values.values()):
            raise InvalidInputError(f"Step {number}: whole numbers from 0, please.")
        least = found[-1]["share"] + 1 if found else 1
        if not least <= values["share"] < LiveRelease.WHOLE:
            raise InvalidInputError(
                f"Step {number}: the share grows with every step and stays below 100 %."
            )
        if values["minutes"] > 60 * 24 * 60 or values["runs"] > 10_000_000:
            raise InvalidInputError(f"Step {number}: at most 60 days and 10 million runs.")
        found.append(values)
    return found


def percent(share: int) -> str:
    """Basis points as people write them: 500 is "5 %"."""
    return f"{share / 100:g} %"


def open_pilot(
    promotion: Promotion,
    *,
    actor: Actor | HasActor,
    share: int | None = None,
    days: int | None = None,
) -> Pilot:
    """Begin with the first step. The caller holds the locks and has checked the decisions.

    Args:
        share, days: the pilot road's one step; None follows `promotion.pilot_steps`.
    """
    moment = now()
    steps = (
        [{"share": share, "minutes": 0, "runs": 0}] if share is not None else promotion.pilot_steps
    )
    ends_at = moment + timedelta(days=days) if days is not None else None
    promotion.state = Promotion.State.PILOTING
    promotion.closed_by_label = promotion.closing_reason = ""
    promotion.closed_at = None
    promotion.save(update_fields=["state", "closed_by_label", "closed_at", "closing_reason"])
    # Asked again after a stop, the same promotion opens its pilot anew: same row, another salt.
    pilot, _ = Pilot.objects.update_or_create(
        promotion=promotion,
        defaults={
            "state": Pilot.State.RUNNING,
            "algorithm": ALGORITHM,
            "salt": secrets.token_hex(8),
            "steps": steps,
            "step": 0,
            "step_started_at": moment,
            "opened_at": moment,
            "ends_at": ends_at,
            "rules": rules_of(promotion),
            "paused_reason": "",
            "closed_at": None,
            "stopped_by_label": "",
            "what_happened": "",
            "what_next": "",
        },
    )
    _serve(pilot, LiveChange.Cause.PILOT_OPENED, actor)
    enqueue(
        "rollouts.guard", f"pilot {pilot.pk} {moment.isoformat()}", {"promotion": promotion.pk},
        run_at=moment + GUARD_EVERY,
    )  # fmt: skip
    return pilot


def refuse_switched_off(workflow: Workflow) -> None:
    """A pilot of a workflow that is off would serve nobody, and end when it is switched on."""
    live = live_release(workflow)
    if live is not None and live.switched_off:
        raise StateConflictError(
            "It is switched off, so a pilot serves nobody. Switch it on first."
        )


def rules_of(promotion: Promotion) -> list[dict[str, Any]]:
    """What the guard watches: the gate policy's guardrails and floors stop, its primary asks."""
    policy = promotion.gate_policy.content if promotion.gate_policy else {}
    found: dict[str, dict[str, Any]] = {}
    for entry in policy.get("guardrails", []):
        measure = MEASURES.get(str(entry.get("metric")))
        if measure is not None:
            found[measure] = {
                "measure": measure,
                "direction": entry.get("direction", DIRECTIONS[measure]),
                "margin_points": float(entry.get("margin_points", 0.0)),
                "level": "guardrail",
                "from": f"guardrail {entry['metric']}",
            }
    primary = policy.get("primary") or {}
    measure = MEASURES.get(str(primary.get("metric")))
    if measure is not None and measure not in found:
        found[measure] = {
            "measure": measure,
            "direction": primary.get("direction", DIRECTIONS[measure]),
            "margin_points": 5.0,
            "level": "signal",
            "from": f"primary {primary['metric']}",
        }
    for measure in ("error", "escalated"):
        # Always watched: a release that fails or hands everything over is not a good one.
        found.setdefault(
            measure,
            {
                "measure": measure,
                "direction": DIRECTIONS[measure],
                "margin_points": 5.0,
                "level": "signal",
                "from": "always watched",
            },
        )
    return list(found.values())


# The gate's metrics that receipts carry too, under the name of their measure in the roll-ups.
MEASURES = {
    "correct": "quality",  # receipts carry what people or samples said of a run
    "policy_ok": "policy_ok",
    "escalated": "escalated",
    "silent_error": "silent_error",
}


def gathered(promotion: Promotion) -> list[PilotEvidence]:
    """Return what a pilot that gathers evidence has shown so far, by the metrics of a gate.

    From the guard's newest decision: its intervals hold however often somebody looked.
    """
    if promotion.state != Promotion.State.PILOTING or promotion.road != Promotion.Road.PILOT:
        return []
    newest = GuardDecision.objects.filter(promotion=promotion).order_by("-decided_at", "-pk")[:1]
    metrics = {measure: metric for metric, measure in MEASURES.items()}
    return [
        PilotEvidence(
            metric=metrics[line["measure"]], pilot_runs=line["pilot_runs"],
            stable_runs=line["stable_runs"], change=100 * line["difference"],
            low=100 * line["low"], high=100 * line["high"],
        )
        for decision in newest
        for line in decision.evidence
        if line["measure"] in metrics and line["low"] is not None and line["high"] is not None
    ]  # fmt: skip


# The words of pages and of the guard for what it compares.
MEASURE_NAMES = {
    "error": "Failed runs",
    "escalated": "Escalated to a person",
    "quality": "Quality that people report",
    "policy_ok": "Within policy",
    "silent_error": "Answered wrong without a person",
    "cost": "Cost per run",
    "latency_ms": "Latency",
}
DIRECTIONS = {
    "policy_ok": "higher",
    "escalated": "lower",
    "silent_error": "lower",
    "error": "lower",
    "quality": "higher",
}


def _serve(pilot: Pilot, cause: LiveChange.Cause, actor: Actor | HasActor) -> LiveChange:
    """Serve the share of the pilot's current step, and record it."""
    promotion = pilot.promotion
    workflow = promotion.workflow
    share = pilot.steps[pilot.step]["share"]
    label = actor.label if isinstance(actor, Actor) else actor.as_actor().label
    change = move(
        workflow, cause=cause, promotion=promotion, actor_label=label, at=now(),
        pilot=PilotShare(promotion.release, share, pilot.salt, authority_cap(promotion)),
        reason=f"Step {pilot.step + 1} of {len(pilot.steps)}: {percent(share)} of the cases",
    )  # fmt: skip
    audit.record(
        "pilot.opened" if cause == LiveChange.Cause.PILOT_OPENED else "pilot.widened", promotion,
        actor=actor, workflow=workflow.slug, digest=promotion.release_id, seq=change.seq,
        share=share, step=pilot.step, salt=pilot.salt, algorithm=pilot.algorithm,
        ends_at=pilot.ends_at, rules=pilot.rules,
    )  # fmt: skip
    return change


def authority_cap(promotion: Promotion) -> str:
    """On the pilot road a release drafts at most; an approved one does what its workflow may."""
    if promotion.road != Promotion.Road.PILOT:
        return ""
    authority = promotion.workflow.authority
    return str(authority if authority in DRAFT_OR_LOWER else Workflow.Authority.DRAFT)


def widen(pilot: Pilot, *, actor: Actor | HasActor) -> None:
    """Go on to the next step. The caller holds the locks and has the evidence."""
    pilot.step += 1
    pilot.step_started_at = now()
    pilot.state = Pilot.State.RUNNING
    pilot.paused_reason = ""
    pilot.save(update_fields=["step", "step_started_at", "state", "paused_reason"])
    _serve(pilot, LiveChange.Cause.PILOT_WIDENED, actor)


def complete_pilot(promotion: Promotion) -> None:
    """Close the row of a pilot whose release serves every case from now on."""
    Pilot.objects.open().filter(promotion=promotion).update(
        state=Pilot.State.COMPLETED, closed_at=now(), paused_reason=""
    )


def pause(pilot: Pilot, *, why: str, actor: Actor | HasActor) -> None:
    """Keep the share as it is and ask the KPI owner."""
    pilot.state = Pilot.State.PAUSED
    pilot.paused_reason = why
    pilot.save(update_fields=["state", "paused_reason"])
    audit.record(
        "pilot.paused", pilot.promotion, actor=actor, workflow=pilot.promotion.workflow.slug,
        reason=why, digest=pilot.promotion.release_id,
    )  # fmt: skip


def end_pilot(
    promotion: Promotion, *, actor: Actor | HasActor, why: str, what_next: str = ""
) -> Pilot | None:
    """Serve the stable release to every case again. The caller holds the locks."""
    pilot = _close(promotion, actor=actor, why=why, what_next=what_next)
    live = live_release(promotion.workflow)
    if live is not None and live.pilot_release_id == promotion.release_id:
        label = actor.label if isinstance(actor, Actor) else actor.as_actor().label
        move(
            promotion.workflow, cause=LiveChange.Cause.PILOT_STOPPED, promotion=promotion,
            actor_label=label, at=now(), reason=why,
        )  # fmt: skip
    return pilot


def close_open_pilot(workflow: Workflow, *, actor: Actor | HasActor, why: str) -> Pilot | None:
    """Close the pilot because something else moves the workflow now and ends its share anyway."""
    promotion = (
        Promotion.objects.select_related("workflow", "release")
        .filter(workflow=workflow, state=Promotion.State.PILOTING)
        .first()
    )
    if promotion is None:
        return None
    pilot = _close(promotion, actor=actor, why=why)
    _stopped(promotion, actor, why)
    return pilot


def _close(
    promotion: Promotion, *, actor: Actor | HasActor, why: str, what_next: str = ""
) -> Pilot | None:
    pilot = Pilot.objects.open().filter(promotion=promotion).first()
    if pilot is None:
        return None
    pilot.state = Pilot.State.STOPPED
    pilot.closed_at = now()
    pilot.stopped_by_label = actor.label if isinstance(actor, Actor) else actor.as_actor().label
    pilot.what_happened = why
    pilot.what_next = what_next
    pilot.save(
        update_fields=["state", "closed_at", "stopped_by_label", "what_happened", "what_next"]
    )
    audit.record(
        "pilot.stopped", promotion, actor=actor, workflow=promotion.workflow.slug, reason=why,
        digest=promotion.release_id, what_next=what_next,
    )  # fmt: skip
    return pilot


def _stopped(promotion: Promotion, actor: Actor | HasActor, why: str) -> None:
    label = actor.label if isinstance(actor, Actor) else actor.as_actor().label
    promotion.close(Promotion.State.STOPPED, by=label, at=now(), reason=why)


def stop(promotion: Promotion, *, actor: Actor | HasActor, why: str, what_next: str = "") -> None:
    """End the pilot and its promotion. The caller holds the locks."""
    end_pilot(promotion, actor=actor, why=why, what_next=what_next)
    _stopped(promotion, actor, why)


@audit.atomic()
def stop_pilot(
    promotion_id: int, *, actor: Actor | User, reason: str, what_next: str = ""
) -> Promotion:
    """Go back to the stable release for every case: one click and a reason."""
    promotion = lock_promotion(promotion_id)
    if isinstance(actor, User):
        require(actor, "workflow.roll_back", promotion.workflow)
    reason = require_reason(reason)
    if promotion.state != Promotion.State.PILOTING:
        raise StateConflictError(
            f"This promotion is {promotion.get_state_display().lower()}: no pilot to stop."
        )
    stop(promotion, actor=actor, why=reason, what_next=what_next.strip()[:2000])
    return promotion


@audit.atomic()
def write_stop(promotion_id: int, *, actor: User, what_happened: str, what_next: str) -> Pilot:
    """Write the two lines that the stop of a pilot leaves behind."""
    promotion = lock_promotion(promotion_id)
    require(actor, "workflow.roll_back", promotion.workflow)
    pilot = Pilot.objects.filter(promotion=promotion, state=Pilot.State.STOPPED).first()
    if pilot is None:
        raise StateConflictError("No pilot of this promotion was stopped.")
    if not what_happened.strip() or not what_next.strip():
        raise InvalidInputError("Two lines, please: what happened, and what comes next.")
    pilot.what_happened = what_happened.strip()[:2000]
    pilot.what_next = what_next.strip()[:2000]
    pilot.save(update_fields=["what_happened", "what_next"])
    audit.record(
        "pilot.explained", promotion, actor=actor, workflow=promotion.workflow.slug,
        digest=promotion.release_id, what_happened=pilot.what_happened, what_next=pilot.what_next,
    )  # fmt: skip
    return pilot


@audit.atomic()
def resume_pilot(
    promotion_id: int,
    *,
    actor: User,
    reason: str,
    authenticated_at: datetime,
    authenticated_by: str = "password",
) -> Pilot:
    """Let a paused pilot go on at its share: the KPI owner saw the signal and accepts it."""
    promotion = lock_promotion(promotion_id)
    require(actor, "promotion.open_pilot", promotion)
    rules.require_fresh_login(authenticated_at)
    reason = require_reason(reason)
    pilot = Pilot.objects.filter(promotion=promotion, state=Pilot.State.PAUSED).first()
    if pilot is None:
        raise StateConflictError("This pilot is not paused.")
    freezes.refuse_frozen(promotion)
    pilot.state = Pilot.State.RUNNING
    pilot.paused_reason = ""
    pilot.step_started_at = now()
    pilot.save(update_fields=["state", "paused_reason", "step_started_at"])
    audit.record(
        "pilot.resumed", promotion, actor=actor, workflow=promotion.workflow.slug, reason=reason,
        digest=promotion.release_id, authenticated_by=authenticated_by,
    )  # fmt: skip
    return pilot
