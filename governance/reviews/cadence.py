"""Weeks, months and quarters, and what is done in each. Pure.

Weeks are ISO weeks, months and quarters those of the calendar, all in UTC.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta

WEEKLY, MONTHLY, QUARTERLY = "weekly", "monthly", "quarterly"
KINDS = (WEEKLY, MONTHLY, QUARTERLY)
PERIOD_WORD = {WEEKLY: "week", MONTHLY: "month", QUARTERLY: "quarter"}

OWNER, ANALYST = "owner", "analyst"


@dataclass(frozen=True, slots=True)
class Task:
    """One item of a checklist: its words, the page where it is done, whose it is."""

    key: str
    label: str
    url_name: str
    whose: tuple[str, ...]  # beside executives, who may tick everything


CHECKLISTS: dict[str, tuple[Task, ...]] = {
    WEEKLY: (
        Task(
            "drift",
            "Read the drift dashboard (quality, cost, escalation %)",
            "#drift",
            (OWNER, ANALYST),
        ),
        Task("exceptions", "Triage the top 5 exceptions", "exceptions", (OWNER, ANALYST)),
        Task("decide", "Decide on 1–2 safe changes", "promotions", (OWNER,)),
    ),
    MONTHLY: (
        Task("full-suite", "Re-run the full suite", "evals", (OWNER, ANALYST)),
        Task("thresholds", "Revisit thresholds and coverage", "evals", (OWNER, ANALYST)),
        Task("access", "Audit tool permissions and data access", "releases", (OWNER, ANALYST)),
    ),
    QUARTERLY: (
        Task("bake-off", "Hold a bake-off of candidates", "releases", (OWNER, ANALYST)),
        Task("rebaseline", "Rebaseline KPIs and targets", "workflows", (OWNER,)),
        Task("authority", "Update the authority levels", "workflows", (OWNER,)),
    ),
}


@dataclass(frozen=True, slots=True)
class Period:
    """One week, month or quarter. `ends_on` is its last day."""

    kind: str
    key: str
    starts_on: date
    ends_on: date

    @property
    def after(self) -> date:
        """The first day that does not belong to it."""
        return self.ends_on + timedelta(days=1)

    def previous(self) -> Period:
        return period_of(self.kind, self.starts_on - timedelta(days=1))

    def next(self) -> Period:
        return period_of(self.kind, self.after)

    def includes(self, day: date) -> bool:
        return self.starts_on <= day <= self.ends_on

    @property
    def title(self) -> str:
        return f"{self.short} review"

    @property
    def short(self) -> str:
        if self.kind == WEEKLY:
            return f"Week {self.starts_on.isocalendar().week}"
        if self.kind == MONTHLY:
            return f"{self.starts_on:%B}"
        return f"Quarter {(self.starts_on.month + 2) // 3}"

    @property
    def span(self) -> str:
        first, last = self.starts_on, self.ends_on
        start = f"{first:%a} {first.day}" if self.kind == WEEKLY else f"{first.day}"
        if first.year != last.year:
            start += f" {first:%b} {first.year}"
        elif first.month != last.month:
            start += f" {first:%b}"
        day = f"{last:%a} {last.day}" if self.kind == WEEKLY else f"{last.day}"
        return f"{start} to {day} {last:%b} {last.year}"


def period_of(kind: str, day: date) -> Period:
    """Return the period that `day` belongs to.

    Raises:
        ValueError: `kind` is not one of KINDS.
    """
    if kind == WEEKLY:
        year, week, _ = day.isocalendar()
        monday = date.fromisocalendar(year, week, 1)
        return Period(kind, f"{year}-W{week:02d}", monday, monday + timedelta(days=6))
    if kind == MONTHLY:
        first = day.replace(day=1)
        return Period(kind, f"{first:%Y-%m}", first, add_months(first, 1) - timedelta(days=1))
    if kind == QUARTERLY:
        first = date(day.year, 3 * ((day.month - 1) // 3) + 1, 1)
        key = f"{day.year}-Q{(first.month + 2) // 3}"
        return Period(kind, key, first, add_months(first, 3) - timedelta(days=1))
    raise ValueError(f"there is no {kind!r} review")


def parse_period(kind: str, key: str) -> Period:
    """Return the period named `key`: 2026-W47, 2026-11 or 2026-Q4.

    Raises:
        ValueError: no such period.
    """
    patterns = {
        WEEKLY: r"(\d{4})-W(\d{2})",
        MONTHLY: r"(\d{4})-(\d{2})",
        QUARTERLY: r"(\d{4})-Q(\d)",
    }
    found = re.fullmatch(patterns.get(kind, r"(?!)()()"), key, re.ASCII)
    if found is None:
        raise ValueError(f"there is no {kind} period {key!r}")
    year, number = int(found[1]), int(found[2])
    if not 2000 <= year <= 2200:
        raise ValueError("a year from 2000 to 2200")
    if kind == WEEKLY:
        return period_of(kind, date.fromisocalendar(year, number, 1))
    month = number if kind == MONTHLY else 3 * number - 2
    return period_of(kind, date(year, month, 1))


def add_months(first: date, months: int) -> date:
    """Return the first of the month that is `months` away."""
    index = first.year * 12 + first.month - 1 + months
    return date(index // 12, index % 12 + 1, 1)


def weeks_until(last_day: date, count: int) -> list[date]:
    """Return the Mondays of the `count` weeks up to the one that `last_day` is in."""
    last = period_of(WEEKLY, last_day).starts_on
    return [last - timedelta(weeks=back) for back in range(count - 1, -1, -1)]


def months_until(last_day: date, count: int) -> list[date]:
    """Return the first days of the `count` months up to the one that `last_day` is in."""
    return [add_months(last_day.replace(day=1), -back) for back in range(count - 1, -1, -1)]
