"""Comparing two stored releases: only what differs is read, and what was compared is kept."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from governance.releases.diff import Change, Content, ReleaseDiff, compare
from governance.releases.models import Component, Release, Slot

KEPT = 128  # comparisons in the memory of one process
Pair = tuple[str, str, str]  # slot, and the digests of two contents
_changes: OrderedDict[Pair, tuple[Change, ...]] = OrderedDict()
SAME: Mapping[str, Any] = {"the same": True}  # stands for content that both releases share


def compare_releases(before: Release | None, after: Release) -> ReleaseDiff:
    """Return what changes from one stored release to another; None before: nothing was live.

    Digests never name other bytes, so a slot with the same digest is not read at all.
    """
    return _compared(before.manifest_text if before else "", after.manifest_text)


@lru_cache(maxsize=KEPT)
def _compared(before: str, after: str) -> ReleaseDiff:
    old = _slots(before) if before else dict.fromkeys(Slot.values)
    new = _slots(after)
    differ = [slot for slot in Slot.values if old[slot] != new[slot]]
    contents = {
        component.digest: component.content
        for component in Component.objects.filter(
            pk__in={side[slot] for slot in differ for side in (old, new) if side[slot]}
        )
    }

    def side(slots: Mapping[str, str | None]) -> dict[str, Content | None]:
        return {
            slot: None if digest is None else contents[digest] if slot in differ else SAME
            for slot, digest in slots.items()
        }

    return compare(side(old), side(new))


def component_changes(wanted: Iterable[Pair]) -> dict[Pair, tuple[Change, ...]]:
    """Return what differs between two contents of one slot, in one query for all of them.

    A digest that a run reports is often that of another release, and then it can be said in words.
    Pairs with a digest that nobody knows are left out.
    """
    pairs = set(wanted)
    missing = pairs - _changes.keys()
    if missing:
        contents = {
            (component.slot, component.pk): component
            for component in Component.objects.filter(
                pk__in={digest for _, *digests in missing for digest in digests}
            )
        }
        for slot, before, after in missing:
            old, new = contents.get((slot, before)), contents.get((slot, after))
            if old is not None and new is not None:
                diff = compare({slot: old.content}, {slot: new.content})
                _changes[slot, before, after] = tuple(change for _, change in diff.ranked)
    found = {pair: _changes[pair] for pair in pairs if pair in _changes}
    while len(_changes) > KEPT:
        _changes.popitem(last=False)
    return found


def _slots(manifest: str) -> dict[str, str | None]:
    named: Mapping[str, str | None] = json.loads(manifest)["slots"]
    return {slot: named.get(slot) for slot in Slot.values}
