"""The scorers of a workflow as fields, a line each; their JSON is the other view of the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django import forms
from django.conf import settings
from django.forms import BaseFormSet, formset_factory
from django.http import QueryDict

from dashboards.json_fields import CODE, LONGEST, JsonTextField
from dashboards.scorer_words import JUDGE_EXAMPLE, MORE_KINDS, label
from governance.common.canonical import parse_json
from governance.common.errors import InvalidInputError
from governance.evals import judges
from governance.evals.evaluators import CALLABLE, JUDGE, MOST_SCORERS, ROLES
from governance.evals.scorer_kinds import KINDS

PREFIX = "line"
USUAL = "usual"  # what a scorer of this kind decides unless somebody says otherwise
KIND_CHOICES = [(kind, label(kind)) for kind in (*KINDS, *MORE_KINDS)]
ROLE_CHOICES = [(USUAL, "what its kind usually does"), *ROLES.items()]


class TextsField(forms.CharField):
    """Several texts, one per line; a JSON list where a text could not stand in a line."""

    def __init__(self, **options: Any) -> None:
        widget = forms.Textarea(attrs={**CODE, "rows": 3})
        super().__init__(max_length=LONGEST, required=False, strip=False, widget=widget, **options)

    def prepare_value(self, value: Any) -> Any:
        if not isinstance(value, list):
            return value
        lines = "\n".join(value)
        return lines if self._read(lines) == value else json.dumps(value, ensure_ascii=False)

    def clean(self, value: Any) -> Any:
        return self._read(super().clean(value))

    @staticmethod
    def _read(text: str) -> list[str]:
        try:
            found = parse_json(text)
        except InvalidInputError:
            found = None
        if isinstance(found, list) and all(isinstance(one, str) for one in found):
            return found
        lines = (line.strip() for line in text.splitlines())
        return [line for line in lines if line]


def _amount(said: str, most: float | None = None) -> forms.FloatField:
    return forms.FloatField(label=said, min_value=0, max_value=most)


def _text(said: str, longest: int, help_text: str = "", **options: Any) -> forms.CharField:
    return forms.CharField(label=said, max_length=longest, help_text=help_text, **options)


def _functions() -> list[tuple[str, str]]:
    return [(name, name) for name in sorted(settings.EVAL_SCORERS)]


# A field for every option that a scorer may have.
OPTIONS: Mapping[str, Callable[[], forms.Field]] = {
    "all": lambda: forms.BooleanField(label="All of them, not only one", required=False),
    "absolute": lambda: _amount("Off by at most"),
    "relative": lambda: _amount("Or by this share of it", 1),
    "schema": lambda: JsonTextField(label="JSON Schema", help_text="empty: that of each case"),
    "measure": lambda: forms.ChoiceField(
        label="Measured by", choices=[("f1", "F1"), ("jaccard", "Jaccard")]
    ),
    "threshold": lambda: _amount("Passes from, 0 to 1", 1),
    "texts": lambda: TextsField(label="Texts", help_text="one per line"),
    "patterns": lambda: TextsField(label="Regular expressions", help_text="one per line"),
    "allow_from_input": lambda: forms.BooleanField(
        label="What the case itself gave may be repeated", required=False
    ),
    "limit": lambda: _amount("At most, money"),
    "limit_ms": lambda: _amount("At most, milliseconds"),
    "call": lambda: forms.ChoiceField(label="Function", choices=_functions),
    "base_url": lambda: _text("Address", 2_000, "up to and with /v1"),
    "secret": lambda: _text(
        "Secret", 200, "a reference, such as env:COUNTERSIGN_JUDGE_KEY", required=False
    ),
    "model": lambda: _text("Model", 200),
    "prompt": lambda: _text(
        "What it is asked", judges.LONGEST_PROMPT, strip=False,
        widget=forms.Textarea(attrs={**CODE, "rows": 4}),
    ),
    "parameters": lambda: JsonTextField(label="Parameters", help_text="JSON"),
    "price_in": lambda: _text("A million tokens in", 40),
    "price_out": lambda: _text("A million tokens out", 40),
    "seconds": lambda: forms.FloatField(label="Seconds for one call", min_value=1, max_value=600),
    "tries": lambda: forms.IntegerField(label="Tries", min_value=1, max_value=10),
    "bar": lambda: forms.FloatField(
        label="Agreement with people, at least", min_value=0.5, max_value=0.99
    ),
}  # fmt: skip


def usual_options(kind: str) -> dict[str, Any]:
    """What a scorer of this kind is told unless somebody says otherwise."""
    if kind == JUDGE:
        return dict(judges.DEFAULTS)
    if kind == CALLABLE:
        return {"call": ""}
    return {name: usual for name, (usual, _, _) in KINDS[kind].options.items()}


class ScorerForm(forms.Form):
    """One scorer: its name, what it decides, and a field for each option of its kind."""

    name = forms.CharField(label="Name", max_length=40)
    kind = forms.ChoiceField(label="Kind", choices=KIND_CHOICES, widget=forms.HiddenInput)
    role = forms.ChoiceField(label="Decides", choices=ROLE_CHOICES, required=False, initial=USUAL)

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        said = self["kind"].value()
        self.known_kind = said if said in dict(KIND_CHOICES) else ""
        self.options = list(usual_options(self.known_kind)) if self.known_kind else []
        for option in self.options:
            self.fields[option] = OPTIONS[option]()
        function = self.fields.get("call")
        if isinstance(function, forms.ChoiceField) and (named := self["call"].value()):
            # Shown although no operator lists it any more: whoever saves it is told.
            function.choices = list(dict.fromkeys([*_functions(), (named, named)]))

    @property
    def is_removed(self) -> bool:
        return bool(self["DELETE"].value())

    @property
    def title(self) -> str:
        return label(self.known_kind) if self.known_kind else "Unknown kind"

    @property
    def short(self) -> list[forms.BoundField]:
        """Fields that stand beside each other."""
        found = [self["name"], self["role"], *(self[option] for option in self.options)]
        return [field for field in found if not isinstance(field.field.widget, forms.Textarea)]

    @property
    def long(self) -> list[forms.BoundField]:
        """Fields that need the whole width."""
        found = [self[option] for option in self.options]
        return [field for field in found if isinstance(field.field.widget, forms.Textarea)]

    def entry(self) -> dict[str, Any]:
        """This scorer in the evaluator's content; the form is valid."""
        said = self.cleaned_data
        role = {} if said["role"] == USUAL else {"role": said["role"]}
        options = {option: said[option] for option in self.options}
        if options.get("parameters", ...) is None:
            options["parameters"] = {}
        return {"name": said["name"], "kind": said["kind"], **role, **options}


Lines = formset_factory(
    ScorerForm, extra=0, max_num=MOST_SCORERS, validate_max=True, absolute_max=MOST_SCORERS,
    can_delete=True,
)  # fmt: skip


def scorer_lines(
    content: Mapping[str, Any], typed: QueryDict | None = None
) -> BaseFormSet[ScorerForm]:
    """Return the lines of an evaluator's content, or those that were typed."""
    return Lines(typed, prefix=PREFIX, initial=[_line(entry) for entry in content["scorers"]])


def with_another(typed: QueryDict, kind: str) -> QueryDict:
    """Return what was typed with one more line of this kind; as it was, where there is no room."""
    lines = scorer_lines({"scorers": []}, typed)
    at = lines.total_form_count()
    if kind not in dict(KIND_CHOICES) or at >= MOST_SCORERS or not lines.management_form.is_valid():
        return typed
    taken = [str(form["name"].value() or "") for form in lines.forms]
    more = typed.copy()
    more[f"{PREFIX}-TOTAL_FORMS"] = str(at + 1)
    for name, value in _line(begun(kind, taken)).items():
        shown = OPTIONS[name]().prepare_value(value) if name in OPTIONS else value
        if shown is not False:  # as a browser says of a box that is not ticked
            more[f"{PREFIX}-{at}-{name}"] = "on" if shown is True else str(shown)
    return more


def begun(kind: str, taken: Sequence[str] = ()) -> dict[str, Any]:
    """Return a scorer of this kind to change, under a name that is not taken."""
    named = [kind, *(f"{kind}_{number}" for number in range(2, MOST_SCORERS + 2))]
    name = next(name for name in named if name not in taken)
    example = JUDGE_EXAMPLE if kind == JUDGE else {}
    return {**usual_options(kind), **example, "name": name, "kind": kind}


def content_of(lines: BaseFormSet[ScorerForm]) -> dict[str, Any]:
    """Return the evaluator's content; the lines are valid."""
    return {"scorers": [form.entry() for form in lines.forms if not form.is_removed]}


def error_of(lines: BaseFormSet[ScorerForm]) -> str:
    """The first sentence of what is wrong; "" where nothing is."""
    if lines.is_valid():
        return ""
    if lines.non_form_errors():
        return str(lines.non_form_errors()[0])
    for form in lines.forms:
        if form.errors and not form.is_removed:
            name, errors = next(iter(form.errors.items()))
            return f"{form['name'].value() or form.title}, {form.fields[name].label}: {errors[0]}"
    return ""


def _line(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What the fields show of a scorer."""
    shown = {**usual_options(entry["kind"]), "role": USUAL, **entry}
    for option in ("schema", "parameters"):
        if option in shown:
            value = shown[option]
            shown[option] = "" if value is None else json.dumps(value, indent=1, ensure_ascii=False)
    return shown


def addable() -> list[tuple[str, str]]:
    """Kinds that one more line may have; functions only where an operator lists some."""
    return [(kind, said) for kind, said in KIND_CHOICES if kind != CALLABLE or _functions()]
