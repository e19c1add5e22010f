"""How pages of the roads and registers say times, envelopes and states. Pure."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from governance.rollouts.guard_statistics import SMALLEST_SAMPLE

DAY = timedelta(days=1)
MIDNIGHT = time()
CLOSE_BEFORE = 2  # days before the last day of a month: a close takes them
CLOSE_AFTER = 3  # and so many days of the next month


def span(starts_at: datetime, ends_at: datetime) -> str:
    """Say a window; whole days without hours: "12–19 Dec 2026", else "Sat 12 Dec 18:00 to …"."""
    if starts_at.time() == ends_at.time() == MIDNIGHT:
        return days(starts_at.date(), (ends_at - DAY).date())
    if starts_at.date() == ends_at.date():
        return f"{at(starts_at)}–{ends_at:%H:%M} UTC"
    return f"{at(starts_at)} to {at(ends_at)} UTC"


def days(first: date, last: date) -> str:
    """Say a range of days, without repeating month and year."""
    if first == last:
        return f"{last.day} {last:%b %Y}"
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day}–{last.day} {last:%b %Y}"
    if first.year == last.year:
        return f"{first.day} {first:%b} – {last.day} {last:%b %Y}"
    return f"{first.day} {first:%b %Y} – {last.day} {last:%b %Y}"


def gap(starts_at: datetime, ends_at: datetime) -> str:
    """The same without the year, for the days ahead: "12–19 Dec"; hours where they matter."""
    if starts_at.time() == ends_at.time() == MIDNIGHT:
        return days(starts_at.date(), (ends_at - DAY).date()).removesuffix(f" {ends_at - DAY:%Y}")
    # A gap that began today began some time today; its hours say nothing to a reader.
    return f"{at(starts_at)} to {at(ends_at)} UTC"


def at(moment: datetime) -> str:
    """Say a moment as the pages print it: "Thu 26 Nov 10:09"; the page says once: UTC."""
    return f"{moment:%a} {moment.day} {moment:%b %H:%M}"


def duration(length: timedelta) -> str:
    """Say how long, in the units that matter: "3 h 41 min", "12 days"."""
    minutes = max(0, int(length.total_seconds() // 60))
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")
    return f"{minutes // (24 * 60)} days"


def most_uses(count: int) -> str:
    return "once a week at most" if count == 1 else f"at most {count} times a week"


def steps_in_words(steps: Sequence[Mapping[str, Any]]) -> str:
    """Say what a pilot goes through: "5 % of cases for at least 1 h and 50 runs, then …"."""
    said = []
    for step in steps:
        least = []
        if step["minutes"]:
            least.append(duration(timedelta(minutes=step["minutes"])))
        least.append(f"{max(step['runs'], SMALLEST_SAMPLE):,} runs")
        wait = f" for at least {' and '.join(least)}"
        said.append(f"{step['share'] / 100:g} % of cases{wait}")
    return ", then ".join([*said, "every case"])


def envelope(
    *,
    slot: str,
    most_documents: int | None,
    steps: Sequence[Mapping[str, Any]],
    uses_per_week: int,
) -> list[str]:
    """Say what a standing approval lets through, one limit a line."""
    documents = ""
    if most_documents is not None:
        word = "document" if most_documents == 1 else "documents"
        documents = f", at most {most_documents:,} {word} added, removed or edited"
    return [
        f"Changes {slot} and nothing else{documents}",
        "Not where its risk is high: wider access, a weaker guardrail or a new right waits for the"
        " owner as always",
        "The gate passes, each time",
        (
            f"Goes through a pilot each time: {steps_in_words(steps)}"
            if steps
            else "Then serves every case at once, without a pilot"
        ),
        f"Used {most_uses(uses_per_week)}",
    ]


def month_end(today: date) -> tuple[datetime, datetime]:
    """The next close that has not ended: the last three days of a month and three of the next."""
    first = today.replace(day=1)
    earlier = (first - DAY).replace(day=1)
    for month in (earlier, first):
        last = month.replace(day=monthrange(month.year, month.month)[1])
        starts = last - CLOSE_BEFORE * DAY
        ends = last + (CLOSE_AFTER + 1) * DAY
        if ends > today + DAY:
            return midnight(starts), midnight(ends)
    raise AssertionError("this month's close ends after today")


def midnight(day: date) -> datetime:
    return datetime.combine(day, MIDNIGHT, UTC)
