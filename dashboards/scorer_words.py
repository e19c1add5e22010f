"""A workflow's scorers in words, and something to begin with. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from governance.evals.evaluators import ROLES
from governance.evals.scorer_kinds import KINDS

MORE_KINDS = {"callable": "A function of EVAL_SCORERS", "judge": "A model's opinion"}
EXAMPLE: Mapping[str, Any] = {
    "scorers": [
        {"name": "answer", "kind": "normalised"},
        {"name": "promises", "kind": "forbidden", "texts": ["we guarantee"]},
        {"name": "personal_data", "kind": "personal_data", "allow_from_input": True},
        {"name": "tools", "kind": "tools"},
    ]
}
JUDGE_EXAMPLE: Mapping[str, Any] = {
    "base_url": "https://api.example.com/v1",
    "secret": "env:COUNTERSIGN_JUDGE_KEY",
    "model": "a-model",
    "prompt": "Is the answer polite, and does it help? A refusal without a reason is not good.",
    "bar": 0.8,
}


def label(kind: str) -> str:
    return KINDS[kind].label if kind in KINDS else MORE_KINDS[kind]


def in_words(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Say what each scorer does, line by line."""
    return [
        (entry["name"].replace("_", " ").capitalize(), _said(entry)) for entry in content["scorers"]
    ]


def _said(entry: Mapping[str, Any]) -> str:
    options = {
        key: value
        for key, value in entry.items()
        if key not in ("name", "kind", "role", "prompt", "secret", "parameters", "schema")
        and value not in ("", [], None, False)
    }
    more = ", ".join(f"{key.replace('_', ' ')} {_value(value)}" for key, value in options.items())
    decides = f"; decides {ROLES[entry['role']]}" if entry["role"] else ""
    return f"{label(entry['kind'])}{f' ({more})' if more else ''}{decides}"


def _value(value: Any) -> str:
    if value is True:
        return "yes"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
