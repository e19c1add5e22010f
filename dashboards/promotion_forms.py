"""What people type about promotions and pilots. A form that is wrong is answered with 422."""

from __future__ import annotations

from typing import Any

from django import forms
from django.http import QueryDict

from dashboards.forms import DecisionForm, ReasonForm
from governance.rollouts.models import Promotion
from governance.rollouts.pilots import LARGEST_EVIDENCE_SHARE, LONGEST_DAYS, MOST_STEPS

ONCE, CAREFUL, OWN = "once", "careful", "own"
STANDING = "standing:"
MOST_MINUTES, MOST_RUNS = 60 * 24 * 60, 10_000_000


class OpenPilotForm(DecisionForm):
    """Gathering evidence on a few cases: how many, for how long, and why that is safe."""

    share = forms.IntegerField(
        min_value=1,
        max_value=LARGEST_EVIDENCE_SHARE // 100,
        error_messages={
            "required": "Say how many per cent of the cases it serves.",
            "min_value": "It serves at least 1 %% of the cases.",
            "max_value": "A pilot that gathers evidence serves at most 10 %% of the cases.",
        },
    )
    days = forms.IntegerField(
        min_value=1,
        max_value=LONGEST_DAYS,
        error_messages={
            "required": "Say after how many days it stops by itself.",
            "min_value": "It runs for at least a day.",
            "max_value": "A pilot that gathers evidence runs for at most 14 days.",
        },
    )


class StopPilotForm(ReasonForm):
    """What happened; what comes next may be written later."""

    what_next = forms.CharField(max_length=2_000, required=False)


class ExplainPilotForm(forms.Form):
    """The two lines that the stop of a pilot leaves behind."""

    what_happened = forms.CharField(
        max_length=2_000, error_messages={"required": "Two lines, please: what happened?"}
    )
    what_next = forms.CharField(
        max_length=2_000, error_messages={"required": "Two lines, please: what comes next?"}
    )


class ProposeForm(forms.Form):
    """Everything that is asked with a promotion: its road, how it goes live, what it should do.

    `cleaned_data` gains `pilot_steps` (own ones, share in basis points) and `standing`, the key of
    the standing approval it is a use of.
    """

    rationale = forms.CharField(
        max_length=2_000,
        error_messages={"required": "Say why this release should become live."},
    )
    fixes = forms.IntegerField(required=False)
    road = forms.CharField(max_length=40, required=False)
    plan = forms.ChoiceField(
        choices=[(name, name) for name in (ONCE, CAREFUL, OWN)], required=False
    )
    expected_kpi = forms.IntegerField(required=False)
    expected_change = forms.FloatField(
        required=False,
        error_messages={"invalid": "Write the expected change as a number, such as -2."},
    )
    expected_note = forms.CharField(max_length=300, required=False)

    def __init__(self, data: QueryDict, *, is_preview: bool = False) -> None:
        super().__init__(data)
        self.rows = step_rows(data)
        self.fields["rationale"].required = not is_preview

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        road = cleaned.get("road") or Promotion.Road.PROMOTION
        cleaned["standing"] = None
        if road.startswith(STANDING):
            key = road.removeprefix(STANDING)
            if not key.isdecimal() or len(key) > 15:
                raise forms.ValidationError("Pick one of the roads.")
            cleaned["standing"], road = int(key), str(Promotion.Road.STANDING)
        elif road not in (Promotion.Road.PROMOTION, Promotion.Road.MAINTENANCE):
            raise forms.ValidationError("Pick one of the roads.")
        cleaned["road"] = road
        cleaned["plan"] = cleaned.get("plan") or ONCE
        cleaned["pilot_steps"] = self._steps() if cleaned["plan"] == OWN else []
        if (cleaned.get("expected_kpi") is None) != (cleaned.get("expected_change") is None):
            raise forms.ValidationError(
                "An expected effect names a KPI and the change of it, or neither."
            )
        return cleaned

    def _steps(self) -> list[dict[str, int]]:
        found = []
        for number, row in enumerate(self.rows, 1):
            if not row["share"]:
                continue
            share = _number(row["share"], 99.99)
            minutes = _number(row["minutes"] or "0", MOST_MINUTES)
            runs = _number(row["runs"] or "0", MOST_RUNS)
            if share is None or minutes is None or runs is None:
                raise forms.ValidationError(
                    f"Step {number}: a share below 100 %, at most 60 days and 10 million runs,"
                    " as numbers."
                )
            found.append({"share": round(100 * share), "minutes": int(minutes), "runs": int(runs)})
        if not found:
            raise forms.ValidationError(
                "Give the share of the first step, or let it serve at once."
            )
        return found


def step_rows(data: QueryDict) -> list[dict[str, str]]:
    """The rows of own steps as they were typed."""
    columns = [data.getlist(f"step_{name}")[:MOST_STEPS] for name in ("share", "minutes", "runs")]
    width = max(map(len, columns), default=0)
    padded = [[*column, *[""] * (width - len(column))] for column in columns]
    return [
        {"share": share.strip()[:12], "minutes": minutes.strip()[:12], "runs": runs.strip()[:12]}
        for share, minutes, runs in zip(*padded, strict=True)
    ]


def _number(text: str, most: float) -> float | None:
    try:
        value = float(text.replace(",", "."))
    except ValueError:
        return None
    return value if 0 <= value <= most else None
