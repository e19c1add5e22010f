"""How many cases passed, release by release, as the evals page draws it."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings
from django.db.models import Q, QuerySet

from dashboards.sparkline import Sparkline, draw_sparkline
from governance.evals.models import EvalRun, SuiteVersion
from governance.evals.requests import IMPORTED
from governance.evals.setup_models import EvalTarget
from governance.workflows.models import Workflow

RELEASES_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Trend:
    """How many cases passed, release by release, for one suite of one workflow."""

    workflow: Workflow
    suite: str
    points: list[tuple[EvalRun, float, float | None]]  # newest first; run, share, change
    spark: Sparkline
    sentence: str


def trends(runs: QuerySet[EvalRun]) -> list[Trend]:
    """Golden and recent suites: the newest finished run of each release."""
    # Where a workflow has a target, results of another tool are no evidence and no trend.
    called = Q(suite__workflow__in=EvalTarget.objects.values("workflow")) | Q(
        suite__workflow__slug__in=list(settings.EVAL_TARGETS)
    )
    newest = (
        runs.filter(
            state=EvalRun.State.DONE,
            suite__kind__in=(SuiteVersion.Kind.GOLDEN, SuiteVersion.Kind.RECENT),
        )
        .exclude(called, purpose=IMPORTED)
        .order_by("suite__workflow__name", "suite__kind", "-release__number", "-finished_at", "-pk")
        .distinct("suite__workflow__name", "suite__kind", "release__number")
    )
    grouped: dict[tuple[int, str], list[EvalRun]] = {}
    for run in newest:
        grouped.setdefault((run.suite.workflow_id, run.suite.kind), []).append(run)
    return [trend for group in grouped.values() if (trend := _trend(group[:RELEASES_SHOWN]))]


def _trend(group: list[EvalRun]) -> Trend | None:
    shares = [(run, share) for run in group if (share := share_of(run, "passed")) is not None]
    if not shares:
        return None
    points: list[tuple[EvalRun, float, float | None]] = []
    line: list[float | None] = []  # newest first
    before = [*shares[1:], None]
    for (run, share), previous in zip(shares, before, strict=True):
        # Other cases or another evaluator give another share: no line joins them.
        same = previous is not None and (
            (previous[0].suite_id, previous[0].evaluator) == (run.suite_id, run.evaluator)
        )
        points.append((run, share, share - previous[1] if previous and same else None))
        line.extend((share,) if same or previous is None else (share, None))
    suite = group[0].suite
    oldest, latest = shares[-1], shares[0]
    return Trend(
        workflow=suite.workflow,
        suite=suite.get_kind_display(),
        points=points,
        spark=draw_sparkline(line[::-1]),
        sentence=(
            f"Passed: {oldest[1]:.1%} with {oldest[0].release.name} on {oldest[0].suite},"
            f" {latest[1]:.1%} with {latest[0].release.name} on {latest[0].suite}"
        ),
    )


def share_of(run: EvalRun, metric: str) -> float | None:
    """The mean of a metric over the cases that report it; None, never zero, where none do."""
    tally = run.summary.get(metric) if isinstance(run.summary, dict) else None
    return tally["sum"] / tally["n"] if tally and tally.get("n") else None
