"""One's own account: the password and the second factor."""

from __future__ import annotations

from django.conf import settings
from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import URLPattern, path
from django.views.decorators.debug import sensitive_post_parameters, sensitive_variables
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from dashboards.account_forms import CodeForm, NewPasswordForm
from dashboards.forms import first_error
from dashboards.http import UserRequest
from dashboards.reauthentication import PASSWORD, note_authentication, reauthenticated
from governance.common.errors import GovernanceError
from governance.people import accounts, second_factor

SECRET = "new_second_factor"  # noqa: S105 - a name in the session, until a code proves it


@require_GET
@login_required
def account(request: UserRequest) -> HttpResponse:
    """Who I am here, and how I prove it."""
    return _page(request)


def _page(request: UserRequest, *, error: str = "", status: int = 200) -> HttpResponse:
    user = request.user
    context = {
        "workflows": user.owned_workflows.only("slug", "name"),
        "has_password": user.has_usable_password(),
        "mfa": settings.MFA,
        "has_second_factor": second_factor.has_one(user),
        "codes_left": second_factor.codes_left(user),
        "error": error,
    }
    return render(request, "dashboards/account/account.html", context, status=status)


@sensitive_post_parameters()
@require_POST
@login_required
@reauthenticated("account")
def change_password(request: UserRequest) -> HttpResponse:
    """Take a new password; other sessions of this account end."""
    form = NewPasswordForm(request.POST, user=request.user)
    if not form.is_valid():
        return _page(request, error=first_error(form), status=422)
    user = accounts.change_password(
        request.user.pk, form.cleaned_data["password"], actor=request.user
    )
    update_session_auth_hash(request, user)
    messages.success(request, "Your password is changed. Other browsers have to log in again.")
    return redirect("account")


def _asked_for() -> None:
    if settings.MFA == "off":
        raise Http404("Second factors are switched off in this installation.")


@sensitive_variables("secret", "codes")
@require_http_methods(["GET", "POST"])
@login_required
@reauthenticated("second-factor")
def set_up_second_factor(request: UserRequest) -> HttpResponse:
    """Show the QR code; keep it once a code proves that the app has it."""
    _asked_for()
    if second_factor.has_one(request.user):
        return redirect("account")
    secret = request.session.setdefault(SECRET, second_factor.new_secret())
    if request.method != "POST":
        return _set_up_page(request, secret)
    form = CodeForm(request.POST)
    if not form.is_valid():
        return _set_up_page(request, secret, error=first_error(form), status=422)
    try:
        codes = second_factor.set_up(request.user, secret, form.cleaned_data["code"])
    except GovernanceError as refusal:
        return _set_up_page(request, secret, error=str(refusal), status=refusal.status)
    del request.session[SECRET]
    note_authentication(request, f"{PASSWORD}+totp")
    return _codes_page(request, codes)


def _set_up_page(
    request: UserRequest, secret: str, *, error: str = "", status: int = 200
) -> HttpResponse:
    groups = " ".join(secret[start : start + 4] for start in range(0, len(secret), 4))
    context = {
        "picture": second_factor.picture(request.user, secret),
        "secret": groups,
        "required": settings.MFA == "required",
        "error": error,
    }
    return render(request, "dashboards/account/second_factor.html", context, status=status)


def _codes_page(request: UserRequest, codes: list[str]) -> HttpResponse:
    context = {"codes": codes}
    return render(request, "dashboards/account/recovery_codes.html", context, status=201)


@sensitive_variables("codes")
@require_POST
@login_required
@reauthenticated("account")
def renew_codes(request: UserRequest) -> HttpResponse:
    """Make new recovery codes and show them once."""
    _asked_for()
    try:
        return _codes_page(request, second_factor.renew_codes(request.user))
    except GovernanceError as refusal:
        return _page(request, error=str(refusal), status=refusal.status)


@require_POST
@login_required
@reauthenticated("account")
def remove_second_factor(request: UserRequest) -> HttpResponse:
    """Take one's own second factor away."""
    _asked_for()
    try:
        second_factor.remove(request.user, actor=request.user)
    except GovernanceError as refusal:
        return _page(request, error=str(refusal), status=refusal.status)
    messages.success(request, "Your second factor is removed.")
    return redirect("account")


urlpatterns: list[URLPattern] = [
    path("account/", account, name="account"),
    path("account/password/change/", change_password, name="account-change-password"),
    path("account/second-factor/", set_up_second_factor, name="second-factor"),
    path("account/second-factor/remove/", remove_second_factor, name="second-factor-remove"),
    path("account/recovery-codes/renew/", renew_codes, name="recovery-codes-renew"),
]
