"""Declared against observed: every receipt is compared with the release that it claims.

A release never changes, so what it declares is read once per process. What was seen is summed per
batch and written with one statement, in the order of its keys.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import NamedTuple

from django.db import connection

from governance.receipts.rows import Known, Row
from governance.releases.declared import DIFFERS, Declaration, part_of
from governance.releases.models import Component, Release

RELEASES_KEPT = 64  # in the memory of one process
MOST_VALUES = 200  # different values of one slot that are told apart; more are "other values"
OTHERS = "other values"

UPSERT = """
    INSERT INTO governance_slotobservation AS kept (workflow_id, release_digest, slot, value,
        verdict, n, first_at, first_run_id, first_day, last_at)
    SELECT workflow_id, release_digest, slot, value, verdict, n, first_at, first_run_id,
        first_day, last_at
    FROM json_to_recordset(%s::json) AS batch(position bigint, workflow_id bigint,
        release_digest text, slot text, value text, verdict text, n bigint, first_at timestamptz,
        first_run_id text, first_day date, last_at timestamptz)
    ORDER BY position
    ON CONFLICT (workflow_id, release_digest, slot, value, verdict) DO UPDATE SET
        n = kept.n + excluded.n,
        first_at = least(kept.first_at, excluded.first_at),
        first_run_id = CASE WHEN excluded.first_at < kept.first_at
            THEN excluded.first_run_id ELSE kept.first_run_id END,
        first_day = CASE WHEN excluded.first_at < kept.first_at
            THEN excluded.first_day ELSE kept.first_day END,
        last_at = greatest(kept.last_at, excluded.last_at)
"""


class Key(NamedTuple):
    """The identity of one row; its order is the order in which rows are locked."""

    workflow_id: int
    release: str
    slot: str
    value: str
    verdict: str


class Difference(NamedTuple):
    """A slot of which a run showed something else than its release declares."""

    slot: str
    value: str


@dataclass(slots=True)
class _Sum:
    n: int
    first_at: datetime
    first_run_id: str
    first_day: date
    last_at: datetime


@dataclass(slots=True)
class Seen:
    """What a batch of receipts showed. `differing` holds the identities that differ."""

    sums: dict[Key, _Sum] = field(default_factory=dict)
    differing: set[tuple[str, date]] = field(default_factory=set)

    def write(self) -> None:
        """Add it to the stored sums. Late in the transaction: these rows are hot."""
        changes = [
            {
                "position": position, "workflow_id": key.workflow_id,
                "release_digest": key.release, "slot": key.slot, "value": key.value,
                "verdict": key.verdict, "n": total.n, "first_at": total.first_at.isoformat(),
                "first_run_id": total.first_run_id, "first_day": total.first_day.isoformat(),
                "last_at": total.last_at.isoformat(),
            }
            for position, (key, total) in enumerate(sorted(self.sums.items()))
        ]  # fmt: skip
        if changes:
            with connection.cursor() as cursor:
                cursor.execute(UPSERT, [json.dumps(changes)])


_declared: OrderedDict[tuple[int, str], Declaration] = OrderedDict()
_values: dict[tuple[int, str, str], set[str]] = {}


def observe(rows: Iterable[Row], corrected: Iterable[Known] = ()) -> Seen:
    """Compare receipts with the releases that they claim.

    Args:
        corrected: what stood in receipts before, which is taken out of the sums again.
    """
    batch, before = list(rows), list(corrected)
    declarations = _declarations(
        {(row.workflow_id, row.draft.release) for row in batch if row.draft.release}
        | {(old.counted.workflow_id, old.counted.release) for old in before if old.counted.release}
    )
    seen = Seen()
    for row in batch:
        found = declarations.get((row.workflow_id, row.draft.release))
        if found is None:
            continue
        draft = row.draft
        reported = dict.fromkeys(_judged(found, draft.observed, draft.model_answered))
        for slot, value, verdict in reported:
            key = Key(
                row.workflow_id, draft.release, slot,
                _bounded((row.workflow_id, draft.release, slot), value), verdict,
            )  # fmt: skip
            _count(seen.sums, key, 1, draft.started_at, draft.run_id, row.day)
            if verdict == DIFFERS:
                seen.differing.add(row.key)
    for old in before:
        held = old.counted
        found = declarations.get((held.workflow_id, held.release))
        for slot, value, verdict in dict.fromkeys(
            _judged(found, old.observed, old.model_answered) if found else ()
        ):
            name = _bounded((held.workflow_id, held.release, slot), value)
            key = Key(held.workflow_id, held.release, slot, name, verdict)
            _count(seen.sums, key, -1, held.started_at, old.run_id, old.day)
    return seen


def differences(
    workflow_id: int, release: str, observed: Mapping[str, str], model_answered: str
) -> list[Difference]:
    """Return where one receipt differs from the release it claims."""
    if not release:
        return []
    declared = _declarations({(workflow_id, release)}).get((workflow_id, release))
    if declared is None:
        return []
    return [
        Difference(slot, value)
        for slot, value, verdict in dict.fromkeys(_judged(declared, observed, model_answered))
        if verdict == DIFFERS
    ]


def _judged(
    declared: Declaration, observed: Mapping[str, str], model_answered: str
) -> Iterator[tuple[str, str, str]]:
    """Yield (slot, what was seen, verdict) for everything that a receipt reports."""
    if model_answered:
        for value, verdict in declared.judge("model", model_answered):
            yield "model", value[:200], verdict
    for name, said in observed.items():
        slot, _ = part_of(name)
        if slot:
            for value, verdict in declared.judge(name, said):
                yield slot, value[:200], verdict


def _count(
    sums: dict[Key, _Sum], key: Key, sign: int, at: datetime, run_id: str, day: date
) -> None:
    moment = at.astimezone(UTC)
    total = sums.get(key)
    if total is None:
        sums[key] = _Sum(sign, moment, run_id, day, moment)
        return
    total.n += sign
    if moment < total.first_at:
        total.first_at, total.first_run_id, total.first_day = moment, run_id, day
    total.last_at = max(total.last_at, moment)


def _bounded(place: tuple[int, str, str], value: str) -> str:
    """Tell only so many values of a slot apart: a stranger's values must not fill the table."""
    known = _values.setdefault(place, set())
    if value not in known:
        if len(known) >= MOST_VALUES:
            return OTHERS
        known.add(value)
    return value


def _declarations(wanted: set[tuple[int, str]]) -> dict[tuple[int, str], Declaration]:
    """Return what these releases declare; those that their workflow does not have are left out."""
    found = {}
    missing = set()
    for key in wanted:
        kept = _declared.get(key)
        if kept is None:
            missing.add(key)
        else:
            found[key] = kept
    if missing:
        for digest, workflow_id, manifest in Release.objects.filter(
            pk__in={release for _, release in missing}
        ).values_list("pk", "workflow_id", "manifest_text"):
            if (workflow_id, digest) in missing:
                declared = Declaration(json.loads(manifest)["slots"], _component_text)
                found[workflow_id, digest] = _declared[workflow_id, digest] = declared
        while len(_declared) > RELEASES_KEPT:
            dropped, _ = _declared.popitem(last=False)
            for place in [place for place in _values if place[:2] == dropped]:
                _values.pop(place, None)
    return found


def _component_text(digest: str) -> str:
    return Component.objects.values_list("content_text", flat=True).get(pk=digest)
