"""What stands behind an undeclared or an unauthorised change: declared, observed, allowed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from dashboards.observed import MOST_SHOWN, Seen, described
from governance.receipts.observation_models import SlotObservation
from governance.releases.diff import SLOT_NAMES
from governance.releases.models import LiveRelease, Release, ReleaseApproval, ReleaseComponent
from governance.triage.models import ExceptionCase

Kind = ExceptionCase.Kind


@dataclass(frozen=True, slots=True)
class Undeclared:
    """One slot of one release: what it declares, and what its runs showed instead."""

    slot: str
    slot_name: str
    release: Release | None
    declared: str
    seen: tuple[Seen, ...]
    more: int


@dataclass(frozen=True, slots=True)
class Unauthorised:
    """The release that runs claim, when it was allowed to serve, and what serves now."""

    release: Release | None
    digest: str
    periods: tuple[tuple[datetime, datetime | None], ...]
    serves: Release | None


def evidence(cases: Iterable[ExceptionCase]) -> dict[int, Undeclared | Unauthorised]:
    """Return the evidence of those exceptions that have one, in a fixed number of queries."""
    asked = [case for case in cases if case.kind in (Kind.UNDECLARED, Kind.UNAUTHORISED)]
    if not asked:
        return {}
    releases = (
        Release.objects.filter(pk__in={case.release_digest for case in asked})
        .select_related("workflow")
        .in_bulk()
    )
    undeclared = [case for case in asked if case.kind == Kind.UNDECLARED]
    unauthorised = [case for case in asked if case.kind == Kind.UNAUTHORISED]
    return {**_undeclared(undeclared, releases), **_unauthorised(unauthorised, releases)}


def _undeclared(
    cases: Sequence[ExceptionCase], releases: Mapping[str, Release]
) -> dict[int, Undeclared | Unauthorised]:
    if not cases:
        return {}
    slots = {case.pk: case.group_key.partition(" ")[0] for case in cases}
    digests = {case.release_digest for case in cases}
    rows = list(
        SlotObservation.objects.filter(
            release_digest__in=digests, slot__in=set(slots.values()),
            verdict=SlotObservation.Verdict.DIFFERS, n__gt=0,
        ).order_by("first_at")
    )  # fmt: skip
    declared = {
        (release, slot): component
        for release, slot, component in ReleaseComponent.objects.filter(
            release_id__in=digests, slot__in=set(slots.values())
        ).values_list("release_id", "slot", "component_id")
    }
    seen = described(rows, declared)
    found: dict[int, Undeclared | Unauthorised] = {}
    for case in cases:
        slot = slots[case.pk]
        own = [
            row
            for row in rows
            if (row.workflow_id, row.release_digest, row.slot)
            == (case.workflow_id, case.release_digest, slot)
            and row.last_at >= case.first_at
        ]
        found[case.pk] = Undeclared(
            slot, SLOT_NAMES.get(slot, slot), releases.get(case.release_digest),
            declared.get((case.release_digest, slot), ""),
            tuple(seen[row.pk] for row in own[:MOST_SHOWN]), max(0, len(own) - MOST_SHOWN),
        )  # fmt: skip
    return found


def _unauthorised(
    cases: Sequence[ExceptionCase], releases: Mapping[str, Release]
) -> dict[int, Undeclared | Unauthorised]:
    if not cases:
        return {}
    periods: dict[tuple[int, str], list[tuple[datetime, datetime | None]]] = {}
    for workflow_id, release, start, end in (
        ReleaseApproval.objects.filter(release_id__in={case.release_digest for case in cases})
        .order_by("valid_from")
        .values_list("workflow_id", "release_id", "valid_from", "valid_to")
    ):
        periods.setdefault((workflow_id, release), []).append((start, end))
    serving = {
        live.workflow_id: live.release
        for live in LiveRelease.objects.filter(
            workflow_id__in={case.workflow_id for case in cases}
        ).select_related("release__workflow")
    }
    return {
        case.pk: Unauthorised(
            releases.get(case.release_digest), case.release_digest,
            tuple(periods.get((case.workflow_id, case.release_digest), ())),
            serving.get(case.workflow_id),
        )
        for case in cases
    }  # fmt: skip
