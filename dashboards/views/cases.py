"""One case of a suite: read with its results, edited in the draft, taken out of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from dashboards.case_making import Origin, origin_of
from dashboards.forms import first_error
from dashboards.http import UserRequest
from dashboards.suite_forms import CaseForm, WhyForm, typed_of
from dashboards.suite_page import Place, facets, place_of
from dashboards.suite_words import asked_in_short, changes_of, source_in_words
from dashboards.windows import words
from governance.common.errors import GovernanceError, StateConflictError
from governance.evals import scrubbing, services
from governance.evals.cases import Row, digest_of, row_of
from governance.evals.drafts import WRITTEN, case_now, open_edits
from governance.evals.models import Case, Score, SuiteVersion
from governance.people.permissions import can
from governance.receipts.services import redaction_patterns

RUNS_SHOWN = 10
TAKEN_OUT = "Personal data was taken out of what you wrote. Look at it once more, then save it."


@require_GET
@login_required
def case(request: UserRequest, slug: str, kind: str) -> HttpResponse:
    """A case as a version holds it, what the draft makes of it, and what came of it in runs."""
    place = place_of(request, slug, kind)
    key = words(request.GET, "key")
    return _page(request, place, key) if key else redirect(place.url)


def _page(
    request: UserRequest, place: Place, key: str, *, error: str = "", status: int = 200
) -> HttpResponse:
    frozen = Case.objects.filter(suite=place.suite, key=key).first() if place.suite else None
    edit = open_edits(place.workflow, place.kind).filter(key=key).first() if key else None
    if not place.is_newest:
        edit = None
    if frozen is None and edit is None:
        raise Http404("There is no such case.")
    was = row_of(frozen) if frozen is not None else None
    row = (edit.content if edit is not None else was) or was
    may_edit = place.is_newest and place.kind in WRITTEN
    context = {
        "place": place,
        "workflow": place.workflow,
        "key": key,
        "row": row,
        "channel": dict(Case.Channel.choices).get(row["channel"], "") if row else "",
        "source": source_in_words(row) if row else "",
        "source_url": _source_url(row),
        "edit": edit,
        "is_new": was is None,
        "changes": changes_of(was, edit.content) if edit and edit.content and was else None,
        "may_edit": may_edit and can(request.user, "suite.freeze", place.workflow),
        "seen": digest_of(edit.content if edit is not None else was),
        "results": _results(place, key),
        "error": error,
    }
    return render(request, "dashboards/suites/case.html", context, status=status)


def _results(place: Place, key: str) -> list[Score]:
    """The newest scores of this case, in whatever version it was asked."""
    asked = Case.objects.filter(
        suite__workflow=place.workflow, suite__kind=place.kind, key=key
    ).order_by("-suite__version")
    return list(
        Score.objects.filter(case__in=list(asked[:RUNS_SHOWN]))
        .select_related("run__release__workflow", "run__suite")
        .order_by("-run_id", "repeat")[:RUNS_SHOWN]
    )


def _source_url(row: Row | None) -> str:
    source = row["source"] if row else {}
    if source.get("kind") == "exception" and isinstance(source.get("id"), int):
        return f"{reverse('exceptions')}?state=all#exception-{source['id']}"
    if source.get("kind") == "receipt" and source.get("id"):
        return f"{reverse('receipts')}?{urlencode({'run': source['id']})}"
    return ""


@require_http_methods(["GET", "POST"])
@login_required
def edit(request: UserRequest, slug: str, kind: str) -> HttpResponse:
    """Change a case in the draft, or add one. What somebody typed is never lost."""
    place = place_of(request, slug, kind)
    if not can(request.user, "suite.freeze", place.workflow):
        raise PermissionDenied("Analysts, builders and the KPI owner edit suites.")
    if place.kind not in WRITTEN:
        raise Http404("A recent suite is drawn by its rule: nobody writes its cases.")
    key = words(request.GET, "key")
    held = case_now(place.workflow, place.kind, key) if key else None
    if request.method != "POST":
        typed = typed_of(held) if held is not None else {"key": key}
        return form_page(request, place, {**typed, "seen": digest_of(held)}, held=held)
    form = CaseForm(request.POST)
    if not form.is_valid():
        return form_page(
            request, place, request.POST, held=held, error=first_error(form), status=422
        )
    try:
        services.put_case(
            place.workflow, kind, form.row(kept=held), actor=request.user,
            seen=form.cleaned_data["seen"],
        )  # fmt: skip
    except StateConflictError as refusal:
        fresh = case_now(place.workflow, place.kind, form.row()["key"])
        # Sent again, it replaces what it was shown beside.
        typed = {**request.POST.dict(), "seen": digest_of(fresh), "key": form.row()["key"]}
        return form_page(request, place, typed, held=fresh, error=str(refusal), status=409)
    except GovernanceError as refusal:
        return form_page(
            request, place, request.POST, held=held, error=str(refusal), status=refusal.status
        )
    messages.success(request, f"The draft has it: {form.row()['key']}. It judges once frozen.")
    return redirect(case_url(place, form.row()["key"]))


def form_page(
    request: UserRequest,
    place: Place,
    typed: Mapping[str, Any],
    *,
    held: Row | None,
    error: str = "",
    status: int = 200,
    **more: object,
) -> HttpResponse:
    """The form with what was typed; beside it, on a conflict, what the case says now."""
    own = facets(place.suite)
    context = {
        "place": place,
        "workflow": place.workflow,
        "typed": typed,
        "held": held,
        "error": error,
        "conflict": status == 409 and held is not None,
        "is_new": held is None,
        "channels": Case.Channel.choices,
        "categories": sorted({facet.category for facet in own} - {""}),
        "segments": sorted({facet.segment for facet in own} - {""}),
        **more,
    }
    return render(request, "dashboards/suites/edit.html", context, status=status)


@require_POST
@login_required
def remove(request: UserRequest, slug: str, kind: str) -> HttpResponse:
    """Take a case out of the draft, with the reason."""
    place = place_of(request, slug, kind)
    key = words(request.POST, "key")
    form = WhyForm(request.POST)
    if not form.is_valid():
        return _page(request, place, key, error=first_error(form), status=422)
    said = form.cleaned_data
    try:
        services.remove_case(
            place.workflow, kind, key, actor=request.user, seen=said["mark"], reason=said["reason"]
        )
    except GovernanceError as refusal:
        return _page(request, place, key, error=str(refusal), status=refusal.status)
    messages.success(request, f"{key} is taken out of the draft. Frozen versions keep it.")
    return redirect(place.url)


@require_http_methods(["GET", "POST"])
@login_required
def make(request: UserRequest, slug: str, kind: str) -> HttpResponse:
    """Make this a case: prefilled, personal data taken out, and shown before it is saved."""
    place = place_of(request, slug, kind)
    if not can(request.user, "suite.freeze", place.workflow):
        raise PermissionDenied("Analysts, builders and the KPI owner edit suites.")
    if place.kind != SuiteVersion.Kind.GOLDEN:
        raise Http404("What happened becomes a golden case.")
    if not {"exception", "run"} & request.GET.keys():
        return redirect("suite-case-edit", slug=slug, kind=kind)
    origin = origin_of(request.user, place, request.GET)
    key = origin.row["key"]
    if case_now(place.workflow, kind, key) is not None:
        messages.info(request, "This is a case already.")
        return redirect(case_url(place, key))
    if request.method != "POST":
        return _making(request, place, origin, _clean(origin.row))
    form = CaseForm({**request.POST.dict(), "key": key})
    if not form.is_valid():
        return form_page(
            request, place, request.POST, held=None, error=first_error(form), status=422,
            **_made_from(origin, None),
        )  # fmt: skip
    typed = form.row(kept=origin.row)
    row = _clean(typed)
    if row != typed:
        return _making(request, place, origin, row, error=TAKEN_OUT)
    try:
        services.put_case(place.workflow, kind, row, actor=request.user, seen="")
    except GovernanceError as refusal:
        return _making(request, place, origin, row, error=str(refusal), status=refusal.status)
    messages.success(request, f"The draft has it: {key}. It judges once frozen.")
    return redirect(case_url(place, key))


def _clean(row: Row) -> Row:
    return scrubbing.scrubbed(row, redaction_patterns())


def _making(
    request: UserRequest, place: Place, origin: Origin, row: Row, *, error: str = "",
    status: int = 200,
) -> HttpResponse:  # fmt: skip
    typed = {**typed_of(row), "seen": ""}
    return form_page(
        request, place, typed, held=None, error=error, status=status, **_made_from(origin, row)
    )


def _made_from(origin: Origin, row: Row | None) -> dict[str, object]:
    """What the form says beside the case; with `row`, its text with what was taken out marked."""
    return {
        "made_from": origin.title,
        "made_url": origin.url,
        "fixed_key": True,
        "answered": origin.answered,
        "has_text": origin.has_text,
        "has_source": origin.has_source,
        "scrub_sentence": scrubbing.sentence(row) if row and row["input"] else "",
        "pieces": scrubbing.pieces(asked_in_short(row)) if row and row["input"] else [],
    }


def case_url(place: Place, key: str) -> str:
    return f"{reverse('suite-case', args=place.args)}?{urlencode({'key': key})}"


urlpatterns: list[URLPattern] = [
    path("evals/suites/<str:slug>/<str:kind>/case/", case, name="suite-case"),
    path("evals/suites/<str:slug>/<str:kind>/make/", make, name="case-make"),
    path("evals/suites/<str:slug>/<str:kind>/edit/", edit, name="suite-case-edit"),
    path("evals/suites/<str:slug>/<str:kind>/remove/", remove, name="suite-case-remove"),
]
