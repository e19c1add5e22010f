"""What a slot of a release holds, as lines that a person can read. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from governance.releases.diff import show

LONGEST_LINE = 240  # characters of one value; the rest is folded away
LONGEST_FOLDED = 4_000  # characters of one text that is folded away
LONGEST_CONTENT = 48_000  # characters of a slot's JSON on a page; the file has all of it
MOST_NAMED = 8  # items of a list that are named; the others are counted and folded away
MOST_FOLDED = 200  # items that are folded away
AMOUNTS = ("refund_limit", "money_limit")  # said with the currency beside them
FEW_TEXTS = 3  # texts of one object that stand as lines of their own

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
class Fact:
    """One thing that a slot says. `folded` holds what is too long to stand on the page."""

    label: str
    value: str
    folded: tuple[tuple[str, str], ...] = ()
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool that is granted."""

    name: str
    right: str
    limit: str
    behind: str
    last_used: datetime | None = None


def facts(content: Mapping[str, Any]) -> tuple[Fact, ...]:
    """Return what a slot says, nested names joined by a dot."""
    return tuple(_walk(content, ()))


def tools_of(
    content: Mapping[str, Any], last_used: Mapping[str, datetime] | None = None
) -> tuple[Tool, ...]:
    """Return the tools of a slot whose list can be read; nothing where it cannot."""
    listed = content.get("tools")
    if not isinstance(listed, list) or not all(
        isinstance(tool, Mapping) and tool.get("name") for tool in listed
    ):
        return ()
    used = last_used or {}
    return tuple(_tool(tool, used.get(str(tool["name"]))) for tool in listed[:MOST_FOLDED])


def _tool(tool: Mapping[str, Any], last_used: datetime | None) -> Tool:
    limit = tool.get("money_limit")
    text = "no limit" if limit is None else f"{limit} {tool.get('currency', '')}".strip()
    right = str(tool.get("permission", "everything"))
    behind = [
        f"{_words(key)}: {_value(value)}"
        for key, value in sorted(tool.items())
        if key not in ("name", "permission", "money_limit", "currency")
    ]
    quiet = right in ("none", "read") and limit is None
    return Tool(str(tool["name"]), right, "" if quiet else text, " · ".join(behind), last_used)


def _walk(content: Mapping[str, Any], path: tuple[str, ...]) -> list[Fact]:
    found: list[Fact] = []
    for key in sorted(content):
        value, here = content[key], (*path, _words(key))
        label = " · ".join(here)
        label = label[:1].upper() + label[1:]
        if isinstance(value, Mapping) and value:
            if len(value) > FEW_TEXTS and all(isinstance(item, str) for item in value.values()):
                found.append(_texts(label, value))
            else:
                found.extend(_walk(value, here))
        elif key in AMOUNTS and isinstance(content.get("currency"), str):
            found.append(_fact(label, f"{_value(value)} {content['currency']}"))
        else:
            found.append(_fact(label, value))
    return found


def _texts(label: str, texts: Mapping[str, str]) -> Fact:
    """Many texts by name, such as prepared answers: counted here, read when unfolded."""
    named = [_words(name) for name in list(texts)[:MOST_NAMED]]
    more = f" and {len(texts) - len(named):,} more" if len(texts) > len(named) else ""
    return Fact(
        label,
        f"{len(texts):,}: {', '.join(named)}{more}",
        tuple(
            (_words(name), _cut(text, LONGEST_FOLDED))
            for name, text in list(texts.items())[:MOST_FOLDED]
        ),
        max(0, len(texts) - MOST_FOLDED),
    )


def _fact(label: str, value: Any) -> Fact:
    if isinstance(value, list) and len(value) > MOST_NAMED:
        return Fact(
            label, _list(value), tuple(("", _item(item)) for item in value[:MOST_FOLDED]),
            max(0, len(value) - MOST_FOLDED),
        )  # fmt: skip
    text = _value(value)
    if len(text) > LONGEST_LINE:
        return Fact(label, _cut(text, LONGEST_LINE), (("", _cut(text, LONGEST_FOLDED)),))
    return Fact(label, text)


def _value(value: Any) -> str:
    if value is None or value == {} or value == []:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return show(value)
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
        return _cut(json.dumps(item, sort_keys=True, ensure_ascii=False), LONGEST_LINE)
    more = [
        f"{_words(key)} {_value(value)}"
        for key, value in sorted(item.items())
        if key not in ("name", "id", "sha256")
    ]
    return f"{name} ({', '.join(more)})" if more else str(name)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[:longest].rstrip() + " …"


def _words(key: str) -> str:
    return str(key).replace("_", " ")


def readable(content: Mapping[str, Any]) -> str:
    """The whole content as indented JSON."""
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False)


def readable_start(content: Mapping[str, Any]) -> tuple[str, bool]:
    """The content as JSON as far as a page shows it, and whether that is all of it."""
    documents = content.get("documents")
    if isinstance(documents, list) and len(documents) > MOST_FOLDED:
        shown = readable({**content, "documents": documents[:MOST_FOLDED]})
        return shown[:LONGEST_CONTENT], False
    text = readable(content)
    return text[:LONGEST_CONTENT], len(text) <= LONGEST_CONTENT
