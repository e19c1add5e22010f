"""What people type when they go back: whom they asked, which case, which release, what for."""

from __future__ import annotations

from django import forms


class AskedForm(forms.Form):
    """Who was asked to switch a workflow that nobody here can switch."""

    whom = forms.CharField(
        max_length=200, error_messages={"required": "Say who was asked, and how."}
    )


class ReasonedForm(forms.Form):
    """An act with its reason."""

    reason = forms.CharField(
        max_length=500, error_messages={"required": "Write the reason: it is kept with the act."}
    )


class KnownGoodForm(ReasonedForm):
    """Which release a rollback returns to, by hand."""

    release = forms.CharField(
        max_length=71, error_messages={"required": "Choose a release to return to."}
    )


class GuardForm(ReasonedForm):
    """Whether the guard may roll back what serves every case."""

    allowed = forms.TypedChoiceField(
        choices=[("yes", "yes"), ("no", "no")],
        coerce=lambda said: said == "yes",
        error_messages={
            "required": "Say whether the guard may roll back.",
            "invalid_choice": "Say whether the guard may roll back.",
        },
    )


class PinForm(ReasonedForm):
    """One case that one release serves, whatever the share says."""

    case = forms.CharField(max_length=512, error_messages={"required": "Name the case."})
    release = forms.CharField(
        max_length=71, error_messages={"required": "Choose the release that serves it."}
    )


class UnpinForm(ReasonedForm):
    """A case that goes where all others go."""

    case = forms.CharField(max_length=512, error_messages={"required": "Name the case."})


class DrillForm(forms.Form):
    """When a workflow practises its rollback; the moment is in UTC."""

    workflow = forms.CharField(
        max_length=100, error_messages={"required": "Choose the workflow that practises."}
    )
    planned_for = forms.DateTimeField(
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"],
        error_messages={
            "required": "Say when, in UTC.",
            "invalid": "Write the moment as 2026-11-30 14:00, in UTC.",
        },
    )


class CasesField(forms.MultipleChoiceField):
    """Cases as they stand in the list; whether they do is for the service to see."""

    def valid_value(self, value: str) -> bool:
        return len(value) <= 200 and "\0" not in value


class RecallForm(forms.Form):
    """What is decided about which cases of a recall list."""

    state = forms.CharField(
        max_length=15, error_messages={"required": "Say what is done about these cases."}
    )
    note = forms.CharField(max_length=300, required=False)
    scope = forms.ChoiceField(
        choices=[("selected", "selected"), ("matching", "matching")],
        error_messages={
            "required": "Say which cases: the chosen ones, or all that wait.",
            "invalid_choice": "Say which cases: the chosen ones, or all that wait.",
        },
    )
    cases = CasesField(required=False)


class TimelineForm(forms.Form):
    """Something that neither the audit nor the receipts know."""

    what = forms.CharField(max_length=300, error_messages={"required": "Say what happened."})
    at = forms.DateTimeField(
        required=False,
        input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"],
        error_messages={"invalid": "Write the moment as 2026-11-30 14:00, in UTC."},
    )
