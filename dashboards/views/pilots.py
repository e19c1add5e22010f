"""Pilots: their progress, and what people do about them."""

from __future__ import annotations

from collections.abc import Callable

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path
from django.views.decorators.http import require_GET, require_POST
from django_htmx.http import HttpResponseClientRefresh

from dashboards.forms import ReasonForm, first_error
from dashboards.http import UserRequest, render_part
from dashboards.pilot_page import pilot_page
from dashboards.promotion_forms import ExplainPilotForm, OpenPilotForm, StopPilotForm
from dashboards.reauthentication import how, reauthenticated
from dashboards.views.promotions import show, visible
from governance.common.errors import GovernanceError
from governance.rollouts import services
from governance.rollouts.live import live_release
from governance.rollouts.models import Promotion
from governance.rollouts.road_models import FreezeWindow


@require_GET
@login_required
def pilot(request: UserRequest, pk: int) -> HttpResponse:
    """How far a pilot is; a page that has seen another state of it loads itself again."""
    found = get_object_or_404(visible(request), pk=pk)
    if not request.htmx:
        return redirect("promotion", pk=pk)
    page = pilot_page(found, request.user, live_release(found.workflow))
    if page is None or page.seen != request.GET.get("seen"):
        return HttpResponseClientRefresh()
    context: dict[str, object] = {"page": {"pilot": page}, "promotion": found}
    return render_part(request, "dashboards/promotions/pilot.html", "status", context)


def _act(
    request: UserRequest,
    pk: int,
    form: forms.Form | None,
    act: Callable[[Promotion], object],
    done: str,
) -> HttpResponse:
    """Check what was typed, do it, and come back to the promotion."""
    found = get_object_or_404(visible(request), pk=pk)
    if form is not None and not form.is_valid():
        return show(request, found, error=first_error(form), typed=request.POST, status=422)
    try:
        act(found)
    except GovernanceError as refusal:
        found = get_object_or_404(visible(request), pk=pk)
        return show(request, found, error=str(refusal), typed=request.POST, status=refusal.status)
    messages.success(request, done)
    return redirect("promotion", pk=pk)


@require_POST
@login_required
@reauthenticated("promotion")
def open_pilot(request: UserRequest, pk: int) -> HttpResponse:
    """Serve a few cases to gather the evidence that the gate lacked."""
    form, (at, by) = OpenPilotForm(request.POST), how(request)
    return _act(
        request, pk, form,
        lambda _: services.open_evidence_pilot(
            pk, actor=request.user, review_round=form.cleaned_data["review_round"],
            share=100 * form.cleaned_data["share"], days=form.cleaned_data["days"],
            reason=form.cleaned_data["reason"], authenticated_at=at, authenticated_by=by,
        ),
        "The pilot is open. It stops by itself when its days are over.",
    )  # fmt: skip


@require_POST
@login_required
@reauthenticated("promotion")
def resume(request: UserRequest, pk: int) -> HttpResponse:
    """Let a paused pilot go on at its share."""
    form, (at, by) = ReasonForm(request.POST), how(request)
    return _act(
        request, pk, form,
        lambda _: services.resume_pilot(
            pk, actor=request.user, reason=form.cleaned_data["reason"], authenticated_at=at,
            authenticated_by=by,
        ),
        "The pilot goes on at its share.",
    )  # fmt: skip


@require_POST
@login_required
def stop(request: UserRequest, pk: int) -> HttpResponse:
    """Serve the stable release to every case again, at once."""
    form = StopPilotForm(request.POST)
    return _act(
        request, pk, form,
        lambda _: services.stop_pilot(
            pk, actor=request.user, reason=form.cleaned_data["reason"],
            what_next=form.cleaned_data["what_next"],
        ),
        "The pilot is stopped. The stable release serves every case.",
    )  # fmt: skip


@require_POST
@login_required
def explain(request: UserRequest, pk: int) -> HttpResponse:
    """Write the two lines that the stop of a pilot leaves behind."""
    form = ExplainPilotForm(request.POST)
    return _act(
        request, pk, form,
        lambda _: services.write_stop(pk, actor=request.user, **form.cleaned_data),
        "Kept. It stays with the promotion.",
    )  # fmt: skip


@require_POST
@login_required
def ask_gate(request: UserRequest, pk: int) -> HttpResponse:
    """Have the gate judge anew while the pilot goes on."""
    return _act(
        request, pk, None,
        lambda _: services.ask_gate_again(pk, actor=request.user),
        "The gate judges anew. The pilot goes on meanwhile.",
    )  # fmt: skip


@require_POST
@login_required
@reauthenticated("promotion", only=("pk",))
def except_freeze(request: UserRequest, pk: int, window: int) -> HttpResponse:
    """Let one promotion through one freeze, by name."""
    form, (at, by) = ReasonForm(request.POST), how(request)
    frozen = get_object_or_404(FreezeWindow, pk=window)
    return _act(
        request, pk, form,
        lambda promotion: services.except_from_freeze(
            frozen.pk, promotion, actor=request.user, reason=form.cleaned_data["reason"],
            authenticated_at=at, authenticated_by=by,
        ),
        f"It may go through {frozen.name}. It still needs its approvals.",
    )  # fmt: skip


urlpatterns: list[URLPattern] = [
    path("promotions/<int:pk>/pilot/", pilot, name="promotion-pilot"),
    path("promotions/<int:pk>/pilot/open/", open_pilot, name="pilot-open"),
    path("promotions/<int:pk>/pilot/resume/", resume, name="pilot-resume"),
    path("promotions/<int:pk>/pilot/stop/", stop, name="pilot-stop"),
    path("promotions/<int:pk>/pilot/explain/", explain, name="pilot-explain"),
    path("promotions/<int:pk>/pilot/ask-gate/", ask_gate, name="pilot-ask-gate"),
    path(
        "promotions/<int:pk>/freezes/<int:window>/except/",
        except_freeze,
        name="promotion-except-freeze",
    ),
]
