"""What a review would be signed off over: severe exceptions nobody took, days without receipts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Count, OuterRef, Subquery, Window
from django.db.models.functions import JSONObject, TruncDate

from governance.common.canonical import digest
from governance.common.time import today
from governance.people.models import User
from governance.receipts.models import RollUp
from governance.reviews.cadence import Period
from governance.rollouts.models import LiveChange
from governance.triage.models import ExceptionCase
from governance.workflows.models import Workflow

A_DAY = timedelta(days=1)
EXCEPTIONS_NAMED = 20  # the others are counted


@dataclass(frozen=True, slots=True)
class Untaken:
    """An open exception of severity High that nobody took."""

    pk: int
    title: str
    workflow: str


@dataclass(frozen=True, slots=True)
class Silent:
    """The days on which a workflow that serves sent no run receipt at all."""

    workflow: str
    days: tuple[date, ...]


@dataclass(frozen=True, slots=True)
class LeftOver:
    """What nobody looked at, or could look at, in a period."""

    untaken: tuple[Untaken, ...]
    untaken_total: int
    silent: tuple[Silent, ...]

    def __bool__(self) -> bool:
        return bool(self.untaken or self.silent)

    @property
    def mark(self) -> str:
        """Changes when anything in it does; empty when nothing is left over."""
        return digest(self.facts()) if self else ""

    def facts(self) -> dict[str, Any]:
        """Return it as plain data, for the record of the review and of the audit."""
        return {
            "untaken": [
                {"exception": one.pk, "title": one.title, "workflow": one.workflow}
                for one in self.untaken
            ],
            "untaken_total": self.untaken_total,
            "without_receipts": [
                {"workflow": one.workflow, "days": [day.isoformat() for day in one.days]}
                for one in self.silent
            ],
        }

    def sentences(self) -> tuple[str, ...]:
        """Say it as the sign-off prints it."""
        said = [f"Nobody took “{one.title}” ({one.workflow}), High." for one in self.untaken]
        more = self.untaken_total - len(self.untaken)
        if more:
            said.append(f"Nobody took {more} more of severity High.")
        said += [
            f"{one.workflow} sent no run receipt on {_in_words(one.days)}." for one in self.silent
        ]
        return tuple(said)


def left_over(period: Period, user: User) -> LeftOver:
    """Read it in one query."""
    day = today()
    return read(User.objects.values(**columns(period, user)).get(pk=user.pk), period, day)


def columns(period: Period, user: User) -> dict[str, ArraySubquery]:
    """Return what `read` reads, as columns that any query may carry."""
    severe = ExceptionCase.objects.visible_to(user).filter(
        state=ExceptionCase.State.OPEN,
        severity=ExceptionCase.Severity.HIGH,
        first_at__lt=datetime.combine(period.after, time(), UTC),
    )
    said = RollUp.objects.filter(
        grain=RollUp.Grain.DAY, workflow=OuterRef("pk"), measure="runs", n__gt=0,
        starts_at__gte=datetime.combine(period.starts_on, time(), UTC),
        starts_at__lt=datetime.combine(period.after, time(), UTC),
    )  # fmt: skip
    began = LiveChange.objects.filter(workflow=OuterRef("pk")).order_by("seq")
    return {
        "left_untaken": ArraySubquery(
            severe.annotate(in_all=Window(Count("pk")))
            .order_by("first_at", "pk")
            .values(
                json=JSONObject(pk="pk", title="title", workflow="workflow__name", in_all="in_all")
            )[:EXCEPTIONS_NAMED]
        ),
        "left_silent": ArraySubquery(
            Workflow.objects.visible_to(user)
            .annotate(
                began=Subquery(began.values("changed_at")[:1]),
                days=ArraySubquery(
                    said.order_by().values(day=TruncDate("starts_at", tzinfo=UTC)).distinct()
                ),
            )
            .filter(began__isnull=False)
            .order_by("name")
            .values(json=JSONObject(name="name", began="began", days="days"))
        ),
    }


def read(row: Mapping[str, Any], period: Period, day: date) -> LeftOver:
    """Make it of the `columns`; on `day`, which is today, receipts may still come.

    A day counts from the one after the workflow's first release began to serve.
    """
    last = min(period.ends_on, day - A_DAY)
    untaken = row["left_untaken"]
    silent = []
    for found in row["left_silent"]:
        began = datetime.fromisoformat(found["began"]).astimezone(UTC).date()
        first = max(period.starts_on, began + A_DAY)
        said = {date.fromisoformat(text) for text in found["days"]}
        every = [first + number * A_DAY for number in range((last - first).days + 1)]
        if missing := tuple(one for one in every if one not in said):
            silent.append(Silent(found["name"], missing))
    return LeftOver(
        untaken=tuple(Untaken(one["pk"], one["title"], one["workflow"]) for one in untaken),
        untaken_total=untaken[0]["in_all"] if untaken else 0,
        silent=tuple(silent),
    )


def _in_words(days: tuple[date, ...]) -> str:
    """Mon 16 Nov, Fri 20 to Sun 22 Nov."""
    spans: list[list[date]] = []
    for day in days:
        if spans and day - spans[-1][-1] == A_DAY:
            spans[-1].append(day)
        else:
            spans.append([day])
    return ", ".join(
        _said(span[0])
        if len(span) == 1
        else f"{_said(span[0], month=span[0].month != span[-1].month)} to {_said(span[-1])}"
        for span in spans
    )


def _said(day: date, *, month: bool = True) -> str:
    return f"{day:%a} {day.day}" + (f" {day:%b}" if month else "")
