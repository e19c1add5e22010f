"""Answering requests: the whole page, or only the part that htmx asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.utils.cache import patch_vary_headers

from dashboards.forms import first_error
from governance.common.errors import GovernanceError, NotAllowedError
from governance.people.permissions import require
from governance.workflows.models import Workflow

if TYPE_CHECKING:
    from django_htmx.middleware import HtmxDetails

    from governance.people.models import User


class UserRequest(HttpRequest):
    """A request of somebody who is logged in. For the type checker only."""

    user: User
    htmx: HtmxDetails


Made = TypeVar("Made")


class Again(Protocol):
    """Answers with the page that a form stands on, what was typed, and why nothing was done."""

    def __call__(self, *, error: str, status: int) -> HttpResponse: ...


def act(
    request: UserRequest,
    service: Callable[[], Made],
    *,
    again: Again,
    then: Callable[[Made], HttpResponse],
    done: Callable[[Made], str] | str = "",
    form: forms.Form | None = None,
) -> HttpResponse:
    """Do what a POST asks for: check the form, call the service, say what came of it.

    Args:
        service: called once, if the form is valid; whatever it refuses is shown with its status.
        again: the page itself, when nothing was done: 422 for a form, else the refusal's status.
        then: where to go with what was made.
        done: the sentence that says so there.
    """
    if form is not None and not form.is_valid():
        return again(error=first_error(form), status=422)
    try:
        made = service()
    except GovernanceError as refusal:
        return again(error=str(refusal), status=refusal.status)
    sentence = done if isinstance(done, str) else done(made)
    if sentence:
        messages.success(request, sentence)
    return then(made)


def workflow_or_404(request: UserRequest, slug: str) -> Workflow:
    """Return the workflow of that name, if this person may see it."""
    return get_object_or_404(Workflow.objects.visible_to(request.user), slug=slug)


def only_admins(request: UserRequest) -> None:
    """Answer 403 to everybody but an administrator."""
    try:
        require(request.user, "people.manage")
    except NotAllowedError as refusal:
        raise PermissionDenied(str(refusal)) from refusal


def render_part(
    request: UserRequest,
    template: str,
    part: str,
    context: dict[str, object],
    *,
    status: int = 200,
) -> HttpResponse:
    """Render `template`, or only its partial `part` when htmx asked for it."""
    wants_part = request.htmx and not (request.htmx.boosted or request.htmx.history_restore_request)
    name = f"{template}#{part}" if wants_part else template
    response = render(request, name, context, status=status)
    patch_vary_headers(response, ("HX-Request",))
    return response
