"""What is under change control: the list, one workflow, and the way back."""

from __future__ import annotations

from collections.abc import Mapping

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db.models import Count, F, OuterRef, Q, Subquery
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path
from django.views.decorators.http import require_GET, require_http_methods

from dashboards.forms import ROLLBACK_REASONS, RollBackForm, first_error
from dashboards.going_back import EFFECT
from dashboards.http import UserRequest, render_part
from dashboards.reauthentication import kept_fields
from dashboards.recovery_page import recovery
from dashboards.workflow_page import history, kpi_lines, move_of, moved_by
from governance.common.errors import GovernanceError
from governance.common.time import now, true_now
from governance.people.permissions import can, require
from governance.releases.models import LiveRelease, Release
from governance.rollouts import services
from governance.rollouts.models import LiveChange, PostMortem, Promotion
from governance.triage.models import ExceptionCase
from governance.workflows.models import Workflow, WorkflowQuerySet

RELEASES_SHOWN = 12
EXCEPTIONS_SHOWN = 5
MOVES_PER_PAGE = 12


def visible(request: UserRequest) -> WorkflowQuerySet:
    rows = Workflow.objects.visible_to(request.user)
    return rows.select_related(
        "owner", "live__release__workflow", "live__last_known_good", "live__pilot_release"
    )


@require_GET
@login_required
def workflows(request: UserRequest) -> HttpResponse:
    """Every workflow with its owner and what runs in it now."""
    open_promotions = Q(promotions__state__in=Promotion.OPEN)
    open_exceptions = Q(exceptions__state__in=(ExceptionCase.State.OPEN, ExceptionCase.State.TAKEN))
    came = LiveChange.objects.filter(workflow=OuterRef("pk"), to_release=OuterRef("live__release"))
    came = came.exclude(from_release=F("to_release")).order_by("-seq")
    rows = visible(request).annotate(
        came_at=Subquery(came.values("changed_at")[:1]),
        waiting=Count("promotions", filter=open_promotions, distinct=True),
        problems=Count("exceptions", filter=open_exceptions, distinct=True),
    )
    return render(request, "dashboards/workflows/list.html", {"workflows": rows})


@require_GET
@login_required
def workflow(request: UserRequest, slug: str) -> HttpResponse:
    """What runs now, who answers for it, how it came to be, and the way back."""
    return workflow_page(request, get_object_or_404(visible(request), slug=slug))


def workflow_page(
    request: UserRequest,
    found: Workflow,
    *,
    error: str = "",
    typed: Mapping[str, str] | None = None,
    status: int = 200,
) -> HttpResponse:
    """The page, also with what an act on it was refused for."""
    live: LiveRelease | None = getattr(found, "live", None)
    if live is not None:
        live.workflow = found
    page = Paginator(history(found), MOVES_PER_PAGE).get_page(request.GET.get("page"))
    releases = Release.objects.filter(workflow=found).select_related("workflow")
    open_cases = ExceptionCase.objects.filter(workflow=found).open()
    context: dict[str, object] = {
        "workflow": found,
        "live": live,
        "moves": moved_by(live),
        "page_obj": page,
        "changes": [move_of(change) for change in page],
        "recovery": recovery(found, live, request.user),
        "kpis": kpi_lines(found),
        "promotion": Promotion.objects.filter(workflow=found).open().for_page().first(),
        "releases": releases[:RELEASES_SHOWN],
        "exceptions": open_cases.ranked()[:EXCEPTIONS_SHOWN],
        "post_mortems": PostMortem.objects.filter(rollback__workflow=found).select_related("owner")[
            :EXCEPTIONS_SHOWN
        ],
        "today": now(),
        "may_emergency": live is not None and can(request.user, "promotion.emergency", found),
        "may_register": can(request.user, "release.register", found),
        "error": error,
        "typed": typed or kept_fields(request),
    }
    return render_part(
        request, "dashboards/workflows/workflow.html", "recovery", context, status=status
    )


@require_http_methods(["GET", "POST"])
@login_required
def roll_back(request: UserRequest, slug: str) -> HttpResponse:
    """Two clicks and a reason: this page is the second click."""
    clicked_at = true_now()  # before anything waits for a lock
    found = get_object_or_404(visible(request), slug=slug)
    if request.method != "POST":
        return _confirm(request, found, RollBackForm())
    form = RollBackForm(request.POST)
    try:
        require(request.user, "workflow.roll_back", found)
        if not form.is_valid():
            return _confirm(request, found, form, error=first_error(form), status=422)
        done = services.roll_back(
            found,
            actor=request.user,
            reason=form.cleaned_data["reason"],
            seen_seq=form.cleaned_data["seq"],
            clicked_at=clicked_at,
        )
    except GovernanceError as refusal:
        found = get_object_or_404(visible(request), slug=slug)
        return _confirm(request, found, form, error=str(refusal), status=refusal.status)
    messages.success(
        request,
        f"{done.to_release.name} serves {found.name} again. A post-mortem is open: say what"
        " happened, so that the next promotion can go ahead."
        if found.mode == Workflow.Mode.PULL
        else f"Rolled back to {done.to_release.name}. A post-mortem is open. What runs is proved"
        " by run receipts, below.",
    )
    return redirect("rollback", pk=done.pk)


def _confirm(
    request: UserRequest, found: Workflow, form: RollBackForm, *, error: str = "", status: int = 200
) -> HttpResponse:
    live: LiveRelease | None = getattr(found, "live", None)
    context = {
        "workflow": found,
        "live": live,
        "moves": moved_by(live),
        "form": form,
        "effect": EFFECT[found.mode],
        "error": error,
        "reasons": ROLLBACK_REASONS,
        "may_roll_back": can(request.user, "workflow.roll_back", found),
    }
    return render(request, "dashboards/workflows/roll_back.html", context, status=status)


urlpatterns: list[URLPattern] = [
    path("workflows/", workflows, name="workflows"),
    path("workflows/<str:slug>/", workflow, name="workflow"),
    path("workflows/<str:slug>/roll-back/", roll_back, name="workflow-roll-back"),
]
