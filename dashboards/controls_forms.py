"""What people type about emergencies, standing approvals, freezes, delegations and absences."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django import forms

from dashboards.controls_words import DAY, midnight
from dashboards.forms import ReasonForm
from governance.people.models import User
from governance.releases.models import Slot

STEPS = (1, 2, 3)  # as many pilot steps as the form has rows for


class EmergencyForm(ReasonForm):
    """Which release serves at once, and for which incident."""

    release = forms.CharField(
        max_length=71, error_messages={"required": "Choose the release that is to serve."}
    )
    incident = forms.CharField(
        max_length=200,
        error_messages={"required": "Name the incident, such as INC-1042: it stays in the record."},
    )


class StandingForm(ReasonForm):
    """The envelope of a standing approval."""

    title = forms.CharField(
        max_length=200,
        error_messages={"required": "Give it a name, such as “Nightly corpus sync”."},
    )
    slot = forms.ChoiceField(choices=Slot.choices)
    most_documents_changed = forms.IntegerField(min_value=0, max_value=10_000_000, required=False)
    uses_per_week = forms.IntegerField(min_value=1, max_value=50)
    days = forms.IntegerField(min_value=1, max_value=90)

    def __init__(self, data: Any) -> None:
        super().__init__(data)
        for number in STEPS:
            self.fields[f"share_{number}"] = forms.FloatField(
                min_value=0.01, max_value=99.99, required=False
            )
            for name in ("minutes", "runs"):
                self.fields[f"{name}_{number}"] = forms.IntegerField(min_value=0, required=False)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        steps = []
        for number in STEPS:
            share = cleaned.pop(f"share_{number}", None)
            minutes = cleaned.pop(f"minutes_{number}", None) or 0
            runs = cleaned.pop(f"runs_{number}", None) or 0
            if share is not None:
                steps.append({"share": round(share * 100), "minutes": minutes, "runs": runs})
            elif minutes or runs:
                self.add_error(None, f"Step {number} of the pilot needs its share of the cases.")
        cleaned["pilot_steps"] = steps
        if cleaned.get("slot") != Slot.RETRIEVAL:
            cleaned["most_documents_changed"] = None  # the field is for the corpus only
        return cleaned


class MomentField(forms.DateTimeField):
    """A minute in UTC, as a browser sends it."""

    def __init__(self, sentence: str) -> None:
        super().__init__(
            input_formats=["%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%d"],
            error_messages={"required": sentence, "invalid": "Write it as 2026-12-31T18:00."},
        )

    def to_python(self, value: Any) -> datetime | None:
        found = super().to_python(value)
        return found.replace(tzinfo=UTC) if found is not None else None


class FreezeForm(ReasonForm):
    """A window in which nothing goes forward."""

    name = forms.CharField(
        max_length=120,
        error_messages={"required": "Give the freeze a name, such as “Month-end close”."},
    )
    starts_at = MomentField("Say when it begins.")
    ends_at = MomentField("Say when it ends.")
    months = forms.IntegerField(min_value=1, max_value=12, required=False)

    def clean_months(self) -> int:
        return self.cleaned_data["months"] or 1


class FreezeExceptionForm(ReasonForm):
    """Which promotion goes through a freeze."""

    promotion = forms.IntegerField(error_messages={"required": "Choose the promotion."})


class WindowForm(forms.Form):
    """Whole days from the first to the last, both included, in UTC."""

    first = forms.DateField(
        error_messages={"required": "Say the first day.", "invalid": "Write it as 2026-12-12."}
    )
    last = forms.DateField(
        error_messages={"required": "Say the last day.", "invalid": "Write it as 2026-12-19."}
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if "first" in cleaned and "last" in cleaned:
            cleaned["starts_at"] = midnight(cleaned.pop("first"))
            cleaned["ends_at"] = midnight(cleaned.pop("last")) + DAY
        return cleaned


def people() -> Any:
    """Everybody who can be named: active, with a role."""
    return (
        User.objects.filter(is_active=True)
        .exclude(role=User.Role.NONE)
        .order_by("job_title", "username")
    )


class DelegationForm(WindowForm, ReasonForm):
    """Who decides for the person who fills this in."""

    to = forms.ModelChoiceField(
        people(),
        error_messages={
            "required": "Name who decides for you.",
            "invalid_choice": "Name a person from the list.",
        },
    )


class AbsenceForm(WindowForm):
    """Who is away; without a name: the person who fills this in."""

    person = forms.ModelChoiceField(
        people(),
        required=False,
        error_messages={"invalid_choice": "Name a person from the list."},
    )
    note = forms.CharField(max_length=200, required=False)
