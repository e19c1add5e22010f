"""Values of a release as a person would write them, and what it means when they change. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

HIGH, MEDIUM, LOW = "high", "medium", "low"
PERMISSIONS = ("none", "read", "write", "execute")
AUTHORITIES = ("read_only", "draft", "execute_with_approval", "execute")
MOST_NAMED = 6
MISSING = object()

# Words in a name that say what it is about, whichever slot it stands in.
MONEY_WORDS = ("money", "refund", "amount", "credit", "payment", "spend")
LIMIT_WORDS = ("limit", "max", "cap", "ceiling", "up to", "at most", "budget", "amount")
ACCESS_WORDS = ("access", "acl", "visib", "tenant", "audience", "allowed groups")


@dataclass(frozen=True, slots=True)
class Change:
    """One difference in words, with the risk it carries and why."""

    sentence: str
    risk: str = LOW
    why: str = ""


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same; Python alone takes 1 for True."""
    if one != other:
        return False
    return isinstance(one, str) or json.dumps(_exact(one)) == json.dumps(_exact(other))


def _exact(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {key: _exact(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_exact(item) for item in value]
    return value


def words(name: str) -> str:
    return name.replace("_", " ").replace("-", " ")


def show(value: Any) -> str:
    """A value as a person would write it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, str):
        return f"“{value}”" if len(value) <= 60 else f"“{value[:57]}…”"
    if isinstance(value, Sequence):
        shown = ", ".join(_item(item) for item in value[:MOST_NAMED])
        return shown + ("…" if len(value) > MOST_NAMED else "") or "none"
    if isinstance(value, float):
        short = f"{value:.2f}"
        return short if float(short) == value else repr(value)
    if isinstance(value, Mapping):
        text = json.dumps(value, sort_keys=True, ensure_ascii=False)
        return text if len(text) <= 120 else text[:117] + "…"
    return str(value)


def _item(item: Any) -> str:
    if isinstance(item, Mapping):
        name = item.get("name") or item.get("id")
        return str(name) if name else show(item)
    return "nothing" if item is None else str(item)


def flatten(content: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Return every value by its path. Lists of named objects are opened too, by those names."""
    if isinstance(content, Mapping) and (content or not path):
        flat: dict[tuple[str, ...], Any] = {}
        for key, value in content.items():
            flat.update(flatten(value, (*path, str(key))))
        return flat
    named = _named(content)
    if named is not None:
        flat = {}
        for name, item in named.items():
            flat.update(flatten(item, (*path, name)))
        return flat
    return {path: content}


def _named(content: Any) -> dict[str, Any] | None:
    """A list of objects by their names, or None where they have none of their own."""
    if not isinstance(content, list) or not content:
        return None
    found = {}
    for item in content:
        name = (item.get("name") or item.get("id")) if isinstance(item, Mapping) else None
        if not isinstance(name, str) or name in found:
            return None
        found[name] = item
    return found


def changed(before: Any, after: Any) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """Yield (path, before, after) of every value that differs; MISSING where there is none."""
    old, new = flatten(before), flatten(after)
    for path in sorted(old.keys() | new.keys()):
        was, becomes = old.get(path, MISSING), new.get(path, MISSING)
        if was is MISSING or becomes is MISSING or not same(was, becomes):
            yield path, was, becomes


def sentence(what: str, was: Any, becomes: Any) -> str:
    """Say what happened to one value."""
    many = _is_plural(what)
    if was is MISSING:
        return f"The {what} {'are' if many else 'is'} new: {show(becomes)}."
    if becomes is MISSING:
        return f"The {what} {'are gone; they were' if many else 'is gone; it was'} {show(was)}."
    if isinstance(was, list) and isinstance(becomes, list):
        return list_sentence(what, was, becomes)
    if isinstance(was, str) and isinstance(becomes, str) and max(len(was), len(becomes)) > 60:
        return f"The wording of the {what} changes."
    old, new = show(was), show(becomes)
    if old == new:  # 1 and "1" look alike
        old, new = (f"{text} ({_kind(value)})" for text, value in ((old, was), (new, becomes)))
    return f"The {what} {'go' if many else 'goes'} from {old} to {new}."


def _is_plural(what: str) -> bool:
    """Whether a setting's name speaks of several things, so that the sentence can agree with it."""
    return what.endswith("s") and not what.endswith(("ss", "us", "is", "’s"))


def _kind(value: Any) -> str:
    names = {bool: "a switch", str: "text", list: "a list", dict: "an object"}
    return names.get(type(value), "a number" if value is not None else "empty")


def list_sentence(what: str, old: Sequence[Any], new: Sequence[Any]) -> str:
    gained, lost = gained_and_lost(old, new)
    many = _is_plural(what)
    parts = []
    if gained:
        parts.append(f"{'gain' if many else 'gains'} {show(gained)}")
    if lost:
        parts.append(f"{'lose' if many else 'loses'} {show(lost)}")
    order = "change their order or repeat themselves" if many else (
        "changes its order or repeats itself"
    )  # fmt: skip
    return f"The {what} {' and '.join(parts) or order}."


def gained_and_lost(old: Sequence[Any], new: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    before, after = ({json.dumps(_exact(item)): item for item in items} for items in (old, new))
    return (
        [item for key, item in after.items() if key not in before],
        [item for key, item in before.items() if key not in after],
    )


def number(value: Any) -> Decimal | None:
    """The number that a value is or spells; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = Decimal(str(value).strip())
    except InvalidOperation:
        return None
    return found if found.is_finite() else None


def speaks_of(path: Sequence[str], terms: Sequence[str]) -> bool:
    text = " ".join(words(part).lower() for part in path)
    return any(term in text for term in terms)


def limit_risk(was: Any, becomes: Any) -> tuple[str, str]:
    """Judge a money limit: higher, gone or unreadable is high."""
    if becomes is MISSING or becomes is None:
        return HIGH, "A money limit is gone"
    new = number(becomes)
    if new is None:
        return HIGH, "A money limit that cannot be read"
    old = None if was is MISSING else number(was)
    if old is None:
        # A limit where there was none is stricter; one that could not be read may have been lower.
        return (LOW, "") if was is MISSING or was is None else (HIGH, "A higher money limit")
    return (HIGH, "A higher money limit") if new > old else (LOW, "")


def anywhere(path: tuple[str, ...], was: Any, becomes: Any) -> tuple[str, str] | None:
    """Judge what is risky in whichever slot it stands: authority, rights, money, access."""
    name = words(path[-1]).lower() if path else ""
    if name.startswith("authority"):
        return _ladder(AUTHORITIES, was, becomes, "A higher authority level")
    if name in ("permission", "permissions", "right", "rights"):
        return _ladder(PERMISSIONS, was, becomes, "More rights")
    if name == "currency":
        return HIGH, "The currency of a limit changes"
    if speaks_of(path, MONEY_WORDS) and speaks_of(path[-1:], (*LIMIT_WORDS, *MONEY_WORDS)):
        if number(was) is None and number(becomes) is None and not _is_a_limit(name):
            return None  # a text about money, not a limit
        return limit_risk(was, becomes)
    if speaks_of(path, ACCESS_WORDS):
        return HIGH, "An access rule changes"
    return None


def _is_a_limit(name: str) -> bool:
    return any(term in name for term in ("limit", "max", "cap", "budget"))


def _ladder(steps: Sequence[str], was: Any, becomes: Any, why: str) -> tuple[str, str]:
    """Lower is fine; higher, gone or a step that nobody knows is high."""
    if becomes is MISSING or becomes not in steps:
        return HIGH, why
    if was is MISSING or was not in steps:
        return (LOW, "") if becomes == steps[0] else (HIGH, why)
    return (HIGH, why) if steps.index(becomes) > steps.index(was) else (LOW, "")


def generic(name: str, before: Any, after: Any, risk: str = LOW, why: str = "") -> list[Change]:
    """Name every value that differs, by its path; what is risky anywhere is judged so here too."""
    found = []
    for path, was, becomes in changed(before, after):
        what = f"{name}’s {' › '.join(words(part) for part in path)}"
        judged = anywhere(path, was, becomes)
        own = judged if judged is not None and judged[0] != LOW else (risk, why)
        found.append(Change(sentence(what, was, becomes), *own))
    return found or [Change(f"The {name} changes.", risk, why)]
