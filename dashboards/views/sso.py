"""To the identity provider and back. Without one configured there is nothing here."""

from __future__ import annotations

from allauth.socialaccount.providers.openid_connect import views as openid_connect
from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.views.decorators.http import require_GET, require_POST

PROVIDER = "oidc"


def _configured() -> None:
    if not settings.OIDC_ISSUER:
        raise Http404("No identity provider is configured.")


@require_POST
def start(request: HttpRequest) -> HttpResponse:
    """Send the person to the provider's login page."""
    _configured()
    answer: HttpResponse = openid_connect.login(request, PROVIDER)
    return answer


@require_POST
def prove(request: HttpRequest) -> HttpResponse:
    """The same, but the provider must ask anew: before an act that binds."""
    _configured()
    asked = request.GET.copy()
    asked["auth_params"] = "prompt=login&max_age=0"
    request.GET = asked  # type: ignore[assignment] # allauth reads it there
    answer: HttpResponse = openid_connect.login(request, PROVIDER)
    return answer


@require_GET
def back(request: HttpRequest, provider_id: str) -> HttpResponse:
    """The provider sends the person back with a code; `dashboards.sso` does the rest."""
    _configured()
    if provider_id != PROVIDER:
        raise Http404("There is no such provider.")
    answer: HttpResponse = openid_connect.callback(request, provider_id)
    return answer


urlpatterns: list[URLPattern] = [
    path("sso/start/", start, name="sso-start"),
    path("sso/prove/", prove, name="sso-prove"),
    # allauth looks this one up by its own name.
    path("sso/<str:provider_id>/back/", back, name="openid_connect_callback"),
]
