"""What an auditor asks for: a period in whole days, and one workflow or all they may see."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

from django.http import QueryDict

from dashboards.http import UserRequest
from dashboards.windows import day, ends, starts, words
from governance.common.time import today
from governance.reviews.cadence import QUARTERLY, Period, period_of
from governance.workflows.models import Workflow


@dataclass(frozen=True, slots=True)
class Asked:
    """A period and the workflows in it; `slug` is empty for all of them."""

    first: date
    last: date
    slug: str
    workflows: list[Workflow]
    choices: list[Workflow]

    @property
    def start(self) -> datetime:
        return starts(self.first)

    @property
    def end(self) -> datetime:
        return ends(self.last)

    @property
    def span(self) -> str:
        return f"{self.first.day} {self.first:%b %Y} to {self.last.day} {self.last:%b %Y}"

    @property
    def query(self) -> str:
        """The same question as a query string."""
        asked = QueryDict(mutable=True)
        asked["from"], asked["to"] = self.first.isoformat(), self.last.isoformat()
        if self.slug:
            asked["workflow"] = self.slug
        return asked.urlencode()


def asked_period(request: UserRequest, asked: QueryDict | None = None) -> Asked:
    """Read period and workflow; what is missing or wrong is this quarter, and every workflow."""
    typed = request.GET if asked is None else asked
    quarter, _ = quarters(today())
    first = day(typed, "from") or quarter.starts_on
    last = day(typed, "to") or max(quarter.ends_on, first)
    if last < first:
        first, last = last, first
    visible = list(Workflow.objects.visible_to(request.user).only("slug", "name"))
    slug = words(typed, "workflow")
    chosen = [workflow for workflow in visible if workflow.slug == slug] if slug else visible
    return Asked(first, last, slug, chosen, visible)


def quarters(on: date) -> tuple[Period, Period]:
    """The quarter that this day is in, and the one before it."""
    current = period_of(QUARTERLY, on)
    return current, current.previous()
