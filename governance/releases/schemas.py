"""What each slot of a release may say: names, types and meanings. Pure.

A value under a known name must be of its type. Unknown names are kept, because every AI system has
settings of its own, and flagged, because nobody here knows what they do. docs/slots.md is written
from this module, and a test keeps it so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from governance.common.errors import InvalidInputError

HASH = re.compile(r"(?:sha256:)?[0-9a-f]{64}\Z")
MONEY = re.compile(r"[0-9]+(?:\.[0-9]+)?\Z")
CURRENCY = re.compile(r"[A-Z]{3}\Z")
MOST_FLAGGED = 50  # unknown names that are listed

HIGHER, LOWER = "higher", "lower"  # which way a guardrail becomes stricter
TYPES = {
    "text": "text",
    "number": "a number",
    "share": "a number from 0 to 1",
    "count": "a whole number, 0 or more",
    "whole": "a whole number",
    "flag": "true or false",
    "money": 'an amount of money, 0 or more, as a number or as text such as "50.00"',
    "currency": "a currency such as EUR",
    "hash": "a SHA-256, 64 lower-case hexadecimal digits",
    "texts": "a list of texts",
    "text or texts": "a text or a list of texts",
    "texts by name": "an object of texts",
    "object": "an object",
    "version": "text or a number",
    "access": "a text, a list of texts or rules, or one object of rules",
    "objects": "a list of objects",
    "validators": "a list of names or objects",
    "authority": "one of read_only, draft, execute_with_approval, execute",
    "right": "one of none, read, write, execute",
}
RIGHTS = ("none", "read", "write", "execute")
AUTHORITIES = ("read_only", "draft", "execute_with_approval", "execute")


@dataclass(frozen=True, slots=True)
class Field:
    """One known name in a slot. `each` describes the objects of a list."""

    name: str
    type: str
    meaning: str
    stricter: str = ""
    each: tuple[Field, ...] = ()
    required: bool = False


VERSION = Field("version", "version", "The version that people know it by")
NAME = Field("name", "text", "What people call it")
NOTE = Field("description", "text", "A note for people; changes nothing")

SCHEMAS: Mapping[str, tuple[Field, ...]] = {
    "prompt_policy": (
        NAME, VERSION, NOTE,
        Field("system", "text", "The system prompt"),
        Field("text", "text", "The prompt or policy text"),
        Field("greeting", "text", "How an answer begins"),
        Field("tone", "text", "How it is to sound"),
        Field("company", "text", "In whose name it speaks"),
        Field("handover", "text", "What the customer reads when a person takes over"),
        Field("replies", "texts by name", "Prepared answers by intent"),
        Field("rubrics", "texts by name", "How answers are judged, by name"),
        Field("prompts", "objects", "Several prompts", each=(
            Field("name", "text", "Its name", required=True), VERSION,
            Field("text", "text", "Its text"),
        )),
    ),
    "model": (
        NAME, VERSION, NOTE,
        Field("provider", "text", "Who runs the model"),
        Field("id", "text", "The model's id. With a date it is pinned; without, its provider's"
              " dated versions count as the same"),
        Field("aliases", "texts", "Other ids under which it may answer"),
        Field("fallbacks", "texts", "Models that may answer instead"),
        Field("parameters", "object", "What is passed with a call"),
        Field("temperature", "number", "How freely it samples"),
        Field("seed", "whole", "The sampler's seed"),
        Field("max_tokens", "count", "The longest answer, in tokens"),
        Field("system_fingerprint", "text", "What the provider says it ran"),
        Field("library", "text", "The library, for a model of your own"),
        Field("analyzer", "text", "How text is cut up"),
        Field("ngrams", "object or list", "Shortest and longest n-gram"),
        Field("neighbours", "count", "How many neighbours vote"),
        Field("sublinear", "flag", "Whether counts are taken as logarithms"),
    ),
    "tools": (
        NAME, VERSION, NOTE,
        Field("tools", "objects", "Every tool that is granted, each once", each=(
            Field("name", "text", "The tool's name, as its calls report it", required=True),
            Field("permission", "right", "What it may do; one that is missing counts as execute"),
            Field("money_limit", "money", "The most money one call may move; missing: no limit"),
            Field("currency", "currency", "Of the money limit"),
            Field("connector", "text", "The system behind it"),
            Field("scopes", "texts", "Rights that it holds there"),
            NOTE,
        )),
        Field("connectors", "texts", "Systems that tools reach"),
        Field("refund_limit", "money", "The most money one refund may move"),
        Field("money_limit", "money", "The most money any call may move"),
        Field("currency", "currency", "Of the limits"),
        Field("authority", "authority", "What the tools may do without a person"),
    ),
    "retrieval": (
        NAME, VERSION, NOTE,
        Field("source", "text", "Where the corpus is"),
        Field("corpus", "text", "The corpus' name"),
        Field("data_source", "text", "The id that retrieval spans report"),
        Field("documents", "objects", "Every document", each=(
            Field("id", "text", "The document's id", required=True),
            Field("sha256", "hash", "The SHA-256 of its text"),
        )),
        Field("count", "count", "How many documents; must agree with the list"),
        Field("root", "hash", "One hash over the corpus, such as the SHA-256 of the sorted lines"
              " `id sha256`"),
        Field("embedding", "text", "The embedding's id"),
        Field("access", "access", "Who or what may be read. `allow`, `deny`, or rules"),
        Field("top_k", "count", "How many documents are fetched"),
    ),
    "guardrails": (
        NAME, VERSION, NOTE,
        Field("confidence_threshold", "share", "Below it a person decides", HIGHER),
        Field("escalation_threshold", "share", "Below it a person decides", HIGHER),
        Field("always_escalate", "texts", "What always goes to a person", HIGHER),
        Field("sensitive_intents", "texts", "Intents that always go to a person", HIGHER),
        Field("sensitive_phrases", "texts", "Phrases that send a case to a person", HIGHER),
        Field("careful_words", "texts", "Words that send a case to a person", HIGHER),
        Field("injection_phrases", "texts", "Phrases of an attack", HIGHER),
        Field("blocked_topics", "texts", "What is never answered", HIGHER),
        Field("validators", "validators", "Checks on every answer", HIGHER),
        Field("max_words", "count", "Longer input goes to a person", LOWER),
        Field("max_refund", "money", "The most money it may promise", LOWER),
        Field("max_amount", "money", "The most money it may decide on", LOWER),
        Field("currency", "currency", "Of the amounts"),
        Field("authority", "authority", "What it may do without a person", LOWER),
    ),
    "routing": (
        NAME, VERSION, NOTE,
        Field("default", "text", "The path for everything else"),
        Field("fallback", "text", "The path when that one fails"),
        Field("fallback_model", "text", "The model that may answer instead"),
        Field("fallback_queue", "text", "The queue of what nobody can name"),
        Field("below_threshold", "text", "Where a case goes that is not sure enough"),
        Field("always_to_people", "texts", "Queues that people answer"),
        Field("lookups", "texts by name", "Which tool looks something up, by intent"),
        Field("case_key", "text", "What makes two runs one case"),
        Field("rules", "objects", "Which input takes which path"),
    ),
    "feedback": (
        NAME, VERSION, NOTE,
        Field("labels", "text or texts", "Which human labels feed back"),
        Field("corrections", "text", "How people correct it"),
        Field("used_for", "text", "What corrections change"),
        Field("memory", "text", "What it remembers between runs"),
        Field("fine_tune_sha256", "hash", "The set it was tuned on"),
    ),
}  # fmt: skip
TYPES["object or list"] = "an object or a list"


def check(slot: str, content: Mapping[str, Any]) -> None:
    """Refuse a known name that holds something of another type.

    Raises:
        InvalidInputError: with the path, what was expected and what was found.
    """
    _check_fields(slot, SCHEMAS[slot], content)
    if slot == "tools":
        _once(f"{slot}.tools", content.get("tools"), "name")
    if slot == "retrieval":
        documents = content.get("documents")
        _once(f"{slot}.documents", documents, "id")
        count = content.get("count")
        if documents is not None and count is not None and count != len(documents):
            raise InvalidInputError(
                f"{slot}.count says {count:,}, but {slot}.documents lists {len(documents):,}."
                " Mend the one that is wrong."
            )


def unknown_names(slot: str, content: Mapping[str, Any]) -> list[str]:
    """Return the paths of names that the schema does not know; the first fifty."""
    found: list[str] = []
    for path in _unknown(SCHEMAS[slot], content, ""):
        if path not in found:
            found.append(path)
            if len(found) >= MOST_FLAGGED:
                break
    return found


def stricter(slot: str, name: str) -> str:
    """Return which way this setting becomes stricter: higher, lower, or "" for nobody knows."""
    return next((field.stricter for field in SCHEMAS[slot] if field.name == name), "")


def rows(slot: str) -> list[tuple[str, str, str]]:
    """Return (name, what it holds, what it means) of everything that a slot may say."""
    found = []
    for field in SCHEMAS[slot]:
        found.append(_row(field, field.name))
        found.extend(_row(inner, f"{field.name}[].{inner.name}") for inner in field.each)
    return found


def markdown() -> str:
    """Return the tables of docs/slots.md."""
    lines: list[str] = []
    for slot in SCHEMAS:
        lines += [f"## `{slot}`", "", "| name | holds | meaning |", "|---|---|---|"]
        lines += [f"| `{name}` | {holds} | {meaning} |" for name, holds, meaning in rows(slot)]
        lines.append("")
    return "\n".join(lines)


def _row(field: Field, name: str) -> tuple[str, str, str]:
    way = {HIGHER: ". More is stricter", LOWER: ". Less is stricter", "": ""}[field.stricter]
    needed = ", required" if field.required else ""
    return name, f"{TYPES[field.type]}{needed}", f"{field.meaning}{way}"


def _check_fields(path: str, fields: tuple[Field, ...], content: Mapping[str, Any]) -> None:
    for field in fields:
        if field.name not in content:
            if field.required:
                raise InvalidInputError(f"{path}.{field.name} is missing.")
            continue
        value, here = content[field.name], f"{path}.{field.name}"
        if value is None and not field.required:
            continue
        if not _fits(field.type, value):
            raise InvalidInputError(f"{here} must be {TYPES[field.type]}, not {_shown(value)}.")
        if field.each:
            for number, item in enumerate(value):
                if not isinstance(item, Mapping):
                    raise InvalidInputError(f"{here}[{number}] must be an object.")
                _check_fields(f"{here}[{number}]", field.each, item)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list):
        return "a list with something else" if value else "an empty list"
    return repr(value)[:60]


def _fits(kind: str, value: Any) -> bool:
    return _CHECKS[kind](value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return _is_number(value) and value == int(value)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_money(value: Any) -> bool:
    if isinstance(value, str):
        return MONEY.match(value) is not None
    return _is_number(value) and value >= 0


def _is_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, Mapping) for item in value)


_CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "text": lambda value: isinstance(value, str),
    "number": _is_number,
    "share": lambda value: _is_number(value) and 0 <= value <= 1,
    "count": lambda value: _is_whole(value) and value >= 0,
    "whole": _is_whole,
    "flag": lambda value: isinstance(value, bool),
    "money": _is_money,
    "currency": lambda value: isinstance(value, str) and CURRENCY.match(value) is not None,
    "hash": lambda value: isinstance(value, str) and HASH.match(value) is not None,
    "texts": _is_texts,
    "text or texts": lambda value: isinstance(value, str) or _is_texts(value),
    "texts by name": lambda value: (
        isinstance(value, Mapping) and all(isinstance(item, str) for item in value.values())
    ),
    "object": lambda value: isinstance(value, Mapping),
    "object or list": lambda value: isinstance(value, Mapping | list),
    "version": lambda value: isinstance(value, str) or _is_number(value),
    "access": lambda value: (
        isinstance(value, str | Mapping)
        or (isinstance(value, list) and all(isinstance(item, str | Mapping) for item in value))
    ),
    "objects": _is_objects,
    "validators": lambda value: (
        isinstance(value, list) and all(isinstance(item, str | Mapping) for item in value)
    ),
    "authority": lambda value: value in AUTHORITIES,
    "right": lambda value: value in RIGHTS,
}


def _once(path: str, items: Any, name: str) -> None:
    if not isinstance(items, list):
        return
    seen = set()
    for item in items:
        if item[name] in seen:
            raise InvalidInputError(f"{path} lists {str(item[name])[:100]!r} twice.")
        seen.add(item[name])


def _unknown(fields: tuple[Field, ...], content: Mapping[str, Any], path: str) -> Iterator[str]:
    known = {field.name: field for field in fields}
    for name, value in content.items():
        field = known.get(name)
        if field is None:
            yield f"{path}{name}"
        elif field.each and isinstance(value, list):
            inner = {each.name for each in field.each}
            strange = {key for item in value if isinstance(item, Mapping) for key in item} - inner
            yield from (f"{path}{name}[].{key}" for key in sorted(strange))
