"""Suites: what they hold, how old they are, and how much of the traffic has a case."""

from __future__ import annotations

from functools import partial
from typing import Any

from django.contrib.auth.decorators import login_required
from django.db.models import Count
from django.http import Http404, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path
from django.views.decorators.http import require_GET, require_POST

from dashboards import suite_page
from dashboards.http import UserRequest, act
from dashboards.suite_forms import WhyForm
from dashboards.suite_page import Place, place_of
from dashboards.suite_words import asked_in_short, changes_of, expected_in_words
from dashboards.windows import whole_number, words
from governance.common.time import now
from governance.evals import services
from governance.evals.coverage import coverage, facets_of, traffic
from governance.evals.decision_models import SuiteEdit
from governance.evals.models import SuiteVersion
from governance.evals.suite_lists import ADDED, CHANGED, REMOVED, difference_counts, differences
from governance.workflows.models import Workflow

STALE_DAYS = 14  # a recent suite that is older judges nothing


@require_GET
@login_required
def suites(request: UserRequest) -> HttpResponse:
    """Per workflow its three suites: newest version, cases, age, coverage and draft."""
    slug = words(request.GET, "workflow")
    visible = Workflow.objects.visible_to(request.user)
    chosen = list((visible.filter(slug=slug) if slug else visible).order_by("name"))
    newest = list(
        SuiteVersion.objects.filter(workflow__in=chosen)
        .order_by("workflow_id", "kind", "-version")
        .distinct("workflow_id", "kind")
    )
    held = {(suite.workflow_id, suite.kind): suite for suite in newest}
    facets, runs = facets_of(newest), traffic(chosen)
    edits = {
        (workflow, kind): number
        for workflow, kind, number in SuiteEdit.objects.filter(
            workflow__in=chosen, state=SuiteEdit.State.OPEN
        )
        .order_by()
        .values_list("workflow_id", "kind")
        .annotate(Count("pk"))
    }
    rows = [
        {
            "workflow": workflow,
            "suites": [
                _card(workflow, kind, held.get((workflow.pk, kind)), facets, edits)
                for kind in SuiteVersion.Kind
            ],
            "coverage": coverage(
                facets.get(golden.pk, ()) if golden else (),
                {segment: n for (of, segment), n in runs.items() if of == workflow.pk},
            )
            if (golden := held.get((workflow.pk, SuiteVersion.Kind.GOLDEN)))
            else None,
        }
        for workflow in chosen
    ]
    context = {"rows": rows, "slug": slug, "workflows": visible.only("slug", "name")}
    return render(request, "dashboards/suites/list.html", context)


def _card(
    workflow: Workflow, kind: SuiteVersion.Kind, suite: SuiteVersion | None,
    facets: dict[int, Any], edits: dict[tuple[int, str], int],
) -> dict[str, Any]:  # fmt: skip
    """What the list says of one suite; `suite` None where nothing was frozen yet."""
    own = facets.get(suite.pk, ()) if suite else ()
    age = (now() - suite.sampled_to).days if suite and suite.sampled_to else None
    return {
        "kind": kind,
        "label": kind.label,
        "suite": suite,
        "edits": edits.get((workflow.pk, kind), 0),
        "must_pass": sum(facet.cases for facet in own if facet.must_pass),
        "look_alikes": sum(facet.cases for facet in own if facet.look_alike),
        "age_days": age,
        "is_stale": age is not None and age > STALE_DAYS,
    }


@require_GET
@login_required
def suite(request: UserRequest, slug: str, kind: str) -> HttpResponse:
    """One suite: its cases with the draft on top, coverage, versions."""
    return _page(request, place_of(request, slug, kind))


def _page(
    request: UserRequest, place: Place, *, error: str = "", typed: str = "", status: int = 200
) -> HttpResponse:
    context = {**suite_page.context(request, place), "error": error, "typed": typed}
    return render(request, "dashboards/suites/suite.html", context, status=status)


@require_POST
@login_required
def freeze(request: UserRequest, slug: str, kind: str) -> HttpResponse:
    """Make the draft the next version."""
    place = place_of(request, slug, kind)
    form = WhyForm(request.POST)
    freeze_it = (
        partial(services.freeze_sample, place.workflow)
        if place.kind == SuiteVersion.Kind.RECENT
        else partial(services.freeze_draft, place.workflow, kind)
    )
    return act(
        request,
        lambda: freeze_it(actor=request.user, **form.cleaned_data),
        form=form,
        again=partial(_page, request, place, typed=request.POST.get("reason", "")),
        done=lambda made: (
            f"{made} is frozen, {made.case_count:,} cases: gates judge on it from now on."
        ),
        then=lambda _: redirect(place.url),
    )


@require_POST
@login_required
def confirm(request: UserRequest, slug: str, kind: str) -> HttpResponse:
    """Say yes to somebody else's edits."""
    place = place_of(request, slug, kind)
    number = whole_number(request.POST, "version")
    rows = SuiteVersion.objects.filter(workflow=place.workflow, kind=kind)
    found = get_object_or_404(rows, version=number)
    return act(
        request,
        lambda: services.confirm_suite(found, actor=request.user),
        again=partial(_page, request, place),
        done=f"{found} is confirmed: its editors may approve what it judges.",
        then=lambda _: redirect(place.url),
    )


@require_POST
@login_required
def undo(request: UserRequest, slug: str, kind: str) -> HttpResponse:
    """Take one edit back, or the whole draft."""
    place = place_of(request, slug, kind)
    pk = whole_number(request.POST, "edit")
    if "edit" in request.POST and pk is None:
        raise Http404("There is no such edit.")
    return act(
        request,
        lambda: services.drop_edits(
            place.workflow,
            kind,
            actor=request.user,
            pks=None if pk is None else [pk],
            mark=words(request.POST, "mark"),
        ),
        again=partial(_page, request, place),
        done=lambda count: f"{count:,} edit{'' if count == 1 else 's'} taken back.",
        then=lambda _: redirect(place.url),
    )


@require_GET
@login_required
def compare(request: UserRequest, slug: str, kind: str) -> HttpResponse:
    """Two versions of a suite: which cases came, went and changed, word by word."""
    place = place_of(request, slug, kind)
    rows = SuiteVersion.objects.filter(workflow=place.workflow, kind=kind)
    versions = list(rows.order_by("-version"))
    by_number = {found.version: found for found in versions}
    newest = max(by_number, default=0)
    to = whole_number(request.GET, "to") or newest
    before = whole_number(request.GET, "from") or max(to - 1, 1)
    if before not in by_number or to not in by_number:
        raise Http404("There is no such version.")
    old, new = by_number[before], by_number[to]
    what = request.GET.get("what", "")
    page, has_more = differences(old, new, after=words(request.GET, "after"), what=what)
    context = {
        "place": place,
        "workflow": place.workflow,
        "versions": versions,
        "old": old,
        "new": new,
        "counts": difference_counts(old, new),
        "what": what if what in (ADDED, CHANGED, REMOVED) else "",
        "rows": [
            {
                "case": found,
                "asks": asked_in_short(found.after or found.before or {}),
                "expects": expected_in_words(found.after or found.before or {}),
                "changes": changes_of(found.before, found.after)
                if found.before is not None and found.after is not None
                else None,
            }
            for found in page
        ],
        "next_key": page[-1].key if has_more else "",
        "is_first": not request.GET.get("after"),
    }
    return render(request, "dashboards/suites/compare.html", context)


urlpatterns: list[URLPattern] = [
    path("evals/suites/", suites, name="suites"),
    path("evals/suites/<str:slug>/<str:kind>/", suite, name="suite"),
    path("evals/suites/<str:slug>/<str:kind>/freeze/", freeze, name="suite-freeze"),
    path("evals/suites/<str:slug>/<str:kind>/confirm/", confirm, name="suite-confirm"),
    path("evals/suites/<str:slug>/<str:kind>/undo/", undo, name="suite-undo"),
    path("evals/suites/<str:slug>/<str:kind>/compare/", compare, name="suite-compare"),
]
