"""Standing approvals: the envelopes, each use of one, signing and revoking."""

from __future__ import annotations

from collections.abc import Mapping

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path
from django.views.decorators.http import require_GET, require_POST

from dashboards.controls_forms import STEPS, StandingForm
from dashboards.controls_page import owned, standing_approvals
from dashboards.forms import ReasonForm, first_error
from dashboards.http import UserRequest
from dashboards.reauthentication import how, kept_fields, reauthenticated
from governance.audit.models import AuditEvent
from governance.common.errors import GovernanceError
from governance.common.time import now
from governance.people.permissions import can, require
from governance.releases.models import Slot
from governance.rollouts import services
from governance.rollouts.models import LiveChange
from governance.rollouts.road_models import StandingApproval
from governance.workflows.models import Workflow

USES_SHOWN = 100
HELD_SHOWN = 20


@require_GET
@login_required
def standing_list(request: UserRequest) -> HttpResponse:
    """Every envelope: in force first, and those that ended."""
    return _list(request)


def _list(
    request: UserRequest,
    *,
    error: str = "",
    typed: Mapping[str, str] | None = None,
    status: int = 200,
) -> HttpResponse:
    rows = standing_approvals(StandingApproval.objects.visible_to(request.user), now())
    ended = ("Revoked", "Ended")
    context = {
        "current": [row for row in rows if row.chip.word not in ended],
        "ended": [row for row in rows if row.chip.word in ended],
        "mine": owned(request.user),
        "slots": Slot.choices,
        "steps": STEPS,
        "error": error,
        "typed": typed or kept_fields(request),
    }
    return render(request, "dashboards/controls/standing_list.html", context, status=status)


@require_GET
@login_required
def standing(request: UserRequest, pk: int) -> HttpResponse:
    """The envelope in plain words, and each use of it."""
    return _page(request, pk)


def _page(request: UserRequest, pk: int, *, error: str = "", status: int = 200) -> HttpResponse:
    visible = StandingApproval.objects.visible_to(request.user).filter(pk=pk)
    get_object_or_404(visible)
    (found,) = standing_approvals(visible, now())
    uses = found.row.uses.select_related("release", "gate_report").order_by("-requested_at")
    at = dict(
        LiveChange.objects.filter(promotion__standing=found.row)
        .order_by("-changed_at")
        .values_list("promotion_id", "changed_at")
    )
    # Audit bodies are canonical JSON: no spaces, keys in order, so the text can be searched.
    named = f'"standing":{found.row.pk}'
    held = AuditEvent.objects.filter(
        Q(body__contains=f"{named},") | Q(body__contains=f"{named}}}"),
        verb="promotion.standing_held",
        workflow=found.row.workflow.slug,
    )
    context = {
        "standing": found,
        "workflow": found.row.workflow,
        "uses": [(use, at.get(use.pk)) for use in uses[:USES_SHOWN]],
        "uses_in_all": uses.count(),
        "held": held[:HELD_SHOWN],
        "may_revoke": found.row.revoked_at is None
        and found.chip.word != "Ended"
        and can(request.user, "standing.revoke", found.row.workflow),
        "error": error,
    }
    return render(request, "dashboards/controls/standing.html", context, status=status)


@require_POST
@login_required
@reauthenticated("standing-approvals")
def sign(request: UserRequest) -> HttpResponse:
    """Sign an envelope; the KPI owner does, for the own workflow."""
    visible = Workflow.objects.visible_to(request.user)
    workflow = get_object_or_404(visible, slug=request.POST.get("workflow", ""))
    form = StandingForm(request.POST)
    at, by = how(request)
    try:
        require(request.user, "standing.sign", workflow)
        if not form.is_valid():
            return _list(request, error=first_error(form), typed=request.POST, status=422)
        signed = services.sign_standing_approval(
            workflow, actor=request.user, authenticated_at=at, authenticated_by=by,
            **form.cleaned_data,
        )  # fmt: skip
    except GovernanceError as refusal:
        return _list(request, error=str(refusal), typed=request.POST, status=refusal.status)
    messages.success(request, f"Signed: {signed}. Changes inside it go by without asking you.")
    return redirect("standing-approval", pk=signed.pk)


@require_POST
@login_required
def revoke(request: UserRequest, pk: int) -> HttpResponse:
    """End it at once; what it made live stays."""
    get_object_or_404(StandingApproval.objects.visible_to(request.user), pk=pk)
    form = ReasonForm(request.POST)
    if not form.is_valid():
        return _page(request, pk, error=first_error(form), status=422)
    try:
        services.revoke_standing_approval(
            pk, actor=request.user, reason=form.cleaned_data["reason"]
        )
    except GovernanceError as refusal:
        return _page(request, pk, error=str(refusal), status=refusal.status)
    messages.success(request, "Revoked. From now on each change waits for the KPI owner.")
    return redirect("standing-approval", pk=pk)


urlpatterns: list[URLPattern] = [
    path("controls/standing/", standing_list, name="standing-approvals"),
    path("controls/standing/sign/", sign, name="standing-sign"),
    path("controls/standing/<int:pk>/", standing, name="standing-approval"),
    path("controls/standing/<int:pk>/revoke/", revoke, name="standing-revoke"),
]
