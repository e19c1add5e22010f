"""What differs between two releases, in plain words, and how risky that is. Pure."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Content = Mapping[str, Any]
HIGH, MEDIUM, LOW = "high", "medium", "low"
_RANK = {LOW: 0, MEDIUM: 1, HIGH: 2}

SLOT_NAMES = {
    "prompt_policy": "Prompt and policy",
    "model": "Model",
    "tools": "Tools",
    "retrieval": "Retrieval",
    "guardrails": "Guardrails",
    "routing": "Routing",
    "feedback": "Feedback",
}
PERMISSIONS = ("none", "read", "write", "execute")


@dataclass(frozen=True, slots=True)
class Change:
    """One difference in words, with the risk it carries and why."""

    sentence: str
    risk: str = LOW
    why: str = ""


@dataclass(frozen=True, slots=True)
class SlotDiff:
    """What differs in one slot. `lines` is the text diff: (mark, text), mark in ' ', '-', '+'."""

    slot: str
    name: str
    changes: tuple[Change, ...]
    lines: tuple[tuple[str, str], ...]
    declared_before: bool
    declared_after: bool

    @property
    def differs(self) -> bool:
        return bool(self.changes)


@dataclass(frozen=True, slots=True)
class ReleaseDiff:
    """All seven slots, with the risk class of the whole and its reasons."""

    slots: tuple[SlotDiff, ...]
    risk: str
    reasons: tuple[str, ...] = field(default=())

    @property
    def changed(self) -> tuple[SlotDiff, ...]:
        return tuple(slot for slot in self.slots if slot.differs)

    @property
    def is_empty(self) -> bool:
        return not self.changed

    @property
    def sentences(self) -> list[str]:
        return [change.sentence for slot in self.changed for change in slot.changes]


def compare(
    before: Mapping[str, Content | None], after: Mapping[str, Content | None]
) -> ReleaseDiff:
    """Compare two releases slot by slot.

    Args:
        before, after: content per slot; None or missing is "not declared".
    """
    slots = tuple(_slot(slot, before.get(slot), after.get(slot)) for slot in SLOT_NAMES)
    risk = LOW
    reasons: list[str] = []
    for slot in slots:
        for change in slot.changes:
            if _RANK[change.risk] > _RANK[risk]:
                risk = change.risk
            if change.why:
                reasons.append(f"{change.why}: {change.sentence}")
    return ReleaseDiff(slots, risk, tuple(reasons))


def _slot(slot: str, before: Content | None, after: Content | None) -> SlotDiff:
    changes: list[Change] = []
    if before is None and after is not None:
        changes.append(_appeared(slot))
    elif before is not None and after is None:
        changes.append(
            Change(
                f"{SLOT_NAMES[slot]} is not declared any more.",
                HIGH if slot in ("guardrails", "tools") else MEDIUM,
                "A slot is no longer under control",
            )
        )
    elif before is not None and after is not None and before != after:
        changes.extend(_RULES[slot](before, after))
        if not changes:
            changes.extend(_generic(SLOT_NAMES[slot].lower(), before, after))
    lines = tuple(_text_diff(before, after)) if changes else ()
    return SlotDiff(
        slot, SLOT_NAMES[slot], tuple(changes), lines, before is not None, after is not None
    )


def _appeared(slot: str) -> Change:
    risk = {"tools": HIGH, "model": MEDIUM, "retrieval": MEDIUM}.get(slot, LOW)
    return Change(
        f"{SLOT_NAMES[slot]} is declared for the first time.",
        risk,
        "" if risk == LOW else "A slot comes under control with new content",
    )


def _text_diff(before: Content | None, after: Content | None) -> list[tuple[str, str]]:
    def text(content: Content | None) -> list[str]:
        return [] if content is None else _readable(content).splitlines()

    marked = difflib.unified_diff(text(before), text(after), lineterm="", n=2)
    return [
        (line[0] if line[0] in "+-" else " ", line if line.startswith("@@") else line[1:])
        for line in list(marked)[2:2_002]
    ]


def _readable(content: Content) -> str:
    """JSON for people: sorted, one document of a corpus on one line."""
    shown = dict(content)
    documents = shown.get("documents")
    if isinstance(documents, list):
        shown["documents"] = [
            f"{item.get('id')} {str(item.get('sha256', ''))[:12]}"
            if isinstance(item, dict)
            else item
            for item in documents
        ]
    return json.dumps(shown, indent=2, sort_keys=True, ensure_ascii=False)


def _words(name: str) -> str:
    return name.replace("_", " ").replace("-", " ")


def show(value: Any) -> str:
    """A value as a person would write it."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, str):
        return f"“{value}”" if len(value) <= 60 else f"“{value[:57]}…”"
    if isinstance(value, list):
        return (
            ", ".join(str(item) for item in value[:6]) + ("…" if len(value) > 6 else "") or "none"
        )
    if isinstance(value, float):
        return f"{value:g}" if value != round(value, 2) else f"{value:.2f}"
    return str(value)


def _flatten(content: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(content, Mapping):
        flat: dict[str, Any] = {}
        for key, value in content.items():
            flat.update(_flatten(value, f"{prefix}{' › ' if prefix else ''}{_words(str(key))}"))
        return flat
    return {prefix: content}


def _generic(
    name: str, before: Content, after: Content, risk: str = LOW, why: str = ""
) -> list[Change]:
    """Name every value that differs, by its path."""
    old, new = _flatten(before), _flatten(after)
    changes = []
    for path in sorted(set(old) | set(new)):
        if old.get(path) == new.get(path) and (path in old) == (path in new):
            continue
        what = f"{name}’s {path}"
        if path not in old:
            sentence = f"The {what} is new: {show(new[path])}."
        elif path not in new:
            sentence = f"The {what} is gone; it was {show(old[path])}."
        elif isinstance(old[path], str) and isinstance(new[path], str) and len(new[path]) > 60:
            sentence = f"The wording of the {what} changes."
        elif isinstance(old[path], list) and isinstance(new[path], list):
            sentence = _list_sentence(what, old[path], new[path])
        else:
            sentence = f"The {what} goes from {show(old[path])} to {show(new[path])}."
        changes.append(Change(sentence, risk, why))
    return changes or [Change(f"The {name} changes.", risk, why)]


def _list_sentence(path: str, old: Sequence[Any], new: Sequence[Any]) -> str:
    gained = [item for item in new if item not in old]
    lost = [item for item in old if item not in new]
    parts = []
    if gained:
        parts.append(f"gains {show(gained)}")
    if lost:
        parts.append(f"loses {show(lost)}")
    return f"The {path} {' and '.join(parts) or 'changes its order'}."


def _model(before: Content, after: Content) -> list[Change]:
    return _generic("model", before, after, MEDIUM, "The model changes")


def _retrieval(before: Content, after: Content) -> list[Change]:
    changes: list[Change] = []
    old, new = _documents(before), _documents(after)
    if old != new:
        gained, lost = len(new.keys() - old.keys()), len(old.keys() - new.keys())
        edited = sum(1 for key in new.keys() & old.keys() if new[key] != old[key])
        parts = [
            f"{count:,} {word}"
            for count, word in ((gained, "added"), (lost, "removed"), (edited, "changed"))
            if count
        ]
        changes.append(
            Change(
                f"The corpus goes from {len(old):,} to {len(new):,} documents: {', '.join(parts)}.",
                MEDIUM,
                "The corpus changes",
            )
        )
    wider = [item for item in _access(after) if item not in _access(before)]
    narrower = [item for item in _access(before) if item not in _access(after)]
    if wider:
        changes.append(Change(f"Access widens to {show(wider)}.", HIGH, "A wider access rule"))
    if narrower:
        changes.append(Change(f"Access no longer covers {show(narrower)}."))
    ignored = ("documents", "count", "root", "access")
    rest_old = {key: value for key, value in before.items() if key not in ignored}
    rest_new = {key: value for key, value in after.items() if key not in ignored}
    if rest_old != rest_new:
        changes.extend(_generic("retrieval", rest_old, rest_new, MEDIUM, "The retrieval changes"))
    if not changes and before.get("root") != after.get("root"):
        changes.append(Change("The corpus changes.", MEDIUM, "The corpus changes"))
    return changes


def _documents(content: Content) -> dict[str, str]:
    return {
        str(item.get("id")): str(item.get("sha256"))
        for item in content.get("documents", ())
        if isinstance(item, Mapping)
    }


def documents_changed(
    before: Mapping[str, Content | None], after: Mapping[str, Content | None]
) -> int:
    """How many documents of the corpus were added, removed or edited."""
    old = _documents(before.get("retrieval") or {})
    new = _documents(after.get("retrieval") or {})
    return len(old.keys() ^ new.keys()) + sum(old[key] != new[key] for key in old.keys() & new)


def _access(content: Content) -> list[str]:
    access = content.get("access", [])
    return [str(item) for item in (access if isinstance(access, list) else [access])]


def _tools(before: Content, after: Content) -> list[Change]:
    old, new = _tool_map(before), _tool_map(after)
    changes = []
    for name in sorted(old.keys() | new.keys()):
        was, becomes = old.get(name), new.get(name)
        if was == becomes:
            continue
        if becomes is None:
            changes.append(Change(f"The tool {name} is taken away."))
        elif was is None:
            right = str(becomes.get("permission", "read"))
            writes = _rank(right) > _rank("read")
            changes.append(
                Change(
                    f"The tool {name} is granted with the right to {right}.",
                    HIGH if writes else MEDIUM,
                    "A new tool that writes" if writes else "A new tool",
                )
            )
        else:
            changes.extend(_tool(name, was, becomes))
    rest_old = {key: value for key, value in before.items() if key != "tools"}
    rest_new = {key: value for key, value in after.items() if key != "tools"}
    if rest_old != rest_new:
        changes.extend(_generic("tools", rest_old, rest_new, HIGH, "The tools' limits change"))
    return changes


def _tool(name: str, was: Content, becomes: Content) -> list[Change]:
    changes = []
    if was.get("permission") != becomes.get("permission"):
        up = _rank(str(becomes.get("permission"))) > _rank(str(was.get("permission")))
        changes.append(
            Change(
                f"The tool {name} goes from the right to {was.get('permission')} to the right to"
                f" {becomes.get('permission')}.",
                HIGH if up else LOW,
                "More rights for a tool" if up else "",
            )
        )
    if was.get("money_limit") != becomes.get("money_limit"):
        up = becomes.get("money_limit") is None or _number(becomes.get("money_limit")) > _number(
            was.get("money_limit")
        )
        changes.append(
            Change(
                f"The money limit of {name} goes from {show(was.get('money_limit'))} to"
                f" {show(becomes.get('money_limit'))}.",
                HIGH if up else LOW,
                "A higher money limit" if up else "",
            )
        )
    known = ("permission", "money_limit", "name")
    rest_old = {key: value for key, value in was.items() if key not in known}
    rest_new = {key: value for key, value in becomes.items() if key not in known}
    if rest_old != rest_new:
        changes.extend(_generic(f"tool {name}", rest_old, rest_new, MEDIUM, "A tool changes"))
    return changes


def _tool_map(content: Content) -> dict[str, Content]:
    tools = content.get("tools", [])
    return (
        {str(item.get("name")): item for item in tools if isinstance(item, Mapping)}
        if isinstance(tools, list)
        else {}
    )


def _rank(right: str) -> int:
    # An unknown right counts as the strongest: it must not slip through as harmless.
    return PERMISSIONS.index(right) if right in PERMISSIONS else len(PERMISSIONS)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return 0.0


def _guardrails(before: Content, after: Content) -> list[Change]:
    """A lower threshold or a shorter list of checks is weaker; anything else counts as a change."""
    changes = []
    old, new = _flatten(before), _flatten(after)
    for path in sorted(set(old) | set(new)):
        was, becomes = old.get(path), new.get(path)
        if was == becomes:
            continue
        weaker, sentence = False, f"The {path} goes from {show(was)} to {show(becomes)}."
        if isinstance(was, list) or isinstance(becomes, list):
            was, becomes = was or [], becomes or []
            weaker = any(item not in becomes for item in was)
            sentence = _list_sentence(path, was, becomes)
        elif isinstance(was, bool) or isinstance(becomes, bool):
            weaker = bool(was) and not becomes
        elif isinstance(was, int | float) and isinstance(becomes, int | float):
            upper_bound = any(word in path for word in ("max", "limit", "allowed", "up to"))
            weaker = becomes > was if upper_bound else becomes < was
        elif becomes is None:
            weaker = True
            sentence = f"The {path} is gone; it was {show(was)}."
        elif was is None:
            sentence = f"The {path} is new: {show(becomes)}."
        changes.append(
            Change(sentence, HIGH if weaker else LOW, "A weaker guardrail" if weaker else "")
        )
    return changes


def _routing(before: Content, after: Content) -> list[Change]:
    return _generic("routing", before, after, MEDIUM, "The routing changes")


def _feedback(before: Content, after: Content) -> list[Change]:
    return _generic("feedback", before, after, MEDIUM, "What is learned from people changes")


def _wording(before: Content, after: Content) -> list[Change]:
    return _generic("prompt", before, after)


_RULES = {
    "prompt_policy": _wording,
    "model": _model,
    "tools": _tools,
    "retrieval": _retrieval,
    "guardrails": _guardrails,
    "routing": _routing,
    "feedback": _feedback,
}
