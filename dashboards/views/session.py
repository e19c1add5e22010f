"""Coming in, with a second factor where there is one; proving it again, leaving, the theme."""

from __future__ import annotations

from urllib.parse import urlencode

from axes.handlers.proxy import AxesProxyHandler
from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import authenticate, login, logout
from django.contrib.auth.decorators import login_required
from django.contrib.auth.signals import user_login_failed
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import URLPattern, path, reverse
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST
from django_htmx.http import HttpResponseClientRedirect
from django_htmx.middleware import HtmxDetails

from dashboards.account_forms import CodeForm
from dashboards.forms import LoginForm, PasswordForm
from dashboards.http import UserRequest
from dashboards.reauthentication import PASSWORD, how, note_authentication, safe_next
from governance import audit
from governance.common.time import true_now
from governance.people import second_factor
from governance.people.models import User

WRONG = "That user name and password do not belong together."
WRONG_PASSWORD = "That is not your password."  # noqa: S105 - a sentence
A_YEAR = 365 * 24 * 60 * 60  # seconds
BACKEND = "django.contrib.auth.backends.ModelBackend"
PENDING = "pending_login"  # whose password was right, while the second factor is asked for
PENDING_SECONDS = 10 * 60


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
    if second_factor.is_asked(user):
        request.session.cycle_key()
        request.session[PENDING] = {"user": user.pk, "at": true_now().timestamp(), "next": goal}
        return redirect("login-code")
    return _come_in(request, user, goal, by=PASSWORD)


def _come_in(request: HttpRequest, user: User, goal: str, *, by: str) -> HttpResponse:
    with audit.atomic():
        login(request, user, backend=BACKEND)
        note_authentication(request, by)
        audit.record("user.logged_in", user, actor=user, authenticated_by=by)
    if by == PASSWORD and second_factor.must_set_up(user):
        return redirect("second-factor")
    return HttpResponseRedirect(goal)


@sensitive_post_parameters("code")
@require_http_methods(["GET", "POST"])
def code(request: HttpRequest) -> HttpResponse:
    """The second step of logging in: a code of the app, or a recovery code."""
    pending = request.session.get(PENDING)
    if not pending or true_now().timestamp() - pending["at"] > PENDING_SECONDS:
        request.session.pop(PENDING, None)
        return redirect("login")
    if request.method != "POST":
        return _ask(request, "login_code", CodeForm(), pending["next"])
    user = User.objects.filter(pk=pending["user"], is_active=True).first()
    if user is None:
        return redirect("login")
    form = CodeForm(request.POST)
    if not form.is_valid():
        return _ask(request, "login_code", form, pending["next"], status=422)
    proved = _proved(request, user, form.cleaned_data["code"])
    if not proved:
        form.add_error(None, second_factor.WRONG_CODE)
        return _ask(request, "login_code", form, pending["next"], status=422)
    del request.session[PENDING]
    return _come_in(request, user, pending["next"], by=f"{PASSWORD}+{proved}")


def _proved(request: HttpRequest, user: User, typed: str) -> str:
    """Use up a code; a wrong one counts towards the lock-out like a wrong password."""
    credentials = {"username": user.username}
    if not AxesProxyHandler.is_allowed(request, credentials):
        request.axes_locked_out = True  # type: ignore[attr-defined] # axes answers then
        return ""
    proved = second_factor.check(user, typed)
    if not proved:
        user_login_failed.send(sender=__name__, credentials=credentials, request=request)
    return proved


def _whole_page_login(request: HttpRequest) -> HttpResponse:
    htmx: HtmxDetails = request.htmx  # type: ignore[attr-defined] # set by its middleware
    current = htmx.current_url_abs_path or "/"
    return HttpResponseClientRedirect(f"{reverse('login')}?{urlencode({'next': current})}")


def _ask(
    request: HttpRequest,
    template: str,
    form: forms.Form,
    goal: str,
    *,
    status: int = 200,
    asks_code: bool = False,
) -> HttpResponse:
    context = {
        "form": form,
        "next": goal,
        "asks_code": asks_code,
        "oidc": settings.OIDC_NAME if settings.OIDC_ISSUER else "",
        # Who came in by the provider proves it there again; who has a password may use it too.
        "by_oidc": how(request)[1].startswith("oidc:"),
    }
    return render(request, f"dashboards/{template}.html", context, status=status)


def locked_out(
    request: HttpRequest, response: HttpResponse, credentials: dict[str, str] | None
) -> HttpResponse:
    """Too many wrong passwords. Named in settings; answers instead of the view."""
    minutes = round(float(settings.AXES_COOLOFF_TIME) * 60)
    known = request.user.is_authenticated
    form: forms.Form = PasswordForm(request.POST) if known else LoginForm(request.POST)
    template = "reauthenticate" if known else "login"
    if not known and request.session.get(PENDING):
        form, template = CodeForm(request.POST), "login_code"
    form.is_valid()
    form.add_error(
        None,
        f"Too many wrong passwords from here. Wait {minutes} minutes and try again, or ask an"
        " administrator.",
    )
    goal = safe_next(request, request.POST.get("next", ""))
    return _ask(request, template, form, goal, status=429)


@sensitive_post_parameters("password")
@require_http_methods(["GET", "POST"])
@login_required
def reauthenticate(request: UserRequest) -> HttpResponse:
    """Confirm the password before an act that binds; then back to the form, as it was."""
    goal = safe_next(request, str(request.POST.get("next") or request.GET.get("next") or ""))
    asks_code = second_factor.is_asked(request.user)
    if request.method != "POST":
        return _ask(request, "reauthenticate", PasswordForm(), goal, asks_code=asks_code)
    form = PasswordForm(request.POST)
    code_form = CodeForm(request.POST)
    if not form.is_valid() or (asks_code and not code_form.is_valid()):
        form.add_error(None, "Give your password and a code." if asks_code else WRONG_PASSWORD)
        return _ask(request, "reauthenticate", form, goal, status=422, asks_code=asks_code)
    found = authenticate(
        request, username=request.user.username, password=form.cleaned_data["password"]
    )
    by = PASSWORD
    if found is None or found.pk != request.user.pk:
        form.add_error(None, WRONG_PASSWORD)
    elif asks_code:
        proved = _proved(request, request.user, code_form.cleaned_data["code"])
        by = f"{PASSWORD}+{proved}"
        if not proved:
            form.add_error(None, second_factor.WRONG_CODE)
    if form.errors:
        return _ask(request, "reauthenticate", form, goal, status=422, asks_code=asks_code)
    with audit.atomic():
        note_authentication(request, by)
        audit.record("user.reauthenticated", request.user, actor=request.user, authenticated_by=by)
    messages.success(request, "Confirmed. Nothing was decided yet: send the form again.")
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
    path("login/code/", code, name="login-code"),
    path("logout/", leave, name="logout"),
    path("reauthenticate/", reauthenticate, name="reauthenticate"),
    path("theme/", set_theme, name="theme"),
]
