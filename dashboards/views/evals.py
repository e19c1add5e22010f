"""Evals: the suites, what came of running them, what is overdue; and one run, case by case."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path
from django.views.decorators.http import require_GET, require_POST

from dashboards.confusion import confusion_of
from dashboards.eval_trends import share_of, trends
from dashboards.forms import first_error
from dashboards.http import UserRequest, act, render_part, workflow_or_404
from dashboards.run_cases import WorstFirst, said
from dashboards.run_page import AskForm, ResultsForm, asking, importing, progress
from dashboards.windows import words
from governance.common.time import now
from governance.evals import services
from governance.evals.evaluators import CALLABLE
from governance.evals.models import EvalRun, SuiteVersion
from governance.evals.policy import METRICS, SCORE
from governance.jobs.models import Job, Schedule
from governance.people.permissions import can
from governance.releases.models import Release
from governance.workflows.models import Workflow

RUNS_PER_PAGE = 25
CASES_PER_PAGE = 50
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
        "trends": trends(runs),
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
        Figure(name, label, unit, share_of(run, name), (run.summary.get(name) or {}).get("n", 0))
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
        "rows": [(score, said(score)) for score in page],
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


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


urlpatterns: list[URLPattern] = [
    path("evals/", evals, name="evals"),
    path("evals/runs/<str:slug>/ask/", ask, name="eval-run-ask"),
    path("evals/runs/<str:slug>/import/", import_results, name="eval-run-import"),
    path("evals/runs/<int:pk>/", eval_run, name="eval-run"),
    path("evals/runs/<int:pk>/cancel/", cancel, name="eval-run-cancel"),
]
