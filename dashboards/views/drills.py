"""Rollback drills: planned, running, and what they measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_GET, require_POST
from django_htmx.http import HttpResponseClientRefresh

from dashboards.drill_chart import Bars, draw_bars
from dashboards.forms import first_error
from dashboards.http import UserRequest, render_part
from dashboards.reauthentication import how, kept_fields, reauthenticated
from dashboards.recovery_forms import DrillForm, ReasonedForm
from governance.common.errors import GovernanceError
from governance.common.time import now, true_now
from governance.people.permissions import can
from governance.rollouts import services
from governance.rollouts.drills import RETURNS_AFTER
from governance.rollouts.recovery_models import Drill, DrillQuerySet
from governance.workflows.models import Workflow

PER_PAGE = 20
PLANNED_SHOWN = 20
CHARTED = 8  # drills per workflow
State = Drill.State


@dataclass(frozen=True, slots=True)
class Row:
    """One planned or running drill, with what this person may do about it."""

    drill: Drill
    may_sign: bool
    may_act: bool
    is_late: bool
    returns_at: datetime | None


def _visible(request: UserRequest) -> DrillQuerySet:
    return Drill.objects.visible_to(request.user).select_related(
        "workflow__owner", "signed_by", "signature", "from_release", "to_release"
    )


@require_GET
@login_required
def drills(request: UserRequest) -> HttpResponse:
    """The calendar, what runs now, and the measured times."""
    if request.htmx and not _visible(request).filter(state=State.RUNNING).exists():
        return HttpResponseClientRefresh()  # it has come back: the whole page is another one
    return _page(request)


def _page(
    request: UserRequest,
    *,
    error: str = "",
    typed: Mapping[str, str] | None = None,
    status: int = 200,
) -> HttpResponse:
    slug = request.GET.get("workflow", "")
    rows = _visible(request)
    workflows = list(Workflow.objects.visible_to(request.user).select_related("owner"))
    if slug:
        rows = rows.filter(workflow__slug=slug)
    planned = rows.filter(state=State.PLANNED).order_by("planned_for")[:PLANNED_SHOWN]
    over = rows.filter(state__in=(State.DONE, State.CANCELLED)).order_by("-planned_for", "-pk")
    context: dict[str, object] = {
        "slug": slug,
        "workflows": workflows,
        "running": [_row(request, drill) for drill in rows.filter(state=State.RUNNING)],
        "planned": [_row(request, drill) for drill in planned],
        "page_obj": Paginator(over, PER_PAGE).get_page(request.GET.get("page")),
        "charts": _charts(rows),
        "may_plan": [
            workflow
            for workflow in workflows
            if workflow.mode != Workflow.Mode.OBSERVE
            and can(request.user, "workflow.roll_back", workflow)
        ],
        "proposed": (now() + timedelta(days=7)).replace(hour=14, minute=0),
        "minutes": int(RETURNS_AFTER.total_seconds() // 60),
        "error": error,
        "typed": typed or kept_fields(request),
    }
    return render_part(request, "dashboards/drills/list.html", "running", context, status=status)


def _row(request: UserRequest, drill: Drill) -> Row:
    is_planned = drill.state == State.PLANNED
    return Row(
        drill=drill,
        may_sign=is_planned
        and drill.signature_id is None
        and can(request.user, "drill.sign", drill),
        may_act=can(request.user, "workflow.roll_back", drill.workflow),
        is_late=is_planned and drill.planned_for < now(),
        returns_at=drill.clicked_at + RETURNS_AFTER if drill.clicked_at else None,
    )


def _charts(rows: DrillQuerySet) -> list[tuple[str, Bars]]:
    """The newest measured drills of each workflow, oldest first. One query."""
    done = rows.filter(state=State.DONE, clicked_at__isnull=False).order_by("-clicked_at")
    found: dict[str, list[tuple[str, float | None]]] = {}
    for drill in done[: CHARTED * 10]:
        found.setdefault(drill.workflow.name, [])
        if len(found[drill.workflow.name]) < CHARTED and drill.clicked_at is not None:
            day = f"{drill.clicked_at.day} {drill.clicked_at:%b}"
            found[drill.workflow.name].append((day, drill.seconds_to_restore))
    charts = ((name, draw_bars(name, list(reversed(drills)))) for name, drills in found.items())
    return sorted((name, bars) for name, bars in charts if bars is not None)


def _act(
    request: UserRequest, act: Callable[[], object], done: str, *, slug: str = ""
) -> HttpResponse:
    try:
        act()
    except GovernanceError as refusal:
        return _page(request, error=str(refusal), typed=request.POST, status=refusal.status)
    messages.success(request, done)
    return redirect(reverse("drills") + (f"?workflow={slug}" if slug else ""))


@require_POST
@login_required
def plan(request: UserRequest) -> HttpResponse:
    """Put a drill on the calendar."""
    form = DrillForm(request.POST)
    if not form.is_valid():
        return _page(request, error=first_error(form), typed=request.POST, status=422)
    workflow = get_object_or_404(
        Workflow.objects.visible_to(request.user), slug=form.cleaned_data["workflow"]
    )
    return _act(
        request,
        lambda: services.plan_drill(
            workflow, actor=request.user, planned_for=form.cleaned_data["planned_for"]
        ),
        "Planned. The KPI owner signs it before it runs.",
    )


@require_POST
@login_required
@reauthenticated("drill")
def sign(request: UserRequest, pk: int) -> HttpResponse:
    """The KPI owner agrees that the workflow goes back and forth once."""
    found = get_object_or_404(_visible(request), pk=pk)
    form = ReasonedForm(request.POST)
    if not form.is_valid():
        return _page(request, error=first_error(form), typed=request.POST, status=422)
    at, by = how(request)
    return _act(
        request,
        lambda: services.sign_drill(
            found.pk, actor=request.user, reason=form.cleaned_data["reason"],
            authenticated_at=at, authenticated_by=by,
        ),
        "Signed. Whoever may roll back can start it.",
    )  # fmt: skip


@require_POST
@login_required
def start(request: UserRequest, pk: int) -> HttpResponse:
    """Go back on purpose; the time runs from this click."""
    clicked_at = true_now()
    found = get_object_or_404(_visible(request), pk=pk)
    return _act(
        request,
        lambda: services.start_drill(found.pk, actor=request.user, clicked_at=clicked_at),
        "The drill runs. It ends by itself; you may end it earlier.",
    )


@require_POST
@login_required
def end(request: UserRequest, pk: int) -> HttpResponse:
    """Serve again what served before."""
    found = get_object_or_404(_visible(request), pk=pk)
    return _act(
        request,
        lambda: services.return_from_drill(found.pk, actor=request.user),
        "The drill is over.",
    )


@require_POST
@login_required
def cancel(request: UserRequest, pk: int) -> HttpResponse:
    """Take a planned drill off the calendar."""
    found = get_object_or_404(_visible(request), pk=pk)
    form = ReasonedForm(request.POST)
    if not form.is_valid():
        return _page(request, error=first_error(form), typed=request.POST, status=422)
    return _act(
        request,
        lambda: services.cancel_drill(
            found.pk, actor=request.user, reason=form.cleaned_data["reason"]
        ),
        "Called off.",
    )


@require_GET
@login_required
def drill(request: UserRequest, pk: int) -> HttpResponse:
    """One drill's place on the page: where its signature is asked for again."""
    get_object_or_404(_visible(request), pk=pk)
    return _page(request, typed={"drill": str(pk), **kept_fields(request)})


urlpatterns: list[URLPattern] = [
    path("drills/", drills, name="drills"),
    path("drills/plan/", plan, name="drill-plan"),
    path("drills/<int:pk>/", drill, name="drill"),
    path("drills/<int:pk>/sign/", sign, name="drill-sign"),
    path("drills/<int:pk>/start/", start, name="drill-start"),
    path("drills/<int:pk>/return/", end, name="drill-return"),
    path("drills/<int:pk>/cancel/", cancel, name="drill-cancel"),
]
