"""Answering requests: the whole page, or only the part that htmx asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.cache import patch_vary_headers

from governance.common.errors import NotAllowedError
from governance.people.permissions import require

if TYPE_CHECKING:
    from django_htmx.middleware import HtmxDetails

    from governance.people.models import User


class UserRequest(HttpRequest):
    """A request of somebody who is logged in. For the type checker only."""

    user: User
    htmx: HtmxDetails


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
