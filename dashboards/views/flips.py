"""One run beside another, what broke first."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import URLPattern, path
from django.views.decorators.http import require_GET

from dashboards.http import UserRequest
from dashboards.run_page import asking
from dashboards.suite_words import asked_in_short, expected_in_words
from dashboards.windows import whole_number, words
from governance.evals import flips
from governance.evals.cases import row_of
from governance.evals.models import EvalRun, Score
from governance.workflows.models import Workflow

OTHERS_OFFERED = 30


@require_GET
@login_required
def compare(request: UserRequest, pk: int) -> HttpResponse:
    """Flips of a run against the baseline, or the run that `?with=` names."""
    visible = EvalRun.objects.filter(
        suite__workflow__in=Workflow.objects.visible_to(request.user)
    ).select_related("suite__workflow", "release__workflow")
    run = get_object_or_404(visible, pk=pk)
    others = list(
        visible.filter(suite=run.suite_id, state=EvalRun.State.DONE)
        .exclude(pk=run.pk)
        .order_by("-finished_at", "-pk")[:OTHERS_OFFERED]
    )
    number = whole_number(request.GET, "with")
    if number is not None:
        other: EvalRun | None = get_object_or_404(visible, pk=number)
    else:
        other = flips.baseline_of(run)
    context: dict[str, Any] = {
        "run": run,
        "other": other,
        "others": others,
        "workflow": run.suite.workflow,
        "columns": flips.COLUMNS.items(),
        "why_not": flips.are_comparable(run, other) if other is not None else "",
    }
    if other is not None and run.suite_id == other.suite_id:
        context |= _pairs(request, run, other)
    if context["why_not"] and other is not None and other.suite_id == run.suite_id:
        context["asking"] = asking(run.suite.workflow, request.user)
    return render(request, "dashboards/evals/compare.html", context)


def _pairs(request: UserRequest, run: EvalRun, other: EvalRun) -> dict[str, Any]:
    get = request.GET
    column = get.get("metric", "passed")
    kind = get.get("kind", flips.BROKE)
    asked = flips.Asked(
        column=column if column in flips.COLUMNS else "passed",
        kind=kind if kind in flips.KINDS else flips.BROKE,
        category=words(get, "category"),
        segment=words(get, "segment"),
        text=words(get, "case"),
        after=(words(get, "after"), whole_number(get, "repeat") or 0)
        if words(get, "after")
        else ("", -1),
    )
    counts = flips.counts(run, other, asked)
    rows, more = flips.page(run, other, asked)
    return {
        "asked": asked,
        "counts": [(name, label, counts[name]) for name, label in flips.KINDS.items()],
        "rows": [
            {
                "pair": pair,
                "asks": asked_in_short(row_of(pair.mine.case)),
                "expects": expected_in_words(row_of(pair.mine.case)),
                "mine": _answered(pair.mine),
                "theirs": _answered(pair.theirs),
            }
            for pair in rows
        ],
        "more": more,
        "categories": flips.facet(run, "category"),
        "segments": flips.facet(run, "segment"),
    }


def _answered(score: Score) -> str:
    """What a release did with a case, in short."""
    if score.error:
        return f"could not run: {score.error}"
    answer = score.output.get("answer", "") if isinstance(score.output, dict) else ""
    said = [str(answer)] if answer else []
    if score.escalated:
        said.append("asked a person")
    said += [f"broke the policy: {name}" for name in score.violations]
    return " · ".join(said) or "said nothing"


urlpatterns: list[URLPattern] = [
    path("evals/runs/<int:pk>/compare/", compare, name="eval-run-compare"),
]
