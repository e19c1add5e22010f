"""What a release declares, compared with what its runs report. Pure.

A run may report a slot by a digest (of the component, or of its content alone) or by names: the
model that answered, tools called, documents retrieved, a prompt's version. docs/integrating.md has
the table of what is understood.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from governance.common.canonical import digest_text

MATCHES, DIFFERS, UNKNOWN = "matches", "differs", "unknown"
SLOTS = ("prompt_policy", "model", "tools", "retrieval", "guardrails", "routing", "feedback")
# What may follow the slot's name: how the value was seen. Anything else is kept, not compared.
PARTS = {
    "tools": ("", "seen", "used"),
    "retrieval": ("", "seen", "documents", "source"),
    "prompt_policy": ("", "seen", "version"),
}
HEX = re.compile(r"(?:sha256:)?([0-9a-fA-F]{64})\Z")
SHORT_HEX = re.compile(r"sha256:([0-9a-f]{12,63})…?\Z")
# A provider's dated version of a model: gpt-x-2026-01-31, claude-x-20260131, x@20260131.
DATED = re.compile(r"[-@:](?:20\d\d-(?:0[1-9]|1[0-2])-[0-3]\d|20\d\d(?:0[1-9]|1[0-2])[0-3]\d)\Z")
MODEL_KEYS = ("id", "model", "name", "model_id", "deployment")
MODEL_LISTS = ("aliases", "snapshots", "fallbacks", "fallback")
SOURCE_KEYS = ("source", "corpus", "data_source", "id", "name")
VERSION_KEYS = ("version", "id", "name")
RIGHTS = ("none", "read", "write", "execute")
CUT = "…"  # ends a list that was too long to send
REMEMBERED = 4_096  # values whose verdict is kept

Verdicts = tuple[tuple[str, str], ...]


class Declaration:
    """What one release declares.

    Args:
        digests: the component of each slot, None where the slot is not declared.
        read: fetches the text of a component; asked only when its digest does not decide.
    """

    def __init__(self, digests: Mapping[str, str | None], read: Callable[[str], str]) -> None:
        self.digests = digests
        self._read = read
        self._contents: dict[str, dict[str, Any]] = {}
        self._names: dict[str, frozenset[str] | None] = {}
        self._known: dict[tuple[str, str], Verdicts] = {}

    def judge(self, name: str, value: str) -> Verdicts:
        """Return (what was seen, verdict) for one reported value.

        Args:
            name: `<slot>` or `<slot>.<how it was seen>`; others say nothing about a slot.
        """
        key = (name, value)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            found = self._known[key] = self._judge(*part_of(name), value)
        return found

    def _judge(self, slot: str, part: str, value: str) -> Verdicts:
        if not slot or not value.strip():
            return ()
        if part == "documents":
            names = self._declared_names(slot, part)
            if names is None:
                return ((value[:200], UNKNOWN),)
            strange = tuple((item, DIFFERS) for item in _items(value) if item not in names)
            return strange or (("documents of the corpus", MATCHES),)
        found: list[tuple[str, str]] = []
        for item in _items(value):
            if _looks_hashed(item):
                found.append((item, self._judge_digest(slot, item)))
            else:
                found.append((item, self._judge_name(slot, part, item)))
        if any(verdict != MATCHES for _, verdict in found) and len(found) > 1:
            whole = self._judge_name(slot, part, value.strip())
            if whole == MATCHES:  # a name that holds commas
                return ((value.strip(), MATCHES),)
        return tuple(found)

    def _judge_name(self, slot: str, part: str, item: str) -> str:
        names = self._declared_names(slot, part)
        if names is None:
            return UNKNOWN
        if slot == "tools":
            fits = _is_granted(item, names)
        elif slot == "model":
            fits = any(_is_model(item, own) for own in names)
        else:
            fits = item in names
        return MATCHES if fits else DIFFERS

    def _judge_digest(self, slot: str, value: str) -> str:
        declared = self.digests.get(slot)
        if declared is None:
            return DIFFERS  # it runs something for a slot that the release leaves out
        whole = HEX.match(value)
        if whole:
            said = "sha256:" + whole[1].lower()
            return MATCHES if said == declared or said in self._own_digests(slot) else DIFFERS
        short = SHORT_HEX.match(value)
        if short and any(
            own.startswith("sha256:" + short[1]) for own in (declared, *self._own_digests(slot))
        ):
            return MATCHES
        return DIFFERS

    def _own_digests(self, slot: str) -> tuple[str, ...]:
        """The digest of the content alone, and the root hash of a corpus."""
        content = self._content(slot)
        root = content.get("root")
        alone = self._contents_digest(slot)
        if slot == "retrieval" and isinstance(root, str) and (found := HEX.match(root)):
            return alone, "sha256:" + found[1].lower()
        return (alone,)

    def _contents_digest(self, slot: str) -> str:
        # A component is {"content":…,"slot":"…"} in canonical form, so the text between is the
        # canonical form of the content.
        text = self._read(str(self.digests[slot]))
        return digest_text(text[len('{"content":') : -len(f',"slot":"{slot}"}}')])

    def _content(self, slot: str) -> dict[str, Any]:
        if slot not in self._contents:
            declared = self.digests.get(slot)
            self._contents[slot] = json.loads(self._read(declared))["content"] if declared else {}
        return self._contents[slot]

    def _declared_names(self, slot: str, part: str) -> frozenset[str] | None:
        """Return what may be named in this slot, or None where the release names nothing."""
        if self.digests.get(slot) is None:
            return None  # the slot is not declared: nothing to compare with
        key = f"{slot}.{part if part == 'documents' else ''}"
        if key not in self._names:
            content = self._content(slot)
            if slot == "model":
                found = {*_model_names(content), *_routed_models(self._content("routing"))}
            elif slot == "tools":
                found = set(_rights(content))
            elif part == "documents":
                found = set(_documents(content))
                self._contents.pop(slot)  # a corpus is large, and its names are kept now
            elif slot == "prompt_policy":
                found = set(_prompts(content))
            else:
                keys = SOURCE_KEYS if slot == "retrieval" else VERSION_KEYS
                found = {text for key in keys if (text := _text(content.get(key)))}
            has_tools = slot == "tools" and isinstance(content.get("tools"), list)
            self._names[key] = frozenset(found) if found or has_tools else None
        return self._names[key]


def part_of(name: str) -> tuple[str, str]:
    """Return the slot that an observed name speaks of and how it was seen; "" for no slot."""
    slot, _, part = name.partition(".")
    known = slot in SLOTS and part in PARTS.get(slot, ("", "seen"))
    return (slot, part) if known else ("", "")


def granted_tools(content: Mapping[str, Any]) -> list[str]:
    """Return the names of the tools that a release grants."""
    return sorted({right.rpartition(":")[0] for right in _rights(content)})


def _looks_hashed(value: str) -> bool:
    return value.startswith("sha256:") or HEX.match(value) is not None


def _items(value: str) -> list[str]:
    """The single values of a list that was sent as JSON or joined by commas."""
    text = value.strip()
    if text.startswith("["):
        try:
            parsed = json.loads(text)
        except (ValueError, RecursionError):
            parsed = None
        if isinstance(parsed, list):
            return [str(item) for item in parsed if str(item).strip()]
    return [item.strip() for item in text.split(",") if item.strip() and CUT not in item]


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return str(value)


def _rights(content: Mapping[str, Any]) -> Iterator[str]:
    """Yield `name:right` per granted tool. A right that nobody knows grants what was asked."""
    tools = content.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, Mapping) and tool.get("name"):
            right = str(tool.get("permission", "execute"))
            if right != "none":
                yield f"{tool['name']}:{right if right in RIGHTS else 'execute'}"


def _is_granted(said: str, rights: Iterable[str]) -> bool:
    """Whether a tool, or a tool with the right it used (`refund:write`), is granted."""
    granted = dict(right.rsplit(":", 1) for right in rights)
    if said in granted:
        return True
    name, _, right = said.rpartition(":")
    return (
        name in granted and right in RIGHTS and RIGHTS.index(right) <= RIGHTS.index(granted[name])
    )


def _model_names(content: Mapping[str, Any]) -> Iterator[str]:
    names = [_text(content.get(key)) for key in MODEL_KEYS]
    for key in MODEL_LISTS:
        value = content.get(key)
        names.extend(_text(item) for item in (value if isinstance(value, list) else [value]))
    provider = _text(content.get("provider"))
    for name in filter(None, names):
        yield name
        if provider:
            yield f"{provider}/{name}"


def _routed_models(routing: Mapping[str, Any]) -> Iterator[str]:
    """Yield the models that the routing slot names, under any key that speaks of models."""

    def walk(value: Any, is_model: bool) -> Iterator[str]:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                yield from walk(inner, is_model or "model" in str(key).lower())
        elif isinstance(value, list):
            for inner in value:
                yield from walk(inner, is_model)
        elif is_model and (text := _text(value)):
            yield text

    return walk(routing, False)


def _is_model(said: str, declared: str) -> bool:
    """The declared id, or its provider's dated version of an id declared without a date."""
    answered, own = said.lower(), declared.lower()
    if answered == own:
        return True
    return answered.startswith(own) and DATED.match(answered[len(own) :]) is not None


def _documents(content: Mapping[str, Any]) -> Iterator[str]:
    """Yield every document's id and hash."""
    documents = content.get("documents")
    for item in documents if isinstance(documents, list) else ():
        if isinstance(item, Mapping):
            yield str(item.get("id"))
            if isinstance(sha256 := item.get("sha256"), str):
                yield sha256
                yield f"sha256:{sha256.removeprefix('sha256:')}"
        elif isinstance(item, str):
            yield item


def _prompts(content: Mapping[str, Any]) -> Iterator[str]:
    """Yield `name@version`, and the version alone, of each prompt that the slot lists."""
    listed = content.get("prompts")
    for prompt in (content, *(listed if isinstance(listed, list) else ())):
        if not isinstance(prompt, Mapping):
            continue
        name, version = _text(prompt.get("name")), _text(prompt.get("version"))
        if version:
            yield version
            yield f"@{version}"
        if name:
            yield f"{name}@{version}" if version else name
