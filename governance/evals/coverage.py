"""How much of what really runs a suite has cases for. Reads roll-ups, never receipts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Q, Sum

from governance.common.time import now
from governance.evals.models import Case, SuiteVersion
from governance.receipts.models import RollUp
from governance.workflows.models import Workflow

DAYS = 28
NO_SEGMENT = ""


@dataclass(frozen=True, slots=True)
class Facet:
    """How many cases of a suite share these words; looked up without reading a case."""

    category: str
    segment: str
    channel: str
    must_pass: bool
    look_alike: bool
    cases: int


@dataclass(frozen=True, slots=True)
class SegmentRow:
    """One segment: its runs, their share of all runs (0 to 1), and the cases it has."""

    segment: str
    runs: int
    share: float
    cases: int
    must_pass: int


@dataclass(frozen=True, slots=True)
class Coverage:
    """Live traffic of the last days against the cases of a suite.

    `missing` is the share of all runs (0 to 1) whose segment has no case, `unnamed` the share of
    runs that name no segment; both None where nothing ran.
    """

    runs: int
    rows: tuple[SegmentRow, ...]
    missing: float | None
    unnamed: float | None

    @property
    def sentence(self) -> str:
        """What it comes to, in one sentence."""
        if self.missing is None:
            return f"Nothing ran in the last {DAYS} days, so there is nothing to cover."
        if self.unnamed == 1:
            return "No run names its segment, so nobody can tell which traffic has a case."
        if not self.missing:
            said = "Every segment of the traffic has a case."
        else:
            said = f"{_percent(self.missing)} of traffic has no case."
        if self.unnamed:
            said += f" {_percent(self.unnamed)} of runs name no segment."
        return said


def facets_of(suites: Iterable[SuiteVersion]) -> dict[int, list[Facet]]:
    """Return what the cases of these versions have in common, by suite. One query."""
    found: dict[int, list[Facet]] = {}
    rows = (
        Case.objects.filter(suite__in=list(suites))
        .order_by()
        .values_list("suite_id", "category", "segment", "channel", "must_pass")
        .annotate(
            cases=Count("pk"),
            look_alikes=Count("pk", filter=Q(expected__must_not_escalate=True)),
        )
    )
    for suite, category, segment, channel, must_pass, cases, look_alikes in rows:
        kept = found.setdefault(suite, [])
        for look_alike, number in ((True, look_alikes), (False, cases - look_alikes)):
            if number:
                kept.append(Facet(category, segment, channel, must_pass, look_alike, number))
    return found


def traffic(
    workflows: Iterable[Workflow], *, until: datetime | None = None
) -> Counter[tuple[int, str]]:
    """Return the runs of the last 28 days by workflow and segment. One query, of roll-ups."""
    end = until or now()
    rows = (
        RollUp.objects.filter(
            grain=RollUp.Grain.HOUR, measure="runs", workflow__in=list(workflows),
            starts_at__gte=end - timedelta(days=DAYS), starts_at__lte=end,
        )
        .order_by()
        .values_list("workflow_id", "segment")
        .annotate(runs=Sum("n"))
    )  # fmt: skip
    return Counter({(workflow, segment): int(runs) for workflow, segment, runs in rows})


def coverage(facets: Iterable[Facet], runs: dict[str, int]) -> Coverage:
    """Compare cases with traffic.

    Args:
        facets: of one suite, from `facets_of`.
        runs: runs per segment; "" are those that name none.
    """
    cases: Counter[str] = Counter()
    must_pass: Counter[str] = Counter()
    for facet in facets:
        cases[facet.segment] += facet.cases
        must_pass[facet.segment] += facet.cases if facet.must_pass else 0
    total = sum(runs.values())
    named = {segment for segment in (*runs, *cases) if segment}
    rows = [
        SegmentRow(
            segment, runs.get(segment, 0), runs.get(segment, 0) / total if total else 0.0,
            cases[segment], must_pass[segment],
        )
        for segment in named
    ]  # fmt: skip
    rows.sort(key=lambda row: (-row.runs, row.segment))
    if not total:
        return Coverage(0, tuple(rows), None, None)
    missing = sum(row.runs for row in rows if not row.cases) / total
    return Coverage(total, tuple(rows), missing, runs.get(NO_SEGMENT, 0) / total)


def _percent(share: float) -> str:
    """Never 0 % of something that is there, nor 100 % of something that is not whole."""
    points = share * 100
    if 0 < points < 1:
        return "Less than 1 %"
    return f"{min(99.0, points) if share < 1 else 100:.0f} %"
