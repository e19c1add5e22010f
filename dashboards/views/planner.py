"""How many cases a gate needs, before anybody writes them."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import URLPattern, path
from django.views.decorators.http import require_GET

from dashboards.http import UserRequest, workflow_or_404
from dashboards.planner_page import asked_of, lines


@require_GET
@login_required
def planner(request: UserRequest, slug: str) -> HttpResponse:
    """To see a regression of so many points: how many cases, and how many there are."""
    workflow = workflow_or_404(request, slug)
    asked = asked_of(request.GET)
    context = {"workflow": workflow, "asked": asked, "lines": lines(workflow, asked)}
    return render(request, "dashboards/evals/planner.html", context)


urlpatterns: list[URLPattern] = [
    path("evals/planner/<str:slug>/", planner, name="planner"),
]
