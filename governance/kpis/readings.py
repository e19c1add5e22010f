"""What was measured, per week, month or day, from the daily roll-ups.

A few queries answer for every KPI at once. They read sums per day, so their cost grows with
KPIs and days, never with receipts.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db.models import Exists, Max, OuterRef, Q, Sum
from django.db.models.functions import TruncDay, TruncMonth, TruncWeek

from governance.receipts.models import RollUp
from governance.releases.models import ReleaseApproval

Z95 = 1.959964


@dataclass(frozen=True, slots=True)
class Total:
    """The sums of one measure over one period."""

    n: int
    total: float
    squares: float = 0.0

    @property
    def mean(self) -> float | None:
        """The mean over runs that report the measure; None when none did."""
        return self.total / self.n if self.n else None

    def __add__(self, other: Total) -> Total:
        return Total(self.n + other.n, self.total + other.total, self.squares + other.squares)

    def interval(self, *, share: bool) -> tuple[float, float] | None:
        """Return the 95 % interval of the mean, in the measure's own unit.

        A share gets Wilson's interval, which stays inside 0 to 1 on a quiet day. Everything
        else gets the normal one; a single run has none.
        """
        if self.mean is None:
            return None
        if share:
            return _wilson(self.total, self.n)
        if self.n < 2:
            return None
        variance = max(self.squares - self.total**2 / self.n, 0.0) / (self.n - 1)
        reach = Z95 * math.sqrt(variance / self.n)
        return self.mean - reach, self.mean + reach


NOTHING = Total(0, 0.0)


class Totals:
    """Sums by workflow, measure and first day of the period."""

    def __init__(self, rows: Iterable[tuple[int, str, date, Total]] = ()) -> None:
        self._sums = {(workflow, measure, day): total for workflow, measure, day, total in rows}

    def of(self, workflow_id: int, measure: str, start: date) -> Total:
        return self._sums.get((workflow_id, measure, start), NOTHING)

    def mean(self, workflow_id: int, measure: str, start: date) -> float | None:
        return self.of(workflow_id, measure, start).mean

    def span(self, workflow_id: int, measure: str, starts: Iterable[date]) -> Total:
        """Return several periods as one."""
        whole = NOTHING
        for start in starts:
            whole += self.of(workflow_id, measure, start)
        return whole


def weekly(
    workflow_ids: Collection[int], measures: Collection[str], mondays: Collection[date]
) -> Totals:
    """Sum the weeks that start on `mondays`; one query, whatever their number."""
    weeks = Q()
    for first, last in _stretches(sorted(mondays), timedelta(weeks=1)):
        weeks |= Q(starts_at__gte=_midnight(first), starts_at__lt=_midnight(last))
    return _summed(workflow_ids, measures, weeks, TruncWeek("starts_at")) if mondays else Totals()


def monthly(
    workflow_ids: Collection[int], measures: Collection[str], first: date, until: date
) -> Totals:
    """Sum calendar months from `first` up to, not including, `until`; one query."""
    inside = Q(starts_at__gte=_midnight(first), starts_at__lt=_midnight(until))
    return _summed(workflow_ids, measures, inside, TruncMonth("starts_at"))


def daily(workflow_id: int, measure: str, first: date, until: date) -> dict[date, Total]:
    """Return the sums of each day from `first` up to, not including, `until`."""
    inside = Q(starts_at__gte=_midnight(first), starts_at__lt=_midnight(until))
    totals = _summed([workflow_id], [measure], inside, TruncDay("starts_at"))
    days = [first + timedelta(days=n) for n in range((until - first).days)]
    return {day: totals.of(workflow_id, measure, day) for day in days}


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many runs of a period can be traced to an approved release."""

    runs: int
    unattributed: int  # name no release
    unauthorised: int  # name a release that was not approved when they ran

    @property
    def outside(self) -> int:
        return self.unattributed + self.unauthorised

    @property
    def percent(self) -> float:
        """The covered share, rounded down: only a complete one reads 100 %."""
        return math.floor(1000 * (self.runs - self.outside) / self.runs) / 10 if self.runs else 0.0


def coverage(workflow_ids: Collection[int], first: date, until: date) -> Coverage:
    """Count the runs from `first` up to, not including, `until`, by what they name; one query.

    A release counts as approved in every hour that touches its approval: the receipts of that
    hour, each with its own standing, tell it to the second.
    """
    approved = ReleaseApproval.objects.filter(
        Q(valid_to=None) | Q(valid_to__gte=OuterRef("starts_at")),
        workflow=OuterRef("workflow"),
        release=OuterRef("release_digest"),
        valid_from__lt=OuterRef("starts_at") + timedelta(hours=1),
    )
    named = ~Q(release_digest="")
    sums = RollUp.objects.filter(
        grain=RollUp.Grain.HOUR,
        workflow__in=workflow_ids,
        measure="runs",
        starts_at__gte=_midnight(first),
        starts_at__lt=_midnight(until),
    ).aggregate(
        runs=Sum("n", default=0),
        unattributed=Sum("n", filter=~named, default=0),
        unauthorised=Sum("n", filter=Q(named, ~Exists(approved)), default=0),
    )
    return Coverage(**sums)


def complete_to(workflow_ids: Collection[int]) -> datetime | None:
    """Return the newest hour that has receipts: everything before it is complete."""
    hours = RollUp.objects.filter(workflow__in=workflow_ids, grain=RollUp.Grain.HOUR)
    newest: datetime | None = hours.aggregate(newest=Max("starts_at"))["newest"]
    return newest


def _summed(
    workflow_ids: Collection[int], measures: Collection[str], inside: Q, period: Any
) -> Totals:
    rows = (
        RollUp.objects.filter(
            inside,
            grain=RollUp.Grain.DAY,
            workflow__in=workflow_ids,
            measure__in=set(measures),
        )
        .order_by()
        .annotate(period=period)
        .values_list("workflow_id", "measure", "period")
        .annotate(count=Sum("n"), whole=Sum("total"), squares=Sum("total_squares"))
    )
    return Totals(
        (workflow, measure, start.date(), Total(count, whole, squares))
        for workflow, measure, start, count, whole, squares in rows
    )


def _stretches(days: list[date], step: timedelta) -> list[tuple[date, date]]:
    """Join neighbours into (first day, day after the last period)."""
    found: list[tuple[date, date]] = []
    for day in days:
        if found and found[-1][1] == day:
            found[-1] = (found[-1][0], day + step)
        else:
            found.append((day, day + step))
    return found


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _wilson(passed: float, total: int) -> tuple[float, float]:
    share = min(max(passed / total, 0.0), 1.0)
    square = Z95**2
    middle = (share + square / (2 * total)) / (1 + square / total)
    spread = share * (1 - share) / total + square / (4 * total**2)
    reach = Z95 * math.sqrt(spread) / (1 + square / total)
    return max(middle - reach, 0.0), min(middle + reach, 1.0)
