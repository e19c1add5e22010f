"""Accounts: made, changed, deactivated. Administrators only."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Count
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_GET, require_POST

from dashboards.account_forms import EmergencyRightForm, NewPersonForm, PersonForm
from dashboards.forms import ReasonForm, first_error
from dashboards.http import UserRequest, only_admins
from dashboards.reauthentication import how, kept_fields, reauthenticated
from governance.common.errors import GovernanceError
from governance.people import accounts, second_factor, services
from governance.people.models import User


@require_GET
@login_required
def people(request: UserRequest) -> HttpResponse:
    """Everybody who has an account, who is active first."""
    only_admins(request)
    return _page(request)


def _page(
    request: UserRequest,
    *,
    error: str = "",
    made: User | None = None,
    password: str = "",
    typed: Mapping[str, str] | None = None,
    status: int = 200,
) -> HttpResponse:
    rows = User.objects.annotate(workflows=Count("owned_workflows")).order_by(
        "-is_active", "username"
    )
    context = {
        "people": rows,
        "roles": User.Role.choices,
        "typed": typed or kept_fields(request),
        "error": error,
        "made": made,
        "password": password,
    }
    return render(request, "dashboards/people/list.html", context, status=status)


@sensitive_post_parameters("password")
@sensitive_variables("password")
@require_POST
@login_required
@reauthenticated("people")
def create(request: UserRequest) -> HttpResponse:
    """Make an account; its first password is shown in this one answer."""
    only_admins(request)
    form = NewPersonForm(request.POST)
    if not form.is_valid():
        return _page(request, error=first_error(form), typed=request.POST, status=422)
    chosen = form.cleaned_data
    password = chosen["password"] or secrets.token_urlsafe(12)
    try:
        made = services.create_user(
            chosen["username"],
            actor=request.user,
            role=chosen["role"],
            job_title=chosen["job_title"],
            email=chosen["email"],
            password=password,
        )
    except GovernanceError as refusal:
        return _page(request, error=str(refusal), typed=request.POST, status=refusal.status)
    return _page(request, made=made, password=password, status=201)


@require_GET
@login_required
def person(request: UserRequest, pk: int) -> HttpResponse:
    """One account with everything that can be changed about it."""
    only_admins(request)
    return _one(request, get_object_or_404(User, pk=pk))


def _one(
    request: UserRequest,
    found: User,
    *,
    error: str = "",
    password: str = "",
    typed: Mapping[str, str] | None = None,
    status: int = 200,
) -> HttpResponse:
    context = {
        "person": found,
        "roles": User.Role.choices,
        "workflows": found.owned_workflows.only("slug", "name"),
        "mfa": settings.MFA,
        "has_second_factor": second_factor.has_one(found),
        "is_self": found.pk == request.user.pk,
        "typed": typed or kept_fields(request),
        "error": error,
        "password": password,
    }
    return render(request, "dashboards/people/person.html", context, status=status)


def _act(request: UserRequest, pk: int, act: Callable[[], Any], done: str) -> HttpResponse:
    try:
        act()
    except GovernanceError as refusal:
        found = get_object_or_404(User, pk=pk)
        return _one(request, found, error=str(refusal), typed=request.POST, status=refusal.status)
    messages.success(request, done)
    return redirect("person", pk=pk)


@require_POST
@login_required
@reauthenticated("person")
def change(request: UserRequest, pk: int) -> HttpResponse:
    """Change role, title and address."""
    only_admins(request)
    found = get_object_or_404(User, pk=pk)
    form = PersonForm(request.POST)
    if not form.is_valid():
        return _one(request, found, error=first_error(form), typed=request.POST, status=422)
    return _act(
        request,
        pk,
        lambda: accounts.change_account(pk, actor=request.user, **form.cleaned_data),
        "Saved.",
    )


@require_POST
@login_required
@reauthenticated("person")
def change_emergency_right(request: UserRequest, pk: int) -> HttpResponse:
    """Give or take the right to make an emergency change."""
    only_admins(request)
    found = get_object_or_404(User, pk=pk)
    form = EmergencyRightForm(request.POST)
    if not form.is_valid():
        return _one(request, found, error=first_error(form), typed=request.POST, status=422)
    at, by = how(request)
    return _act(
        request,
        pk,
        lambda: services.set_emergency_right(
            pk, actor=request.user, **form.cleaned_data, authenticated_at=at, authenticated_by=by
        ),
        "Saved.",
    )


@sensitive_variables("password")
@require_POST
@login_required
@reauthenticated("person")
def reset_password(request: UserRequest, pk: int) -> HttpResponse:
    """Give the person a new password, shown in this one answer."""
    only_admins(request)
    found = get_object_or_404(User, pk=pk)
    password = secrets.token_urlsafe(12)
    accounts.set_password(pk, password, actor=request.user)
    return _one(request, found, password=password, status=201)


@require_POST
@login_required
@reauthenticated("person")
def reset_second_factor(request: UserRequest, pk: int) -> HttpResponse:
    """Take away the second factor of somebody who lost the phone."""
    only_admins(request)
    if settings.MFA == "off":
        raise Http404("Second factors are switched off in this installation.")
    found = get_object_or_404(User, pk=pk)
    return _act(
        request,
        pk,
        lambda: second_factor.remove(found, actor=request.user),
        "The second factor is removed.",
    )


@require_POST
@login_required
def deactivate(request: UserRequest, pk: int) -> HttpResponse:
    """End somebody's access at once; no password, since it may be urgent."""
    only_admins(request)
    return _with_reason(request, pk, accounts.deactivate, "Deactivated: the access ended.")


@require_POST
@login_required
@reauthenticated("person")
def reactivate(request: UserRequest, pk: int) -> HttpResponse:
    """Let somebody back in."""
    only_admins(request)
    return _with_reason(request, pk, accounts.reactivate, "Active again.")


def _with_reason(
    request: UserRequest, pk: int, act: Callable[..., User], done: str
) -> HttpResponse:
    found = get_object_or_404(User, pk=pk)
    form = ReasonForm(request.POST)
    if not form.is_valid():
        return _one(request, found, error=first_error(form), typed=request.POST, status=422)
    reason = form.cleaned_data["reason"]
    return _act(request, pk, lambda: act(pk, actor=request.user, reason=reason), done)


urlpatterns: list[URLPattern] = [
    path("people/", people, name="people"),
    path("people/create/", create, name="person-create"),
    path("people/<int:pk>/", person, name="person"),
    path("people/<int:pk>/change/", change, name="person-change"),
    path(
        "people/<int:pk>/change-emergency-right/",
        change_emergency_right,
        name="person-change-emergency-right",
    ),
    path("people/<int:pk>/reset-password/", reset_password, name="person-reset-password"),
    path("people/<int:pk>/reset-second-factor/", reset_second_factor, name="person-reset-factor"),
    path("people/<int:pk>/deactivate/", deactivate, name="person-deactivate"),
    path("people/<int:pk>/reactivate/", reactivate, name="person-reactivate"),
]
