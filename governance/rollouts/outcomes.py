"""What became of a change: the KPI in the seven days after, beside what was expected."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Sum

from governance import audit
from governance.audit import Actor
from governance.common.time import now
from governance.kpis.models import Kpi
from governance.receipts.models import RollUp
from governance.rollouts.guard_statistics import Sample
from governance.rollouts.live import lock_promotion
from governance.rollouts.models import LiveChange, Promotion
from governance.rollouts.road_models import PromotionOutcome

ACTOR = Actor.system("outcomes")
MEASURED_AFTER = timedelta(days=7)
GRACE = timedelta(hours=1)  # receipts of the last hour are on their way
FEWEST_RUNS = 30  # on each side, as everywhere on pages
Z95 = 1.959964
Verdict = PromotionOutcome.Verdict


@dataclass(frozen=True, slots=True)
class Effect:
    """What the KPI did, in its own unit (rates from 0 to 1), and what to call it."""

    verdict: PromotionOutcome.Verdict
    change: float | None = None
    low: float | None = None
    high: float | None = None


def due_at(went_live: datetime) -> datetime:
    """When there is enough time behind a change to measure it."""
    return went_live + MEASURED_AFTER + GRACE


def effect(before: Sample, after: Sample, expected: float, *, is_rate: bool) -> Effect:
    """Compare two weeks of one KPI with what was expected of the change. Pure.

    Args:
        expected: the change that was announced, in the unit of the samples (rates 0 to 1).

    Returns:
        UNCLEAR while the 95 % interval of the change holds zero; AS_EXPECTED when it holds what was
        expected; MORE or LESS when it is beyond or below; NO_DATA under 30 runs on either side.
    """
    if min(before.n, after.n) < FEWEST_RUNS:
        return Effect(Verdict.NO_DATA)
    change = after.mean - before.mean
    spread = Z95 * math.sqrt(
        before.variance_of_mean(is_rate=is_rate) + after.variance_of_mean(is_rate=is_rate)
    )
    low, high = change - spread, change + spread
    if low <= 0.0 <= high:
        verdict = Verdict.UNCLEAR
    elif (change > 0.0) != (expected > 0.0):
        verdict = Verdict.OPPOSITE
    elif low <= expected <= high:
        verdict = Verdict.AS_EXPECTED
    else:
        verdict = Verdict.MORE if abs(change) > abs(expected) else Verdict.LESS
    return Effect(verdict, change, low, high)


@audit.atomic()
def measure_outcome(promotion_id: int) -> PromotionOutcome | None:
    """Keep what happened to the KPI that a promotion named. Safe to call twice.

    Returns:
        The outcome; None where nothing was expected, it never served every case, or the seven
        days are not over.
    """
    promotion = lock_promotion(promotion_id)
    kpi, expected = promotion.expected_kpi, promotion.expected_change
    known = PromotionOutcome.objects.filter(promotion=promotion).first()
    if known is not None or kpi is None or expected is None:
        return known
    changes = list(LiveChange.objects.filter(promotion=promotion).order_by("seq"))
    live = next((c for c in changes if c.cause == LiveChange.Cause.PROMOTION), None)
    if live is None or now() < live.changed_at + MEASURED_AFTER:
        return None
    first = changes[0].changed_at  # where it had a pilot, "before" is before the pilot
    until = _served_until(promotion, live)
    before = _sample(kpi, _hour(first) - MEASURED_AFTER, _hour(first))
    after = _sample(kpi, _hour(live.changed_at) + timedelta(hours=1), until)
    points = 100.0 if kpi.unit == Kpi.Unit.SHARE else 1.0
    found = effect(before, after, expected / points, is_rate=kpi.unit == Kpi.Unit.SHARE)
    outcome = PromotionOutcome.objects.create(
        promotion=promotion,
        verdict=found.verdict,
        before=None if math.isnan(before.mean) else before.mean,
        after=None if math.isnan(after.mean) else after.mean,
        change=_scaled(found.change, points),
        low=_scaled(found.low, points),
        high=_scaled(found.high, points),
        runs_before=before.n,
        runs_after=after.n,
        sentence=_sentence(kpi, expected, found, before, after, points),
        measured_at=now(),
    )
    audit.record(
        "promotion.measured", promotion, actor=ACTOR, workflow=promotion.workflow.slug,
        digest=promotion.release_id, reason=outcome.sentence, kpi=kpi.slug, expected=expected,
        change=outcome.change, low=outcome.low, high=outcome.high, verdict=outcome.verdict,
        runs=[before.n, after.n],
    )  # fmt: skip
    return outcome


def _served_until(promotion: Promotion, live: LiveChange) -> datetime:
    """Seven days on, or when something else served every case before that."""
    week = live.changed_at + MEASURED_AFTER
    replaced = (
        LiveChange.objects.filter(workflow=promotion.workflow, seq__gt=live.seq)
        .exclude(to_release=promotion.release_id)
        .order_by("seq")
        .values_list("changed_at", flat=True)
        .first()
    )
    return min(week, replaced) if replaced is not None else week


def _hour(moment: datetime) -> datetime:
    """Roll-ups are whole hours, so the hour of the change itself is left out of both sides."""
    return moment.replace(minute=0, second=0, microsecond=0)


def _sample(kpi: Kpi, since: datetime, until: datetime) -> Sample:
    sums = RollUp.objects.filter(
        workflow=kpi.workflow_id,
        grain=RollUp.Grain.HOUR,
        measure=kpi.measure,
        starts_at__gte=since,
        starts_at__lt=_hour(until),
    ).aggregate(n=Sum("n"), total=Sum("total"), squares=Sum("total_squares"))
    return Sample(int(sums["n"] or 0), float(sums["total"] or 0.0), float(sums["squares"] or 0.0))


def _scaled(value: float | None, points: float) -> float | None:
    return None if value is None else value * points


def _sentence(
    kpi: Kpi, expected: float, found: Effect, before: Sample, after: Sample, points: float
) -> str:
    unit = {"share": " points", "seconds": " s", "ms": " ms", "money": " USD"}[kpi.unit]
    asked = f"{kpi.name}: {expected:+.4g}{unit} was expected"
    if found.change is None or found.low is None or found.high is None:
        return (
            f"{asked}; it cannot be measured, with {before.n:,} runs before and {after.n:,} after."
        )
    happened = (
        f"{points * found.change:+.4g}{unit} happened"
        f" (95 % interval {points * found.low:+.4g} to {points * found.high:+.4g},"
        f" {before.n:,} runs before and {after.n:,} after)"
    )
    ending = {
        Verdict.AS_EXPECTED: "as expected.",
        Verdict.MORE: "more than expected.",
        Verdict.LESS: "less than expected.",
        Verdict.OPPOSITE: "the other way.",
        Verdict.UNCLEAR: "which chance alone can explain.",
    }[found.verdict]
    return f"{asked}, {happened}: {ending}"
