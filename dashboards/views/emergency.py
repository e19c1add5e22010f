"""Emergency changes: making one, and agreeing to it afterwards as a second person."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from dashboards.controls_forms import EmergencyForm
from dashboards.controls_page import emergency_of
from dashboards.forms import ReasonForm, first_error
from dashboards.http import UserRequest, workflow_or_404
from dashboards.reauthentication import how, kept_fields, reauthenticated
from dashboards.review_decisions import off_since
from governance.common.errors import GovernanceError
from governance.common.time import now
from governance.kpis.models import Kpi
from governance.people.models import User
from governance.people.permissions import can, require
from governance.releases.diff import compare
from governance.releases.models import LiveRelease, Release
from governance.rollouts import rules, services
from governance.rollouts.emergency import RATIFIED_WITHIN
from governance.rollouts.models import Promotion, PromotionQuerySet
from governance.workflows.models import Workflow

RELEASES_SHOWN = 15


@require_GET
@login_required
def emergency(request: UserRequest, slug: str) -> HttpResponse:
    """What an emergency change is, who may make one, and the form for it."""
    return _page(request, slug)


def _page(
    request: UserRequest,
    slug: str,
    *,
    error: str = "",
    typed: Mapping[str, str] | None = None,
    status: int = 200,
) -> HttpResponse:
    visible = Workflow.objects.visible_to(request.user)
    found = get_object_or_404(
        visible.select_related("owner", "live__release", "live__last_known_good"), slug=slug
    )
    typed = typed or kept_fields(request)
    live = getattr(found, "live", None)
    releases = Release.objects.filter(workflow=found).select_related("workflow")
    digest = typed.get("release", "") or request.GET.get("release", "")
    chosen = releases.filter(pk=digest).prefetch_related("components").first()
    if live is None or (chosen is not None and chosen.pk == live.release_id):
        chosen = None
    difference = None
    if live is not None and chosen is not None:
        difference = compare(live.release.contents(), chosen.contents())
    others = releases.exclude(pk=live.release_id) if live else releases
    moment, may = now(), can(request.user, "promotion.emergency", found)
    context = {
        "workflow": found,
        "live": live,
        "off_since": (
            off_since([found.pk]).get(found.pk) if live is not None and live.switched_off else None
        ),
        "chosen": chosen,
        "difference": difference,
        "releases": others[:RELEASES_SHOWN],
        "may": may,
        "who_may": User.objects.filter(emergency_changes=True, is_active=True).order_by(
            "job_title"
        ),
        "who_ratifies": who_ratifies(found, request.user if may else None),
        "until": moment + RATIFIED_WITHIN,
        "open": Promotion.objects.open().filter(workflow=found).select_related("release").first(),
        "error": error,
        "typed": typed,
    }
    return render(request, "dashboards/controls/emergency.html", context, status=status)


def who_ratifies(workflow: Workflow, but: User | None = None) -> list[str]:
    """Who can be the second person: the KPI owner, executives, other KPI owners."""
    owner = rules.kpi_owner(workflow)
    people: dict[int, User] = {owner.pk: owner}
    for person in User.objects.filter(role=User.Role.EXECUTIVE, is_active=True).order_by("pk"):
        people[person.pk] = person
    for kpi in Kpi.objects.filter(is_lead=True).exclude(workflow=workflow).select_related("owner"):
        people[kpi.owner_id] = kpi.owner
    for other in Workflow.objects.exclude(pk=workflow.pk).select_related("owner"):
        people[other.owner_id] = other.owner
    return [
        str(person)
        for person in people.values()
        if person.is_active and (but is None or person.pk != but.pk)
    ]


@require_POST
@login_required
@reauthenticated("workflow-emergency")
def make_live(request: UserRequest, slug: str) -> HttpResponse:
    """Have a release serve at once, for a named incident."""
    found = workflow_or_404(request, slug)
    form = EmergencyForm(request.POST)
    at, by = how(request)
    try:
        require(request.user, "promotion.emergency", found)
        if not form.is_valid():
            return _page(request, slug, error=first_error(form), typed=request.POST, status=422)
        given = form.cleaned_data
        release = get_object_or_404(Release, workflow=found, pk=given["release"])
        done = services.emergency_change(
            release, actor=request.user, incident=given["incident"], reason=given["reason"],
            authenticated_at=at, authenticated_by=by,
        )  # fmt: skip
    except GovernanceError as refusal:
        return _page(request, slug, error=str(refusal), typed=request.POST, status=refusal.status)
    hours = RATIFIED_WITHIN // timedelta(hours=1)
    off = LiveRelease.objects.filter(workflow=found, switched_off=True).exists()
    when = "once its KPI owner switches it on" if off else "now"
    messages.success(
        request,
        f"{release.name} serves {found.name} {when}. A second person ratifies it within {hours}"
        " hours, or it is reverted by itself.",
    )
    return redirect("promotion", pk=done.pk)


def _visible(request: UserRequest) -> PromotionQuerySet:
    rows = Promotion.objects.visible_to(request.user).filter(road=Promotion.Road.EMERGENCY)
    return rows.for_page()


@require_http_methods(["GET", "POST"])
@login_required
def ratify(request: UserRequest, pk: int) -> HttpResponse:
    """What was done in the emergency, and the yes of a second person."""
    if request.method == "POST":
        return _ratify(request, pk=pk)
    return _ratify_page(request, get_object_or_404(_visible(request), pk=pk))


@reauthenticated("promotion-ratify")
def _ratify(request: UserRequest, pk: int) -> HttpResponse:
    found = get_object_or_404(_visible(request), pk=pk)
    form = ReasonForm(request.POST)
    at, by = how(request)
    try:
        require(request.user, "promotion.ratify", found)
        if not form.is_valid():
            return _ratify_page(request, found, error=first_error(form), status=422)
        services.ratify_emergency(
            pk, actor=request.user, reason=form.cleaned_data["reason"], authenticated_at=at,
            authenticated_by=by,
        )  # fmt: skip
    except GovernanceError as refusal:
        found = get_object_or_404(_visible(request), pk=pk)
        return _ratify_page(request, found, error=str(refusal), status=refusal.status)
    messages.success(
        request, f"Ratified: {found.release.name} stays live in {found.workflow.name}."
    )
    # A KPI owner of another workflow sees it only while it waits for them.
    if Promotion.objects.visible_to(request.user).filter(pk=pk).exists():
        return redirect("promotion", pk=pk)
    return redirect("controls")


def _ratify_page(
    request: UserRequest, found: Promotion, *, error: str = "", status: int = 200
) -> HttpResponse:
    base = found.base
    context = {
        "promotion": found,
        "workflow": found.workflow,
        "waits": found.state == Promotion.State.LIVE and found.ratified_at is None,
        "emergency": emergency_of(found, request.user, now()),
        "difference": compare(base.contents() if base else {}, found.release.contents()),
        "who_ratifies": who_ratifies(found.workflow, found.requested_by),
        "may_roll_back": can(request.user, "workflow.roll_back", found.workflow),
        "ratified": found.approvals.filter(meaning="ratified").select_related("approver").first(),
        "error": error,
        "typed": request.POST or kept_fields(request),
    }
    return render(request, "dashboards/controls/ratify.html", context, status=status)


urlpatterns: list[URLPattern] = [
    path("workflows/<str:slug>/emergency/", emergency, name="workflow-emergency"),
    path(
        "workflows/<str:slug>/emergency/make-live/", make_live, name="workflow-emergency-make-live"
    ),
    path("promotions/<int:pk>/ratify/", ratify, name="promotion-ratify"),
]
