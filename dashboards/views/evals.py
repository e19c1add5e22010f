"""Evals: the suites, what came of running them, what is overdue; and one run, case by case."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, overload

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Case, IntegerField, Q, QuerySet, When
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path
from django.utils.functional import cached_property
from django.views.decorators.http import require_GET, require_POST

from dashboards.confusion import confusion_of
from dashboards.forms import first_error
from dashboards.http import UserRequest, act, render_part, workflow_or_404
from dashboards.run_page import AskForm, ResultsForm, asking, importing, progress
from dashboards.sparkline import Sparkline, draw_sparkline
from dashboards.windows import words
from governance.common.time import now
from governance.evals import services
from governance.evals.evaluators import CALLABLE
from governance.evals.models import EvalRun, Score, SuiteVersion
from governance.evals.policy import METRICS, SCORE
from governance.evals.requests import IMPORTED
from governance.evals.setup_models import EvalTarget
from governance.jobs.models import Job, Schedule
from governance.people.permissions import can
from governance.releases.models import Release
from governance.workflows.models import Workflow

RUNS_PER_PAGE = 25
CASES_PER_PAGE = 50
RELEASES_SHOWN = 12
FIGURES = (
    ("passed", "Passed everything asked", "share"),
    *(
        (metric.name, metric.label, "share" if metric.unit == "percent" else metric.unit)
        for metric in METRICS.values()
    ),
)
RESULTS = (
    ("", "All"),
    ("failed", "Did not pass"),
    ("errored", "Could not run"),
    ("passed", "Passed"),
)


@dataclass(frozen=True, slots=True)
class Figure:
    """One metric of one run; `mean` is None where no case reports it."""

    name: str
    label: str
    unit: str
    mean: float | None
    n: int


@dataclass(frozen=True, slots=True)
class Trend:
    """How many cases passed, release by release, for one suite of one workflow."""

    workflow: Workflow
    suite: str
    points: list[tuple[EvalRun, float, float | None]]  # newest first; run, share, change
    spark: Sparkline
    sentence: str


def _visible(request: UserRequest) -> QuerySet[EvalRun]:
    workflows = Workflow.objects.visible_to(request.user)
    return EvalRun.objects.filter(suite__workflow__in=workflows).select_related(
        "suite__workflow", "release__workflow", "target", "definition"
    )


@require_GET
@login_required
def evals(request: UserRequest) -> HttpResponse:
    """Suites, trend, schedule, and every run."""
    return _evals(request, words(request.GET, "workflow"))


def _evals(request: UserRequest, slug: str, *, error: str = "", status: int = 200) -> HttpResponse:
    workflows = Workflow.objects.visible_to(request.user)
    chosen = list(workflows.filter(slug=slug) if slug else workflows)
    runs = _visible(request).filter(suite__workflow__in=chosen)
    kind = request.GET.get("suite", "")
    listed = runs.filter(suite__kind=kind) if kind in SuiteVersion.Kind.values else runs
    names = [workflow.slug for workflow in chosen]
    schedules = Schedule.objects.visible_to(request.user).filter(kind__startswith="evals.")
    if slug:
        schedules = schedules.filter(payload__workflow__in=names)
    moment = now()
    overdue = Job.objects.visible_to(request.user).overdue(moment)
    offered = importing(chosen[0], request.user) if len(chosen) == 1 else None
    context: dict[str, object] = {
        "suites": _suites(chosen),
        "trends": _trends(runs),
        "schedules": schedules.order_by("next_at"),
        "overdue": list(overdue.filter(kind__startswith="evals.")[:20]),
        "moment": moment,
        "page_obj": Paginator(listed, RUNS_PER_PAGE).get_page(request.GET.get("page")),
        "slug": slug,
        "nav_slug": chosen[0].slug if len(chosen) == 1 else slug,
        "kind": kind,
        "kinds": SuiteVersion.Kind.choices,
        "workflows": workflows.only("slug", "name"),
        "asking": asking(chosen[0], request.user, offered) if offered else None,
        "importing": offered,
        "asks_for": chosen[0] if len(chosen) == 1 else None,
        "typed": request.POST,
        "error": error,
    }
    return render_part(request, "dashboards/evals/list.html", "runs", context, status=status)


@require_POST
@login_required
def ask(request: UserRequest, slug: str) -> HttpResponse:
    """Have one release run on one suite."""
    workflow = workflow_or_404(request, slug)
    form = AskForm(request.POST)
    if not form.is_valid():
        return _evals(request, slug, error=first_error(form), status=422)
    said = form.cleaned_data
    release = get_object_or_404(Release, workflow=workflow, pk=said["release"])
    suite = services.evidence_suites(workflow).get(said["suite"])
    if suite is None:
        return _evals(request, slug, error="This suite has no version yet.", status=422)
    return act(
        request,
        lambda: services.request_run(
            release, suite, actor=request.user, purpose="request",
            slot=f"request {request.user.pk} {said['mark']}", repeats=said["repeats"] or 1,
            budget=said["budget"],
        ),
        again=partial(_evals, request, slug),
        then=lambda run: redirect("eval-run", run.pk),
    )  # fmt: skip


@require_POST
@login_required
def import_results(request: UserRequest, slug: str) -> HttpResponse:
    """Take the finished results of another tool as evidence: all of them, or nothing."""
    workflow = workflow_or_404(request, slug)
    if not can(request.user, "eval_run.request", workflow):
        raise PermissionDenied("Analysts, builders and the KPI owner bring in results.")
    form = ResultsForm(request.POST, request.FILES)
    if not form.is_valid():
        return _evals(request, slug, error=first_error(form), status=422)
    said = form.cleaned_data
    release = get_object_or_404(Release, workflow=workflow, pk=said["release"])
    suite = services.evidence_suites(workflow).get(said["suite"])
    if suite is None:
        return _evals(request, slug, error="This suite has no version yet.", status=422)
    return act(
        request,
        lambda: services.import_results(
            release, suite, said["file"].read(), said["file"].name, actor=request.user,
            provider=said["provider"],
        ),
        again=partial(_evals, request, slug),
        done=lambda run: f"{run.cases_done:,} results are in. Who brought them in is kept.",
        then=lambda run: redirect("eval-run", run.pk),
    )  # fmt: skip


@require_POST
@login_required
def cancel(request: UserRequest, pk: int) -> HttpResponse:
    """Stop a run."""
    run = get_object_or_404(_visible(request), pk=pk)
    return act(
        request,
        lambda: services.cancel_run(run, actor=request.user),
        again=partial(_run_page, request, run),
        done="Cancelled. What was scored stays, and no gate looks at it.",
        then=lambda _: redirect("eval-run", pk),
    )


def _suites(chosen: list[Workflow]) -> list[dict[str, Any]]:
    """The newest version of each suite, with how many came before it."""
    rows = SuiteVersion.objects.filter(workflow__in=chosen).select_related("workflow")
    return [
        {"suite": row, "age_days": (now() - row.sampled_to).days if row.sampled_to else None}
        for row in rows.order_by("workflow__name", "kind", "-version").distinct(
            "workflow__name", "kind"
        )
    ]


def _trends(runs: QuerySet[EvalRun]) -> list[Trend]:
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
    shares = [(run, share) for run in group if (share := _share(run, "passed")) is not None]
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


def _share(run: EvalRun, metric: str) -> float | None:
    """The mean of a metric over the cases that report it; None, never zero, where none do."""
    tally = run.summary.get(metric) if isinstance(run.summary, dict) else None
    return tally["sum"] / tally["n"] if tally and tally.get("n") else None


def _figures(run: EvalRun) -> list[Figure]:
    """What every run reports, then what the workflow's own scorers do."""
    known = {
        entry["name"]: "score" if entry["kind"] == CALLABLE else "share"
        for entry in (run.definition.content["scorers"] if run.definition else ())
    }
    own = [
        (f"{SCORE}{name}", name.replace("_", " ").capitalize(), unit)
        for name, unit in known.items()
    ]
    return [
        Figure(name, label, unit, _share(run, name), (run.summary.get(name) or {}).get("n", 0))
        for name, label, unit in (*FIGURES, *own)
        if run.summary.get(name, {}).get("n")
    ]


@require_GET
@login_required
def eval_run(request: UserRequest, pk: int) -> HttpResponse:
    """One run: the summary, then the cases, what did not pass first."""
    return _run_page(request, get_object_or_404(_visible(request), pk=pk))


def _run_page(
    request: UserRequest, run: EvalRun, *, error: str = "", status: int = 200
) -> HttpResponse:
    asked = request.GET
    result, category, text = asked.get("result", ""), words(asked, "category"), words(asked, "case")
    scores = run.scores.all()
    if result == "errored":
        scores = scores.exclude(error="")
    elif result == "failed":
        scores = scores.filter(error="", passed=False)
    elif result == "passed":
        scores = scores.filter(error="", passed=True)
    if category:
        scores = scores.filter(case__category=category)
    if text:
        scores = scores.filter(Q(case__key__icontains=text) | Q(case__reason__icontains=text))
    page = Paginator(WorstFirst(run, scores), CASES_PER_PAGE).get_page(asked.get("page"))
    cases = run.suite.cases.exclude(category="").order_by("category")
    context: dict[str, object] = {
        "run": run,
        "workflow": run.suite.workflow,
        "figures": _figures(run),
        "page_obj": page,
        "rows": [(score, _said(score)) for score in page],
        "result": result,
        "results": RESULTS,
        "category": category,
        "text": text,
        "categories": _distinct(cases.values_list("category", flat=True).distinct()),
        "reports": run.gate_reports.order_by("-created_at"),
        "failed": _failed(run),
        "confusion": confusion_of(run),
        "progress": progress(run, now()),
        "may_cancel": can(request.user, "eval_run.request", run.suite.workflow),
        "error": error,
    }
    part = "progress" if "progress" in asked else "cases"
    return render_part(request, "dashboards/evals/run.html", part, context, status=status)


def _failed(run: EvalRun) -> int:
    """How many did not pass: counted by whoever finished the run, or now while it goes on."""
    tally = run.summary.get("passed")
    if tally is not None:
        return int(tally["n"] - tally["sum"])  # a sum of ones is whole
    return run.scores.filter(error="", passed=False).count()


class WorstFirst(Sequence[Score]):
    """The scores of a run as pages ask for them: what could not run, what did not pass, the rest.

    The few that are wrong are sorted; the many that are right come from the index of the cases'
    keys, so that a page of a hundred thousand is as near as one of a hundred.
    """

    def __init__(self, run: EvalRun, scores: QuerySet[Score]) -> None:
        self._wrong = scores.filter(~Q(error="") | Q(passed=False))
        self._right = scores.filter(error="").exclude(passed=False)
        self._suite = run.suite_id

    @cached_property
    def _all(self) -> int:
        return self._wrongs + self._right.count()

    def __len__(self) -> int:
        return self._all

    @cached_property
    def _wrongs(self) -> int:
        return self._wrong.count()

    @overload
    def __getitem__(self, part: int) -> Score: ...
    @overload
    def __getitem__(self, part: slice) -> list[Score]: ...
    def __getitem__(self, part: int | slice) -> Score | list[Score]:
        if isinstance(part, int):
            return self[part : part + 1][0]
        begin, end = part.start or 0, len(self) if part.stop is None else part.stop
        found: list[Score] = []
        ranked = self._listed(self._wrong).annotate(
            rank=Case(
                When(~Q(error=""), then=0),
                When(case__must_pass=True, then=1),
                default=2,
                output_field=IntegerField(),
            )
        )
        if begin < self._wrongs:
            found += ranked.order_by("rank", "case__key", "repeat")[begin:end]
        first, last = max(0, begin - self._wrongs), end - self._wrongs
        if last > first:
            found += self._listed(self._right).order_by("case__key", "repeat")[first:last]
        return found

    def _listed(self, scores: QuerySet[Score]) -> QuerySet[Score]:
        # The suite is said again for the index of its keys.
        return scores.select_related("case").filter(case__suite=self._suite)


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _said(score: Score) -> list[tuple[str, Any]]:
    """What was asked, expected and answered, in this order."""
    answered = score.output if isinstance(score.output, dict) else {"answer": score.output}
    return [
        ("Asked", score.case.input),
        ("Expected", score.case.expected),
        ("Answered", answered or None),
        *([("Scored", _scorers_of(score))] if score.metrics else []),
    ]


def _scorers_of(score: Score) -> dict[str, str]:
    """What each scorer of the workflow found, and why."""
    notes = score.notes
    return {name: _value(value, notes.get(name, "")) for name, value in score.metrics.items()}


def _value(value: Any, note: str) -> str:
    said = "does not apply" if value is None else f"{value:.4g}"
    if isinstance(value, bool):
        said = "yes" if value else "no"
    return f"{said}: {note}" if note else said


urlpatterns: list[URLPattern] = [
    path("evals/", evals, name="evals"),
    path("evals/runs/<str:slug>/ask/", ask, name="eval-run-ask"),
    path("evals/runs/<str:slug>/import/", import_results, name="eval-run-import"),
    path("evals/runs/<int:pk>/", eval_run, name="eval-run"),
    path("evals/runs/<int:pk>/cancel/", cancel, name="eval-run-cancel"),
]
