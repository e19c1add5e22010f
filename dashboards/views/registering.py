"""Registering a release by hand: paste or upload a manifest, or change one slot."""

from __future__ import annotations

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import URLPattern, path
from django.views.decorators.http import require_http_methods

from dashboards import registering
from dashboards.forms import first_error
from dashboards.http import UserRequest, workflow_or_404
from dashboards.registering import Preview, Typed
from dashboards.release_forms import REGISTER, RegisterForm
from dashboards.slots import SLOT_HOLDS
from governance.common.errors import GovernanceError
from governance.people.permissions import can
from governance.releases import schemas, services
from governance.releases.models import LiveRelease, Release, Slot
from governance.workflows.models import Workflow

OFFERED = 50  # releases to start from, newest first
CHANGED = "This is not what the preview showed. Look at what it changes now, then register it."


@require_http_methods(["GET", "POST"])
@login_required
def release_register(request: UserRequest, slug: str) -> HttpResponse:
    """Type it, see what it would change, then register it: nothing is registered unseen."""
    workflow = workflow_or_404(request, slug)
    if not can(request.user, "release.register", workflow):
        raise PermissionDenied("Only a builder registers releases.")
    if request.method != "POST":
        typed = registering.start(workflow, request.GET.dict(), request.GET.getlist("without"))
        return _page(request, workflow, typed)
    form = RegisterForm(request.POST, request.FILES)
    typed = registering.typed_of(request.POST)
    if not form.is_valid():
        return _page(request, workflow, typed, error=first_error(form), status=422)
    said = form.cleaned_data
    try:
        text, typed = registering.text_of(said)
        slots, typed = registering.slots_of(workflow, typed, text)
        shown = registering.preview(workflow, slots, typed)
        if said["act"] != REGISTER:
            return _page(request, workflow, typed, preview=shown)
        if said["seen"] != shown.digest:
            return _page(request, workflow, typed, preview=shown, error=CHANGED, status=409)
        release, is_new = services.register_release(
            workflow, slots, title=typed.title, actor=request.user
        )
    except GovernanceError as refusal:
        return _page(request, workflow, typed, error=str(refusal), status=refusal.status)
    done = f"{release.name} is registered. It changes nothing until its promotion is approved."
    messages.success(request, done if is_new else f"That content is registered: {release.name}.")
    return redirect("release", digest=release.pk)


def _page(
    request: UserRequest,
    workflow: Workflow,
    typed: Typed,
    *,
    preview: Preview | None = None,
    error: str = "",
    status: int = 200,
) -> HttpResponse:
    site = request.build_absolute_uri("/").rstrip("/")
    context = {
        "workflow": workflow,
        "typed": typed,
        "preview": preview,
        "error": error,
        "releases": Release.objects.filter(workflow=workflow).select_related("workflow")[:OFFERED],
        "slots": [(value, label, SLOT_HOLDS[value]) for value, label in Slot.choices],
        "start_from": typed.base or _newest_live(workflow),
        "slot_label": Slot(typed.slot).label if typed.slot in Slot.values else "",
        "schema": schemas.rows(typed.slot) if typed.slot in Slot.values else (),
        "curl": registering.curl_snippet(workflow.slug, site),
        "action_file": registering.workflow_snippet(workflow.slug, site),
        "gate_file": registering.gate_snippet(workflow.slug, site),
    }
    return render(request, "dashboards/releases/register.html", context, status=status)


def _newest_live(workflow: Workflow) -> str:
    """The digest of what is live, which a change usually starts from; else of the newest."""
    live = LiveRelease.objects.filter(workflow=workflow).values_list("release_id", flat=True)
    newest = Release.objects.filter(workflow=workflow).values_list("pk", flat=True)
    return live.first() or newest.first() or ""


urlpatterns: list[URLPattern] = [
    path("workflows/<str:slug>/releases/register/", release_register, name="release-register"),
]
