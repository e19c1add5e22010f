"""How the releases of a workflow are called in evals."""

from __future__ import annotations

from functools import partial

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path
from django.views.decorators.http import require_GET, require_POST

from dashboards import setup_page
from dashboards.http import UserRequest, act, workflow_or_404
from dashboards.setup_page import ContentForm
from dashboards.slots import readable
from dashboards.target_forms import KINDS_IN_SHORT, TargetForm, fits_fields, target_form
from dashboards.target_words import EXAMPLES, in_words
from dashboards.windows import whole_number
from governance.evals import services
from governance.evals.setup_models import EvalTarget
from governance.evals.targets import TargetError, target_name
from governance.people.permissions import can
from governance.workflows.models import Workflow


@require_GET
@login_required
def target(request: UserRequest, slug: str) -> HttpResponse:
    """The target in use, its versions, and the form of the next one."""
    found = workflow_or_404(request, slug)
    return _page(request, found)


@require_POST
@login_required
def set_target(request: UserRequest, slug: str) -> HttpResponse:
    """Put a new version into use."""
    found = workflow_or_404(request, slug)
    is_json = "content" in request.POST
    form = ContentForm(request.POST) if is_json else target_form({}, request.POST)

    def made() -> EvalTarget:
        said = form.cleaned_data
        content = form.content() if isinstance(form, TargetForm) else said["content"]
        return services.set_target(found, content, actor=request.user, reason=said["reason"])

    return act(
        request,
        made,
        form=form,
        again=partial(_page, request, found),
        done=setup_page.in_use,
        then=lambda _: redirect("eval-target", slug),
    )


@require_POST
@login_required
def confirm(request: UserRequest, slug: str) -> HttpResponse:
    """Say yes to somebody else's target."""
    found = workflow_or_404(request, slug)
    rows = EvalTarget.objects.filter(workflow=found)
    version = get_object_or_404(rows, version=whole_number(request.POST, "version"))
    return act(
        request,
        lambda: services.confirm_target(version, actor=request.user),
        again=partial(_page, request, found),
        done=f"{version} is confirmed: its author may approve what it calls.",
        then=lambda _: redirect("eval-target", slug),
    )


def _page(
    request: UserRequest, found: Workflow, *, error: str = "", status: int = 200
) -> HttpResponse:
    rows = list(
        EvalTarget.objects.filter(workflow=found)
        .select_related("workflow")
        .order_by("-version")[: setup_page.VERSIONS_SHOWN + 1]
    )
    start = request.GET.get("start", "")
    begun = EXAMPLES.get(start) or (rows[0].content if rows else EXAMPLES["openai"])
    if rows and rows[0].content["kind"] == start:
        begun = rows[0].content
    is_json = "content" in request.POST
    is_typed = "kind" in request.POST and not is_json
    form = target_form(begun, request.POST if is_typed else None)
    try:
        fallback = target_name(found.slug)
    except TargetError:
        fallback = ""
    context = {
        "workflow": found,
        "current": rows[0] if rows else None,
        "words": setup_page.newest(rows, in_words),
        "versions": setup_page.versions(rows),
        "fallback": fallback,
        "kinds": KINDS_IN_SHORT.items(),
        "form": form,
        "kind": form["kind"].value(),
        "is_json": is_json or not fits_fields(begun),
        "text": request.POST.get("content") or readable(begun),
        "typed": request.POST.get("reason", ""),
        "error": error,
        "may_set": can(request.user, "target.set", found),
        "may_confirm": bool(rows)
        and rows[0].confirmed_at is None
        and can(request.user, "target.confirm", rows[0]),
    }
    return render(request, "dashboards/evals/target.html", context, status=status)


urlpatterns: list[URLPattern] = [
    path("evals/targets/<str:slug>/", target, name="eval-target"),
    path("evals/targets/<str:slug>/set/", set_target, name="eval-target-set"),
    path("evals/targets/<str:slug>/confirm/", confirm, name="eval-target-confirm"),
]
