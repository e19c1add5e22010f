"""What a workflow page reads: its history in words, its KPIs over the last weeks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import F, Q, QuerySet

from dashboards.numbers import Unit, format_bound, format_change, format_value
from dashboards.sparkline import Sparkline, draw_sparkline
from dashboards.tones import KPI_STATUS, Chip
from governance.common.time import today
from governance.kpis.models import Kpi
from governance.kpis.readings import Total, weekly
from governance.kpis.status import kpi_status
from governance.releases.models import LiveRelease, Release
from governance.reviews.cadence import weeks_until
from governance.rollouts.models import Approval, LiveChange, Promotion
from governance.workflows.models import Workflow

WEEKS = 13
LOOKED_BACK = 20  # moves to the release that runs
LiveChangeRows = QuerySet[LiveChange]


@dataclass(frozen=True, slots=True)
class Move:
    """One change of what runs: when, from what to what, who did it and why."""

    seq: int
    at: datetime
    cause: str
    word: str
    deed: str
    tone: str
    to: Release
    before: Release | None
    share: int | None  # of a pilot, in basis points
    who: str
    why: str
    promotion_id: int | None
    rollback_id: int | None
    post_mortem_id: int | None


@dataclass(frozen=True, slots=True)
class KpiLine:
    """One KPI of the workflow with its reading of the last seven days."""

    name: str
    owner: str
    lead: bool
    status: Chip
    value: str
    target: str
    limit: str
    change: str
    change_word: str
    sparkline: Sparkline
    sentence: str


def history(workflow: Workflow, about: Release | None = None) -> LiveChangeRows:
    """Every live change, or those that brought or ended one release, newest first.

    With what a line of the history shows; `move_of` makes a line of a row.
    """
    concerned = Q()
    if about is not None:
        concerned = Q(to_release=about) | Q(from_release=about) | Q(pilot_release=about)
    return (
        LiveChange.objects.filter(concerned, workflow=workflow)
        .select_related(
            "to_release", "from_release", "pilot_release", "promotion", "drill",
            "rollback__post_mortem",
        )
        .prefetch_related("promotion__approvals")
        .order_by("-seq")
    )  # fmt: skip


# Every cause of a change: its words before the release, the deed of who did it, the tone.
CAUSES: dict[str, tuple[str, str, str]] = {
    LiveChange.Cause.ADOPT: ("Adopted as found:", "Adopted", "accent"),
    LiveChange.Cause.PROMOTION: ("Promoted", "Approved", "good"),
    LiveChange.Cause.ROLLBACK: ("Rolled back to", "Rolled back", "bad"),
    LiveChange.Cause.PILOT_OPENED: ("Pilot opened:", "Pilot opened", "accent"),
    LiveChange.Cause.PILOT_WIDENED: ("Pilot widened:", "Pilot widened", "accent"),
    LiveChange.Cause.PILOT_STOPPED: ("Pilot stopped; all cases on", "Pilot stopped", "watch"),
    LiveChange.Cause.SWITCHED_OFF: ("Switched off; was", "Switched off", "bad"),
    LiveChange.Cause.SWITCHED_ON: ("Switched on:", "Switched on", "good"),
    LiveChange.Cause.DRILL: ("Rollback drill: to", "Drill started", "watch"),
    LiveChange.Cause.DRILL_RETURNED: ("Back from the drill:", "Drill ended", "accent"),
}
GOT_IN = (LiveChange.Cause.ADOPT, LiveChange.Cause.PROMOTION)
PILOTS = (LiveChange.Cause.PILOT_OPENED, LiveChange.Cause.PILOT_WIDENED)


def is_emergency(promotion: Promotion | None) -> bool:
    return promotion is not None and promotion.road == Promotion.Road.EMERGENCY


def emergency_by(people: Sequence[str]) -> str:
    """Who made an emergency change, and who ratified it: nobody approved it before it served."""
    maker, *others = people
    return (
        f"{maker}, ratified by {' and '.join(others)}" if others else f"{maker}, not ratified yet"
    )


def move_of(change: LiveChange) -> Move:
    who, why, post_mortem_id = change.actor_label, change.reason, None
    said: list[Approval] = []
    if change.cause == LiveChange.Cause.ROLLBACK:
        why = change.rollback.reason
        post_mortem = getattr(change.rollback, "post_mortem", None)
        post_mortem_id = post_mortem.pk if post_mortem else None
    elif change.cause in GOT_IN and change.promotion is not None:
        said = [
            approval
            for approval in change.promotion.approvals.all()
            if approval.decision == Approval.Decision.APPROVED
            and approval.review_round == change.promotion.review_round
        ]
        who = " and ".join(approval.approver_label for approval in said) or who
        why = "” and “".join(approval.reason for approval in said)
    word, deed, tone = CAUSES[change.cause]
    if said and is_emergency(change.promotion):
        word, deed, tone = "Emergency change:", "Emergency change", "watch"
        who = emergency_by([approval.approver_label for approval in said])
    is_pilot = change.cause in PILOTS and change.pilot_release is not None
    return Move(
        seq=change.seq,
        at=change.changed_at,
        cause=change.cause,
        word=word,
        deed=deed,
        tone=tone,
        to=change.pilot_release if is_pilot and change.pilot_release else change.to_release,
        before=change.from_release if change.from_release_id != change.to_release_id else None,
        share=change.pilot_share if is_pilot else None,
        who=who,
        why=why,
        promotion_id=change.promotion_id,
        rollback_id=change.rollback.pk if change.cause == LiveChange.Cause.ROLLBACK else None,
        post_mortem_id=post_mortem_id,
    )


def moved_by(live: LiveRelease | None) -> list[Move]:
    """Who let what runs now run: the move that brought it, and how it once got in.

    Coming back from a drill brings nothing new.
    """
    if live is None:
        return []
    rows = list(
        history(live.workflow)
        .filter(to_release=live.release_id)
        .exclude(from_release=F("to_release"))
        .exclude(cause=LiveChange.Cause.DRILL_RETURNED)[:LOOKED_BACK]
    )
    got_in = next((change for change in rows if change.cause in GOT_IN), None)
    shown = [change for change in (*rows[:1], got_in) if change is not None]
    return [move_of(change) for change in dict.fromkeys(shown)]


def kpi_lines(workflow: Workflow) -> list[KpiLine]:
    """The KPIs with thirteen weeks behind them, in three queries; new releases become ticks."""
    kpis = list(Kpi.objects.filter(workflow=workflow).select_related("owner"))
    if not kpis:
        return []
    mondays = weeks_until(today(), WEEKS)
    totals = weekly([workflow.pk], {kpi.measure for kpi in kpis}, mondays)
    moved = (
        LiveChange.objects.filter(workflow=workflow, changed_at__date__gte=mondays[0])
        .exclude(from_release=F("to_release"))
        .values_list("changed_at", flat=True)
    )
    ticks = sorted({(at.date() - mondays[0]).days // 7 for at in moved})
    return [
        _kpi_line(kpi, [totals.of(workflow.pk, kpi.measure, day) for day in mondays], ticks)
        for kpi in kpis
    ]


def _kpi_line(kpi: Kpi, weeks: list[Total], ticks: list[int]) -> KpiLine:
    unit = Unit(kpi.unit)
    readings = [week.mean for week in weeks]
    value, before = readings[-1], readings[-2]
    status = kpi_status(
        value,
        runs=weeks[-1].n,
        target=kpi.target,
        limit=kpi.limit,
        lower_is_better=kpi.lower_is_better,
        weeks_of_data=sum(reading is not None for reading in readings),
    )
    chip = KPI_STATUS[status]
    difference = None if value is None or before is None else value - before
    word = ""
    if difference:
        word = "better" if (difference < 0) == kpi.lower_is_better else "worse"
    shown = format_value(value, unit)
    return KpiLine(
        name=kpi.name,
        owner=str(kpi.owner),
        lead=kpi.is_lead,
        status=chip,
        value=shown,
        target=format_bound(kpi.target, unit, lower_is_better=kpi.lower_is_better),
        limit=format_bound(kpi.limit, unit, lower_is_better=kpi.lower_is_better),
        change=format_change(difference, unit),
        change_word=word,
        sparkline=draw_sparkline(readings, target=kpi.target, releases=ticks),
        sentence=f"{kpi.name}, {WEEKS} weeks: {shown} now, {chip.word.lower()}.",
    )
