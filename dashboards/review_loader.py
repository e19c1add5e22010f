"""Reads one review: the rows it may show to this person, in a fixed number of queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, date, datetime, time, timedelta
from types import SimpleNamespace
from typing import Any

from django.db.models import F, OuterRef, Subquery
from django.urls import reverse

from dashboards import review_page as page
from dashboards.decision_cards import decide_word, decision_cards
from dashboards.review_alerts import load_alerts
from dashboards.review_decisions import (
    checklist,
    exception_rows,
    happened,
    live_rows,
    moment,
    release_names,
    rows_then,
)
from dashboards.review_numbers import (
    Change,
    Numbers,
    cost_note,
    drift_group,
    fact,
    kpi_row,
    money_strip,
    series_label,
    traced,
)
from governance.common.time import now
from governance.kpis.models import Kpi, KpiNote
from governance.kpis.readings import complete_to
from governance.kpis.status import RULE
from governance.people.models import User
from governance.people.permissions import can
from governance.reviews.cadence import (
    KINDS,
    PERIOD_WORD,
    WEEKLY,
    Period,
    add_months,
    period_of,
    weeks_until,
)
from governance.reviews.headline import Fact, Move, headline, tone_of
from governance.reviews.models import Review
from governance.rollouts.models import LiveChange
from governance.workflows.models import Workflow

NO_WORKFLOW = (
    page.Part("You see no workflow yet", strong=True),
    page.Part(": an administrator gives you a role, or makes you the owner of one."),
)


def load_review(
    period: Period, user: User, review: Review | None, *, today: datetime, acts: bool = True
) -> page.ReviewPage:
    """Return everything the page shows. `acts` False leaves out what can be done there."""
    last_day = min(period.ends_on, today.date())
    workflows = list(
        Workflow.objects.visible_to(user).select_related(
            "owner", "live__release", "live__last_known_good", "live__pilot_release"
        )
    )
    user.found_to_see = [workflow.pk for workflow in workflows] or None
    kpis = _kpis(user, last_day)
    changes = _changes(workflows, last_day)
    names = release_names(changes, [w.live.release for w in workflows if hasattr(w, "live")])
    numbers = Numbers(period, last_day, kpis, [_mark(change) for change in changes])
    facts = [fact(numbers, kpi) for kpi in kpis]
    # What waits belongs to now; a period that is over tells what happened in it instead.
    is_now = period.includes(today.date())
    decisions = decision_cards(user, today, acts=acts) if is_now else ()
    exceptions, in_all = exception_rows(user, names, acts=acts) if is_now else ((), 0)
    alerts = load_alerts(
        user, period, today, workflows=workflows, kpis=kpis, is_now=is_now, acts=acts
    )
    unfinished, overdue = alerts.unfinished, alerts.overdue
    if not (user.reads_everything or workflows):
        review = None  # notes speak of workflows: who sees none of them does not read those either
    waiting = len(decisions) + in_all + unfinished + len(alerts.shown)
    waiting = waiting if is_now else 1  # a past week is never calm now
    word = PERIOD_WORD[period.kind]
    return page.ReviewPage(
        period=_period(period, today.date()),
        workflows=", ".join(workflow.name for workflow in workflows),
        tone=tone_of(facts),
        headline=(
            tuple(
                page.Part(said.text, said.strong)
                for said in headline(
                    facts,
                    _moves(changes, workflows, period),
                    waiting=waiting,
                    period_word=word,
                    unfinished=unfinished,
                )
            )
            if workflows
            else NO_WORKFLOW
        ),
        counts=_counts(len(decisions), in_all, unfinished, overdue) if is_now else (),
        live=(
            live_rows(workflows, changes, user, acts=acts)
            if is_now
            else rows_then(workflows, changes, period)
        ),
        money=money_strip(numbers, workflows),
        cost_note=cost_note(workflows),
        kpis=_kpi_rows(numbers, facts, user, acts=acts and not _is_signed(review)),
        decisions=decisions,
        decide_word=decide_word(decisions),
        traced=traced(period, last_day, workflows),
        exceptions=exceptions,
        exceptions_total=in_all,
        checklist=checklist(period, review, user, acts=acts, is_now=is_now, over=alerts.left_over),
        drift=tuple(group for workflow in workflows if (group := drift_group(numbers, workflow))),
        explorer=_explorer(kpis) if acts else (),
        data_complete_to="",
        alerts=alerts.shown,
        happened=happened(workflows, changes, period),
        status_rule=RULE,
        series_label=series_label(period.kind),
    )


def frozen(period: Period, user: User, review: Review) -> dict[str, Any]:
    """Return what the page shows now as plain data, without anything that could be pressed."""
    shown = asdict(load_review(period, user, review, today=now(), acts=False))
    newest = complete_to([workflow.pk for workflow in Workflow.objects.visible_to(user)])
    shown["data_complete_to"] = f"{moment(newest)} UTC" if newest else ""
    return shown


def signed_page(
    review: Review, period: Period, user: User, *, today: date
) -> SimpleNamespace | None:
    """Return the page as it was at sign-off; None for one that kept nothing."""
    if not review.frozen:
        return None
    signed = checklist(period, review, user, acts=False)
    shown: SimpleNamespace = _thawed(review.frozen)
    # It was current when it was signed, and it goes on looking like that.
    was_current = shown.period.current
    shown.period = replace(_period(period, today), current=was_current)
    # Reviews signed before left_over was kept have none.
    kept = tuple(getattr(shown.checklist, "left_over", ()))
    shown.checklist = replace(signed, left_over=kept)
    shown.frozen_at = signed.signed_off
    return shown


def _thawed(value: Any) -> Any:
    """Turn stored JSON into objects that templates and drawings read like the live ones."""
    if isinstance(value, dict):
        return SimpleNamespace(**{key: _thawed(inner) for key, inner in value.items()})
    return [_thawed(inner) for inner in value] if isinstance(value, list) else value


def _kpis(user: User, last_day: date) -> list[Kpi]:
    """Business KPIs first, in the owner's order; each with the note of the week, as `note`."""
    monday = period_of(WEEKLY, last_day).starts_on
    notes = KpiNote.objects.filter(kpi=OuterRef("pk"), week_start=monday).values("text")[:1]
    rows = Kpi.objects.visible_to(user).select_related("owner", "workflow")
    rows = rows.annotate(note=Subquery(notes))
    return list(rows.order_by("-is_business", "workflow__name", "position", "name"))


def _changes(workflows: Sequence[Workflow], last_day: date) -> list[LiveChange]:
    """Return the live changes that charts mark, and those that made live what is live now.

    Pilots, the switch and their ends leave the release that serves as it was.
    """
    first = add_months(last_day.replace(day=1), -11)
    until = datetime.combine(last_day + timedelta(days=1), time(), UTC)
    rows = LiveChange.objects.filter(
        workflow__in=[workflow.pk for workflow in workflows],
        changed_at__gte=datetime.combine(first, time(), UTC),
        changed_at__lt=until,
    ).exclude(to_release=F("from_release"))
    return list(rows.select_related("to_release", "from_release").order_by("changed_at", "seq"))


def _mark(change: LiveChange) -> Change:
    return Change(change.workflow_id, change.changed_at, change.to_release.name)


def _moves(
    changes: Sequence[LiveChange], workflows: Sequence[Workflow], period: Period
) -> list[Move]:
    """Return the changes that the headline may name: of thirteen weeks, and no drill."""
    first = weeks_until(period.ends_on, 13)[0]
    names = {workflow.pk: workflow.name for workflow in workflows}
    return [
        Move(
            workflow_id=change.workflow_id,
            workflow=names[change.workflow_id],
            release=change.to_release.name,
            at=change.changed_at,
            rolled_back_from=(
                change.from_release.name
                if change.cause == LiveChange.Cause.ROLLBACK and change.from_release
                else ""
            ),
            adopted=change.cause == LiveChange.Cause.ADOPT,
            in_period=period.includes(change.changed_at.date()),
        )
        for change in changes
        if first <= change.changed_at.date() <= period.ends_on and change.drill_id is None
    ]


def _kpi_rows(
    numbers: Numbers, facts: Sequence[Fact], user: User, *, acts: bool
) -> tuple[page.KpiRow, ...]:
    several = len({kpi.workflow_id for kpi in numbers.kpis}) > 1
    return tuple(
        kpi_row(
            numbers,
            kpi,
            note=getattr(kpi, "note", None) or "",
            note_url=(
                reverse("kpi-note", args=(kpi.pk,))
                if acts and numbers.period.kind == WEEKLY and can(user, "kpi.note", kpi)
                else ""
            ),
            several=several,
        )
        for kpi in numbers.kpis
    )


def _counts(
    decisions: int, exceptions: int, unfinished: int, overdue: int
) -> tuple[page.Count, ...]:
    def words(number: int, one: str, many: str) -> str:
        return one if number == 1 else many

    return (
        page.Count(decisions, words(decisions, "decision", "decisions"), "#decide"),
        page.Count(exceptions, words(exceptions, "exception", "exceptions"), "#exceptions"),
        page.Count(
            unfinished,
            words(unfinished, "post-mortem unfinished", "post-mortems unfinished")
            + (f", {overdue} overdue" if overdue else ""),
            reverse("post-mortems"),
            due=overdue > 0,
        ),
    )


def _period(period: Period, today: date) -> page.Period:
    def url(other: Period) -> str:
        return reverse("review", args=(other.kind, other.key))

    return page.Period(
        kind=period.kind,
        kind_word=PERIOD_WORD[period.kind],
        key=period.key,
        title=period.title,
        short=period.short,
        span=period.span,
        previous_url=url(period.previous()),
        next_url=url(period.next()) if period.next().starts_on <= today else "",
        current=period.includes(today),
    )


def _explorer(kpis: Sequence[Kpi]) -> tuple[page.ExplorerChoice, ...]:
    several = len({kpi.workflow_id for kpi in kpis}) > 1
    return tuple(
        page.ExplorerChoice(
            f"{kpi.name}, {kpi.workflow.name}" if several else kpi.name,
            reverse("explorer-data", args=(kpi.pk,)),
        )
        for kpi in kpis
    )


def _is_signed(review: Review | None) -> bool:
    return review is not None and review.signed_off_at is not None


def cadences(period: Period, today: date) -> list[dict[str, str]]:
    """Return the three tabs: the week, month and quarter that this period ends in."""
    day = min(period.ends_on, today)
    return [
        {
            "kind": kind,
            "label": kind.capitalize(),
            "url": reverse("review", args=(kind, period_of(kind, day).key)),
        }
        for kind in KINDS
    ]
