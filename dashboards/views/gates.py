"""A gate's report: every check, the digest computed again, and what people set aside."""

from __future__ import annotations

import json
from functools import partial

from django import forms
from django.contrib.auth.decorators import login_required
from django.db.models import Q
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path
from django.views.decorators.http import require_GET, require_POST

from dashboards.gates import report_rows
from dashboards.http import UserRequest, act
from governance.common.canonical import digest_text
from governance.common.time import now
from governance.evals import services
from governance.evals.decision_models import GateWaiver
from governance.evals.models import GateReport
from governance.evals.waivers import LONGEST, waivable
from governance.people.models import User
from governance.people.permissions import can
from governance.rollouts.models import Promotion
from governance.workflows.models import Workflow


class WaiverForm(forms.Form):
    """Which finding, why, and for how long."""

    code = forms.CharField(max_length=60)
    suite = forms.CharField(max_length=15, required=False)
    metric = forms.CharField(max_length=80, required=False)
    reason = forms.CharField(max_length=500, error_messages={"required": "Say why: it is shown."})
    days = forms.IntegerField(min_value=1, error_messages={"required": "Say for how many days."})


@require_GET
@login_required
def gate_report(request: UserRequest, digest: str) -> HttpResponse:
    """The whole report behind a verdict, with its digest computed again."""
    return _page(request, _report(request, digest))


def _page(
    request: UserRequest, found: GateReport, *, error: str = "", status: int = 200
) -> HttpResponse:
    content, user, moment = found.content, request.user, now()
    may_waive = can(user, "gate.waive", found)
    waivers = list(GateWaiver.objects.filter(candidate=found.candidate, policy=found.policy))
    held = {
        (row.code, row.suite, row.metric)
        for row in waivers
        if row.revoked_at is None and row.expires_at > moment
    }
    context = {
        "report": found,
        "content": content,
        "rows": report_rows(content),
        "verified": digest_text(found.content_text) == found.pk,
        "policy_text": json.dumps(found.policy.content, indent=2, ensure_ascii=False),
        "runs": found.runs.select_related("suite", "release__workflow"),
        "promotions": Promotion.objects.visible_to(user).filter(gate_report=found),
        "waivers": [(row, row.revoked_at is None and row.expires_at > moment) for row in waivers],
        "waivable": [
            one
            for one in waivable(found)
            if may_waive and (one["code"], one["suite"], one["metric"]) not in held
        ],
        "may_revoke": found.workflow.owner_id == user.pk or user.role == User.Role.EXECUTIVE,
        "longest": LONGEST.days,
        "typed": request.POST,
        "error": error,
    }
    return render(request, "dashboards/promotions/gate_report.html", context, status=status)


@require_GET
@login_required
def gate_report_json(request: UserRequest, digest: str) -> HttpResponse:
    """The canonical text, byte for byte as it was hashed."""
    found = _report(request, digest)
    response = HttpResponse(found.content_text, content_type="application/json")
    name = f"gate-report-{found.pk[7:19]}.json"
    response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    response.headers["Cache-Control"] = "no-store"
    return response


@require_POST
@login_required
def waive(request: UserRequest, digest: str) -> HttpResponse:
    """Set one finding aside."""
    found = _report(request, digest)
    form = WaiverForm(request.POST)
    return act(
        request,
        lambda: services.grant_waiver(found, actor=request.user, **form.cleaned_data),
        form=form,
        again=partial(_page, request, found),
        done="Set aside. Ask for the release again: the gate looks at it then.",
        then=lambda _: redirect("gate-report", digest),
    )


@require_POST
@login_required
def revoke(request: UserRequest, digest: str, pk: int) -> HttpResponse:
    """End a waiver."""
    found = _report(request, digest)
    waiver = get_object_or_404(GateWaiver.objects.filter(candidate=found.candidate), pk=pk)
    return act(
        request,
        lambda: services.revoke_waiver(waiver, actor=request.user),
        again=partial(_page, request, found),
        done="Ended. A gate that stands on it does not count any more.",
        then=lambda _: redirect("gate-report", digest),
    )


def _report(request: UserRequest, digest: str) -> GateReport:
    mine = Workflow.objects.visible_to(request.user)
    asked = Promotion.objects.visible_to(request.user).filter(gate_report__isnull=False)
    rows = GateReport.objects.filter(
        Q(workflow__in=mine) | Q(pk__in=asked.values("gate_report"))
    ).select_related("workflow__owner", "candidate", "base", "policy")
    return get_object_or_404(rows, pk=digest)


urlpatterns: list[URLPattern] = [
    path("gate-reports/<digest:digest>/", gate_report, name="gate-report"),
    path("gate-reports/<digest:digest>/content.json", gate_report_json, name="gate-report-json"),
    path("gate-reports/<digest:digest>/waive/", waive, name="gate-report-waive"),
    path(
        "gate-reports/<digest:digest>/waivers/<int:pk>/revoke/", revoke, name="gate-waiver-revoke"
    ),
]
