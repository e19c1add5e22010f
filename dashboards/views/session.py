"""Coming in, proving who you are again, leaving, and the theme."""

from __future__ import annotations

from urllib.parse import urlencode

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import authenticate, login, logout
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import URLPattern, path, reverse
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST
from django_htmx.http import HttpResponseClientRedirect
from django_htmx.middleware import HtmxDetails

from dashboards.forms import LoginForm, PasswordForm
from dashboards.http import UserRequest
from dashboards.reauthentication import note_authentication, safe_next
from governance import audit
from governance.people.models import User

WRONG = "That user name and password do not belong together."
WRONG_PASSWORD = "That is not your password."  # noqa: S105 - a sentence
A_YEAR = 365 * 24 * 60 * 60  # seconds


@sensitive_post_parameters("password")
@require_http_methods(["GET", "POST"])
def enter(request: HttpRequest) -> HttpResponse:
    """Log in with user name and password."""
    asked = str(request.POST.get("next") or request.GET.get("next") or "")
    goal = safe_next(request, asked)
    if getattr(request, "htmx", False):
        # A fragment was asked for after the session had ended: the whole page must log in.
        return _whole_page_login(request)
    if request.method != "POST":
        return _ask(request, "login", LoginForm(), goal)
    form = LoginForm(request.POST)
    if not form.is_valid():
        return _ask(request, "login", form, goal, status=422)
    user = authenticate(request, **form.cleaned_data)
    if not isinstance(user, User):
        form.add_error(None, WRONG)
        return _ask(request, "login", form, goal, status=422)
    with audit.atomic():
        login(request, user)
        note_authentication(request)
        audit.record("user.logged_in", user, actor=user)
    return HttpResponseRedirect(goal)


def _whole_page_login(request: HttpRequest) -> HttpResponse:
    htmx: HtmxDetails = request.htmx  # type: ignore[attr-defined] # set by its middleware
    current = htmx.current_url_abs_path or "/"
    return HttpResponseClientRedirect(f"{reverse('login')}?{urlencode({'next': current})}")


def _ask(
    request: HttpRequest, template: str, form: forms.Form, goal: str, *, status: int = 200
) -> HttpResponse:
    return render(
        request, f"dashboards/{template}.html", {"form": form, "next": goal}, status=status
    )


def locked_out(
    request: HttpRequest, response: HttpResponse, credentials: dict[str, str] | None
) -> HttpResponse:
    """Too many wrong passwords. Named in settings; answers instead of the view."""
    minutes = round(float(settings.AXES_COOLOFF_TIME) * 60)
    known = request.user.is_authenticated
    form = PasswordForm(request.POST) if known else LoginForm(request.POST)
    form.is_valid()
    form.add_error(
        None,
        f"Too many wrong passwords from here. Wait {minutes} minutes and try again, or ask an"
        " administrator.",
    )
    goal = safe_next(request, request.POST.get("next", ""))
    return _ask(request, "reauthenticate" if known else "login", form, goal, status=429)


@sensitive_post_parameters("password")
@require_http_methods(["GET", "POST"])
@login_required
def reauthenticate(request: UserRequest) -> HttpResponse:
    """Confirm the password before an act that binds; then back to the form, as it was."""
    goal = safe_next(request, str(request.POST.get("next") or request.GET.get("next") or ""))
    if request.method != "POST":
        return _ask(request, "reauthenticate", PasswordForm(), goal)
    form = PasswordForm(request.POST)
    if not form.is_valid():
        return _ask(request, "reauthenticate", form, goal, status=422)
    found = authenticate(
        request, username=request.user.username, password=form.cleaned_data["password"]
    )
    if found is None or found.pk != request.user.pk:
        form.add_error(None, WRONG_PASSWORD)
        return _ask(request, "reauthenticate", form, goal, status=422)
    with audit.atomic():
        note_authentication(request)
        audit.record("user.reauthenticated", request.user, actor=request.user)
    messages.success(request, "Password confirmed. Nothing was decided yet: send the form again.")
    return HttpResponseRedirect(goal)


@require_POST
def leave(request: HttpRequest) -> HttpResponse:
    """Log out; a second time does nothing."""
    logout(request)
    return redirect("login")


@require_POST
def set_theme(request: HttpRequest) -> HttpResponse:
    """Light, dark, or what the system says; kept in a cookie, for this browser."""
    response = HttpResponseRedirect(safe_next(request, request.POST.get("next", "")))
    theme = request.POST.get("theme", "")
    if theme in ("light", "dark"):
        response.set_cookie(
            "theme", theme, max_age=A_YEAR, samesite="Lax", secure=settings.HTTPS, httponly=True
        )
    else:
        response.delete_cookie("theme", samesite="Lax")
    return response


urlpatterns: list[URLPattern] = [
    path("login/", enter, name="login"),
    path("logout/", leave, name="logout"),
    path("reauthenticate/", reauthenticate, name="reauthenticate"),
    path("theme/", set_theme, name="theme"),
]
