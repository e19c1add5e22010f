"""What holds for every page: never cached, fragments told apart, sessions that end."""

from __future__ import annotations

import time
from collections.abc import Callable

from django.conf import settings
from django.contrib.auth import logout
from django.db import DataError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.utils.cache import patch_vary_headers

from dashboards.hostile import mark
from dashboards.reauthentication import BY, PASSWORD
from dashboards.views.errors import not_found, not_understood

BORN = "born"
SEEN = "seen"
ALWAYS_OPEN = ("/account/", "/logout/", "/reauthenticate/", "/login/", "/sso/", "/theme/")
RENEW_EVERY = 60  # seconds: an idle limit needs no write per request


class PageMiddleware:
    """Idle and absolute session limits, `no-store`, `Vary: HX-Request`, no hidden characters."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.user.is_authenticated:
            moment = int(time.time())
            born = request.session.setdefault(BORN, moment)
            if moment - born > settings.SESSION_ABSOLUTE_SECONDS:
                logout(request)
            elif moment - request.session.get(SEEN, 0) > RENEW_EVERY:
                request.session[SEEN] = moment
            if settings.MFA == "required" and self._lacks_second_factor(request):
                return redirect("second-factor")
        response = self.get_response(request)
        if response.get("Content-Type", "").startswith("text/html"):
            response.headers["Cache-Control"] = "no-store"
            patch_vary_headers(response, ("HX-Request", "Cookie"))
            _mark(response)
        return response

    @staticmethod
    def _lacks_second_factor(request: HttpRequest) -> bool:
        """Who came in with a password alone sets one up before anything else."""
        alone = request.session.get(BY, PASSWORD) == PASSWORD
        return alone and not request.path.startswith(ALWAYS_OPEN)

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """A value that no column can hold: a NUL, a huge number. In an address it leads nowhere."""
        if not isinstance(exception, DataError):
            return None
        return not_understood(request) if request.method == "POST" else not_found(request)


def _mark(response: HttpResponseBase) -> None:
    """Here and not in each template, so that no title, button or attribute is forgotten."""
    if isinstance(response, HttpResponse):
        text = response.content.decode()
        if (marked := mark(text)) != text:
            response.content = marked.encode()
