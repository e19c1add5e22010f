"""What differs between two releases, in plain words, and how risky that is. Pure."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from governance.releases.guardrail_rules import guardrail_changes
from governance.releases.retrieval_rules import (
    MANIFEST,
    DocumentDiff,
    compare_documents,
    retrieval_changes,
)
from governance.releases.tool_rules import tool_changes
from governance.releases.values import (
    HIGH,
    LOW,
    MEDIUM,
    MISSING,
    MOST_NAMED,
    PERMISSIONS,
    Change,
    changed,
    gained_and_lost,
    generic,
    same,
    show,
    words,
)
from governance.releases.wording import TextDiff, is_wording, text_diffs

__all__ = (
    "HIGH", "LOW", "MEDIUM", "PERMISSIONS", "SLOT_NAMES", "Change", "DocumentDiff", "ReleaseDiff",
    "SlotDiff", "ValueDiff", "compare", "documents_changed", "show",
)  # fmt: skip

Content = Mapping[str, Any]
RANK = {LOW: 0, MEDIUM: 1, HIGH: 2}
MOST_LINES = 600  # of the text of one slot, on a page
LONGEST_VALUE = 200  # characters of one setting
MOST_VALUES = 200  # settings of one slot, on a page
MOST_COMPARED = 4_000  # lines of one slot that are compared at all

SLOT_NAMES = {
    "prompt_policy": "Prompt and policy",
    "model": "Model",
    "tools": "Tools",
    "retrieval": "Retrieval",
    "guardrails": "Guardrails",
    "routing": "Routing",
    "feedback": "Feedback",
}


@dataclass(frozen=True, slots=True)
class ValueDiff:
    """One setting before and after, as a person would write it; "" where it is not there."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class SlotDiff:
    """What differs in one slot.

    `lines` is the text diff: (mark, text), mark in ' ', '-', '+'; `texts` the same word by word for
    texts; `values` every other setting; `documents` the corpus, where it differs.
    """

    slot: str
    name: str
    changes: tuple[Change, ...]
    lines: tuple[tuple[str, str], ...]
    declared_before: bool
    declared_after: bool
    texts: tuple[TextDiff, ...] = ()
    documents: DocumentDiff | None = None
    values: tuple[ValueDiff, ...] = ()

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
    def unchanged(self) -> tuple[SlotDiff, ...]:
        return tuple(slot for slot in self.slots if not slot.differs)

    @property
    def is_empty(self) -> bool:
        return not self.changed

    @property
    def sentences(self) -> list[str]:
        return [change.sentence for slot in self.changed for change in slot.changes]

    @property
    def ranked(self) -> list[tuple[str, Change]]:
        """Every change with the name of its slot, the riskiest first."""
        found = [(slot.name, change) for slot in self.changed for change in slot.changes]
        return sorted(found, key=lambda entry: -RANK[entry[1].risk])

    @property
    def documents_changed(self) -> int:
        return sum(slot.documents.count for slot in self.slots if slot.documents)


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
            if RANK[change.risk] > RANK[risk]:
                risk = change.risk
            if change.why:
                reasons.append(f"{change.why}: {change.sentence}")
    return ReleaseDiff(slots, risk, tuple(reasons))


def documents_changed(
    before: Mapping[str, Content | None], after: Mapping[str, Content | None]
) -> int:
    """How many documents of the corpus were added, removed or edited."""
    return compare_documents(before.get("retrieval"), after.get("retrieval")).count


def _slot(slot: str, before: Content | None, after: Content | None) -> SlotDiff:
    changes: list[Change] = []
    if before is None and after is not None:
        changes.append(_appeared(slot))
    elif before is not None and after is None:
        changes.append(
            Change(
                f"{SLOT_NAMES[slot]} is not declared any more.",
                HIGH if slot in ("guardrails", "tools", "retrieval") else MEDIUM,
                "A slot is no longer under control",
            )
        )
    elif before is not None and after is not None and not _is_same(before, after):
        changes.extend(_RULES[slot](before, after))
        if not changes:
            changes.append(
                Change(
                    f"{SLOT_NAMES[slot]} is written differently.",
                    HIGH if slot in ("guardrails", "tools", "retrieval") else MEDIUM,
                    "A slot changes in a way that cannot be named",
                )
            )
    corpus = None
    if changes and slot == "retrieval":
        corpus = compare_documents(before, after)
        corpus = corpus if corpus.count else None
    return SlotDiff(
        slot,
        SLOT_NAMES[slot],
        tuple(changes),
        _text_diff(before, after) if changes else (),
        before is not None,
        after is not None,
        text_diffs(_settings(slot, before), _settings(slot, after)) if changes else (),
        corpus,
        _values(_settings(slot, before), _settings(slot, after)) if changes else (),
    )


def _is_same(before: Content, after: Content) -> bool:
    return before is after or same(before, after)


def _appeared(slot: str) -> Change:
    risk = {"tools": HIGH, "model": MEDIUM, "retrieval": MEDIUM}.get(slot, LOW)
    return Change(
        f"{SLOT_NAMES[slot]} is declared for the first time.",
        risk,
        "" if risk == LOW else "A slot comes under control with new content",
    )


def _text_diff(before: Content | None, after: Content | None) -> tuple[tuple[str, str], ...]:
    def text(content: Content | None) -> list[str]:
        if content is None:
            return []
        shown = json.dumps(
            _without_documents(content), indent=2, sort_keys=True, ensure_ascii=False
        )
        return shown.splitlines()[:MOST_COMPARED]

    marked = list(difflib.unified_diff(text(before), text(after), lineterm="", n=2))[2:]
    return tuple(
        (line[0] if line[0] in "+-" else " ", line if line.startswith("@@") else line[1:])
        for line in marked[:MOST_LINES]
    )


def _settings(slot: str, content: Content | None) -> Content:
    """What is shown setting by setting: everything but the corpus, which is shown by itself."""
    if slot != "retrieval" or content is None:
        return content or {}
    return {key: value for key, value in content.items() if key not in MANIFEST}


def _values(before: Content, after: Content) -> tuple[ValueDiff, ...]:
    """Every setting that differs and is no text: thresholds, permissions, lists."""
    found = []
    for path, was, becomes in changed(before, after):
        if is_wording(was, becomes):
            continue
        name = " › ".join(words(part) for part in path)
        shown_before, shown_after = _shown(was, becomes)
        found.append(ValueDiff(name[:1].upper() + name[1:], shown_before, shown_after))
        if len(found) >= MOST_VALUES:
            break
    return tuple(found)


def _shown(was: Any, becomes: Any) -> tuple[str, str]:
    if isinstance(was, list) and isinstance(becomes, list) and len(was + becomes) > 2 * MOST_NAMED:
        gained, lost = gained_and_lost(was, becomes)
        return (
            f"{len(was):,} in all" + (f", among them {show(lost)}" if lost else ""),
            f"{len(becomes):,} in all" + (f", new: {show(gained)}" if gained else ""),
        )
    return _plain(was), _plain(becomes)


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value if len(value) <= LONGEST_VALUE else value[: LONGEST_VALUE - 1] + "…"
    return "" if value is MISSING else show(value)


def _without_documents(content: Content) -> Content:
    """A corpus is counted and named by itself; as text only its size stays."""
    documents = content.get("documents")
    if not isinstance(documents, list):
        return content
    return {**content, "documents": f"{len(documents):,} documents"}


def _prompt(before: Content, after: Content) -> list[Change]:
    return generic("prompt", before, after)


def _model(before: Content, after: Content) -> list[Change]:
    return generic("model", before, after, MEDIUM, "The model changes")


def _routing(before: Content, after: Content) -> list[Change]:
    return generic("routing", before, after, MEDIUM, "The routing changes")


def _feedback(before: Content, after: Content) -> list[Change]:
    return generic("feedback", before, after, MEDIUM, "What is learned from people changes")


_RULES: Mapping[str, Callable[[Content, Content], list[Change]]] = {
    "prompt_policy": _prompt,
    "model": _model,
    "tools": tool_changes,
    "retrieval": retrieval_changes,
    "guardrails": guardrail_changes,
    "routing": _routing,
    "feedback": _feedback,
}
