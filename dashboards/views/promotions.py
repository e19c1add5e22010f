"""Promotions: what changes, what the evidence says, who decides, and the decision itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_GET, require_POST
from django_htmx.http import HttpResponseClientRefresh

from dashboards.forms import DecisionForm, ReasonForm, first_error
from dashboards.http import UserRequest, render_part
from dashboards.promotion_page import promotion_page
from dashboards.promotion_waits import waits, with_waits
from dashboards.reauthentication import how, is_recent, kept_fields, reauthenticated
from governance.common.errors import GovernanceError
from governance.common.time import now
from governance.rollouts import services
from governance.rollouts.models import Promotion, PromotionQuerySet
from governance.workflows.models import Workflow

PER_PAGE = 40
OPEN = "open"


def visible(request: UserRequest) -> PromotionQuerySet:
    """What this person may see, with what its page shows."""
    return (
        Promotion.objects.visible_to(request.user)
        .for_page()
        .select_related("expected_kpi", "outcome", "standing")
    )


@require_GET
@login_required
def promotions(request: UserRequest) -> HttpResponse:
    """Open promotions first, with whom they wait for; then what was decided."""
    asked = {name: request.GET.get(name, "") for name in ("workflow", "state", "road", "risk")}
    rows = _filtered(visible(request), asked)
    opened = list(with_waits(rows.open()))
    known = waits(opened, now())
    page = Paginator(rows.exclude(state__in=Promotion.OPEN), PER_PAGE).get_page(
        request.GET.get("page")
    )
    context = {
        "page_obj": page,
        "asked": asked,
        "is_filtered": any(asked.values()),
        "states": [(OPEN, "Open"), *Promotion.State.choices],
        "roads": Promotion.Road.choices,
        "risks": Promotion.Risk.choices,
        "open": [(row, known[row.pk]) for row in opened],
        "workflows": Workflow.objects.visible_to(request.user).only("slug", "name"),
    }
    return render(request, "dashboards/promotions/list.html", context)


def _filtered(rows: PromotionQuerySet, asked: Mapping[str, str]) -> PromotionQuerySet:
    """What the query string asks for; a word that nobody knows is left out."""
    if asked["workflow"]:
        rows = rows.filter(workflow__slug=asked["workflow"])
    if asked["state"] == OPEN:
        rows = rows.open()
    elif asked["state"] in Promotion.State.values:
        rows = rows.filter(state=asked["state"])
    if asked["road"] in Promotion.Road.values:
        rows = rows.filter(road=asked["road"])
    if asked["risk"] in Promotion.Risk.values:
        rows = rows.filter(risk=asked["risk"])
    return rows


@require_GET
@login_required
def promotion(request: UserRequest, pk: int) -> HttpResponse:
    """Everything somebody needs to decide, on one page. While evals run: their progress."""
    found = get_object_or_404(visible(request), pk=pk)
    if request.htmx and found.state != Promotion.State.EVALUATING:
        return HttpResponseClientRefresh()  # the gate has judged: the whole page is another one
    return show(request, found)


def show(
    request: UserRequest,
    found: Promotion,
    *,
    error: str = "",
    typed: Mapping[str, str] | None = None,
    status: int = 200,
) -> HttpResponse:
    """The page of a promotion, with what was typed and why it was refused."""
    here = f"{reverse('promotion', args=(found.pk,))}#reason"
    fresh = is_recent(request)
    context: dict[str, object] = {
        "page": promotion_page(found, request.user),
        "promotion": found,
        "error": error,
        "typed": typed or kept_fields(request),
        "is_recent": fresh,
        # Who has to prove it is them does so first: then the yes is one press.
        "decide_url": "#reason"
        if fresh
        else f"{reverse('reauthenticate')}?{urlencode({'next': here})}",
    }
    return render_part(
        request, "dashboards/promotions/promotion.html", "progress", context, status=status
    )


def _decide(
    request: UserRequest, pk: int, decision: Callable[..., Promotion], done: str
) -> HttpResponse:
    found = get_object_or_404(visible(request), pk=pk)
    form = DecisionForm(request.POST)
    if not form.is_valid():
        return show(request, found, error=first_error(form), typed=request.POST, status=422)
    at, by = how(request)
    try:
        decided = decision(
            pk,
            actor=request.user,
            review_round=form.cleaned_data["review_round"],
            reason=form.cleaned_data["reason"],
            authenticated_at=at,
            authenticated_by=by,
        )
    except GovernanceError as refusal:
        found = get_object_or_404(visible(request), pk=pk)
        return show(request, found, error=str(refusal), typed=request.POST, status=refusal.status)
    if decided.state == Promotion.State.PILOTING:
        done = f"Approved. The pilot of {decided.release.name} is open."
    elif decided.state == Promotion.State.LIVE:
        done = f"{decided.release.name} is live in {decided.workflow.name} now."
    messages.success(request, done)
    # A KPI owner of another workflow sees it only while it waits for people.
    if visible(request).filter(pk=pk).exists():
        return redirect("promotion", pk=pk)
    return redirect("promotions")


@require_POST
@login_required
@reauthenticated("promotion")
def approve(request: UserRequest, pk: int) -> HttpResponse:
    """Say yes to exactly these bytes and this evidence."""
    return _decide(
        request, pk, services.approve_promotion, "Your approval is recorded. Another is needed."
    )


@require_POST
@login_required
@reauthenticated("promotion")
def reject(request: UserRequest, pk: int) -> HttpResponse:
    """Say no, which closes the promotion."""
    return _decide(
        request, pk, services.reject_promotion, "Rejected. Nothing changed in production."
    )


@require_POST
@login_required
def withdraw(request: UserRequest, pk: int) -> HttpResponse:
    """Take the request back."""
    return _ask(request, pk, services.withdraw_promotion, "reason", "Withdrawn.")


@require_POST
@login_required
def ask_again(request: UserRequest, pk: int) -> HttpResponse:
    """Ask in a new round, against what is live now."""
    return _ask(
        request, pk, services.repropose_promotion, "rationale",
        "Asked again: the evals run against what is live now.",
    )  # fmt: skip


def _ask(
    request: UserRequest, pk: int, act: Callable[..., Promotion], word: str, done: str
) -> HttpResponse:
    found = get_object_or_404(visible(request), pk=pk)
    form = ReasonForm(request.POST)
    if not form.is_valid():
        return show(request, found, error=first_error(form), typed=request.POST, status=422)
    try:
        act(pk, actor=request.user, **{word: form.cleaned_data["reason"]})
    except GovernanceError as refusal:
        found = get_object_or_404(visible(request), pk=pk)
        return show(request, found, error=str(refusal), typed=request.POST, status=refusal.status)
    messages.success(request, done)
    return redirect("promotion", pk=pk)


urlpatterns: list[URLPattern] = [
    path("promotions/", promotions, name="promotions"),
    path("promotions/<int:pk>/", promotion, name="promotion"),
    path("promotions/<int:pk>/approve/", approve, name="promotion-approve"),
    path("promotions/<int:pk>/reject/", reject, name="promotion-reject"),
    path("promotions/<int:pk>/withdraw/", withdraw, name="promotion-withdraw"),
    path("promotions/<int:pk>/ask-again/", ask_again, name="promotion-ask-again"),
]
