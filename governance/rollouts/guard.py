"""The guard: looks at every pilot each minute and acts by its rules, with the evidence kept."""

from __future__ import annotations

from datetime import datetime, timedelta
from math import isnan
from typing import Any

from governance import audit
from governance.audit import Actor
from governance.common.time import now
from governance.kpis.models import Kpi
from governance.rollouts import freezes, pilots
from governance.rollouts.approvals import make_live
from governance.rollouts.guard_samples import judged, samples
from governance.rollouts.guard_statistics import (
    SMALLEST_SAMPLE,
    Compared,
    Sample,
    Verdict,
    beyond_limit,
)
from governance.rollouts.live import live_release, lock_promotion
from governance.rollouts.models import Promotion
from governance.rollouts.pilot_models import GuardDecision, Pilot
from governance.rollouts.rolling_back import go_back
from governance.rollouts.rules import still_approved
from governance.triage.services import open_or_join

ACTOR = Actor.system("guard")
Action = GuardDecision.Action
NO_DATA_AFTER = timedelta(minutes=15)
KEPT_EVERY = timedelta(hours=1)  # a look that changes nothing is kept this often
LEAST_PATIENCE = timedelta(hours=1)
WATCHED_FOR = timedelta(days=7)  # after a release serves every case


@audit.atomic()
def look(promotion_id: int) -> bool:
    """Look once and act. Safe to call at any time; two at once act once.

    Returns:
        Whether the pilot is still open, so that somebody must look again.
    """
    promotion = lock_promotion(promotion_id)
    pilot = Pilot.objects.open().filter(promotion=promotion).first()
    if promotion.state != Promotion.State.PILOTING or pilot is None:
        return False
    pilot.promotion = promotion
    moment = now()
    if pilot.ends_at is not None and moment >= pilot.ends_at:
        pilots.stop(promotion, actor=ACTOR, why="Its time is over: it was opened for so long.")
        return False
    rows = judged(pilot)
    failed = [row for row in rows if row[1].verdict == Verdict.FAIL]
    hard = [row for row in failed if row[0]["level"] == "guardrail"]
    if hard:
        return _harm(pilot, rows, hard[0])
    if failed and pilot.state == Pilot.State.RUNNING:
        if not _struck_before(pilot):
            _keep(pilot, rows, failed[0], Verdict.FAIL, Action.NONE, "A signal, seen once.")
            return True
        sentence = f"Paused: {_in_words(*failed[0])}."
        _keep(pilot, rows, failed[0], Verdict.FAIL, Action.PAUSED, sentence)
        pilots.pause(pilot, why=sentence, actor=ACTOR)
        return True
    runs = rows[0][1]
    if runs.verdict == Verdict.NO_DATA:
        _no_data(pilot, rows, moment)
        return True
    if pilot.state == Pilot.State.RUNNING and promotion.road != Promotion.Road.PILOT:
        return _advance(pilot, rows, moment)
    _now_and_then(pilot, rows, moment)
    return True


def _harm(
    pilot: Pilot,
    rows: list[tuple[dict[str, Any], Compared]],
    worst: tuple[dict[str, Any], Compared],
) -> bool:
    """A guardrail is broken: seen twice, the pilot ends."""
    if not _struck_before(pilot):
        _keep(pilot, rows, worst, Verdict.FAIL, Action.NONE, "A guardrail is broken, seen once.")
        return True
    sentence = f"Stopped by the guard: {_in_words(*worst)}."
    _keep(pilot, rows, worst, Verdict.FAIL, Action.ROLLED_BACK, sentence)
    pilots.stop(pilot.promotion, actor=ACTOR, why=sentence)
    return False


def _struck_before(pilot: Pilot) -> bool:
    """Whether the look before this one, of the same step, failed too (hysteresis)."""
    last = GuardDecision.objects.filter(promotion=pilot.promotion).first()
    return (
        last is not None
        and last.verdict == GuardDecision.Verdict.FAIL
        and last.action == Action.NONE
        and last.decided_at >= pilot.step_started_at
    )


def _advance(pilot: Pilot, rows: list[tuple[dict[str, Any], Compared]], moment: datetime) -> bool:
    """Go on when the step has had its time, its runs, and every guardrail is no worse."""
    step = pilot.steps[pilot.step]
    elapsed = moment - pilot.step_started_at
    planned = timedelta(minutes=step["minutes"])
    enough = rows[0][1].pilot.n >= max(step["runs"], SMALLEST_SAMPLE)
    guardrails = [row for row in rows if row[0]["level"] == "guardrail"]
    undecided = [row for row in guardrails if row[1].verdict != Verdict.PASS]
    if elapsed < planned or not enough or undecided:
        if elapsed > max(3 * planned, LEAST_PATIENCE) and (undecided or not enough):
            what = _in_words(*undecided[0]) if undecided else "too few runs came"
            sentence = f"Not enough evidence after {_hours(elapsed)}: {what}."
            rule = (undecided or rows)[0]
            _keep(pilot, rows, rule, Verdict.INCONCLUSIVE, Action.PAUSED, sentence)
            pilots.pause(pilot, why=sentence, actor=ACTOR)
        else:
            _now_and_then(pilot, rows, moment)
        return True
    if freezes.blocking(pilot.promotion, moment) is not None:
        _now_and_then(pilot, rows, moment)
        return True
    if not still_approved(pilot.promotion, moment):
        sentence = "Paused: what it was approved on does not hold any more. Ask again."
        _keep(pilot, rows, rows[0], Verdict.PASS, Action.PAUSED, sentence)
        pilots.pause(pilot, why=sentence, actor=ACTOR)
        return True
    is_last = pilot.step + 1 == len(pilot.steps)
    sentence = f"No worse at {pilots.percent(step['share'])} after {_hours(elapsed)}: " + (
        "it serves every case now." if is_last else "widened."
    )
    rule = (guardrails or rows)[0]
    _keep(
        pilot, rows, rule, Verdict.PASS, Action.COMPLETED if is_last else Action.ADVANCED, sentence
    )
    if is_last:
        make_live(pilot.promotion, ACTOR)
        return False
    pilots.widen(pilot, actor=ACTOR)
    return True


def _no_data(pilot: Pilot, rows: list[tuple[dict[str, Any], Compared]], moment: datetime) -> None:
    """Nobody reports runs of the pilot: an alarm, once per step. It stops and passes nothing."""
    if moment - pilot.step_started_at < NO_DATA_AFTER:
        return
    alarmed = GuardDecision.objects.filter(
        promotion=pilot.promotion, action=Action.ALARMED, decided_at__gte=pilot.step_started_at
    ).exists()
    if alarmed:
        return
    sentence = f"No run of {pilot.promotion.release.name} was reported since its step began."
    _keep(pilot, rows, rows[0], Verdict.NO_DATA, Action.ALARMED, sentence)
    open_or_join(
        pilot.promotion.workflow, "guard", f"pilot {pilot.pk} step {pilot.step}",
        title=f"Pilot without data: {sentence}", release_digest=pilot.promotion.release_id,
    )  # fmt: skip


def _now_and_then(
    pilot: Pilot, rows: list[tuple[dict[str, Any], Compared]], moment: datetime
) -> None:
    last = GuardDecision.objects.filter(promotion=pilot.promotion).first()
    struck = last is not None and last.verdict == GuardDecision.Verdict.FAIL
    if last is None or struck or moment - last.decided_at >= KEPT_EVERY:
        open_rows = [row for row in rows[1:] if row[1].verdict != Verdict.PASS]
        verdict = Verdict.INCONCLUSIVE if open_rows else Verdict.PASS
        row = (open_rows or rows)[0]
        _keep(pilot, rows, row, verdict, Action.NONE, f"Going on: {_in_words(*row)}.")


def _keep(
    pilot: Pilot,
    rows: list[tuple[dict[str, Any], Compared]],
    deciding: tuple[dict[str, Any], Compared],
    verdict: Verdict,
    action: GuardDecision.Action,
    sentence: str,
) -> None:
    """Keep one decision with its rule and its evidence, and record it."""
    promotion = pilot.promotion
    decision = GuardDecision.objects.create(
        promotion=promotion, step=pilot.step, share=pilot.steps[pilot.step]["share"],
        verdict=verdict.value, action=action, rule=deciding[0], sentence=sentence,
        evidence=[evidence(rule, compared) for rule, compared in rows], decided_at=now(),
    )  # fmt: skip
    audit.record(
        "pilot.guarded", promotion, actor=ACTOR, workflow=promotion.workflow.slug,
        reason=sentence, digest=promotion.release_id, action=action, verdict=verdict.value,
        rule=deciding[0], evidence=decision.evidence,
    )  # fmt: skip


def evidence(rule: dict[str, Any], compared: Compared) -> dict[str, Any]:
    """One row of evidence as it is stored and shown; what is not known is null."""

    def known(value: float) -> float | None:
        return None if isnan(value) else round(value, 6)

    return {
        "measure": rule["measure"],
        "level": rule["level"],
        "margin_points": rule.get("margin_points"),
        "verdict": compared.verdict.value,
        "pilot_runs": compared.pilot.n,
        "stable_runs": compared.stable.n,
        "pilot": known(compared.pilot.mean),
        "stable": known(compared.stable.mean),
        "difference": known(compared.difference),
        "low": known(compared.low),
        "high": known(compared.high),
    }


def _in_words(rule: dict[str, Any], compared: Compared) -> str:
    measure = str(rule["measure"])
    name = f"“{pilots.MEASURE_NAMES.get(measure, measure.replace('_', ' '))}”"
    if compared.verdict == Verdict.NO_DATA:
        return f"{name} is not reported on both sides"
    if isnan(compared.difference):
        return f"{compared.pilot.n:,} runs of the pilot"
    return (
        f"{name} is {100 * compared.pilot.mean:.1f} % against {100 * compared.stable.mean:.1f} %"
        f" ({compared.pilot.n:,} and {compared.stable.n:,} runs); the difference is between"
        f" {100 * compared.low:+.1f} and {100 * compared.high:+.1f} points, better is positive"
    )


def _hours(elapsed: timedelta) -> str:
    minutes = int(elapsed.total_seconds() // 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


@audit.atomic()
def watch(promotion_id: int) -> bool:
    """Look at a release that serves every case: is a KPI certainly outside its limit?

    It rolls back only where the KPI owner opted in; elsewhere it recommends, once.

    Returns:
        Whether somebody must look again.
    """
    promotion = lock_promotion(promotion_id)
    live = live_release(promotion.workflow)
    moment = now()
    if (
        promotion.state != Promotion.State.LIVE
        or live is None
        or live.release_id != promotion.release_id
        or promotion.closed_at is None
        or moment - promotion.closed_at > WATCHED_FOR
    ):
        return False
    kpis = list(Kpi.objects.filter(workflow=promotion.workflow, limit__isnull=False))
    found = samples(
        promotion.workflow_id, [promotion.release_id], [kpi.measure for kpi in kpis],
        promotion.closed_at,
    ) if kpis else {}  # fmt: skip
    for kpi in kpis:
        compared = beyond_limit(
            found.get((promotion.release_id, kpi.measure), Sample()),
            float(kpi.limit or 0.0),
            lower_is_better=kpi.lower_is_better,
            is_rate=kpi.unit == Kpi.Unit.SHARE,
            rules=len(kpis),
        )
        if compared.verdict == Verdict.FAIL:
            return _outside(promotion, kpi, compared, has_target=live.last_known_good is not None)
    return True


def _outside(promotion: Promotion, kpi: Kpi, compared: Compared, *, has_target: bool) -> bool:
    acts = promotion.workflow.automatic_rollback and has_target
    known = GuardDecision.objects.filter(promotion=promotion, action=Action.RECOMMENDED).exists()
    if known and not acts:
        return True
    sentence = (
        f"{kpi.name} is outside its limit of {kpi.limit:g} with {compared.pilot.mean:.4g} over"
        f" {compared.pilot.n:,} runs of {promotion.release.name}; chance is ruled out."
    )
    rule = {
        "measure": kpi.measure, "level": "guardrail", "limit": kpi.limit, "kpi": kpi.slug,
        "from": "limit of the KPI",
    }  # fmt: skip
    action = Action.ROLLED_BACK if acts else Action.RECOMMENDED
    GuardDecision.objects.create(
        promotion=promotion, step=0, share=10_000, verdict=Verdict.FAIL.value, action=action,
        rule=rule, evidence=[evidence(rule, compared)], sentence=sentence, decided_at=now(),
    )  # fmt: skip
    audit.record(
        "pilot.guarded", promotion, actor=ACTOR, workflow=promotion.workflow.slug,
        reason=sentence, digest=promotion.release_id, action=action, rule=rule,
        evidence=[evidence(rule, compared)],
    )  # fmt: skip
    if acts:
        go_back(promotion.workflow, actor=ACTOR, reason=sentence)
        return False
    return True
