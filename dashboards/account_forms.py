"""What people type about themselves, and what an administrator types about others."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.password_validation import validate_password
from django.contrib.auth.validators import UnicodeUsernameValidator

from governance.people.models import User


class CodeForm(forms.Form):
    """A code of the authenticator app, or a recovery code."""

    code = forms.CharField(
        max_length=40, error_messages={"required": "Type the code that the app shows."}
    )


class NewPasswordForm(forms.Form):
    """A new password, typed twice; taken as typed, spaces included."""

    password = forms.CharField(
        max_length=4_096, strip=False, error_messages={"required": "Type the new password."}
    )
    again = forms.CharField(
        max_length=4_096, strip=False, error_messages={"required": "Type it a second time."}
    )

    def __init__(self, *args: Any, user: User | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.user = user

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("password") and cleaned.get("again"):
            if cleaned["password"] != cleaned["again"]:
                self.add_error("again", "The two are not the same.")
            else:
                try:
                    validate_password(cleaned["password"], self.user)
                except forms.ValidationError as error:
                    self.add_error("password", " ".join(error.messages))
        return cleaned


class PersonForm(forms.Form):
    """One account: who it is and what role it has."""

    job_title = forms.CharField(
        max_length=100, error_messages={"required": "Say what the person is called on pages."}
    )
    role = forms.ChoiceField(
        choices=User.Role.choices,
        required=False,
        error_messages={"invalid_choice": "Pick a role from the list."},
    )
    email = forms.EmailField(
        required=False, error_messages={"invalid": "That is not an e-mail address."}
    )


class EmergencyRightForm(forms.Form):
    """Whether somebody may make emergency changes, and why."""

    allowed = forms.BooleanField(required=False)
    reason = forms.CharField(
        max_length=500, error_messages={"required": "Write the reason: it is kept with the act."}
    )


class NewPersonForm(PersonForm):
    """A new account. The person changes the first password after logging in."""

    username = forms.CharField(
        max_length=150,
        validators=[UnicodeUsernameValidator()],
        error_messages={"required": "Give the user name that the person logs in with."},
    )
    password = forms.CharField(max_length=4_096, strip=False, required=False)

    def clean_password(self) -> str:
        password: str = self.cleaned_data["password"]
        if password:
            validate_password(password)
        return password
