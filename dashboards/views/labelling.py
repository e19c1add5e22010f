"""Labelling a sample of what really ran: case by case, with one key, and without JavaScript."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_GET, require_POST

from dashboards.http import UserRequest, render_part
from dashboards.suite_page import Place, place_of
from dashboards.suite_words import asked_in_short, expected_in_words
from dashboards.windows import whole_number, words
from governance.common.errors import GovernanceError
from governance.evals import services
from governance.evals.decision_models import SuiteEdit
from governance.evals.drafts import draft_mark, open_edits
from governance.evals.labelling import RECENT, UNLABELLED, sample_of
from governance.evals.sampling import MOST_DAYS, MOST_DRAWN, has_source
from governance.people.permissions import can

TEMPLATE = "dashboards/suites/labelling.html"
SHOWN = 20


@require_GET
@login_required
def labelling(request: UserRequest, slug: str, kind: str) -> HttpResponse:
    """The cases that wait for a label, and those that a person has labelled."""
    return _page(request, _recent(request, slug, kind))


def _recent(request: UserRequest, slug: str, kind: str) -> Place:
    place = place_of(request, slug, kind)
    if place.kind != RECENT:
        raise Http404("Only what really ran is labelled.")
    return place


def _page(
    request: UserRequest, place: Place, *, error: str = "", status: int = 200
) -> HttpResponse:
    edits = open_edits(place.workflow, RECENT)
    waiting = edits.filter(UNLABELLED)
    by_hand = edits.exclude(UNLABELLED).exclude(content__labelled_by_label="")
    context = {
        **_head(request, place),
        "rows": [_row(edit) for edit in waiting.order_by("key")[:SHOWN]],
        "labelled": [_row(edit) for edit in by_hand.order_by("-pk")[:SHOWN]],
        "error": error,
    }
    return render_part(request, TEMPLATE, "queue", context, status=status)


def _head(request: UserRequest, place: Place) -> dict[str, Any]:
    return {
        "place": place,
        "workflow": place.workflow,
        "sample": sample_of(place.workflow),
        "mark": draft_mark(place.workflow, RECENT),
        "may_edit": can(request.user, "suite.freeze", place.workflow),
        "has_source": has_source(place.workflow),
        "most_days": MOST_DAYS,
        "most_drawn": MOST_DRAWN,
    }


def _row(edit: SuiteEdit) -> dict[str, Any]:
    content = edit.content or {}
    source = content.get("source", {})
    return {
        "edit": edit,
        "content": content,
        "asks": asked_in_short(content),
        "expects": expected_in_words(content),
        "answered": source.get("answered", ""),
        "escalated": source.get("escalated", False),
        "run": source.get("run", ""),
    }


@require_POST
@login_required
def label(request: UserRequest, slug: str, kind: str) -> HttpResponse:
    """Right as it was, this is right, or a person must be asked."""
    place = _recent(request, slug, kind)
    pk = whole_number(request.POST, "edit") or 0
    judged, answer = words(request.POST, "judged"), request.POST.get("answer", "")
    try:
        services.label_case(pk, place.workflow, actor=request.user, judged=judged, answer=answer)
    except GovernanceError as refusal:
        return _refused(request, place, pk, answer, str(refusal), refusal.status)
    if request.htmx:
        return _page(request, place)
    return redirect(reverse("suite-labelling", args=place.args))


def _refused(
    request: UserRequest, place: Place, pk: int, answer: str, error: str, status: int
) -> HttpResponse:
    """The page again, with what was typed where it was typed."""
    edits = open_edits(place.workflow, RECENT).filter(UNLABELLED)
    rows = [_row(edit) for edit in edits.order_by("key")[:SHOWN]]
    for row in rows:
        row["typed"] = answer if row["edit"].pk == pk else ""
    said = f"{error} You wrote: {answer}" if answer and not any(r["typed"] for r in rows) else error
    context = {**_head(request, place), "rows": rows, "labelled": [], "error": said}
    return render_part(request, TEMPLATE, "queue", context, status=status)


@require_POST
@login_required
def sample(request: UserRequest, slug: str, kind: str) -> HttpResponse:
    """Draw a sample by the rule."""
    place = _recent(request, slug, kind)
    days, size = whole_number(request.POST, "days"), whole_number(request.POST, "size")
    try:
        found = services.draw_sample(
            place.workflow, actor=request.user, days=days or 0, size=size or 0
        )
    except GovernanceError as refusal:
        return _page(request, place, error=str(refusal), status=refusal.status)
    more = ", at least one of each segment" if found.drawn > (size or 0) else ""
    messages.success(
        request, f"{found.drawn:,} cases are drawn{more}; {found.labelled:,} of them have a label."
    )
    return redirect(reverse("suite-labelling", args=place.args))


urlpatterns: list[URLPattern] = [
    path("evals/suites/<str:slug>/<str:kind>/labelling/", labelling, name="suite-labelling"),
    path("evals/suites/<str:slug>/<str:kind>/label/", label, name="suite-label"),
    path("evals/suites/<str:slug>/<str:kind>/sample/", sample, name="suite-sample"),
]
