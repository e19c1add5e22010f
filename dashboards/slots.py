"""What a slot of a release holds, as lines that a person can read. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from governance.releases.diff import SLOT_NAMES

LONGEST_LINE = 400  # characters of one value before the page points to the full content
MOST_NAMED = 8  # items of a list that are named; the others are counted


SLOT_HOLDS: Mapping[str, str] = {
    "prompt_policy": "prompt and policy texts, rubrics",
    "model": "provider, model id, parameters",
    "tools": "each tool with its right and money limit",
    "retrieval": "documents with their hashes, who may read them",
    "guardrails": "validators, thresholds, what goes to a person",
    "routing": "which path for which input, fallbacks",
    "feedback": "what human corrections change, and how",
}


@dataclass(frozen=True, slots=True)
class SlotView:
    """One of the seven slots on a page. `facts` is empty where the slot is not declared."""

    key: str
    name: str
    declared: bool
    digest: str
    facts: tuple[tuple[str, str], ...]
    full: str
    since: str
    author: str


def facts(content: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return (label, value) per thing a slot says, nested names joined by a dot."""
    return tuple(_walk(content, ()))


def _walk(content: Mapping[str, Any], path: tuple[str, ...]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for key in sorted(content):
        value, here = content[key], (*path, _words(key))
        if isinstance(value, Mapping) and value:
            found.extend(_walk(value, here))
        else:
            label = " · ".join(here)
            found.append((label[:1].upper() + label[1:], _cut(_value(value))))
    return found


def _value(value: Any) -> str:
    if value is None or value == {} or value == []:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return _list(value)
    return str(value)


def _list(items: Sequence[Any]) -> str:
    named = [_item(item) for item in items[:MOST_NAMED]]
    rest = len(items) - len(named)
    text = ", ".join(named)
    return f"{len(items):,} in all: {text} and {rest:,} more" if rest else text


def _item(item: Any) -> str:
    """A tool is named with its permission, a document by its id."""
    if not isinstance(item, Mapping):
        return _value(item)
    name = item.get("name") or item.get("id")
    if name is None:
        return json.dumps(item, sort_keys=True, ensure_ascii=False)
    more = [
        f"{_words(key)} {_value(value)}"
        for key, value in sorted(item.items())
        if key not in ("name", "id", "sha256")
    ]
    return f"{name} ({', '.join(more)})" if more else str(name)


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST_LINE else text[:LONGEST_LINE].rstrip() + " …"


def _words(key: str) -> str:
    return str(key).replace("_", " ")


def readable(content: Mapping[str, Any]) -> str:
    """The whole content as indented JSON."""
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)


def slot_name(slot: str) -> str:
    return SLOT_NAMES.get(slot, slot)
