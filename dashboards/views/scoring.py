"""How answers of a workflow are scored, and how its judges are checked."""

from __future__ import annotations

from functools import partial
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path
from django.views.decorators.http import require_GET, require_POST

from dashboards import setup_page
from dashboards.http import UserRequest, act, workflow_or_404
from dashboards.scorer_forms import addable, content_of, error_of, scorer_lines, with_another
from dashboards.scorer_words import EXAMPLE, in_words
from dashboards.setup_page import ContentForm, WhyForm
from dashboards.slots import readable
from dashboards.suite_words import asked_in_short
from dashboards.windows import whole_number
from governance.common.errors import InvalidInputError
from governance.evals import calibration, services
from governance.evals.cases import row_of
from governance.evals.models import Score
from governance.evals.setup_models import Evaluator, JudgeCalibration
from governance.people.permissions import can
from governance.workflows.models import Workflow

ANSWERS_SHOWN = 10
HISTORY_SHOWN = 20
NOTHING: dict[str, Any] = {"scorers": []}


class LabelForm(forms.Form):
    """What a person says of one answer."""

    verdict = forms.ChoiceField(
        choices=[("good", "Good"), ("bad", "Bad")],
        error_messages=dict.fromkeys(
            ("required", "invalid_choice"), "Say whether it is good or bad."
        ),
    )
    note = forms.CharField(max_length=500, required=False)


@require_GET
@login_required
def scoring(request: UserRequest, slug: str) -> HttpResponse:
    """The scorers in use, their versions, and the form of the next ones."""
    return _page(request, workflow_or_404(request, slug))


@require_POST
@login_required
def set_evaluator(request: UserRequest, slug: str) -> HttpResponse:
    """Put new scorers into use."""
    found = workflow_or_404(request, slug)
    again = partial(_page, request, found)
    if "add" in request.POST:
        return again(typed=with_another(request.POST, request.POST.get("another", "")))
    is_json = "content" in request.POST
    form = ContentForm(request.POST) if is_json else WhyForm(request.POST)
    lines = scorer_lines(NOTHING, None if is_json else request.POST)
    if not is_json and form.is_valid() and (wrong := error_of(lines)):
        return again(error=wrong, status=422)

    def made() -> Evaluator:
        said = form.cleaned_data
        content = said["content"] if is_json else content_of(lines)
        return services.set_evaluator(found, content, actor=request.user, reason=said["reason"])

    return act(
        request,
        made,
        form=form,
        again=again,
        done=setup_page.in_use,
        then=lambda _: redirect("scoring", slug),
    )


@require_POST
@login_required
def confirm(request: UserRequest, slug: str) -> HttpResponse:
    """Say yes to somebody else's scorers."""
    found = workflow_or_404(request, slug)
    rows = Evaluator.objects.filter(workflow=found)
    version = get_object_or_404(rows, version=whole_number(request.POST, "version"))
    return act(
        request,
        lambda: services.confirm_evaluator(version, actor=request.user),
        again=partial(_page, request, found),
        done=f"{version} is confirmed: its author may approve what it scores.",
        then=lambda _: redirect("scoring", slug),
    )


def _page(
    request: UserRequest,
    found: Workflow,
    *,
    error: str = "",
    status: int = 200,
    typed: QueryDict | None = None,
) -> HttpResponse:
    """The page as it is, or with what was typed."""
    rows = list(
        Evaluator.objects.filter(workflow=found)
        .select_related("workflow")
        .order_by("-version")[: setup_page.VERSIONS_SHOWN + 1]
    )
    content = rows[0].content if rows else EXAMPLE
    is_json = "content" in request.POST
    sent = typed or (request.POST if "line-TOTAL_FORMS" in request.POST else None)
    lines = scorer_lines(content, sent)
    if typed and lines.forms:
        lines.forms[-1].fields["name"].widget.attrs["autofocus"] = True
    context = {
        "workflow": found,
        "current": rows[0] if rows else None,
        "words": setup_page.newest(rows, in_words),
        "versions": setup_page.versions(rows),
        "judges": [
            (judge, calibration.calibrated(found, judge)) for judge in calibration.judges_of(found)
        ],
        "lines": lines,
        "kinds": addable(),
        "is_json": is_json,
        "text": request.POST.get("content") or readable(content),
        "typed": request.POST.get("reason", ""),
        "error": error,
        "may_set": can(request.user, "evaluator.set", found),
        "may_confirm": bool(rows)
        and rows[0].confirmed_at is None
        and can(request.user, "evaluator.confirm", rows[0]),
    }
    return render(request, "dashboards/evals/scoring.html", context, status=status)


@require_GET
@login_required
def judge(request: UserRequest, slug: str, name: str) -> HttpResponse:
    """How well a judge agrees with people, and answers to label without its verdict."""
    return _judge_page(request, workflow_or_404(request, slug), name)


@require_POST
@login_required
def label(request: UserRequest, slug: str, name: str) -> HttpResponse:
    """Say whether one answer is good."""
    found = workflow_or_404(request, slug)
    checked = _judge(found, name)
    rows = Score.objects.filter(run__suite__workflow=found).select_related("run__suite__workflow")
    score = get_object_or_404(rows, pk=whole_number(request.POST, "score"))
    form = LabelForm(request.POST)
    return act(
        request,
        lambda: services.label_answer(
            score, checked, good=form.cleaned_data["verdict"] == "good", actor=request.user,
            note=form.cleaned_data["note"],
        ),
        form=form,
        again=partial(_judge_page, request, found, name),
        then=lambda _: redirect("scoring-judge", slug, name),
    )  # fmt: skip


@require_POST
@login_required
def calibrate(request: UserRequest, slug: str, name: str) -> HttpResponse:
    """Write down how well the judge agrees with people now."""
    found = workflow_or_404(request, slug)
    _judge(found, name)

    def said(made: JudgeCalibration) -> HttpResponse:
        if made.passed:
            messages.success(request, "It reaches its bar: policies may judge by it from now on.")
        else:
            messages.warning(request, "It does not reach its bar, and stays advisory.")
        return redirect("scoring-judge", slug, name)

    return act(
        request,
        lambda: services.calibrate(found, name, actor=request.user),
        again=partial(_judge_page, request, found, name),
        then=said,
    )


def _judge(found: Workflow, name: str) -> calibration.Judge:
    try:
        return calibration.judge_named(found, name)
    except InvalidInputError as error:
        raise Http404(str(error)) from error


def _judge_page(
    request: UserRequest, found: Workflow, name: str, *, error: str = "", status: int = 200
) -> HttpResponse:
    checked = _judge(found, name)
    may_label = can(request.user, "judge.label", found)
    waiting = calibration.to_label(found, checked, request.user, ANSWERS_SHOWN) if may_label else []
    context = {
        "workflow": found,
        "judge": checked,
        "agreement": calibration.agreement(found, checked),
        "calibrated": calibration.calibrated(found, checked),
        "history": JudgeCalibration.objects.filter(workflow=found, scorer=name)[:HISTORY_SHOWN],
        "rows": [
            {
                "score": score,
                "asks": asked_in_short(row_of(score.case)),
                "answer": score.output.get("answer", ""),
                "expected": score.case.expected,
            }
            for score in waiting
        ],
        "least": calibration.LEAST_OF_EACH,
        "may_label": may_label,
        "error": error,
    }
    return render(request, "dashboards/evals/judge.html", context, status=status)


urlpatterns: list[URLPattern] = [
    path("evals/scoring/<str:slug>/", scoring, name="scoring"),
    path("evals/scoring/<str:slug>/set/", set_evaluator, name="scoring-set"),
    path("evals/scoring/<str:slug>/confirm/", confirm, name="scoring-confirm"),
    path("evals/scoring/<str:slug>/judges/<str:name>/", judge, name="scoring-judge"),
    path("evals/scoring/<str:slug>/judges/<str:name>/label/", label, name="scoring-judge-label"),
    path(
        "evals/scoring/<str:slug>/judges/<str:name>/calibrate/",
        calibrate,
        name="scoring-judge-calibrate",
    ),
]
