"""Asking for a release to become live: the choices, a look at what would happen, the asking."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse, QueryDict
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path
from django.views.decorators.http import require_http_methods

from dashboards.forms import first_error
from dashboards.http import UserRequest, render_part
from dashboards.promotion_forms import CAREFUL, ProposeForm
from dashboards.promotion_page import runs_a_week
from dashboards.propose_page import EMPTY_ROW, careful_steps, propose_page
from governance.common.errors import GovernanceError
from governance.kpis.models import Kpi
from governance.people.permissions import can
from governance.releases.models import Release
from governance.rollouts import services
from governance.rollouts.models import PostMortem
from governance.rollouts.pilots import MOST_STEPS
from governance.rollouts.proposals import Expectation
from governance.rollouts.road_models import StandingApproval


@require_http_methods(["GET", "POST"])
@login_required
def propose(request: UserRequest, digest: str) -> HttpResponse:
    """Choose the road, look at what would become of it, and ask."""
    rows = Release.objects.visible_to(request.user).select_related("workflow__owner")
    release = get_object_or_404(rows, pk=digest)
    if not can(request.user, "promotion.propose", release.workflow):
        raise PermissionDenied("Only a builder asks for a promotion.")
    if request.method != "POST":
        return _show(request, release, request.GET)  # ?fixes= names the post-mortem it mends
    looks = "preview" in request.POST or "add" in request.POST
    form = ProposeForm(request.POST, is_preview=looks)
    if not form.is_valid():
        return _show(request, release, request.POST, error=first_error(form), status=422)
    if looks:
        return _show(request, release, request.POST)
    try:
        promotion = services.propose_promotion(
            release,
            actor=request.user,
            rationale=form.cleaned_data["rationale"],
            fixes=_fixed(request, form),
            road=form.cleaned_data["road"],
            pilot_steps=_steps(form, release),
            expects=_expects(form, release),
            standing=_standing(request, form),
        )
    except GovernanceError as refusal:
        return _show(request, release, request.POST, error=str(refusal), status=refusal.status)
    messages.success(request, "Asked. Its evals run now, then the gate judges them.")
    return redirect("promotion", pk=promotion.pk)


def _show(
    request: UserRequest, release: Release, typed: QueryDict, *, error: str = "", status: int = 200
) -> HttpResponse:
    form = ProposeForm(typed, is_preview=True)
    form.is_valid()  # what is wrong was said; what is right is looked at
    rows = form.rows
    if "add" in typed:
        rows = [*rows, EMPTY_ROW][:MOST_STEPS]
    asked = form.cleaned_data
    context: dict[str, object] = {
        "release": release,
        "workflow": release.workflow,
        "page": propose_page(
            release, request.user, asked=asked, steps=_steps(form, release),
            volume=runs_a_week(release.workflow_id), rows=rows,
        ),
        "typed": typed,
        "road": typed.get("road") or "promotion",
        "plan": asked.get("plan") or "once",
        "error": error,
    }  # fmt: skip
    # A form that is still being filled in is looked at as far as it goes.
    if request.htmx:
        status = 200
    return render_part(
        request, "dashboards/promotions/propose.html", "preview", context, status=status
    )


def _steps(form: ProposeForm, release: Release) -> list[dict[str, int]]:
    if form.cleaned_data.get("plan") == CAREFUL:
        return careful_steps(runs_a_week(release.workflow_id))
    return list(form.cleaned_data.get("pilot_steps", []))


def _fixed(request: UserRequest, form: ProposeForm) -> PostMortem | None:
    key = form.cleaned_data["fixes"]
    rows = PostMortem.objects.visible_to(request.user).select_related("rollback")
    return get_object_or_404(rows, pk=key) if key is not None else None


def _standing(request: UserRequest, form: ProposeForm) -> StandingApproval | None:
    key = form.cleaned_data["standing"]
    rows = StandingApproval.objects.visible_to(request.user)
    return get_object_or_404(rows, pk=key) if key is not None else None


def _expects(form: ProposeForm, release: Release) -> Expectation | None:
    key = form.cleaned_data["expected_kpi"]
    if key is None:
        return None
    kpi = get_object_or_404(Kpi.objects.filter(workflow=release.workflow), pk=key)
    return Expectation(
        kpi, form.cleaned_data["expected_change"], form.cleaned_data["expected_note"]
    )


urlpatterns: list[URLPattern] = [
    path("releases/<digest:digest>/propose/", propose, name="promotion-propose"),
]
