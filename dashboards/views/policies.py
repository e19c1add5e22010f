"""Gate policies: what is in force for which class of change, what is proposed, and its effect."""

from __future__ import annotations

import difflib
from functools import partial
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path
from django.utils.dateparse import parse_datetime
from django.views.decorators.http import require_GET, require_POST

from dashboards.http import UserRequest, act, workflow_or_404
from dashboards.policy_forms import ROLES, ClassForm, PolicyFields, metrics_of
from dashboards.policy_words import EXAMPLE, in_words
from dashboards.setup_page import ContentForm
from dashboards.slots import readable
from dashboards.windows import whole_number
from governance.evals import services
from governance.evals.models import GatePolicy, SuiteVersion
from governance.people.permissions import can
from governance.workflows.models import Workflow

SHOWN = 30
CLASSES = {
    "": "Every change that has no policy of its own",
    "low": "Low risk",
    "medium": "Medium risk",
    "high": "High risk",
}


class JsonForm(ContentForm, ClassForm):
    """A policy's content as JSON, the class of change, and why."""


@require_GET
@login_required
def policies(request: UserRequest, slug: str) -> HttpResponse:
    """What gates of this workflow ask for."""
    return _page(request, workflow_or_404(request, slug))


@require_POST
@login_required
def propose(request: UserRequest, slug: str) -> HttpResponse:
    """Propose another policy."""
    found = workflow_or_404(request, slug)
    again = partial(_page, request, found)
    is_json = "content" in request.POST
    why = JsonForm(request.POST) if is_json else ClassForm(request.POST)
    fields = None if is_json else PolicyFields({}, request.POST)
    if why.is_valid() and fields is not None and fields.error:
        return again(error=fields.error, status=422)

    def proposed() -> GatePolicy:
        said = why.cleaned_data
        content = said["content"] if fields is None else fields.content()
        return services.set_policy(
            found, content, actor=request.user, risk=said["risk"], reason=said["reason"]
        )

    return act(
        request,
        proposed,
        form=why,
        again=again,
        done=lambda made: (
            f"Version {made.version} is proposed. It judges once another person confirms it."
        ),
        then=lambda _: redirect("policies", slug),
    )


@require_POST
@login_required
def confirm(request: UserRequest, slug: str) -> HttpResponse:
    """Put a proposed policy into force."""
    found = workflow_or_404(request, slug)
    version = _version(request, found)
    return act(
        request,
        lambda: services.confirm_policy(version, actor=request.user),
        again=partial(_page, request, found),
        done=f"Version {version.version} is in force. What waits was judged by another one: ask"
        " its gate again.",
        then=lambda _: redirect("policies", slug),
    )


@require_POST
@login_required
def withdraw(request: UserRequest, slug: str) -> HttpResponse:
    """Take a proposal back."""
    found = workflow_or_404(request, slug)
    version = _version(request, found)
    return act(
        request,
        lambda: services.withdraw_policy(version, actor=request.user),
        again=partial(_page, request, found),
        done=f"Version {version.version} is withdrawn.",
        then=lambda _: redirect("policies", slug),
    )


def _version(request: UserRequest, found: Workflow) -> GatePolicy:
    number = whole_number(request.POST, "version")
    return get_object_or_404(GatePolicy.objects.filter(workflow=found), version=number)


def _page(
    request: UserRequest, found: Workflow, *, error: str = "", status: int = 200
) -> HttpResponse:
    rows = list(
        GatePolicy.objects.filter(workflow=found)
        .select_related("workflow", "confirmed_by")
        .order_by("-version")[:SHOWN]
    )
    in_force = {risk: services.current_policy(found, risk) for risk in CLASSES}
    own = {risk: row for risk, row in in_force.items() if row is not None and row.risk == risk}
    risk = request.POST.get("risk", request.GET.get("risk", ""))
    begun = own.get(risk) or own.get("")
    content = begun.content if begun else EXAMPLE
    is_json = "content" in request.POST
    is_typed = request.method == "POST" and "reason" in request.POST
    context = {
        "workflow": found,
        "in_force": [(CLASSES[name], row, in_words(row.content)) for name, row in own.items()],
        "proposed": [
            _proposed(request, row, own.get(row.risk))
            for row in rows
            if row.confirmed_at is None and row.withdrawn_at is None
        ],
        "history": [row for row in rows if row.confirmed_at or row.withdrawn_at],
        "classes": CLASSES.items(),
        "risk": risk,
        "fields": PolicyFields(content, request.POST if is_typed and not is_json else None),
        "metrics": metrics_of(found, content),
        "kinds": SuiteVersion.Kind.choices,
        "roles": ROLES,
        "text": request.POST.get("content") or readable(content),
        "is_json": is_json,
        "is_typed": is_typed,
        "typed": request.POST.get("reason", ""),
        "error": error,
        "may_propose": can(request.user, "gate_policy.propose", found),
    }
    return render(request, "dashboards/evals/policies.html", context, status=status)


def _proposed(request: UserRequest, row: GatePolicy, now: GatePolicy | None) -> dict[str, Any]:
    """A proposal, what it changes, and what it would have made of the last decisions."""
    old = readable(now.content).splitlines() if now else []
    changes = [
        (line[0], line[2:].strip())
        for line in difflib.ndiff(old, readable(row.content).splitlines())
        if line[0] in "+-" and line[2:].strip().strip("{}[],")
    ]
    decisions = row.effect.get("decisions", [])
    return {
        "row": row,
        "class": CLASSES[row.risk],
        "words": in_words(row.content),
        "changes": changes if now else [],
        "decisions": [{**decision, "at": parse_datetime(decision["at"])} for decision in decisions],
        "others": sum(decision["was"] != decision["would_be"] for decision in decisions),
        "left_out": row.effect.get("left_out", ""),
        "may_confirm": can(request.user, "gate_policy.confirm", row),
    }


urlpatterns: list[URLPattern] = [
    path("evals/policies/<str:slug>/", policies, name="policies"),
    path("evals/policies/<str:slug>/propose/", propose, name="policies-propose"),
    path("evals/policies/<str:slug>/confirm/", confirm, name="policies-confirm"),
    path("evals/policies/<str:slug>/withdraw/", withdraw, name="policies-withdraw"),
]
