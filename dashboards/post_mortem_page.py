"""What a post-mortem's page reads: what the bad release did, the recall list, the fix."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from dashboards.convergence_page import ProofView, view_of
from dashboards.numbers import Unit, format_bound, format_change, format_value
from dashboards.recall_page import CHIPS, Summary, rows_of, summary
from dashboards.recall_page import Asked as RecallAsked
from dashboards.tones import Chip
from governance.people.models import User
from governance.people.permissions import can
from governance.releases.models import Release
from governance.rollouts.impact import KpiEffect, kpi_effects
from governance.rollouts.live import bad_releases
from governance.rollouts.models import PostMortem, Promotion
from governance.rollouts.recovery_models import RecallRow

WORST_SHOWN = 5
CANDIDATES_SHOWN = 8


@dataclass(frozen=True, slots=True)
class KpiLine:
    """One KPI on the bad release against the one it went back to."""

    name: str
    on_bad: str
    runs: int
    before: str
    change: str
    word: str
    limit: str


@dataclass(slots=True)
class PostMortemPage:
    """Everything beside the words that people wrote."""

    proof: ProofView
    recall: Summary
    worst: list[tuple[RecallRow, Chip]]
    kpis: list[KpiLine]
    fixes: list[Promotion]
    candidates: list[Release] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    overdue_for: str = ""


def post_mortem_page(post_mortem: PostMortem, user: User, moment: datetime) -> PostMortemPage:
    """Read the page; the number of queries does not grow with cases or history."""
    rollback = post_mortem.rollback
    counted = summary(post_mortem)
    page = PostMortemPage(
        proof=view_of(rollback),
        recall=counted,
        worst=[
            (row, CHIPS[row.state]) for row in rows_of(post_mortem, RecallAsked())[:WORST_SHOWN]
        ],
        kpis=[_kpi_line(effect) for effect in kpi_effects(rollback)],
        fixes=list(
            Promotion.objects.visible_to(user).filter(fixes=post_mortem).select_related("release")
        ),
    )
    if post_mortem.finished_at is None:
        page.missing = _missing(post_mortem, counted)
        page.overdue_for = _late(moment - post_mortem.due_at)
        if can(user, "promotion.propose", rollback.workflow):
            page.candidates = _candidates(rollback.workflow_id, post_mortem)
    return page


def _kpi_line(effect: KpiEffect) -> KpiLine:
    kpi = effect.kpi
    unit = Unit(kpi.unit)
    word = ""
    if effect.difference:
        word = "worse" if effect.is_worse else "better"
    return KpiLine(
        name=kpi.name,
        on_bad=format_value(effect.on_bad.mean, unit),
        runs=effect.on_bad.n,
        before=format_value(effect.on_target.mean, unit),
        change=format_change(effect.difference, unit),
        word=word,
        limit=format_bound(kpi.limit, unit, lower_is_better=kpi.lower_is_better),
    )


def _missing(post_mortem: PostMortem, counted: Summary) -> list[str]:
    """What stands between this and handing it in."""
    cases = counted.undecided
    waiting = {
        "the cause": not post_mortem.cause,
        "the impact": not post_mortem.impact,
        "at least one action": not post_mortem.actions.exists(),
        f"a decision on {cases:,} case{'' if cases == 1 else 's'} of the recall list": cases > 0,
    }
    return [what for what, is_missing in waiting.items() if is_missing]


def _late(late: timedelta) -> str:
    """For how long it is overdue; empty while it is not."""
    if late <= timedelta():
        return ""
    hours = int(late.total_seconds() // 3600)
    if hours < 1:
        return "less than an hour"
    if hours < 48:
        return f"{hours} hour{'' if hours == 1 else 's'}"
    return f"{hours // 24} days"


def _candidates(workflow_id: int, post_mortem: PostMortem) -> list[Release]:
    """Releases that could mend it: registered here, not live, not rolled back."""
    workflow = post_mortem.rollback.workflow
    rows = Release.objects.filter(workflow=workflow_id).exclude(pk__in=bad_releases(workflow))
    return list(rows.exclude(pk=workflow.live.release_id).order_by("-number")[:CANDIDATES_SHOWN])
