"""Acts on a workflow's page: the last known good, its check, the guard, the switch, the pins."""

from __future__ import annotations

from collections.abc import Callable

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path
from django.views.decorators.http import require_POST

from dashboards.forms import first_error
from dashboards.http import UserRequest
from dashboards.reauthentication import how, reauthenticated
from dashboards.recovery_forms import GuardForm, KnownGoodForm, PinForm, ReasonedForm, UnpinForm
from dashboards.views.workflows import visible, workflow_page
from governance.common.errors import GovernanceError, InvalidInputError
from governance.releases.models import Release
from governance.rollouts import services
from governance.workflows.models import Workflow


def _act(
    request: UserRequest,
    slug: str,
    form: forms.Form,
    act: Callable[[Workflow, dict[str, object]], object],
    done: str,
) -> HttpResponse:
    """Run one service and answer: its sentence on the page where it refuses."""
    found = get_object_or_404(visible(request), slug=slug)
    if not form.is_valid():
        return workflow_page(
            request, found, error=first_error(form), typed=request.POST, status=422
        )
    try:
        act(found, form.cleaned_data)
    except GovernanceError as refusal:
        found = get_object_or_404(visible(request), slug=slug)
        return workflow_page(
            request, found, error=str(refusal), typed=request.POST, status=refusal.status
        )
    messages.success(request, done)
    return redirect("workflow", slug=slug)


def _release(workflow: Workflow, digest: object) -> Release:
    found = Release.objects.filter(workflow=workflow, pk=str(digest)).first()
    if found is None:
        raise InvalidInputError("Choose a release of this workflow.")
    return found


def _signed(request: UserRequest) -> dict[str, object]:
    at, by = how(request)
    return {"actor": request.user, "authenticated_at": at, "authenticated_by": by}


@require_POST
@login_required
@reauthenticated("workflow")
def pin_known_good(request: UserRequest, slug: str) -> HttpResponse:
    """Say by hand which release a rollback returns to."""
    return _act(
        request, slug, KnownGoodForm(request.POST),
        lambda workflow, said: services.pin_known_good(
            workflow, _release(workflow, said["release"]), reason=str(said["reason"]),
            **_signed(request),  # type: ignore[arg-type]
        ),
        "From now on a rollback returns to the release you chose.",
    )  # fmt: skip


@require_POST
@login_required
def check_target(request: UserRequest, slug: str) -> HttpResponse:
    """Have a worker check whether the last known good could run."""
    return _act(
        request, slug, forms.Form({}),
        lambda workflow, said: services.ask_check(workflow, actor=request.user),
        "A worker checks it now; the result appears here.",
    )  # fmt: skip


@require_POST
@login_required
@reauthenticated("workflow")
def set_automatic_rollback(request: UserRequest, slug: str) -> HttpResponse:
    """Let the guard roll back what serves every case, or take that right back."""
    return _act(
        request, slug, GuardForm(request.POST),
        lambda workflow, said: services.set_automatic_rollback(
            workflow, allowed=bool(said["allowed"]), reason=str(said["reason"]),
            **_signed(request),  # type: ignore[arg-type]
        ),
        "Noted: that is how the guard acts from now on.",
    )  # fmt: skip


@require_POST
@login_required
def switch_off(request: UserRequest, slug: str) -> HttpResponse:
    """The kill switch."""
    return _act(
        request, slug, ReasonedForm(request.POST),
        lambda workflow, said: services.switch_off(
            workflow, actor=request.user, reason=str(said["reason"])
        ),
        "Switched off: no release serves any case until the KPI owner switches it on again.",
    )  # fmt: skip


@require_POST
@login_required
@reauthenticated("workflow")
def switch_on(request: UserRequest, slug: str) -> HttpResponse:
    """Let the stable release serve again."""
    return _act(
        request, slug, ReasonedForm(request.POST),
        lambda workflow, said: services.switch_on(
            workflow, reason=str(said["reason"]),
            **_signed(request),  # type: ignore[arg-type]
        ),
        "Switched on: the stable release serves again.",
    )  # fmt: skip


@require_POST
@login_required
def pin_case(request: UserRequest, slug: str) -> HttpResponse:
    """Have one release serve one case, whatever the share says."""
    return _act(
        request, slug, PinForm(request.POST),
        lambda workflow, said: services.pin_case(
            workflow, str(said["case"]), _release(workflow, said["release"]),
            actor=request.user, reason=str(said["reason"]),
        ),
        "Pinned.",
    )  # fmt: skip


@require_POST
@login_required
def unpin_case(request: UserRequest, slug: str) -> HttpResponse:
    """Let the case go where all others go."""
    return _act(
        request, slug, UnpinForm(request.POST),
        lambda workflow, said: services.unpin_case(
            workflow, str(said["case"]), actor=request.user, reason=str(said["reason"])
        ),
        "Unpinned: the case goes where all others go.",
    )  # fmt: skip


urlpatterns: list[URLPattern] = [
    path(f"workflows/<str:slug>/{verb}/", view, name=f"workflow-{verb}")
    for verb, view in (
        ("pin-known-good", pin_known_good),
        ("check-target", check_target),
        ("set-automatic-rollback", set_automatic_rollback),
        ("switch-off", switch_off),
        ("switch-on", switch_on),
        ("pin-case", pin_case),
        ("unpin-case", unpin_case),
    )
]
