"""What a workflow page reads: its history in words, its KPIs over the last weeks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from dashboards.numbers import Unit, format_bound, format_change, format_value
from dashboards.sparkline import Sparkline, draw_sparkline
from dashboards.tones import KPI_STATUS, Chip
from governance.common.time import today
from governance.kpis.models import Kpi
from governance.kpis.readings import Total, weekly
from governance.kpis.status import kpi_status
from governance.releases.models import LiveRelease, Release
from governance.reviews.cadence import weeks_until
from governance.rollouts.models import Approval, LiveChange
from governance.workflows.models import Workflow

WEEKS = 13


@dataclass(frozen=True, slots=True)
class Move:
    """One change of what runs: when, from what to what, who did it and why."""

    seq: int
    at: datetime
    word: str
    deed: str
    tone: str
    to: Release
    before: Release | None
    who: str
    why: str
    promotion_id: int | None
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


def history(workflow: Workflow) -> list[Move]:
    """Every live change, newest first, in two queries."""
    rows = (
        LiveChange.objects.filter(workflow=workflow)
        .select_related("to_release", "from_release", "promotion", "rollback__post_mortem")
        .prefetch_related("promotion__approvals")
    )
    return [_move(change) for change in rows]


def _move(change: LiveChange) -> Move:
    who, why, post_mortem_id = change.actor_label, "", None
    if change.cause == LiveChange.Cause.ROLLBACK:
        why = change.rollback.reason
        post_mortem = getattr(change.rollback, "post_mortem", None)
        post_mortem_id = post_mortem.pk if post_mortem else None
    elif change.promotion is not None:
        said = [
            approval
            for approval in change.promotion.approvals.all()
            if approval.decision == Approval.Decision.APPROVED
            and approval.review_round == change.promotion.review_round
        ]
        who = " and ".join(approval.approver_label for approval in said) or who
        why = "” and “".join(approval.reason for approval in said)
    tone = {"rollback": "bad", "promotion": "good"}.get(change.cause, "accent")
    word = {"rollback": "Rolled back to", "promotion": "Promoted", "adopt": "Adopted as found:"}
    deed = {"rollback": "Rolled back", "promotion": "Approved", "adopt": "Adopted"}
    return Move(
        change.seq, change.changed_at, word[change.cause], deed[change.cause], tone,
        change.to_release,
        change.from_release, who, why, change.promotion_id, post_mortem_id,
    )  # fmt: skip


def moved_by(changes: list[Move], live: LiveRelease | None) -> list[Move]:
    """Who let what runs now run: its approval, and the rollback to it where there was one."""
    if live is None:
        return []
    found = [move for move in changes if move.seq == live.seq]
    if any(move.promotion_id is None for move in found):
        earned = (
            move
            for move in changes
            if move.promotion_id is not None and move.to.digest == live.release_id
        )
        found.extend(list(earned)[:1])
    return found


def kpi_lines(workflow: Workflow, changes: list[Move]) -> list[KpiLine]:
    """The KPIs with thirteen weeks behind them, in two queries; `changes` become ticks."""
    kpis = list(Kpi.objects.filter(workflow=workflow).select_related("owner"))
    if not kpis:
        return []
    mondays = weeks_until(today(), WEEKS)
    totals = weekly([workflow.pk], {kpi.measure for kpi in kpis}, mondays)
    ticks = sorted(
        {
            (move.at.date() - mondays[0]).days // 7
            for move in changes
            if move.at.date() >= mondays[0]
        }
    )
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
