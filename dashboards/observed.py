"""What runs showed of each slot of a release, against what it declares."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from governance.common.time import now
from governance.receipts.observation_models import SlotObservation
from governance.releases.comparing import component_changes
from governance.releases.diff import SLOT_NAMES
from governance.releases.models import Release, ReleaseComponent
from governance.triage.models import ExceptionCase

Verdict = SlotObservation.Verdict
FRESH = timedelta(hours=24)
MOST_SHOWN = 5  # differing values of one slot
RULE = (
    "A slot differs while a run of the last 24 hours showed something else than the release"
    " declares, or nothing that matches came after it."
)


@dataclass(frozen=True, slots=True)
class Seen:
    """One value that runs showed instead of what is declared. `day` and `run_id`: the first run."""

    value: str
    n: int
    first_at: datetime
    last_at: datetime
    day: date
    run_id: str
    same_as: Release | None
    changes: tuple[str, ...]

    @property
    def is_digest(self) -> bool:
        return self.value.startswith("sha256:")


@dataclass(frozen=True, slots=True)
class SlotState:
    """Matches, differs, not observed, or not comparable: seen, but nothing is declared."""

    state: str
    n: int = 0
    first_at: datetime | None = None
    last_at: datetime | None = None
    seen: tuple[Seen, ...] = ()
    more: int = 0
    exception: ExceptionCase | None = None

    @property
    def differs(self) -> bool:
        return self.state == "differs"


def states(release: Release, digests: Mapping[str, str]) -> dict[str, SlotState]:
    """Return the state of each of the seven slots, in a fixed number of queries.

    Args:
        digests: the component of each declared slot.
    """
    rows = list(
        SlotObservation.objects.filter(
            workflow_id=release.workflow_id, release_digest=release.pk, n__gt=0
        ).order_by("-last_at")
    )
    differing = [row for row in rows if row.verdict == Verdict.DIFFERS]
    cases = _cases(release) if differing else {}
    seen_of = described(differing, {(release.pk, slot): digest for slot, digest in digests.items()})
    return {
        slot: _state(
            [row for row in rows if row.slot == slot],
            seen_of=seen_of, exception=cases.get(slot),
        )
        for slot in SLOT_NAMES
    }  # fmt: skip


def _cases(release: Release) -> dict[str, ExceptionCase]:
    """The exception of each slot, the open one before those that are closed."""
    found: dict[str, ExceptionCase] = {}
    for case in ExceptionCase.objects.filter(
        workflow_id=release.workflow_id,
        kind=ExceptionCase.Kind.UNDECLARED,
        release_digest=release.pk,
    ).order_by("opened_at"):
        slot = case.group_key.partition(" ")[0]
        is_open = case.state in (ExceptionCase.State.OPEN, ExceptionCase.State.TAKEN)
        if is_open or slot not in found or found[slot].closed_at:
            found[slot] = case
    return found


def same_as(rows: Iterable[SlotObservation]) -> dict[tuple[int, str], Release]:
    """Return which release of the same workflow declares what was seen, the newest first."""
    wanted = {row.value for row in rows if row.value.startswith("sha256:")}
    if not wanted:
        return {}
    return {
        (use.release.workflow_id, use.component_id): use.release
        for use in ReleaseComponent.objects.filter(component_id__in=wanted)
        .select_related("release__workflow")
        .order_by("release__number")
    }


def described(
    rows: Iterable[SlotObservation], declared: Mapping[tuple[str, str], str]
) -> dict[int, Seen]:
    """Say what each differing value is, in words where another release declares it.

    Args:
        declared: the component by release and slot.
    """
    found = list(rows)
    names = same_as(found)
    pairs = {
        row.pk: (row.slot, declared[row.release_digest, row.slot], row.value)
        for row in found
        if (row.workflow_id, row.value) in names and (row.release_digest, row.slot) in declared
    }
    changes = component_changes(pairs.values())
    return {
        row.pk: Seen(
            row.value, row.n, row.first_at, row.last_at, row.first_day, row.first_run_id,
            names.get((row.workflow_id, row.value)),
            tuple(
                change.sentence
                for change in changes.get(pairs.get(row.pk, ("", "", "")), ())[:MOST_SHOWN]
            ),
        )
        for row in found
    }  # fmt: skip


def _state(
    rows: Sequence[SlotObservation],
    *,
    seen_of: Mapping[int, Seen],
    exception: ExceptionCase | None,
) -> SlotState:
    matching = [row for row in rows if row.verdict == Verdict.MATCHES]
    differing = [row for row in rows if row.verdict == Verdict.DIFFERS]
    seen = tuple(seen_of[row.pk] for row in differing[:MOST_SHOWN])
    more = max(0, len(differing) - MOST_SHOWN)
    if differing:
        last = max(row.last_at for row in differing)
        came_after = any(row.last_at > last for row in matching)
        if last > now() - FRESH or not came_after:
            return SlotState(
                "differs", sum(row.n for row in differing),
                min(row.first_at for row in differing), last, seen, more, exception,
            )  # fmt: skip
    if matching:
        return SlotState(
            "matches", max(row.n for row in matching), min(row.first_at for row in matching),
            max(row.last_at for row in matching), seen, more, exception,
        )  # fmt: skip
    if rows:
        return SlotState("not_comparable", sum(row.n for row in rows), rows[-1].first_at)
    return SlotState("not_observed")
