"""How a workflow runs its releases, and what its pipeline was told."""

from __future__ import annotations

from collections.abc import Mapping

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import URLPattern, path
from django.views.decorators.http import require_GET, require_POST

from dashboards.forms import first_error
from dashboards.http import UserRequest, workflow_or_404
from dashboards.mode_forms import ModeForm
from dashboards.reauthentication import how, kept_fields, reauthenticated
from governance.common.errors import GovernanceError
from governance.common.secret_references import PREFIX
from governance.common.time import now
from governance.people.permissions import can, require
from governance.rollouts import services
from governance.rollouts.push import progress
from governance.rollouts.push_models import PushDelivery
from governance.workflows.models import Workflow

DELIVERIES_SHOWN = 10
# What each mode means for going back, in a sentence that an owner can decide on.
MEANINGS = (
    (
        Workflow.Mode.PULL,
        "It asks",
        "The application asks Countersign which release is live. A rollback reaches it with its"
        " next question.",
    ),
    (
        Workflow.Mode.PUSH,
        "It is told",
        "Countersign calls its pipeline at each change, signed. A rollback is “asked” until run"
        " receipts confirm it.",
    ),
    (
        Workflow.Mode.OBSERVE,
        "It is only observed",
        "Nobody here can switch it: run receipts or files say what it does. A rollback is a"
        " request to the vendor.",
    ),
)


@require_GET
@login_required
def mode(request: UserRequest, slug: str) -> HttpResponse:
    """How releases reach this workflow, and how far the last changes came."""
    found = workflow_or_404(request, slug)
    return _page(request, found, typed=kept_fields(request))


@require_POST
@login_required
@reauthenticated("workflow-mode")
def set_mode(request: UserRequest, slug: str) -> HttpResponse:
    """Change it; the password is asked for first."""
    found = workflow_or_404(request, slug)
    form = ModeForm(request.POST)
    at, by = how(request)
    try:
        require(request.user, "workflow.set_mode", found)
        if not form.is_valid():
            return _page(request, found, request.POST, error=first_error(form), status=422)
        services.set_mode(
            found, actor=request.user, authenticated_at=at, authenticated_by=by,
            **form.cleaned_data,
        )  # fmt: skip
    except GovernanceError as refusal:
        return _page(request, found, request.POST, error=str(refusal), status=refusal.status)
    messages.success(request, "Saved. It holds from the next change on, and is in the record.")
    return redirect("workflow-mode", slug=slug)


def _page(
    request: UserRequest,
    found: Workflow,
    typed: Mapping[str, str],
    *,
    error: str = "",
    status: int = 200,
) -> HttpResponse:
    told = PushDelivery.objects.filter(workflow=found).select_related(
        "change__to_release", "change__pilot_release"
    )
    moment = now()
    context = {
        "workflow": found,
        "modes": MEANINGS,
        "chosen": typed.get("mode") or found.mode,
        "push_url": typed.get("push_url", found.push_url),
        "push_secret_ref": typed.get("push_secret_ref", found.push_secret_ref),
        "typed": typed,
        "error": error,
        "deliveries": [progress(delivery, moment) for delivery in told[:DELIVERIES_SHOWN]],
        "may_set": can(request.user, "workflow.set_mode", found),
        "secret_prefix": PREFIX,
        "secret_folders": " or ".join(settings.SECRET_FOLDERS),
    }
    return render(request, "dashboards/workflows/mode.html", context, status=status)


urlpatterns: list[URLPattern] = [
    path("workflows/<str:slug>/mode/", mode, name="workflow-mode"),
    path("workflows/<str:slug>/mode/set/", set_mode, name="workflow-mode-set"),
]
