"""Logging in by the organisation's identity provider (OpenID Connect, by django-allauth).

allauth speaks the protocol; this adapter takes what it learned, finds the person, and ends the
request. Nobody signs up here, and allauth's own pages are not used.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import login
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render

from dashboards.reauthentication import note_authentication, safe_next
from governance import audit
from governance.common.errors import NotAllowedError
from governance.people.identity import person_of

BACKEND = "django.contrib.auth.backends.ModelBackend"
NOT_NOW = datetime.fromisoformat("1970-01-01T00:00Z")


class Adapter(DefaultSocialAccountAdapter):  # type: ignore[misc] # allauth has no types
    """Named in settings."""

    def pre_social_login(self, request: HttpRequest, sociallogin: Any) -> None:
        raise ImmediateHttpResponse(_arrive(request, sociallogin))

    def on_authentication_error(
        self, request: HttpRequest, provider: Any, error: Any = None, exception: Any = None,
        extra_context: Any = None,
    ) -> None:  # fmt: skip
        sentence = "The provider did not confirm who you are. Try again."
        raise ImmediateHttpResponse(_refused(request, sentence))

    def is_open_for_signup(self, request: HttpRequest, sociallogin: Any) -> bool:
        return False


def _arrive(request: HttpRequest, sociallogin: Any) -> HttpResponse:
    """Log the person in; or, for somebody who is logged in, take the fresh proof."""
    account = sociallogin.account
    claims = account.extra_data.get("userinfo") or account.extra_data.get("id_token") or {}
    try:
        user = person_of(
            settings.OIDC_ISSUER,
            account.uid,
            email=str(claims.get("email") or ""),
            verified=claims.get("email_verified") is True,
        )
    except NotAllowedError as refusal:
        return _refused(request, str(refusal), status=403)
    goal = safe_next(request, str(sociallogin.state.get("next") or ""))
    by = f"oidc:{settings.OIDC_ISSUER}"
    proved_at = _proved_at(account.extra_data.get("id_token") or {})
    if request.user.is_authenticated:
        if request.user.pk != user.pk:
            return _refused(request, "That is another person's account.", status=403)
        if proved_at == NOT_NOW:
            return _refused(
                request,
                "The provider does not say when you proved who you are, so this does not count.",
            )
        verb = "user.reauthenticated"
        messages.success(request, "Confirmed. Nothing was decided yet: send the form again.")
    else:
        verb = "user.logged_in"
    with audit.atomic():
        if verb == "user.logged_in":
            login(request, user, backend=BACKEND)
        note_authentication(request, by, proved_at)
        audit.record(verb, user, actor=user, authenticated_by=by)
    return HttpResponseRedirect(goal)


def _proved_at(id_token: dict[str, Any]) -> datetime:
    """When the provider asked the person; a session it remembered is no fresh proof."""
    stated = id_token.get("auth_time")
    if isinstance(stated, int | float) and not isinstance(stated, bool) and 0 < stated < 4e9:
        return datetime.fromtimestamp(stated, UTC)
    return NOT_NOW


def _refused(request: HttpRequest, sentence: str, status: int = 401) -> HttpResponse:
    return render(request, "dashboards/sso_refused.html", {"sentence": sentence}, status=status)
