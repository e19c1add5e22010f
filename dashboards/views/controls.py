"""What is in force beside the normal road, and what comes next."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import URLPattern, path
from django.views.decorators.http import require_GET

from dashboards.controls_page import overview
from dashboards.http import UserRequest


@require_GET
@login_required
def controls(request: UserRequest) -> HttpResponse:
    """Everything in force now, and what comes next."""
    return render(request, "dashboards/controls/overview.html", overview(request.user))


urlpatterns: list[URLPattern] = [path("controls/", controls, name="controls")]
