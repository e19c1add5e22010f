"""The delegation register: who decides for whom, who is away, and when nobody decides."""

from __future__ import annotations

from collections.abc import Mapping

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path
from django.views.decorators.http import require_GET, require_POST

from dashboards import controls_page as page
from dashboards.controls_forms import AbsenceForm, DelegationForm, people
from dashboards.controls_words import span
from dashboards.forms import ReasonForm, first_error
from dashboards.http import UserRequest
from dashboards.reauthentication import how, kept_fields, reauthenticated
from governance.common.errors import GovernanceError
from governance.common.time import now
from governance.people import delegations as services
from governance.people.models import Absence, Delegation, User
from governance.people.permissions import can

PAST_SHOWN = 50


@require_GET
@login_required
def register(request: UserRequest) -> HttpResponse:
    """Gaps first, then who decides for whom, then who is away."""
    return _page(request)


def _page(
    request: UserRequest,
    *,
    error: str = "",
    typed: Mapping[str, str] | None = None,
    status: int = 200,
) -> HttpResponse:
    at, user = now(), request.user
    held = page.delegations(user, at)
    absences = Absence.objects.visible_to(user).to_come(at).select_related("person")
    context = {
        "gaps": page.gaps(user, at),
        "ahead": page.AHEAD.days,
        "current": [row for row in held if row.to_come][::-1],
        "past": [row for row in held if not row.to_come][:PAST_SHOWN],
        "absences": [
            (row, span(row.starts_at, row.ends_at), can(user, "absence.note", row.person))
            for row in absences
        ],
        "may_delegate": can(user, "delegation.give"),
        "may_note": user.role != User.Role.NONE,
        "notes_others": user.role in (User.Role.EXECUTIVE, User.Role.ADMIN),
        "may_be_barred": page.HELPS_WITH,
        "people": people() if user.role != User.Role.NONE else (),
        "today": at.date(),
        "longest": services.LONGEST_DELEGATION.days,
        "error": error,
        "typed": typed or kept_fields(request),
    }
    return render(request, "dashboards/controls/delegations.html", context, status=status)


@require_POST
@login_required
@reauthenticated("delegations")
def give(request: UserRequest) -> HttpResponse:
    """Let somebody decide for the person who asks."""
    if not can(request.user, "delegation.give"):
        raise PermissionDenied("Only the owner of a KPI or a workflow lets somebody else decide.")
    form = DelegationForm(request.POST)
    if not form.is_valid():
        return _page(request, error=first_error(form), typed=request.POST, status=422)
    at, by = how(request)
    try:
        held = services.delegate(
            form.cleaned_data.pop("to"), actor=request.user, authenticated_at=at,
            authenticated_by=by, **form.cleaned_data,
        )  # fmt: skip
    except GovernanceError as refusal:
        return _page(request, error=str(refusal), typed=request.POST, status=refusal.status)
    when = span(held.starts_at, held.ends_at)
    messages.success(request, f"{held.delegate} decides for you: {when}.")
    if why := page.barred(held.delegate):
        messages.warning(request, f"{why} You, or nobody, decide on those.")
    return redirect("delegations")


@require_POST
@login_required
def revoke(request: UserRequest, pk: int) -> HttpResponse:
    """End a delegation at once; no password, since it takes a right away."""
    held = get_object_or_404(Delegation.objects.visible_to(request.user), pk=pk)
    form = ReasonForm(request.POST)
    if not form.is_valid():
        return _page(request, error=first_error(form), status=422)
    try:
        services.revoke_delegation(held.pk, actor=request.user, reason=form.cleaned_data["reason"])
    except GovernanceError as refusal:
        return _page(request, error=str(refusal), status=refusal.status)
    messages.success(request, "Ended. From now on the owner decides alone.")
    return redirect("delegations")


@require_POST
@login_required
def note_absence(request: UserRequest) -> HttpResponse:
    """Say when somebody does not decide."""
    if request.user.role == User.Role.NONE:
        raise PermissionDenied("Your account has no role here.")
    form = AbsenceForm(request.POST)
    if not form.is_valid():
        return _page(request, error=first_error(form), typed=request.POST, status=422)
    person = form.cleaned_data.pop("person") or request.user
    try:
        services.note_absence(person, actor=request.user, **form.cleaned_data)
    except GovernanceError as refusal:
        return _page(request, error=str(refusal), typed=request.POST, status=refusal.status)
    messages.success(request, f"Noted: {person} is away.")
    return redirect("delegations")


@require_POST
@login_required
def cancel_absence(request: UserRequest, pk: int) -> HttpResponse:
    """The person is there after all."""
    absence = get_object_or_404(Absence.objects.visible_to(request.user), pk=pk)
    try:
        services.cancel_absence(absence.pk, actor=request.user)
    except GovernanceError as refusal:
        return _page(request, error=str(refusal), status=refusal.status)
    messages.success(request, "Taken back.")
    return redirect("delegations")


urlpatterns: list[URLPattern] = [
    path("controls/delegations/", register, name="delegations"),
    path("controls/delegations/give/", give, name="delegation-give"),
    path("controls/delegations/<int:pk>/revoke/", revoke, name="delegation-revoke"),
    path("controls/absences/note/", note_absence, name="absence-note"),
    path("controls/absences/<int:pk>/cancel/", cancel_absence, name="absence-cancel"),
]
