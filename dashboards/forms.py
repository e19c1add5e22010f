"""What people type. A form that is wrong is answered with 422 and a sentence."""

from __future__ import annotations

from typing import Any

from django import forms

from governance.people.models import User

# Presets save typing when minutes count; free text is always possible.
ROLLBACK_REASONS = (
    "Quality got worse since this release",
    "Too many cases are escalated",
    "It broke a policy",
    "Costs are outside the budget",
    "Customers complain",
    "Precaution while we find the cause",
)


class PasswordForm(forms.Form):
    """Proving again who one is. The password is taken as typed, spaces included."""

    password = forms.CharField(max_length=4_096, strip=False)


class LoginForm(PasswordForm):
    """User name and password."""

    username = forms.CharField(max_length=150)


class ReasonForm(forms.Form):
    """Why somebody asks, approves, rejects or withdraws. Kept in the audit trail."""

    reason = forms.CharField(
        max_length=2_000, error_messages={"required": "Write the reason: it is kept with the act."}
    )


class DecisionForm(ReasonForm):
    """A decision on one round of evidence, the one that the person was looking at."""

    review_round = forms.IntegerField(
        min_value=1, error_messages={"required": "Open the promotion again and decide there."}
    )


RELOAD = "Load this page again and look at what runs now; then go back from there."


class RollBackForm(forms.Form):
    """A preset, an own reason, or both; and which change of what runs the person looked at."""

    preset = forms.ChoiceField(choices=[(text, text) for text in ROLLBACK_REASONS], required=False)
    reason = forms.CharField(max_length=500, required=False)
    # Without it, two people who press at once would go back two releases.
    seq = forms.IntegerField(
        min_value=1,
        error_messages={"required": RELOAD, "invalid": RELOAD, "min_value": RELOAD},
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        said = [cleaned.get("preset") or "", cleaned.get("reason") or ""]
        cleaned["reason"] = ": ".join(dict.fromkeys(part for part in said if part))
        if not cleaned["reason"]:
            self.add_error("reason", "Say why: pick a reason or write one.")
        return cleaned


class PostMortemForm(forms.Form):
    """What happened and what it did."""

    cause = forms.CharField(max_length=5_000, required=False)
    impact = forms.CharField(max_length=5_000, required=False)


class ActionForm(forms.Form):
    """One thing that is done so that it does not happen again."""

    text = forms.CharField(max_length=300, error_messages={"required": "Say what will be done."})
    owner = forms.ModelChoiceField(
        User.objects.filter(is_active=True).exclude(role=User.Role.NONE),
        required=False,
        error_messages={"invalid_choice": "Pick a person from the list."},
    )
    due_on = forms.DateField(
        required=False, error_messages={"invalid": "Write the day as 2026-11-30."}
    )


# How Django's own sentences begin, which name no field.
NAMELESS = ("This field", "This value", "Ensure ", "Enter ", "Select ", "“", "Null ")


def first_error(form: forms.Form) -> str:
    """The first sentence of what is wrong, for the place where one sentence fits."""
    for name, errors in form.errors.items():
        for sentence in errors:
            said = str(sentence)
            nameless = name in form.fields and said.startswith(NAMELESS)
            return f"{form[name].label}: {said}" if nameless else said
    return "The form is not complete."
