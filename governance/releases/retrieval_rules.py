"""Documents added, removed and changed, and access rules that widen. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from governance.releases.values import (
    HIGH,
    LOW,
    MEDIUM,
    MISSING,
    Change,
    generic,
    show,
    speaks_of,
)

Content = Mapping[str, Any]
ACCESS_WORDS = (
    "access", "acl", "permission", "visib", "tenant", "scope", "filter", "audience", "groups",
    "allow", "deny",
)  # fmt: skip
ALLOWS = ("allow", "allowed", "groups", "roles", "users", "include", "read")
DENIES = ("deny", "denied", "exclude", "except", "forbid", "block")
FIRST_NAMES = 3
MANIFEST = ("documents", "count", "root")
WIDER = "A wider access rule"


@dataclass(frozen=True, slots=True)
class DocumentDiff:
    """Which documents of two corpora differ, by id, sorted."""

    before: int
    after: int
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    edited: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        return len(self.added) + len(self.removed) + len(self.edited)


def compare_documents(before: Content | None, after: Content | None) -> DocumentDiff:
    """Compare two corpus manifests, in tenths of a second for 100,000 documents."""
    old, new = _documents(before or {}), _documents(after or {})
    return DocumentDiff(
        len(old),
        len(new),
        tuple(sorted(new.keys() - old.keys())),
        tuple(sorted(old.keys() - new.keys())),
        tuple(sorted(key for key, text in old.items() if key in new and new[key] != text)),
    )


def retrieval_changes(before: Content, after: Content) -> list[Change]:
    """Name what changes in the corpus, who may read it, and how it is searched."""
    found: list[Change] = []
    if any(before.get(key) != after.get(key) for key in MANIFEST):
        found.append(_corpus(compare_documents(before, after)))
    access = {key for key in (*before, *after) if speaks_of((key,), ACCESS_WORDS)}
    for key in sorted(access):
        found.extend(_access(key, before.get(key, MISSING), after.get(key, MISSING)))
    quiet = {*MANIFEST, *access}
    rest_old = {key: value for key, value in before.items() if key not in quiet}
    rest_new = {key: value for key, value in after.items() if key not in quiet}
    if rest_old != rest_new:
        found.extend(generic("retrieval", rest_old, rest_new, MEDIUM, "The retrieval changes"))
    return found


def _corpus(documents: DocumentDiff) -> Change:
    parts = [
        f"{len(names):,} {word} ({', '.join(names[:FIRST_NAMES])}"
        f"{', …' if len(names) > FIRST_NAMES else ''})"
        for names, word in (
            (documents.added, "added"), (documents.removed, "removed"),
            (documents.edited, "changed"),
        )
        if names
    ]  # fmt: skip
    what = ", ".join(parts) or "the same documents, listed or counted differently"
    return Change(
        f"The corpus goes from {documents.before:,} to {documents.after:,} documents: {what}.",
        MEDIUM,
        "The corpus changes",
    )


def _documents(content: Content) -> dict[str, str]:
    """Each document by its id; one listed twice, or without an id, keeps all that is said."""
    listed = content.get("documents", ())
    found: dict[str, str] = {}
    for item in listed if isinstance(listed, list) else ():
        if isinstance(item, Mapping) and "id" in item:
            name = str(item["id"])
            said = (
                str(item.get("sha256"))
                if len(item) <= 2 and "sha256" in item
                else json.dumps(item, sort_keys=True)
            )
        else:
            name = said = item if isinstance(item, str) else json.dumps(item, sort_keys=True)
        found[name] = f"{found[name]} {said}" if name in found else said
    return found


def _access(key: str, was: Any, becomes: Any) -> list[Change]:
    if was is not MISSING and becomes is not MISSING and _same(was, becomes):
        return []
    name = "Access" if key == "access" else f"Access ({key.replace('_', ' ')})"
    if becomes is MISSING:
        return [Change(f"{name} is not restricted any more; it was {show(was)}.", HIGH, WIDER)]
    new = _rules(becomes)
    if was is MISSING:
        # Where nothing was said, anything may have been open already.
        risk = (LOW, "") if new and (new[0] or new[1]) else (HIGH, WIDER)
        return [Change(f"{name} is restricted for the first time: {show(becomes)}.", *risk)]
    old = _rules(was)
    if old is None or new is None:
        return [
            Change(
                f"{name} goes from {show(was)} to {show(becomes)}.", HIGH,
                "An access rule that cannot be compared",
            )
        ]  # fmt: skip
    found = []
    for gained, sentence in (
        (_more(new[0], old[0]), "{} widens to {}."),
        (_more(old[1], new[1]), "{} is not refused any more to {}."),
    ):
        if gained:
            found.append(Change(sentence.format(name, show(gained)), HIGH, WIDER))
    lost = _more(old[0], new[0])
    if lost:
        empty = not new[0]
        found.append(
            Change(
                f"{name} no longer covers {show(lost)}"
                + (", and nothing is left, which may mean everything." if empty else "."),
                *((HIGH, WIDER) if empty else (LOW, "")),
            )
        )
    if refused := _more(new[1], old[1]):
        found.append(Change(f"{name} is refused to {show(refused)}."))
    return found or [
        Change(f"{name} is written differently: {show(becomes)}.", HIGH, "An access rule changes")
    ]


def _same(one: Any, other: Any) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _more(of: Sequence[str], than: Sequence[str]) -> list[str]:
    return [item for item in of if item not in than]


def _rules(access: Any) -> tuple[list[str], list[str]] | None:
    """Return what is allowed and what is refused, or None where that cannot be read."""
    if isinstance(access, str):
        return [access], []
    if isinstance(access, list):
        allowed: list[str] = []
        denied: list[str] = []
        for rule in access:
            if isinstance(rule, str):
                allowed.append(rule)
            elif isinstance(rule, Mapping):
                effect = str(rule.get("effect", rule.get("action", "allow"))).lower()
                is_denied = effect.startswith(DENIES)
                (denied if is_denied else allowed).append(_rule(rule))
            else:
                return None
        return allowed, denied
    if isinstance(access, Mapping) and all(key in (*ALLOWS, *DENIES) for key in access):
        allowed, denied = [], []
        for key, value in access.items():
            items = value if isinstance(value, list) else [value]
            side = denied if key in DENIES else allowed
            plain = key in ("allow", "allowed", "deny", "denied")
            for item in items:
                text = item if isinstance(item, str) else _rule(item)
                side.append(text if plain else f"{key} {text}")
        return allowed, denied
    return None


def _rule(rule: Any) -> str:
    return json.dumps(rule, sort_keys=True, ensure_ascii=False)
