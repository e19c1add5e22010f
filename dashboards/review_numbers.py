"""The numbers of a review: KPI rows, drift charts, the money strip, facts for the headline."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from urllib.parse import urlencode

from django.urls import reverse

from dashboards.charts import Marker, Series, draw_drift
from dashboards.numbers import (
    Unit,
    format_bound,
    format_change,
    format_relative,
    format_value,
)
from dashboards.review_page import DriftChart, DriftGroup, KpiRow, Link, MoneyCell, Traced
from dashboards.sparkline import draw_sparkline
from dashboards.tones import KPI_STATUS
from governance.kpis.models import Kpi
from governance.kpis.readings import NOTHING, Total, Totals, coverage, monthly, weekly
from governance.kpis.status import KpiStatus, kpi_status
from governance.reviews.cadence import (
    PERIOD_WORD,
    QUARTERLY,
    WEEKLY,
    Period,
    add_months,
    months_until,
    weeks_until,
)
from governance.reviews.headline import Fact
from governance.workflows.models import Workflow

SPARK_WEEKS = 13
DRIFT_WEEKS = 6
MONTHS = 12
A_YEAR = timedelta(weeks=52)
DRIFT_ORDER = ("correct", "quality", "cost", "escalated", "latency_ms")
MONEY_MEASURES = ("cost", "correct")
MONEY_RULE = (
    "Cost of handling is everything that run receipts report. Cost per right outcome is the cost of"
    " a run ÷ the share of runs that were judged right."
)


@dataclass(frozen=True, slots=True)
class Change:
    """One change of what runs, as charts mark it."""

    workflow_id: int
    at: datetime
    label: str


@dataclass(slots=True)
class Numbers:
    """Everything measured that one review shows; two queries."""

    period: Period
    last_day: date
    kpis: Sequence[Kpi]
    changes: Sequence[Change]
    weeks: list[date] = field(init=False)
    months: list[date] = field(init=False)
    by_week: Totals = field(init=False)
    by_month: Totals = field(init=False)

    def __post_init__(self) -> None:
        ids = {kpi.workflow_id for kpi in self.kpis}
        measures = {kpi.measure for kpi in self.kpis}.union(MONEY_MEASURES)
        self.weeks = weeks_until(self.last_day, SPARK_WEEKS)
        self.months = months_until(self.last_day, MONTHS)
        year_ago = [monday - A_YEAR for monday in self.weeks[-DRIFT_WEEKS:]]
        self.by_week = weekly(ids, measures, [*self.weeks, *year_ago])
        first = add_months(self.months[0], -MONTHS)
        self.by_month = monthly(ids, measures, first, add_months(self.months[-1], 1))

    def total(self, workflow_id: int, measure: str, period: Period) -> Total:
        """Return the sums of a whole period."""
        if period.kind == WEEKLY:
            return self.by_week.of(workflow_id, measure, period.starts_on)
        months = [period.starts_on]
        if period.kind == QUARTERLY:
            months += [add_months(period.starts_on, n) for n in (1, 2)]
        return self.by_month.span(workflow_id, measure, months)

    def week_values(self, kpi: Kpi) -> list[float | None]:
        return [self.by_week.mean(kpi.workflow_id, kpi.measure, day) for day in self.weeks]

    def month_values(self, kpi: Kpi) -> list[float | None]:
        return [self.by_month.mean(kpi.workflow_id, kpi.measure, day) for day in self.months]

    def status(self, kpi: Kpi, measured: Total) -> KpiStatus:
        """Judge one reading; the age of the KPI is counted in weeks with data."""
        weeks = sum(reading is not None for reading in self.week_values(kpi))
        return kpi_status(
            measured.mean,
            runs=measured.n,
            target=kpi.target,
            limit=kpi.limit,
            lower_is_better=kpi.lower_is_better,
            weeks_of_data=weeks,
        )

    def measured(self, kpi: Kpi) -> Total:
        return self.total(kpi.workflow_id, kpi.measure, self.period)

    def in_week(self, kpi: Kpi, monday: date) -> Total:
        return self.by_week.of(kpi.workflow_id, kpi.measure, monday)


def kpi_row(numbers: Numbers, kpi: Kpi, *, note: str, note_url: str, several: bool) -> KpiRow:
    """Return one KPI with its reading, its change and its line."""
    unit, period = Unit(kpi.unit), numbers.period
    measured = numbers.measured(kpi)
    value = measured.mean
    before = numbers.total(kpi.workflow_id, kpi.measure, period.previous()).mean
    chip = KPI_STATUS[numbers.status(kpi, measured)]
    weekly_page = period.kind == WEEKLY
    values = numbers.week_values(kpi) if weekly_page else numbers.month_values(kpi)
    difference = None if value is None or before is None else value - before
    target = format_bound(kpi.target, unit, lower_is_better=kpi.lower_is_better)
    name = f"{kpi.name}, {kpi.workflow.name}" if several else kpi.name
    return KpiRow(
        key=str(kpi.pk),
        name=name,
        owner=str(kpi.owner),
        status=chip,
        value=format_value(value, unit),
        target=target,
        limit=format_bound(kpi.limit, unit, lower_is_better=kpi.lower_is_better),
        change=format_change(difference, unit),
        change_word=_direction(difference, kpi, unit),
        sparkline=draw_sparkline(
            values, target=kpi.target, releases=_marked(numbers, kpi.workflow_id, weekly_page)
        ),
        sentence=_sentence(
            name, values, unit, target, chip.word, "weeks" if weekly_page else "months"
        ),
        note=note,
        note_url=note_url,
    )


def fact(numbers: Numbers, kpi: Kpi) -> Fact:
    """Return what the headline needs to know of a KPI."""
    unit, measured = Unit(kpi.unit), numbers.measured(kpi)
    value, status = measured.mean, numbers.status(kpi, measured)
    since = None
    if status in (KpiStatus.OUTSIDE_LIMIT, KpiStatus.WATCH):
        for monday in reversed(numbers.weeks):
            if numbers.status(kpi, numbers.in_week(kpi, monday)) is not status:
                break
            since = monday
    return Fact(
        name=kpi.name,
        status=status,
        value=format_value(value, unit),
        limit=format_bound(kpi.limit, unit, lower_is_better=kpi.lower_is_better),
        target=format_bound(kpi.target, unit, lower_is_better=kpi.lower_is_better),
        since=since,
        workflow_id=kpi.workflow_id,
    )


def drift_group(numbers: Numbers, workflow: Workflow) -> DriftGroup | None:
    """Return the 6–12 charts of one workflow, quality first."""
    kpis = [kpi for kpi in numbers.kpis if kpi.workflow_id == workflow.pk]
    ordered = [kpi for measure in DRIFT_ORDER for kpi in kpis if kpi.measure == measure]
    charts = [_drift_chart(numbers, kpi) for kpi in ordered]
    if not charts:
        return None
    return DriftGroup(
        workflow=workflow.name,
        charts=tuple(charts),
        has_prior=any(c.plot.weeks.prior or c.plot.months.prior for c in charts),
    )


def _drift_chart(numbers: Numbers, kpi: Kpi) -> DriftChart:
    unit = Unit(kpi.unit)
    weeks, months = numbers.weeks[-DRIFT_WEEKS:], numbers.months
    values, by_month = numbers.week_values(kpi)[-DRIFT_WEEKS:], numbers.month_values(kpi)

    def year_ago(totals: Totals, days: Iterable[date]) -> list[float | None]:
        return [totals.mean(kpi.workflow_id, kpi.measure, day) for day in days]

    changes = [change for change in numbers.changes if change.workflow_id == kpi.workflow_id]
    week_labels = [str(day.isocalendar().week) for day in weeks]
    week_labels[0], week_labels[-1] = f"W{week_labels[0]}", f"W{week_labels[-1]}"
    plot = draw_drift(
        Series(
            values,
            week_labels,
            year_ago(numbers.by_week, [day - A_YEAR for day in weeks]),
            _markers(changes, weeks, timedelta(days=7)),
        ),
        Series(
            by_month,
            [f"{day:%b}"[0] for day in months],
            year_ago(numbers.by_month, [add_months(day, -MONTHS) for day in months]),
            _month_markers(changes, months),
        ),
        unit=unit,
        target=kpi.target,
    )
    now, before = values[-1], values[-2]
    chip = KPI_STATUS[numbers.status(kpi, numbers.in_week(kpi, weeks[-1]))]
    target = format_bound(kpi.target, unit, lower_is_better=kpi.lower_is_better)
    return DriftChart(
        name=kpi.name,
        now=format_value(now, unit),
        status=chip,
        plot=plot,
        sentence=_sentence(kpi.name, values, unit, target, chip.word, "weeks"),
        boxes=(
            (f"Week {weeks[-1].isocalendar().week}", format_value(now, unit)),
            ("WoW", _difference(now, before, unit)),
            ("4 weeks", format_value(_span(numbers.by_week, kpi, weeks[-4:]).mean, unit)),
            ("Quarter", format_value(_quarter(numbers, kpi).mean, unit)),
            ("vs target", _difference(now, kpi.target, unit)),
        ),
        weeks=tuple(
            (f"Week {day.isocalendar().week}", format_value(value, unit))
            for day, value in zip(weeks, values, strict=True)
        ),
        months=tuple(
            (f"{day:%b %Y}", format_value(value, unit))
            for day, value in zip(months, by_month, strict=True)
        ),
    )


def money_strip(numbers: Numbers, workflows: Sequence[Workflow]) -> tuple[MoneyCell, ...]:
    """Return the figures under the headline; what nobody reports is a dash, not a zero."""
    cost, right = (_whole(numbers, workflows, measure) for measure in MONEY_MEASURES)
    per_outcome = None
    if cost.mean is not None and right.mean:
        per_outcome = cost.mean / right.mean
    judged = f"{format_value(right.mean, Unit.SHARE)} of runs end in one"
    return (
        MoneyCell(
            "Cost of handling",
            format_value(cost.total if cost.n else None, Unit.MONEY),
            "all that runs report; no budget set",
        ),
        MoneyCell(
            "Cost per right outcome",
            format_value(per_outcome, Unit.MONEY),
            judged if right.n else "no outcome is judged",
        ),
        MoneyCell("Money handled", format_value(None, Unit.MONEY), "not reported here"),
        MoneyCell("Exposure", format_value(None, Unit.MONEY), "not reported here"),
    )


def cost_note(workflows: Sequence[Workflow]) -> str:
    """Say what the money figures are made of, and how each workflow measures its cost."""
    said = [workflow.cost_note for workflow in workflows if workflow.cost_note]
    return " ".join(dict.fromkeys([*said, MONEY_RULE])) if workflows else ""


def traced(period: Period, last_day: date, workflows: Sequence[Workflow]) -> Traced | None:
    """Say how many runs behind the KPIs name an approved release, with the way to the others."""
    until = last_day + timedelta(days=1)
    found = coverage([workflow.pk for workflow in workflows], period.starts_on, until)
    if not found.runs:
        return None
    word = PERIOD_WORD[period.kind]
    if not found.outside:
        runs = "The only run" if found.runs == 1 else f"All {found.runs:,} runs"
        verb = "names" if found.runs == 1 else "name"
        return Traced(f"{runs} of this {word} {verb} an approved release (coverage 100 %).", True)
    asked = {"from": period.starts_on.isoformat(), "to": last_day.isoformat()}
    parts = (
        (found.unattributed, "no release named", "unattributed"),
        (found.unauthorised, "release not approved", "unauthorised"),
    )
    return Traced(
        f"{found.outside:,} of {found.runs:,} runs of this {word} name no approved release"
        f" (coverage {found.percent:.1f} %). The figures above count them too.",
        complete=False,
        links=tuple(
            Link(
                f"{count:,} with {words}",
                f"{reverse('receipts')}?{urlencode({'standing': standing, **asked})}",
            )
            for count, words, standing in parts
            if count
        ),
    )


def _whole(numbers: Numbers, workflows: Sequence[Workflow], measure: str) -> Total:
    whole = NOTHING
    for workflow in workflows:
        whole += numbers.total(workflow.pk, measure, numbers.period)
    return whole


def _span(totals: Totals, kpi: Kpi, days: Sequence[date]) -> Total:
    return totals.span(kpi.workflow_id, kpi.measure, days)


def _quarter(numbers: Numbers, kpi: Kpi) -> Total:
    """The quarter to date: its months up to the last one shown."""
    last = numbers.months[-1]
    return _span(numbers.by_month, kpi, numbers.months[-((last.month - 1) % 3 + 1) :])


def _difference(now: float | None, other: float | None, unit: Unit) -> str:
    """Money moves in per cent; everything else in its own unit."""
    if unit is Unit.MONEY:
        return format_relative(now, other)
    return format_change(None if now is None or other is None else now - other, unit)


def _direction(difference: float | None, kpi: Kpi, unit: Unit) -> str:
    if not difference or format_change(difference, unit) == "no change":
        return ""
    return "better" if (difference < 0) == kpi.lower_is_better else "worse"


def _sentence(
    name: str, values: Sequence[float | None], unit: Unit, target: str, word: str, span: str
) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return f"{name}: no data in {len(values)} {span}."
    return (
        f"{name} over {len(values)} {span}: from {format_value(known[0], unit)} to"
        f" {format_value(known[-1], unit)}; target {target}; {word.lower()}."
    )


def _marked(numbers: Numbers, workflow_id: int, weekly_page: bool) -> list[int]:
    changes = [change for change in numbers.changes if change.workflow_id == workflow_id]
    if weekly_page:
        found = _markers(changes, numbers.weeks, timedelta(days=7))
    else:
        found = _month_markers(changes, numbers.months)
    return sorted({marker.index for marker in found})


def _markers(changes: Sequence[Change], starts: Sequence[date], length: timedelta) -> list[Marker]:
    return [
        Marker(index, change.label)
        for change in changes
        for index, start in enumerate(starts)
        if start <= change.at.date() < start + length
    ]


def _month_markers(changes: Sequence[Change], months: Sequence[date]) -> list[Marker]:
    return [
        Marker(index, change.label)
        for change in changes
        for index, start in enumerate(months)
        if (change.at.year, change.at.month) == (start.year, start.month)
    ]


def series_label(kind: str) -> str:
    return f"{SPARK_WEEKS} weeks" if kind == WEEKLY else f"{MONTHS} months"
