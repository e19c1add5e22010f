"""What is in force beside the normal road, and who may make an emergency change."""

from __future__ import annotations

from collections.abc import Mapping

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path
from django.views.decorators.http import require_GET, require_POST

from dashboards.controls_forms import people
from dashboards.controls_page import overview
from dashboards.forms import ReasonForm, first_error
from dashboards.http import UserRequest
from dashboards.reauthentication import how, kept_fields, reauthenticated
from governance.common.errors import GovernanceError, NotAllowedError
from governance.people import services
from governance.people.models import User
from governance.people.permissions import require


@require_GET
@login_required
def controls(request: UserRequest) -> HttpResponse:
    """Everything in force now, and what comes next."""
    return _page(request)


def _page(
    request: UserRequest,
    *,
    error: str = "",
    typed: Mapping[str, str] | None = None,
    status: int = 200,
) -> HttpResponse:
    context = overview(request.user)
    context |= {
        "error": error,
        "typed": typed or kept_fields(request),
        "people": people().filter(emergency_changes=False) if context["may_manage"] else (),
    }
    return render(request, "dashboards/controls/overview.html", context, status=status)


def _only_admins(request: UserRequest) -> None:
    try:
        require(request.user, "people.manage")
    except NotAllowedError as refusal:
        raise PermissionDenied(str(refusal)) from refusal


def _set_right(request: UserRequest, person: str, *, allowed: bool) -> HttpResponse:
    form = ReasonForm(request.POST)
    if not form.is_valid():
        return _page(request, error=first_error(form), typed=request.POST, status=422)
    chosen = get_object_or_404(User, pk=person) if person.isdigit() else None
    if chosen is None:
        return _page(request, error="Name a person.", typed=request.POST, status=422)
    at, by = how(request)
    try:
        services.set_emergency_right(
            chosen.pk, actor=request.user, allowed=allowed, reason=form.cleaned_data["reason"],
            authenticated_at=at, authenticated_by=by,
        )  # fmt: skip
    except GovernanceError as refusal:
        return _page(request, error=str(refusal), typed=request.POST, status=refusal.status)
    word = "may make emergency changes from now on" if allowed else "may not make them any more"
    messages.success(request, f"{chosen} {word}.")
    return redirect("controls")


@require_POST
@login_required
@reauthenticated("controls")
def give_right(request: UserRequest) -> HttpResponse:
    """Let somebody make emergency changes."""
    _only_admins(request)
    return _set_right(request, request.POST.get("person", ""), allowed=True)


@require_POST
@login_required
def take_right(request: UserRequest, pk: int) -> HttpResponse:
    """Take that right back; no password, since it may be in the wrong hands."""
    _only_admins(request)
    return _set_right(request, str(pk), allowed=False)


urlpatterns: list[URLPattern] = [
    path("controls/", controls, name="controls"),
    path("controls/emergency-rights/give/", give_right, name="control-right-give"),
    path("controls/emergency-rights/<int:pk>/take/", take_right, name="control-right-take"),
]
