"""Suites: what they hold, how old they are, and how much of the traffic has a case."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.db.models import Count
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import URLPattern, path
from django.views.decorators.http import require_GET

from dashboards.http import UserRequest
from dashboards.windows import words
from governance.common.time import now
from governance.evals.coverage import coverage, facets_of, traffic
from governance.evals.decision_models import SuiteEdit
from governance.evals.models import SuiteVersion
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


urlpatterns: list[URLPattern] = [
    path("evals/suites/", suites, name="suites"),
]
