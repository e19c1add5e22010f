"""One rollback: what was clicked, when it was served, and what the receipts say since."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path
from django.views.decorators.http import require_GET, require_POST

from dashboards.convergence_page import view_of
from dashboards.forms import first_error
from dashboards.http import UserRequest, render_part
from dashboards.recovery_forms import AskedForm
from governance.common.errors import GovernanceError
from governance.people.permissions import can
from governance.rollouts import services
from governance.rollouts.models import Rollback
from governance.rollouts.push import Progress, progress
from governance.rollouts.push_models import PushDelivery
from governance.workflows.models import Workflow

TEMPLATE = "dashboards/rollbacks/rollback.html"


def _visible(request: UserRequest) -> QuerySet[Rollback]:
    return Rollback.objects.filter(
        workflow__in=Workflow.objects.visible_to(request.user)
    ).select_related(
        "workflow__owner", "workflow__live", "from_release", "to_release", "change",
        "post_mortem", "change__push",
    )  # fmt: skip


@require_GET
@login_required
def rollback(request: UserRequest, pk: int) -> HttpResponse:
    """The whole page, or its proof alone, which asks for itself again while it waits."""
    return _page(request, get_object_or_404(_visible(request), pk=pk))


def _page(
    request: UserRequest, found: Rollback, *, error: str = "", status: int = 200
) -> HttpResponse:
    post_mortem = getattr(found, "post_mortem", None)
    context: dict[str, object] = {
        "rollback": found,
        "workflow": found.workflow,
        "view": view_of(found),
        "push": push_of(found),
        "post_mortem": post_mortem,
        "may_note": post_mortem is not None
        and post_mortem.finished_at is None
        and can(request.user, "post_mortem.edit", post_mortem),
        "asked": [entry for entry in post_mortem.timeline if entry.get("asked")]
        if post_mortem is not None
        else [],
        "error": error,
    }
    return render_part(request, TEMPLATE, "proof", context, status=status)


def push_of(found: Rollback) -> Progress | None:
    """How telling the pipeline went, where the workflow is told."""
    delivery: PushDelivery | None = getattr(found.change, "push", None)
    return progress(delivery) if delivery is not None else None


@require_POST
@login_required
def note_asked(request: UserRequest, pk: int) -> HttpResponse:
    """Note who was asked to switch it, where nobody here can."""
    found = get_object_or_404(_visible(request), pk=pk)
    form = AskedForm(request.POST)
    if not form.is_valid():
        return _page(request, found, error=first_error(form), status=422)
    try:
        services.note_asked(found.post_mortem.pk, actor=request.user, **form.cleaned_data)
    except GovernanceError as refusal:
        return _page(request, found, error=str(refusal), status=refusal.status)
    messages.success(request, "Noted, also on the post-mortem’s timeline.")
    return redirect("rollback", pk=pk)


urlpatterns: list[URLPattern] = [
    path("rollbacks/<int:pk>/", rollback, name="rollback"),
    path("rollbacks/<int:pk>/note-asked/", note_asked, name="rollback-note-asked"),
]
