"""Which receipts are one thing to look at: by kind, release, slot and violation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from governance.receipts.models import Receipt
from governance.receipts.observations import Difference, differences
from governance.releases.comparing import component_changes
from governance.releases.models import Release, ReleaseApproval, ReleaseComponent, Slot
from governance.triage.models import ExceptionCase

Ref = tuple[date, str]
Kind = ExceptionCase.Kind


@dataclass(slots=True)
class Group:
    """Receipts that are one thing to look at."""

    workflow_id: int
    kind: str
    key: str
    title: str
    release: str = ""
    moments: dict[Ref, datetime] = field(default_factory=dict)


@dataclass(slots=True)
class _Groups:
    found: dict[tuple[int, str, str], Group] = field(default_factory=dict)

    def add(self, receipt: Receipt, kind: str, key: str, title: str) -> None:
        group = self.found.setdefault(
            (receipt.workflow_id, kind, key),
            Group(receipt.workflow_id, kind, key, title, receipt.release_digest),
        )
        group.moments[receipt.day, receipt.run_id] = receipt.started_at


def groups_of(refs: Sequence[Ref]) -> list[Group]:
    """Return the groups that these receipts belong to, in the order in which they are locked."""
    wanted = set(refs)
    receipts = [
        receipt
        for receipt in Receipt.objects.filter(
            run_id__in=[run_id for _, run_id in wanted], day__in={day for day, _ in wanted}
        )
        .only(
            "run_id", "day", "workflow_id", "release_digest", "standing", "violations", "observed",
            "model_answered", "started_at",
        )
        .order_by("started_at")
        if (receipt.day, receipt.run_id) in wanted
    ]  # fmt: skip
    names = {
        release.digest: release.name
        for release in Release.objects.filter(
            digest__in={receipt.release_digest for receipt in receipts}
        ).only("digest", "number")
    }
    ended = _ended(receipts)
    groups = _Groups()
    different = [
        differences(
            receipt.workflow_id, receipt.release_digest, receipt.observed, receipt.model_answered
        )
        for receipt in receipts
    ]
    said = _in_words(receipts, different)
    for position, receipt in enumerate(receipts):
        digest = receipt.release_digest
        shown = names.get(digest) or f"unknown release {digest[:15]}…"
        if receipt.standing == Receipt.Standing.UNAUTHORISED:
            end, switched_off = ended.get((receipt.workflow_id, digest), (None, False))
            if end is not None and receipt.started_at > end:
                at = end.astimezone(UTC)
                why = "begun after it was switched off" if switched_off else (
                    "which is retired: its approval ended"
                )  # fmt: skip
                groups.add(
                    receipt, Kind.UNAUTHORISED,
                    f"{'switched off' if switched_off else 'retired'} {digest}",
                    f"Runs of {shown}, {why} on {at.day} {at:%b %Y at %H:%M} UTC",
                )  # fmt: skip
            else:
                groups.add(
                    receipt, Kind.UNAUTHORISED, digest, f"Runs of {shown}, which nobody approved"
                )
        elif receipt.standing == Receipt.Standing.UNATTRIBUTED:
            claimed = str(receipt.observed.get("release_claimed", ""))[:100]
            they = f" (they say {claimed!r})" if claimed else ""
            groups.add(receipt, Kind.UNATTRIBUTED, claimed, f"Runs that name no release{they}")
        for slot, value in different[position]:
            groups.add(
                receipt, Kind.UNDECLARED, f"{slot} {digest}",
                f"Undeclared change of {shown}, {Slot(slot).label}:"
                f" {said.get((digest, slot, value)) or f'runs show {_short(value)}'}",
            )  # fmt: skip
        for name in receipt.violations:
            where = f" in {shown}" if digest else ""
            key = f"{name} {digest}".strip()
            groups.add(receipt, Kind.POLICY_VIOLATION, key, f"Policy violation: {name}{where}")
    return [groups.found[key] for key in sorted(groups.found)]


def _in_words(
    receipts: Sequence[Receipt], different: Sequence[Sequence[Difference]]
) -> dict[tuple[str, str, str], str]:
    """Return what changed, by release, slot and digest seen, where another release declares it."""
    seen = {
        (receipt.release_digest, slot, value)
        for receipt, found in zip(receipts, different, strict=True)
        for slot, value in found
        if value.startswith("sha256:")
    }
    if not seen:
        return {}
    declared = {
        (release, slot): component
        for release, slot, component in ReleaseComponent.objects.filter(
            release_id__in={release for release, _, _ in seen}
        ).values_list("release_id", "slot", "component_id")
    }
    pairs = {key: (key[1], declared[key[:2]], key[2]) for key in seen if key[:2] in declared}
    changes = component_changes(pairs.values())
    words = {}
    for key, pair in pairs.items():
        if found := changes.get(pair):
            more = f" And {len(found) - 1} more." if len(found) > 1 else ""
            sentence = found[0].sentence
            words[key] = f"{sentence[:1].lower()}{sentence[1:]}{more}".rstrip(".")
    return words


def _ended(receipts: Sequence[Receipt]) -> dict[tuple[int, str], tuple[datetime, bool]]:
    """Return when the last approval of each release ended, and whether the kill switch did it."""
    claimed = {
        receipt.release_digest
        for receipt in receipts
        if receipt.standing == Receipt.Standing.UNAUTHORISED
    }
    found: dict[tuple[int, str], tuple[datetime, bool]] = {}
    if claimed:
        for workflow_id, release, end, switched_off in (
            ReleaseApproval.objects.filter(release_id__in=claimed, valid_to__isnull=False)
            .order_by("valid_to")
            .values_list("workflow_id", "release_id", "valid_to", "switched_off")
        ):
            if end is not None:
                found[workflow_id, release] = end, switched_off
    return found


def _short(value: str) -> str:
    return f"{value[:15]}…" if value.startswith("sha256:") else value[:80]
