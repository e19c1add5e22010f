"""Bake-offs: several releases on the same cases, asked for and read."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path
from django.views.decorators.http import require_GET, require_POST

from dashboards.bake_off_page import BakeOffForm, charts, csv_lines, lines, offered
from dashboards.forms import first_error
from dashboards.http import UserRequest, act, render_part, workflow_or_404
from dashboards.run_page import progress
from governance.common.time import now
from governance.evals import services
from governance.evals.decision_models import BakeOff
from governance.people.permissions import can
from governance.releases.models import Release
from governance.workflows.models import Workflow

PER_PAGE = 20
QUARTER = timedelta(days=92)


def _bake_off(request: UserRequest, slug: str, pk: int) -> BakeOff:
    rows = BakeOff.objects.filter(workflow=workflow_or_404(request, slug)).select_related(
        "workflow", "suite__workflow", "reference__workflow"
    )
    return get_object_or_404(rows, pk=pk)


@require_GET
@login_required
def bake_offs(request: UserRequest, slug: str) -> HttpResponse:
    """Every bake-off of a workflow, and the form of the next one."""
    return _list(request, workflow_or_404(request, slug))


@require_POST
@login_required
def start(request: UserRequest, slug: str) -> HttpResponse:
    """Have the chosen releases run on the same cases."""
    workflow = workflow_or_404(request, slug)
    form = BakeOffForm(request.POST)
    if not form.is_valid():
        return _list(request, workflow, error=first_error(form), status=422)
    said = form.cleaned_data
    suite = services.evidence_suites(workflow).get(said["suite"])
    if suite is None:
        return _list(request, workflow, error="This suite has no version yet.", status=422)
    chosen = {*request.POST.getlist("releases"), said["reference"]}
    here = {release.pk: release for release in Release.objects.filter(workflow=workflow)}
    if not chosen <= here.keys():
        return _list(request, workflow, error="Choose releases of this workflow.", status=422)
    releases, reference = [here[pk] for pk in sorted(chosen)], here[said["reference"]]
    return act(
        request,
        lambda: services.request_bake_off(
            suite, releases, reference=reference, metric=said["metric"], title=said["title"],
            repeats=said["repeats"] or 1, slot=f"bake-off {request.user.pk} {said['mark']}",
            actor=request.user,
        ),
        again=partial(_list, request, workflow),
        then=lambda made: redirect("bake-off", slug, made.pk),
    )  # fmt: skip


def _list(
    request: UserRequest, workflow: Workflow, *, error: str = "", status: int = 200
) -> HttpResponse:
    rows = BakeOff.objects.filter(workflow=workflow).select_related("suite", "reference__workflow")
    may_ask = can(request.user, "bake_off.request", workflow)
    done = rows.filter(state=BakeOff.State.DONE).order_by("-finished_at")
    ended = done.values_list("finished_at", flat=True).first()
    context = {
        "workflow": workflow,
        "page_obj": Paginator(rows, PER_PAGE).get_page(request.GET.get("page")),
        "due_since": ended if ended is not None and ended < now() - QUARTER else None,
        "offered": offered(workflow, request.POST) if may_ask else None,
        "error": error,
    }
    return render(request, "dashboards/evals/bake_offs.html", context, status=status)


@require_GET
@login_required
def bake_off(request: UserRequest, slug: str, pk: int) -> HttpResponse:
    """How far it is, or its table."""
    return _page(request, _bake_off(request, slug, pk))


def _page(
    request: UserRequest, found: BakeOff, *, error: str = "", status: int = 200
) -> HttpResponse:
    content = found.content
    moment = now()
    runs = list(found.runs.select_related("release__workflow").order_by("release__number"))
    context: dict[str, object] = {
        "bake_off": found,
        "workflow": found.workflow,
        "content": content,
        "lines": lines(content) if content else (),
        "charts": charts(content) if content else (),
        "runs": [(run, progress(run, moment)) for run in runs],
        "spent": sum(run.cost for run in runs),
        "may_cancel": found.state == BakeOff.State.RUNNING
        and can(request.user, "bake_off.request", found.workflow),
        "error": error,
    }
    return render_part(
        request, "dashboards/evals/bake_off.html", "progress", context, status=status
    )


@require_POST
@login_required
def cancel(request: UserRequest, slug: str, pk: int) -> HttpResponse:
    """Stop it with every run of it."""
    found = _bake_off(request, slug, pk)
    return act(
        request,
        lambda: services.cancel_bake_off(found, actor=request.user),
        again=partial(_page, request, found),
        done="Cancelled, with every run of it that still went on.",
        then=lambda _: redirect("bake-off", slug, pk),
    )


def _finished(request: UserRequest, slug: str, pk: int) -> BakeOff:
    found = _bake_off(request, slug, pk)
    if not found.content_text:
        raise Http404("This bake-off has no table yet.")
    return found


@require_GET
@login_required
def table_csv(request: UserRequest, slug: str, pk: int) -> StreamingHttpResponse:
    """The table for a spreadsheet."""
    found = _finished(request, slug, pk)
    response = StreamingHttpResponse(
        csv_lines(found.content), content_type="text/csv; charset=utf-8"
    )
    response.headers["Content-Disposition"] = f'attachment; filename="bake-off-{pk}.csv"'
    return response


@require_GET
@login_required
def table_json(request: UserRequest, slug: str, pk: int) -> HttpResponse:
    """The table exactly as it was hashed: its SHA-256 is the digest on the page."""
    found = _finished(request, slug, pk)
    response = HttpResponse(found.content_text, content_type="application/json")
    response.headers["Content-Disposition"] = f'attachment; filename="bake-off-{pk}.json"'
    return response


urlpatterns: list[URLPattern] = [
    path("evals/bake-offs/<str:slug>/", bake_offs, name="bake-offs"),
    path("evals/bake-offs/<str:slug>/start/", start, name="bake-off-start"),
    path("evals/bake-offs/<str:slug>/<int:pk>/", bake_off, name="bake-off"),
    path("evals/bake-offs/<str:slug>/<int:pk>/cancel/", cancel, name="bake-off-cancel"),
    path("evals/bake-offs/<str:slug>/<int:pk>/table.csv", table_csv, name="bake-off-csv"),
    path("evals/bake-offs/<str:slug>/<int:pk>/table.json", table_json, name="bake-off-json"),
]
