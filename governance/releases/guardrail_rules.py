"""When a guardrail becomes weaker. Pure.

Which way a setting is stricter comes from the schema or from its name. Where nobody knows, every
change counts as weaker: a harmless one costs a second look, a hidden one costs more.
"""

from __future__ import annotations

from typing import Any

from governance.releases import schemas
from governance.releases.values import (
    HIGH,
    LOW,
    MISSING,
    Change,
    anywhere,
    changed,
    gained_and_lost,
    number,
    sentence,
    words,
)

MORE_IS_STRICTER = ("min ", "minimum", "at least", "confidence")
LESS_IS_STRICTER = ("max ", "maximum", "limit", "at most", "allowed", "up to", "tolerance")
ON_IS_STRICTER = (
    "require", "must", "enable", "block", "check", "escalate", "always", "verify", "refuse",
    "redact", "mask", "validate",
)  # fmt: skip
OFF_IS_STRICTER = (
    "disable", "skip", "allow", "bypass", "ignore", "permit", "exempt", "except", "override",
    "without", "trust", "white", "dry", "audit", "shadow", "no ", "not ", "never",
)  # fmt: skip
SAYS_NOTHING = ("description", "note", "name", "version")
WEAKER = "A weaker guardrail"
UNKNOWN = "A guardrail changes, and nobody knows which way is weaker"


def guardrail_changes(before: Any, after: Any) -> list[Change]:
    """Name every guardrail that changes, with the risk of it."""
    found = []
    for path, was, becomes in changed(before, after):
        what = " › ".join(words(part) for part in path)
        risk, why = _judge(path, was, becomes)
        found.append(Change(sentence(what, was, becomes), risk, why))
    return found


def _judge(path: tuple[str, ...], was: Any, becomes: Any) -> tuple[str, str]:
    if path[-1:] and path[-1] in SAYS_NOTHING and len(path) == 1:
        return LOW, ""
    judged = anywhere(path, was, becomes)
    if judged is not None:
        return judged
    way = _way(path)
    if becomes is MISSING or becomes is None:
        # A setting that loosens, taken away, is stricter; any other was a protection.
        loosens = _starts(path, OFF_IS_STRICTER)
        return (LOW, "") if loosens and way != schemas.HIGHER else (HIGH, WEAKER)
    if was is MISSING or was is None:
        if way == "" or _starts(path, OFF_IS_STRICTER):
            return (LOW, "") if _is_off(becomes) else (HIGH, UNKNOWN)
        if isinstance(becomes, bool) and not becomes:
            return HIGH, UNKNOWN
        return LOW, ""
    if _kind(was) != _kind(becomes):
        return HIGH, UNKNOWN
    if isinstance(was, list):
        gained, lost = gained_and_lost(was, becomes)
        if not gained and not lost:
            return (HIGH, UNKNOWN) if way == "" else (LOW, "")
        weaker = lost if way == schemas.HIGHER else gained
        return _verdict(way, bool(weaker))
    if isinstance(was, bool):
        return _verdict(way, was if way == schemas.HIGHER else bool(becomes))
    old, new = number(was), number(becomes)
    if old is not None and new is not None:
        return _verdict(way, new < old if way == schemas.HIGHER else new > old)
    return HIGH, UNKNOWN


def _kind(value: Any) -> type:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float if is_number else type(value)


def _verdict(way: str, weaker: bool) -> tuple[str, str]:
    if way == "":
        return HIGH, UNKNOWN
    return (HIGH, WEAKER) if weaker else (LOW, "")


def _is_off(value: Any) -> bool:
    return value is False or value == [] or value == {}


def _way(path: tuple[str, ...]) -> str:
    """Return which way this setting becomes stricter, or "" where nobody knows."""
    declared = schemas.stricter("guardrails", path[0]) if len(path) == 1 else ""
    if declared:
        return declared
    name = words(path[-1]).lower() + " "
    if name.startswith(OFF_IS_STRICTER) or any(term in name for term in LESS_IS_STRICTER):
        return schemas.LOWER
    if name.startswith(ON_IS_STRICTER) or any(term in name for term in MORE_IS_STRICTER):
        return schemas.HIGHER
    return ""


def _starts(path: tuple[str, ...], terms: tuple[str, ...]) -> bool:
    return (words(path[-1]).lower() + " ").startswith(terms)
