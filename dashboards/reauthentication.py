"""Asking for the password again before an act that binds the organisation.

What was typed into the form waits in the session, so nobody writes a reason twice.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import update_wrapper
from typing import Concatenate, ParamSpec, cast
from urllib.parse import urlencode

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django_htmx.http import HttpResponseClientRedirect

from dashboards.http import UserRequest
from governance.common.time import true_now

AT = "reauthenticated_at"
BY = "authenticated_by"
PASSWORD = "password"  # noqa: S105 - the name of a method
KEPT = "kept_form"
LONGEST_KEPT = 4_000  # characters of one field
NEVER_KEPT = ("csrfmiddlewaretoken", "password", "again", "code", "next")

P = ParamSpec("P")
View = Callable[Concatenate[UserRequest, P], HttpResponse]


def note_authentication(
    request: HttpRequest, by: str = PASSWORD, at: datetime | None = None
) -> None:
    """Remember that somebody proved who they are, by the database's clock.

    Args:
        by: how: `password`, `password+totp`, `password+recovery_code`, or `oidc:<issuer>`.
        at: when the identity provider says; never later than now. None: just now.
    """
    moment = true_now()
    request.session[AT] = (moment if at is None else min(at, moment)).isoformat()
    request.session[BY] = by


def authenticated_at(request: HttpRequest) -> datetime:
    """When this session last proved its password. The start of the era when it never did."""
    text = request.session.get(AT)
    return datetime.fromisoformat(text) if text else datetime.fromisoformat("1970-01-01T00:00Z")


def how(request: HttpRequest) -> tuple[datetime, str]:
    """When and by what this session last proved who it is: what a signed decision records."""
    return authenticated_at(request), str(request.session.get(BY, "session"))


def is_recent(request: HttpRequest) -> bool:
    """Whether the password was proved within `REAUTHENTICATION_SECONDS`."""
    age = true_now() - authenticated_at(request)
    return age <= timedelta(seconds=settings.REAUTHENTICATION_SECONDS)


def safe_next(request: HttpRequest, url: str, default: str = "/") -> str:
    """Return `url` when it stays on this site, else `default`."""
    secure = request.is_secure()
    hosts = {request.get_host()}
    # One slash only: browsers read "//host" and "/\host" as another site.
    inside = url.startswith("/") and url_has_allowed_host_and_scheme(
        url, allowed_hosts=hosts, require_https=secure
    )
    return url if inside else default


def reauthenticated(
    page: str, *, only: tuple[str, ...] | None = None
) -> Callable[[View[P]], View[P]]:
    """Let a POST view run only after a recent password, else ask for it first.

    Args:
        page: the URL name of the page with the form.
        only: the view's arguments that the page takes too; None is all of them.
    """

    def guarded(view: View[P]) -> View[P]:
        def guard(request: UserRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponse:
            if is_recent(request):
                return view(request, *args, **kwargs)
            kept = kwargs if only is None else {name: kwargs[name] for name in only}
            back = reverse(page, kwargs=kept)
            fields = {
                name: str(value)[:LONGEST_KEPT]
                for name, value in request.POST.items()
                if name not in NEVER_KEPT
            }
            request.session[KEPT] = {"page": back, "fields": fields}
            url = f"{reverse('reauthenticate')}?{urlencode({'next': back})}"
            if getattr(request, "htmx", False):
                return HttpResponseClientRedirect(url)
            return HttpResponseRedirect(url)

        return cast("View[P]", update_wrapper(guard, view))

    return guarded


def kept_fields(request: HttpRequest) -> dict[str, str]:
    """What was typed on this page before the password was asked for. Handed out once."""
    kept = request.session.get(KEPT)
    if not kept or kept["page"] != request.path:
        return {}
    del request.session[KEPT]
    return dict(kept["fields"])
