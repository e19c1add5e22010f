"""The reviews: the current week, any week, month or quarter, and what is done on them."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse, HttpResponseRedirect, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_GET, require_POST

from dashboards.charts import explorer_figure
from dashboards.forms import first_error
from dashboards.http import UserRequest
from dashboards.numbers import Unit
from dashboards.review_loader import cadences, frozen, load_review, signed_page
from governance.common.errors import GovernanceError
from governance.common.time import now, today
from governance.kpis import services as kpis
from governance.kpis.models import Kpi
from governance.kpis.readings import daily
from governance.reviews import services
from governance.reviews.cadence import WEEKLY, Period, parse_period, period_of
from governance.rollouts.models import LiveChange

TEMPLATE = "dashboards/reviews/review.html"
EXPLORER_DAYS = 13 * 7


class NoteForm(forms.Form):
    """What was found, or what the sign-off is to say."""

    note = forms.CharField(max_length=500, required=False)


class SignOffForm(NoteForm):
    """The note, and the mark of what the page listed as left open."""

    seen = forms.CharField(max_length=71, required=False)


class TickForm(NoteForm):
    """One item, with what was found."""

    key = forms.CharField(max_length=60)


class KpiNoteForm(forms.Form):
    """What the owner says about a week."""

    period = forms.CharField(max_length=10)
    text = forms.CharField(max_length=300)


@require_GET
@login_required
def home(request: UserRequest) -> HttpResponse:
    """The current week as it is now, signed off or not: what waits must stay within reach."""
    moment = now()
    return _page(request, period_of(WEEKLY, moment.date()), moment, as_signed=False)


@require_GET
@login_required
def review(request: UserRequest, kind: str, key: str) -> HttpResponse:
    """One week, month or quarter; a permalink."""
    moment = now()
    return _page(request, _period(kind, key, moment), moment)


def _page(
    request: UserRequest,
    period: Period,
    moment: datetime,
    *,
    as_signed: bool = True,
    error: str = "",
    status: int = 200,
) -> HttpResponse:
    found, user, shown = services.find_review(period.kind, period.key), request.user, None
    signed = found is not None and found.signed_off_at is not None
    if found is not None and signed and as_signed and user.reads_everything:
        # Frozen is what the signer saw, the whole organisation: owners of a part read theirs anew.
        shown = signed_page(found, period, user, today=moment.date())
    context = {
        "page": shown or load_review(period, user, found, today=moment),
        "cadences": cadences(period, moment.date()),
        "error": error,
        "signed_url": reverse("review", args=(period.kind, period.key)) if signed else "",
        # Reviews were signed before their figures were kept: those are read anew, and it is said.
        "kept_nothing": signed and found is not None and not found.frozen,
    }
    return render(request, TEMPLATE, context, status=status)


@require_POST
@login_required
def tick(request: UserRequest, kind: str, key: str) -> HttpResponse:
    """Tick an item off with what was found."""
    moment = now()
    period = _period(kind, key, moment)
    form = TickForm(request.POST)
    if not form.is_valid():
        return _page(request, period, moment, error=first_error(form), status=422)
    try:
        services.tick_off(
            kind, period.key, form.cleaned_data["key"],
            actor=request.user, note=form.cleaned_data["note"],
        )  # fmt: skip
    except GovernanceError as refusal:
        return _page(request, period, moment, error=str(refusal), status=refusal.status)
    return _back(period, "checklist")


@require_POST
@login_required
def sign_off(request: UserRequest, kind: str, key: str) -> HttpResponse:
    """Sign the review off; from then on the page keeps what it shows now."""
    moment = now()
    period = _period(kind, key, moment)
    form = SignOffForm(request.POST)
    if not form.is_valid():
        return _page(request, period, moment, error=first_error(form), status=422)
    try:
        found = services.review_to_sign(kind, period.key, actor=request.user)
        services.sign_off(
            found,
            actor=request.user,
            note=form.cleaned_data["note"],
            seen=form.cleaned_data["seen"],
            frozen=frozen(period, request.user, found),
        )
    except GovernanceError as refusal:
        return _page(request, period, moment, error=str(refusal), status=refusal.status)
    messages.success(request, f"{period.title} is signed off.")
    return _back(period, "checklist")


@require_POST
@login_required
def write_note(request: UserRequest, pk: int) -> HttpResponse:
    """Keep what a KPI's owner says about a week."""
    kpi = get_object_or_404(Kpi.objects.visible_to(request.user), pk=pk)
    form = KpiNoteForm(request.POST)
    moment = now()
    period = _period(WEEKLY, request.POST.get("period", ""), moment)
    if not form.is_valid():
        return _page(request, period, moment, error=first_error(form), status=422)
    try:
        kpis.write_note(kpi.pk, period.starts_on, form.cleaned_data["text"], actor=request.user)
    except GovernanceError as refusal:
        return _page(request, period, moment, error=str(refusal), status=refusal.status)
    return _back(period, f"kpi-{kpi.pk}")


@require_GET
@login_required
def explorer_data(request: UserRequest, pk: int) -> JsonResponse:
    """The daily chart of one KPI as a Plotly figure, with the sentence that says it."""
    visible = Kpi.objects.visible_to(request.user).select_related("workflow")
    kpi = get_object_or_404(visible, pk=pk)
    until = today() + timedelta(days=1)
    first = until - timedelta(days=EXPLORER_DAYS)
    totals = daily(kpi.workflow_id, kpi.measure, first, until)
    intervals = [total.interval(share=kpi.unit == Unit.SHARE) for total in totals.values()]
    figure = explorer_figure(
        days=list(totals),
        values=[total.mean for total in totals.values()],
        low=[interval and interval[0] for interval in intervals],
        high=[interval and interval[1] for interval in intervals],
        unit=Unit(kpi.unit),
        name=kpi.name,
        target=kpi.target,
        releases=_releases(kpi, first),
    )
    measured = sum(total.n > 0 for total in totals.values())
    figure["sentence"] = (
        f"{kpi.name} by day with its 95 % interval: {measured} days with data"
        f" in the last {EXPLORER_DAYS}."
    )
    return JsonResponse(figure)


def _releases(kpi: Kpi, first: date) -> list[tuple[date, str]]:
    rows = LiveChange.objects.filter(workflow=kpi.workflow_id, changed_at__date__gte=first)
    rows = rows.select_related("to_release").order_by("changed_at")
    return [(row.changed_at.date(), row.to_release.name) for row in rows]


def _period(kind: str, key: str, moment: datetime) -> Period:
    try:
        period = parse_period(kind, key)
    except ValueError as problem:
        raise Http404(str(problem)) from problem
    if period.starts_on > moment.date():
        raise Http404("That period has not begun.")
    return period


def _back(period: Period, anchor: str) -> HttpResponse:
    return HttpResponseRedirect(f"{reverse('review', args=(period.kind, period.key))}#{anchor}")


@require_GET
@login_required
def current(request: UserRequest, kind: str) -> HttpResponse:
    """The current period of a kind: a link that never goes stale."""
    try:
        period = period_of(kind, today())
    except ValueError as problem:
        raise Http404(str(problem)) from problem
    return redirect("review", kind=kind, key=period.key)


urlpatterns: list[URLPattern] = [
    path("", home, name="home"),
    path("reviews/<slug:kind>/", current, name="review-current"),
    path("reviews/<slug:kind>/<str:key>/", review, name="review"),
    path("reviews/<slug:kind>/<str:key>/tick/", tick, name="review-tick"),
    path("reviews/<slug:kind>/<str:key>/sign-off/", sign_off, name="review-sign-off"),
    path("kpis/<int:pk>/note/", write_note, name="kpi-note"),
    path("explorer/<int:pk>/", explorer_data, name="explorer-data"),
]
