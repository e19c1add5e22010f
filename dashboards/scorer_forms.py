"""The scorers of a workflow as fields, a line each; their JSON is the other view of the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from django import forms
from django.forms import BaseFormSet, formset_factory
from django.http import QueryDict

from dashboards.json_fields import CODE, JsonTextField
from dashboards.scorer_words import JUDGE, MORE_KINDS, label
from governance.evals.evaluators import MOST_SCORERS, ROLES
from governance.evals.scorer_kinds import KINDS

BLANK_LINES = 1
USUAL = "usual"  # what a scorer of this kind decides unless somebody says otherwise
KIND_CHOICES = [(kind, label(kind)) for kind in (*KINDS, *MORE_KINDS)]
ROLE_CHOICES = [
    (USUAL, "what its kind usually does"),
    *ROLES.items(),
]


class ScorerForm(forms.Form):
    """One scorer. A line without a name says nothing."""

    name = forms.CharField(label="Name", max_length=40, required=False)
    kind = forms.ChoiceField(label="Kind", choices=KIND_CHOICES, required=False)
    role = forms.ChoiceField(label="Decides", choices=ROLE_CHOICES, required=False, initial=USUAL)
    options = JsonTextField(label="Options, JSON", widget=forms.Textarea(attrs={**CODE, "rows": 3}))

    def clean_options(self) -> dict[str, Any]:
        found = self.cleaned_data["options"]
        if found is None:
            return {}
        if not isinstance(found, dict) or {"name", "kind", "role"} & set(found):
            raise forms.ValidationError('Write an object of options, such as {"limit_ms": 2000}.')
        return found

    def entry(self) -> dict[str, Any]:
        """This scorer in the evaluator's content; the form is valid and has a name."""
        said = self.cleaned_data
        role = {} if said["role"] == USUAL else {"role": said["role"]}
        return {"name": said["name"], "kind": said["kind"], **role, **said["options"]}


Lines = formset_factory(
    ScorerForm, extra=BLANK_LINES, max_num=MOST_SCORERS, validate_max=True,
    absolute_max=MOST_SCORERS,
)  # fmt: skip


def scorer_lines(
    content: Mapping[str, Any], typed: QueryDict | None = None
) -> BaseFormSet[ScorerForm]:
    """Return the lines of an evaluator's content, or those that were typed."""
    return Lines(typed, prefix="line", initial=[_line(entry) for entry in content["scorers"]])


def content_of(lines: BaseFormSet[ScorerForm]) -> dict[str, Any]:
    """Return the evaluator's content; the lines are valid."""
    return {"scorers": [form.entry() for form in lines.forms if form.cleaned_data.get("name")]}


def error_of(lines: BaseFormSet[ScorerForm]) -> str:
    """The first sentence of what is wrong; "" where nothing is."""
    for form in lines.forms:
        for name, errors in form.errors.items():
            return f"{form.fields[name].label}: {errors[0]}"
    return str(lines.non_form_errors()[0]) if lines.non_form_errors() else ""


def _line(entry: Mapping[str, Any]) -> dict[str, Any]:
    options = {key: value for key, value in entry.items() if key not in ("name", "kind", "role")}
    return {
        "name": entry["name"],
        "kind": entry["kind"],
        "role": entry.get("role", USUAL),
        "options": json.dumps(options, indent=1, ensure_ascii=False) if options else "",
    }


def begun(kind: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content with one more scorer of this kind, with its usual options to change."""
    if kind == JUDGE["kind"]:
        added = dict(JUDGE)
    elif kind in KINDS:
        usual = {name: value for name, (value, _, _) in KINDS[kind].options.items()}
        added = {"name": kind, "kind": kind, **usual}
    elif kind in MORE_KINDS:
        added = {"name": kind, "kind": kind, "call": ""}
    else:
        return dict(content)
    return {"scorers": [*content["scorers"], added]}


def kinds_and_options() -> list[tuple[str, str, str]]:
    """Every kind, what it looks at, and what it may be told."""
    return [
        (
            kind, found.label,
            "; ".join(f"{name}: {wanted}" for name, (_, _, wanted) in found.options.items()),
        )
        for kind, found in KINDS.items()
    ]  # fmt: skip
