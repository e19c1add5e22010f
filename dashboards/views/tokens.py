"""Tokens of machines: made, shown once, revoked. Administrators only."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import URLPattern, path
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_GET, require_POST

from dashboards.forms import first_error
from dashboards.http import UserRequest, only_admins
from dashboards.queue_forms import TokenForm
from dashboards.reauthentication import kept_fields, reauthenticated
from governance.common.errors import GovernanceError
from governance.common.time import true_now
from governance.people import services
from governance.people.models import ApiToken
from governance.workflows.models import Workflow


@require_GET
@login_required
def tokens(request: UserRequest) -> HttpResponse:
    """Who may talk to Countersign, and when each last did."""
    only_admins(request)
    return _page(request)


def _page(
    request: UserRequest,
    *,
    error: str = "",
    secret: str = "",
    made: ApiToken | None = None,
    typed: Mapping[str, str] | None = None,
    status: int = 200,
) -> HttpResponse:
    moment = true_now()
    rows = list(ApiToken.objects.visible_to(request.user).order_by("revoked_at", "name"))
    context = {
        "usable": [row for row in rows if row.usable_at(moment)],
        "ended": [row for row in rows if not row.usable_at(moment)],
        "scopes": ApiToken.Scope.choices,
        "chosen": request.POST.getlist("scopes"),
        "workflows": Workflow.objects.visible_to(request.user).only("slug", "name"),
        "typed": typed or kept_fields(request),
        "error": error,
        "secret": secret,
        "made": made,
    }
    return render(request, "dashboards/tokens/list.html", context, status=status)


@require_POST
@login_required
@reauthenticated("tokens")
@sensitive_variables("secret")
def create(request: UserRequest) -> HttpResponse:
    """Make a token and show its secret in this one answer."""
    only_admins(request)
    form = TokenForm(request.POST)
    if not form.is_valid():
        return _page(request, error=first_error(form), typed=request.POST, status=422)
    chosen = form.cleaned_data
    days = chosen["days"]
    try:
        made, secret = services.create_token(
            chosen["name"],
            scopes=chosen["scopes"],
            actor=request.user,
            workflow_slug=chosen["workflow"],
            expires_at=true_now() + timedelta(days=days) if days else None,
        )
    except GovernanceError as refusal:
        return _page(request, error=str(refusal), typed=request.POST, status=refusal.status)
    return _page(request, secret=secret, made=made, status=201)


@require_POST
@login_required
def revoke(request: UserRequest, pk: int) -> HttpResponse:
    """Make a token useless at once; no password, since it may be in the wrong hands now."""
    only_admins(request)
    token = get_object_or_404(ApiToken.objects.visible_to(request.user), pk=pk)
    try:
        services.revoke_token(pk, actor=request.user)
    except GovernanceError as refusal:
        return _page(request, error=str(refusal), status=refusal.status)
    messages.success(request, f"Revoked: {token}. It is refused from now on.")
    return redirect("tokens")


urlpatterns: list[URLPattern] = [
    path("tokens/", tokens, name="tokens"),
    path("tokens/create/", create, name="token-create"),
    path("tokens/<int:pk>/revoke/", revoke, name="token-revoke"),
]
