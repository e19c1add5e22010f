"""What the pages of a workflow's target and evaluator have in common: versions of JSON content."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django import forms

from dashboards.json_fields import LONGEST
from dashboards.slots import readable
from governance.common.canonical import parse_json
from governance.common.errors import InvalidInputError
from governance.evals.setup_models import EvalTarget, Evaluator

VERSIONS_SHOWN = 20

Words = Sequence[tuple[str, str]]


class WhyForm(forms.Form):
    """Why something is changed."""

    reason = forms.CharField(
        label="Why",
        max_length=500,
        error_messages={"required": "Write the reason: it is kept with the change."},
    )


class ContentForm(WhyForm):
    """New content as JSON, and why."""

    content = forms.CharField(
        max_length=LONGEST, strip=False, error_messages={"required": "Write what shall hold."}
    )

    def clean_content(self) -> dict[str, Any]:
        try:
            found = parse_json(self.cleaned_data["content"])
        except InvalidInputError as error:
            raise forms.ValidationError(str(error)) from error
        if not isinstance(found, dict):
            raise forms.ValidationError("Write a JSON object: it begins with { and ends with }.")
        return found


@dataclass(frozen=True, slots=True)
class Version:
    """One version with what it changed, line by line of its JSON."""

    row: EvalTarget | Evaluator
    changes: tuple[tuple[str, str], ...]  # "+" or "-", and the line


def in_use(made: EvalTarget | Evaluator) -> str:
    """What is said when a new version is set."""
    return f"{made} is in use. What was scored before is scored again when a gate needs it."


def versions(rows: Sequence[EvalTarget | Evaluator]) -> list[Version]:
    """Lay each version beside the one before it; newest first."""
    texts = [readable(row.content).splitlines() for row in rows]
    before: list[list[str]] = [*texts[1:], []][: len(texts)]
    return [
        Version(row, tuple(_changed(old, new)) if row.version > 1 and old else ())
        for row, new, old in zip(rows, texts, before, strict=True)
    ][:VERSIONS_SHOWN]


def _changed(old: list[str], new: list[str]) -> list[tuple[str, str]]:
    return [
        (line[0], line[2:].strip())
        for line in difflib.ndiff(old, new)
        if line[0] in "+-" and line[2:].strip() not in ("", "{", "}", "[", "]", "},", "],")
    ]


def newest(
    rows: Sequence[EvalTarget | Evaluator], words: Callable[[Mapping[str, Any]], Words]
) -> Words:
    """Say what the newest version says, line by line."""
    return words(rows[0].content) if rows else ()
