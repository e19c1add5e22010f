"""The exception queue: take, resolve, dismiss. Works with one key, and without JavaScript."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_GET, require_POST

from dashboards.case_making import made_cases, make_url
from dashboards.exception_evidence import evidence
from dashboards.forms import first_error
from dashboards.http import UserRequest, render_part
from dashboards.queue_forms import CommentForm
from dashboards.reauthentication import safe_next
from dashboards.windows import words
from governance.common.errors import GovernanceError
from governance.people.permissions import can
from governance.triage import services
from governance.triage.models import ExceptionCase, ExceptionCaseQuerySet
from governance.workflows.models import Workflow

PER_PAGE = 50
TEMPLATE = "dashboards/exceptions/list.html"
OPEN, ALL = "", "all"


def _visible(request: UserRequest) -> ExceptionCaseQuerySet:
    return ExceptionCase.objects.visible_to(request.user).select_related(
        "workflow__owner", "taken_by", "closed_by"
    )


@require_GET
@login_required
def exceptions(request: UserRequest) -> HttpResponse:
    """Most severe first. What is open, unless the query string asks for more."""
    asked = request.GET
    state = asked.get("state", OPEN)
    if state not in (ALL, *ExceptionCase.State.values):
        state = OPEN
    rows = _visible(request)
    if state == OPEN:
        rows = rows.open()
    elif state != ALL:
        rows = rows.filter(state=state)
    if slug := words(asked, "workflow"):
        rows = rows.filter(workflow__slug=slug)
    if (kind := asked.get("kind", "")) in ExceptionCase.Kind.values:
        rows = rows.filter(kind=kind)
    if mine := asked.get("mine") == "1":
        rows = rows.filter(taken_by=request.user)
    rows = rows.ranked() if state == OPEN else rows.order_by("-last_at", "-pk")
    page = Paginator(rows, PER_PAGE).get_page(asked.get("page"))
    context: dict[str, object] = {
        "page_obj": page,
        "rows": _rows(request, list(page)),
        "here": request.get_full_path(),
        "state": state,
        "slug": slug,
        "kind": kind,
        "mine": mine,
        "kinds": ExceptionCase.Kind.choices,
        "states": ExceptionCase.State.choices,
        "workflows": Workflow.objects.visible_to(request.user).only("slug", "name"),
    }
    return render_part(request, TEMPLATE, "queue", context)


def _rows(request: UserRequest, cases: list[ExceptionCase]) -> list[dict[str, Any]]:
    behind = evidence(cases)
    made = made_cases((case.workflow_id, f"exception-{case.pk}") for case in cases)
    return [
        {
            **_row(request, case),
            "evidence": behind.get(case.pk),
            "made": made.get((case.workflow_id, f"exception-{case.pk}"), ""),
        }
        for case in cases
    ]


def _row(request: UserRequest, case: ExceptionCase) -> dict[str, Any]:
    """What one row shows, with the acts this person may do now."""
    is_open = case.state in (ExceptionCase.State.OPEN, ExceptionCase.State.TAKEN)
    may = is_open and can(request.user, "triage.work", case)
    if case.eval_run_id:
        behind = reverse("eval-run", args=[case.eval_run_id])
    else:
        behind = f"{reverse('receipts')}?exception={case.pk}"
    return {
        "case": case,
        "is_open": is_open,
        "may": may,
        "may_take": may and case.state == ExceptionCase.State.OPEN,
        "behind": behind,
        "make_url": make_url(case.workflow.slug, exception=case.pk)
        if can(request.user, "suite.freeze", case.workflow)
        else "",
    }


def _act(
    request: UserRequest, pk: int, act: Callable[[str], Any], done: str, *, with_comment: bool
) -> HttpResponse:
    """Do one thing to one exception and show its row again, or say why not."""
    case = get_object_or_404(_visible(request), pk=pk)
    comment = ""
    if with_comment:
        form = CommentForm(request.POST)
        if not form.is_valid():
            return _answer(request, case, error=first_error(form), status=422)
        comment = form.cleaned_data["comment"]
    try:
        act(comment)
    except GovernanceError as refusal:
        fresh = get_object_or_404(_visible(request), pk=pk)
        return _answer(request, fresh, error=str(refusal), status=refusal.status)
    return _answer(request, get_object_or_404(_visible(request), pk=pk), done=done)


def _answer(
    request: UserRequest, case: ExceptionCase, *, error: str = "", done: str = "", status: int = 200
) -> HttpResponse:
    """The row for htmx; otherwise back to the page that the form was on, or that row alone."""
    goal = safe_next(request, request.POST.get("next", ""), reverse("exceptions"))
    if not request.htmx and not error:
        messages.success(request, f"{done}: {case.title}")
        return redirect(goal)
    rows = _rows(request, [case])
    context: dict[str, object] = {
        "row": rows[0],
        "rows": rows,
        "error": error,
        "done": done,
        "here": goal,
        "only": case,
    }
    return render_part(request, TEMPLATE, "row", context, status=status)


@require_POST
@login_required
def take(request: UserRequest, pk: int) -> HttpResponse:
    """I look after this one."""
    return _act(
        request, pk, lambda _: services.take(pk, actor=request.user), "Taken", with_comment=False
    )


@require_POST
@login_required
def resolve(request: UserRequest, pk: int) -> HttpResponse:
    """Something was done about it."""
    return _act(
        request,
        pk,
        lambda comment: services.resolve(pk, actor=request.user, comment=comment),
        "Resolved",
        with_comment=True,
    )


@require_POST
@login_required
def dismiss(request: UserRequest, pk: int) -> HttpResponse:
    """Nothing needs to be done, and why."""
    return _act(
        request,
        pk,
        lambda comment: services.dismiss(pk, actor=request.user, comment=comment),
        "Dismissed",
        with_comment=True,
    )


urlpatterns: list[URLPattern] = [
    path("exceptions/", exceptions, name="exceptions"),
    path("exceptions/<int:pk>/take/", take, name="exception-take"),
    path("exceptions/<int:pk>/resolve/", resolve, name="exception-resolve"),
    path("exceptions/<int:pk>/dismiss/", dismiss, name="exception-dismiss"),
]
