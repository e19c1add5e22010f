"""Moving the live pointer. Called by `rollouts.services` only, with the workflow locked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import F

from governance.common.errors import StateConflictError
from governance.common.failpoints import reach
from governance.evals.models import GateReport
from governance.people.models import Signature
from governance.releases.models import KnownGood, LiveRelease, Pin, Release, ReleaseApproval
from governance.rollouts.models import LiveChange, Promotion
from governance.rollouts.recovery_models import Drill
from governance.workflows.models import Workflow


def lock_workflow(workflow_id: int) -> Workflow:
    """Every move of a workflow starts here, so that two moves never interleave.

    NO KEY UPDATE: receipts that are being stored only refer to the workflow and do not wait.
    """
    reach("before the lock")
    return (
        Workflow.objects.select_for_update(of=("self",), no_key=True)
        .select_related("owner")
        .get(pk=workflow_id)
    )


def lock_promotion(promotion_id: int) -> Promotion:
    """Lock the workflow, then the promotion: always in this order."""
    workflow_id = Promotion.objects.values_list("workflow_id", flat=True).get(pk=promotion_id)
    lock_workflow(workflow_id)
    return (
        Promotion.objects.select_for_update(of=("self",))
        .select_related("workflow__owner", "release", "base", "gate_policy", "gate_report")
        .get(pk=promotion_id)
    )


def live_release(workflow: Workflow) -> LiveRelease | None:
    """What serves this workflow now."""
    return (
        LiveRelease.objects.select_related("release", "last_known_good", "pilot_release")
        .filter(workflow=workflow)
        .first()
    )


@dataclass(frozen=True, slots=True)
class PilotShare:
    """The share of the cases that a pilot serves beside the stable release."""

    release: Release
    share: int  # basis points, 1 to 9,999
    salt: str
    authority: str = ""  # a cap on what it may do; empty: none


def move(
    workflow: Workflow,
    *,
    cause: LiveChange.Cause,
    actor_label: str,
    at: datetime,
    to: Release | None = None,
    promotion: Promotion | None = None,
    pilot: PilotShare | None = None,
    switched_off: bool | None = None,
    drill: Drill | None = None,
    signature: Signature | None = None,
    reason: str = "",
) -> LiveChange:
    """Change what the workflow serves, and write the gapless history of it.

    Args:
        to: the stable release from now on; None leaves it as it is.
        pilot: what serves beside it from now on; None ends any pilot.
        switched_off: None leaves the switch as it is.
    """
    live = live_release(workflow)
    stable = to if to is not None else (live.release if live else None)
    if stable is None:
        raise StateConflictError("Nothing is live in this workflow.")
    # The clock is the transaction's: one that waited for the lock began before what it waited for.
    at = max(at, live.decided_at if live else at, _last_yes(promotion) or at)
    if switched_off is None:
        switched_off = live.switched_off if live else False
    share = {
        "pilot_release": pilot.release if pilot else None,
        "pilot_share": pilot.share if pilot else 0,
        "pilot_salt": pilot.salt if pilot else "",
        "pilot_authority": pilot.authority if pilot else "",
        "switched_off": switched_off,
    }
    change = LiveChange.objects.create(
        workflow=workflow,
        seq=live.seq + 1 if live else 1,
        cause=cause,
        from_release=live.release if live else None,
        to_release=stable,
        promotion=promotion,
        drill=drill,
        signature=signature,
        reason=reason,
        changed_at=at,
        actor_label=actor_label,
        **share,
    )
    fields = {
        "release": stable,
        "seq": change.seq,
        "stage": _stage(change, live),
        "last_known_good": _after(change, live),
        "gated": passed_a_gate(workflow, stable),
        "decided_at": at,
        **share,
    }
    if live is None:
        LiveRelease.objects.create(workflow=workflow, **fields)
    else:
        LiveRelease.objects.filter(workflow=workflow).update(**fields)
    reach("after the pointer")
    allow_serving(workflow, at)
    for listener in _listeners:
        listener(change)
    return change


def _last_yes(promotion: Promotion | None) -> datetime | None:
    """When the newest decision of this round was made; what stands on it comes after it."""
    if promotion is None:
        return None
    decided = promotion.approvals.filter(review_round=promotion.review_round)
    return decided.order_by("-decided_at").values_list("decided_at", flat=True).first()


Listener = Callable[[LiveChange], None]
_listeners: list[Listener] = []


def on_change(listener: Listener) -> Listener:
    """Have `listener` called inside the transaction of every live change (webhooks, pins)."""
    if listener not in _listeners:
        _listeners.append(listener)
    return listener


def _stage(change: LiveChange, live: LiveRelease | None) -> str:
    if change.cause == LiveChange.Cause.ROLLBACK:
        return LiveRelease.Stage.ROLLED_BACK
    # Pilots and the switch say nothing about how the stable release came to serve.
    if live is not None and change.from_release_id == change.to_release_id:
        return live.stage
    if change.cause == LiveChange.Cause.DRILL_RETURNED and _came_by_rollback(change):
        return LiveRelease.Stage.ROLLED_BACK
    return LiveRelease.Stage.STABLE


def _came_by_rollback(change: LiveChange) -> bool:
    """Whether what returns from a drill had come to serve by a rollback."""
    came = (
        LiveChange.objects.filter(workflow=change.workflow, to_release=change.to_release)
        .exclude(from_release=F("to_release"))
        .exclude(cause=LiveChange.Cause.DRILL_RETURNED)
        .order_by("-seq")
        .first()
    )
    return came is not None and came.cause == LiveChange.Cause.ROLLBACK


def _after(change: LiveChange, live: LiveRelease | None) -> Release | None:
    """Where a rollback leads after this change."""
    if live is not None and change.from_release_id == change.to_release_id:
        return live.last_known_good
    if change.promotion is not None and change.promotion.road == Promotion.Road.EMERGENCY:
        return change.from_release  # to undo an emergency change is to return to what it replaced
    return last_known_good(change.workflow, change.to_release)


def allow_serving(workflow: Workflow, at: datetime) -> None:
    """Bring `ReleaseApproval` in line with what may serve: stable, pilot, pinned; or nothing."""
    live = LiveRelease.objects.get(workflow=workflow)
    allowed: set[str] = set()
    if not live.switched_off:
        allowed.add(live.release_id)
        if live.pilot_release_id is not None:
            allowed.add(live.pilot_release_id)
        allowed.update(
            Pin.objects.filter(workflow=workflow).values_list("release_id", flat=True).distinct()
        )
    open_ones = ReleaseApproval.objects.filter(workflow=workflow, valid_to=None)
    open_ones.exclude(release_id__in=allowed).update(valid_to=at, switched_off=live.switched_off)
    missing = allowed - set(open_ones.values_list("release_id", flat=True))
    ReleaseApproval.objects.bulk_create(
        ReleaseApproval(workflow=workflow, release_id=release, valid_from=at)
        for release in sorted(missing)
    )


def bad_releases(workflow: Workflow) -> set[str]:
    """Digests that nothing may lead back to.

    Those that were rolled back and that no promotion has made live since, and those that only an
    emergency change made live which nobody ratified: such a one serves for its hours and no more.
    """
    bad: set[str] = set()
    settled: set[str] = set()  # releases whose latest fate is known, newest change first
    unratified: set[str] = set()
    serving = None
    changes = LiveChange.objects.filter(workflow=workflow).order_by("-seq")
    for cause, left, came, road, ratified_at in changes.values_list(
        "cause", "from_release_id", "to_release_id", "promotion__road", "promotion__ratified_at"
    ):
        serving = serving or came
        if cause == LiveChange.Cause.ROLLBACK:
            if left not in settled:
                bad.add(left)
                settled.add(left)
        elif cause not in (LiveChange.Cause.ADOPT, LiveChange.Cause.PROMOTION):
            continue
        elif road == Promotion.Road.EMERGENCY and ratified_at is None:
            unratified.add(came)
        else:
            settled.add(came)
    return bad | (unratified - settled - {serving})


def last_known_good(workflow: Workflow, current: Release) -> Release | None:
    """The release that a rollback from `current` returns to.

    The newest one that was marked as known good, by rule or by hand; while none is marked, the one
    that served most recently. Never `current` itself, nor a bad one.
    """
    never = bad_releases(workflow) | {current.pk}
    marked = (
        KnownGood.objects.filter(workflow=workflow)
        .exclude(release_id__in=never)
        .select_related("release__workflow")
        .order_by("-pk")
        .first()
    )
    if marked is not None:
        return marked.release
    served = (
        LiveChange.objects.filter(workflow=workflow)
        .exclude(to_release_id__in=never)
        .select_related("to_release__workflow")
        .order_by("-seq")
        .first()
    )
    return served.to_release if served is not None else None


def passed_a_gate(workflow: Workflow, release: Release) -> bool:
    """Whether a promotion with a passed gate made this release live here."""
    return LiveChange.objects.filter(
        workflow=workflow,
        to_release=release,
        cause=LiveChange.Cause.PROMOTION,
        promotion__gate_report__verdict=GateReport.Verdict.PASS,
    ).exists()
