"""A target as fields, one form per kind. Fields and JSON are two views of one content."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.http import QueryDict

from dashboards.json_fields import CODE, JsonTextField
from dashboards.setup_page import WhyForm
from dashboards.slots import readable
from governance.evals.target_content import (
    COMMON,
    DEFAULTS,
    LARGEST,
    LONGEST_CALL,
    METHODS,
    PATHS,
)

PATH_WORDS = {
    "answer": "Answer",
    "escalated": "Person asked",
    "violations": "Policy broken",
    "cost": "Cost",
    "tools": "Tools used",
}

IN_THE_ANSWER = ("Where in the answer, each a JMESPath", tuple(f"path_{name}" for name in PATHS))
# Short, for the bar above the form.
KINDS_IN_SHORT = {"openai": "OpenAI-compatible", "http": "JSON over HTTP", "callable": "Python"}


class TargetForm(WhyForm):
    """What every kind has: how many calls, how often, how long, for how much."""

    kind = forms.CharField(widget=forms.HiddenInput)
    concurrency = forms.IntegerField(label="Calls at a time", min_value=1, max_value=32)
    per_minute = forms.IntegerField(label="Calls a minute (0: any)", min_value=0, max_value=60_000)
    seconds = forms.IntegerField(label="Seconds for one call", min_value=1, max_value=LONGEST_CALL)
    tries = forms.IntegerField(label="Tries", min_value=1, max_value=10)
    budget = forms.DecimalField(
        label="Budget of a run", required=False, min_value=0, max_digits=18, decimal_places=8
    )
    # What a kind adds, in this order: one below the other, and several beside each other.
    alone: Sequence[str] = ()
    beside: Sequence[tuple[str, Sequence[str]]] = ()

    @property
    def own(self) -> list[forms.BoundField]:
        """What only this kind has."""
        return [self[name] for name in self.alone]

    @property
    def groups(self) -> list[tuple[str, list[forms.BoundField]]]:
        """Short fields that stand beside each other, with the words above them."""
        named = [*self.beside, ("How it is called", tuple(COMMON))]
        return [(words, [self[name] for name in names]) for words, names in named]

    def content(self) -> dict[str, Any]:
        """The target's content; the form is valid."""
        said = self.cleaned_data
        budget = said["budget"]
        return {
            "kind": said["kind"],
            **{name: said[name] for name in COMMON if name != "budget"},
            "budget": "" if budget is None else f"{budget.normalize():f}",
        }

    @classmethod
    def initial_of(cls, content: Mapping[str, Any]) -> dict[str, Any]:
        """What the fields show of a content."""
        return {name: content[name] for name in ("kind", *COMMON)}


class CallableForm(TargetForm):
    """A Python callable that an operator named."""


class _Called(TargetForm):
    """What both kinds over HTTP have: a secret, and where in the answer things stand."""

    secret = forms.CharField(
        label="Secret", max_length=200, required=False,
        help_text="a reference, such as env:COUNTERSIGN_MODEL_KEY; never the secret itself",
    )  # fmt: skip
    path_answer, path_escalated, path_violations, path_cost, path_tools = (
        forms.CharField(label=PATH_WORDS[name], max_length=500, required=False) for name in PATHS
    )

    def content(self) -> dict[str, Any]:
        said = self.cleaned_data
        paths = {name: said[f"path_{name}"] for name in PATHS if said[f"path_{name}"]}
        return {**super().content(), "secret": said["secret"], "paths": paths}

    @classmethod
    def initial_of(cls, content: Mapping[str, Any]) -> dict[str, Any]:
        paths = {f"path_{name}": path for name, path in content["paths"].items()}
        return {**super().initial_of(content), "secret": content["secret"], **paths}


class OpenAiForm(_Called):
    """An OpenAI-compatible endpoint."""

    base_url = forms.CharField(
        label="Address", max_length=2_000, help_text="up to and with /v1", strip=True
    )
    model = forms.CharField(
        label="Model", max_length=200, required=False,
        help_text="empty: the one that the release declares",
    )  # fmt: skip
    system = forms.CharField(
        label="System message", max_length=LARGEST, required=False, strip=False,
        widget=forms.Textarea(attrs={**CODE, "rows": 3}),
    )  # fmt: skip
    user = forms.CharField(
        label="User message", max_length=LARGEST, strip=False,
        widget=forms.Textarea(attrs={**CODE, "rows": 3}),
    )  # fmt: skip
    parameters = JsonTextField(label="Parameters", help_text="JSON; they win over the release’s")
    price_in, price_out = (
        forms.DecimalField(label=label, min_value=0, max_digits=18, decimal_places=8)
        for label in ("In", "Out")
    )

    alone = ("base_url", "secret", "model", "system", "user", "parameters")
    beside = (("Price of a million tokens", ("price_in", "price_out")), IN_THE_ANSWER)

    def clean_parameters(self) -> dict[str, Any]:
        found = self.cleaned_data["parameters"]
        if found is None:
            return {}
        if not isinstance(found, dict):
            raise forms.ValidationError('Write an object, such as {"temperature": 0}.')
        return found

    def content(self) -> dict[str, Any]:
        said = self.cleaned_data
        roles = [(role, said[role]) for role in ("system", "user") if said[role].strip()]
        return {
            **super().content(),
            **{name: said[name] for name in ("base_url", "model", "parameters")},
            "messages": [{"role": role, "content": text} for role, text in roles],
            "price_in": f"{said['price_in']:f}",
            "price_out": f"{said['price_out']:f}",
        }

    @classmethod
    def initial_of(cls, content: Mapping[str, Any]) -> dict[str, Any]:
        names = ("base_url", "model", "price_in", "price_out")
        return {
            **super().initial_of(content),
            **{name: content[name] for name in names},
            **{message["role"]: message["content"] for message in content["messages"]},
            "parameters": readable(content["parameters"]) if content["parameters"] else "",
        }


class HttpForm(_Called):
    """Any JSON over HTTP."""

    method = forms.ChoiceField(label="Method", choices=[(name, name) for name in METHODS])
    url = forms.CharField(label="Address", max_length=2_000)
    secret_header = forms.CharField(
        label="Header of the secret", max_length=60, help_text="Authorization sends it as Bearer"
    )
    headers = forms.CharField(
        label="More headers", max_length=10_000, required=False,
        help_text="Name: value, a line each",
        widget=forms.Textarea(attrs={**CODE, "rows": 2}),
    )  # fmt: skip
    body = JsonTextField(label="Body", help_text="JSON; empty: none")

    alone = ("method", "url", "secret", "secret_header", "headers", "body")
    beside = (IN_THE_ANSWER,)

    def clean_headers(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for line in self.cleaned_data["headers"].splitlines():
            name, colon, value = line.partition(":")
            if not line.strip():
                continue
            if not colon or name.strip() in found:
                raise forms.ValidationError(
                    f"Write Name: value, each name once, not {line[:60]!r}."
                )
            found[name.strip()] = value.strip()
        return found

    def content(self) -> dict[str, Any]:
        said = self.cleaned_data
        names = ("method", "url", "secret_header", "headers", "body")
        return {**super().content(), **{name: said[name] for name in names}}

    @classmethod
    def initial_of(cls, content: Mapping[str, Any]) -> dict[str, Any]:
        body = content["body"]
        return {
            **super().initial_of(content),
            **{name: content[name] for name in ("method", "url", "secret_header")},
            "headers": "\n".join(f"{name}: {value}" for name, value in content["headers"].items()),
            "body": "" if body is None else json.dumps(body, indent=2, ensure_ascii=False),
        }


FORMS: Mapping[str, type[TargetForm]] = {
    "openai": OpenAiForm,
    "http": HttpForm,
    "callable": CallableForm,
}


def target_form(content: Mapping[str, Any], typed: QueryDict | None = None) -> TargetForm:
    """Return the form of a kind, filled with its content, or bound to what was typed."""
    if typed is not None:
        return FORMS.get(typed.get("kind", ""), CallableForm)(typed)
    whole = {**DEFAULTS[content["kind"]], **content}
    form = FORMS[content["kind"]]
    return form(initial=form.initial_of(whole))


def fits_fields(content: Mapping[str, Any]) -> bool:
    """Whether the fields can say all of it: a list of other messages needs JSON."""
    roles = [message["role"] for message in content.get("messages", ())]
    return content["kind"] != "openai" or roles in (["user"], ["system", "user"])
