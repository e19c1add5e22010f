"""Freeze windows: when nothing goes forward, who set it, and who goes through by name."""

from __future__ import annotations

from collections.abc import Mapping

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path
from django.views.decorators.http import require_GET, require_POST

from dashboards.controls_forms import FreezeExceptionForm, FreezeForm
from dashboards.controls_page import freeze_of, freezes, months, owned
from dashboards.controls_words import month_end, span
from dashboards.forms import ReasonForm, first_error
from dashboards.http import UserRequest
from dashboards.reauthentication import how, kept_fields, reauthenticated
from governance.common.errors import GovernanceError
from governance.common.time import now
from governance.people.models import User
from governance.people.permissions import require
from governance.rollouts import services
from governance.rollouts.freezes import MOST_REPEATS
from governance.rollouts.models import Promotion
from governance.rollouts.road_models import FreezeWindow
from governance.workflows.models import Workflow

MONTH_END = "month-end"


@require_GET
@login_required
def freeze_list(request: UserRequest) -> HttpResponse:
    """The months ahead with their freezes; what is over is folded away."""
    return _list(request)


def _list(
    request: UserRequest,
    *,
    error: str = "",
    typed: Mapping[str, str] | None = None,
    status: int = 200,
) -> HttpResponse:
    at = now()
    found = freezes(request.user, at)
    starts, ends = month_end(at.date())
    executive = request.user.role == User.Role.EXECUTIVE
    typed = typed or kept_fields(request)
    if not typed and request.GET.get("preset") == MONTH_END:
        typed = {
            "name": "Month-end close",
            "starts_at": f"{starts:%Y-%m-%dT%H:%M}",
            "ends_at": f"{ends:%Y-%m-%dT%H:%M}",
            "months": str(MOST_REPEATS),
            "reason": "The books are closed: nothing changes what posts to them.",
        }
    context = {
        "months": months(found, at.date()),
        "running": [freeze for freeze in found if freeze.running],
        "past": [freeze for freeze in found if not freeze.to_come][::-1],
        "executive": executive,
        "seen": Workflow.objects.visible_to(request.user),  # read only where nothing is listed
        "workflows": Workflow.objects.all() if executive else owned(request.user),
        "preset": MONTH_END,
        "preset_days": span(starts, ends),
        "most_repeats": MOST_REPEATS,
        "error": error,
        "typed": typed,
    }
    return render(request, "dashboards/controls/freeze_list.html", context, status=status)


@require_GET
@login_required
def freeze(request: UserRequest, pk: int) -> HttpResponse:
    """One window: why, whom it lets through, and what can be done about it."""
    return _page(request, pk)


def _page(
    request: UserRequest,
    pk: int,
    *,
    error: str = "",
    typed: Mapping[str, str] | None = None,
    status: int = 200,
) -> HttpResponse:
    rows = FreezeWindow.objects.visible_to(request.user).select_related("workflow__owner")
    row = get_object_or_404(rows, pk=pk)
    found = freeze_of(row, request.user, now())
    waiting = (
        Promotion.objects.visible_to(request.user).open().exclude(freeze_exceptions__window=row)
    )
    if row.workflow_id is not None:
        waiting = waiting.filter(workflow=row.workflow_id)
    may_except = found.to_come and request.user.role == User.Role.EXECUTIVE
    context = {
        "freeze": found,
        "exceptions": row.exceptions.select_related(
            "promotion__release", "promotion__workflow", "granted_by"
        ).order_by("granted_at"),
        "may_except": may_except,
        "waiting": waiting.select_related("workflow", "release") if may_except else (),
        "error": error,
        "typed": typed or kept_fields(request),
    }
    return render(request, "dashboards/controls/freeze.html", context, status=status)


@require_POST
@login_required
def set_freeze(request: UserRequest) -> HttpResponse:
    """Hold everything back in a window; no password, since it holds back and lets nothing go."""
    slug = request.POST.get("workflow", "")
    visible = Workflow.objects.visible_to(request.user)
    workflow = get_object_or_404(visible, slug=slug) if slug else None
    form = FreezeForm(request.POST)
    try:
        require(request.user, "freeze.set", workflow)
        if not form.is_valid():
            return _list(request, error=first_error(form), typed=request.POST, status=422)
        windows = services.set_freeze(actor=request.user, workflow=workflow, **form.cleaned_data)
    except GovernanceError as refusal:
        return _list(request, error=str(refusal), typed=request.POST, status=refusal.status)
    many = f" in {len(windows)} months" if len(windows) > 1 else ""
    messages.success(request, f"{windows[0].name} is set{many}. Going back stays possible.")
    return redirect("freezes")


@require_POST
@login_required
def lift(request: UserRequest, pk: int) -> HttpResponse:
    """End a freeze, or one that is coming."""
    get_object_or_404(FreezeWindow.objects.visible_to(request.user), pk=pk)
    form = ReasonForm(request.POST)
    if not form.is_valid():
        return _page(request, pk, error=first_error(form), typed=request.POST, status=422)
    try:
        window = services.cancel_freeze(pk, actor=request.user, reason=form.cleaned_data["reason"])
    except GovernanceError as refusal:
        return _page(request, pk, error=str(refusal), typed=request.POST, status=refusal.status)
    messages.success(request, f"{window.name} is lifted.")
    return redirect("freezes")


@require_POST
@login_required
@reauthenticated("freeze")
def let_through(request: UserRequest, pk: int) -> HttpResponse:
    """Let one promotion through one freeze, by name."""
    get_object_or_404(FreezeWindow.objects.visible_to(request.user), pk=pk)
    form = FreezeExceptionForm(request.POST)
    if not form.is_valid():
        return _page(request, pk, error=first_error(form), typed=request.POST, status=422)
    visible = Promotion.objects.visible_to(request.user).for_page()
    promotion = get_object_or_404(visible, pk=form.cleaned_data["promotion"])
    at, by = how(request)
    try:
        services.except_from_freeze(
            pk, promotion, actor=request.user, reason=form.cleaned_data["reason"],
            authenticated_at=at, authenticated_by=by,
        )  # fmt: skip
    except GovernanceError as refusal:
        return _page(request, pk, error=str(refusal), typed=request.POST, status=refusal.status)
    messages.success(
        request, f"{promotion.release.name} may go through; it still needs its approvals."
    )
    return redirect("freeze", pk=pk)


urlpatterns: list[URLPattern] = [
    path("controls/freezes/", freeze_list, name="freezes"),
    path("controls/freezes/set/", set_freeze, name="freeze-set"),
    path("controls/freezes/<int:pk>/", freeze, name="freeze"),
    path("controls/freezes/<int:pk>/lift/", lift, name="freeze-lift"),
    path("controls/freezes/<int:pk>/let-through/", let_through, name="freeze-let-through"),
]
