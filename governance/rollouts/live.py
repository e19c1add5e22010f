"""Moving the live pointer. Called by `rollouts.services` only, with the workflow locked."""

from __future__ import annotations

from datetime import datetime

from governance.releases.models import LiveRelease, Release, ReleaseApproval
from governance.rollouts.models import LiveChange, Promotion
from governance.workflows.models import Workflow


def lock_workflow(workflow_id: int) -> Workflow:
    """Every move of a workflow starts here, so that two moves never interleave.

    NO KEY UPDATE: receipts that are being stored only refer to the workflow and do not wait.
    """
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
        LiveRelease.objects.select_related("release", "last_known_good")
        .filter(workflow=workflow)
        .first()
    )


def move(
    workflow: Workflow,
    to: Release,
    *,
    cause: LiveChange.Cause,
    promotion: Promotion | None,
    actor_label: str,
    at: datetime,
) -> LiveChange:
    """Make `to` the release that serves, and write the gapless history of it."""
    live = live_release(workflow)
    change = LiveChange.objects.create(
        workflow=workflow,
        seq=live.seq + 1 if live else 1,
        cause=cause,
        from_release=live.release if live else None,
        to_release=to,
        promotion=promotion,
        changed_at=at,
        actor_label=actor_label,
    )
    rolled_back = cause == LiveChange.Cause.ROLLBACK
    fields = {
        "release": to,
        "seq": change.seq,
        "stage": LiveRelease.Stage.ROLLED_BACK if rolled_back else LiveRelease.Stage.STABLE,
        "last_known_good": last_known_good(workflow, to),
        "gated": _passed_a_gate(workflow, to),
        "decided_at": at,
    }
    if live is None:
        LiveRelease.objects.create(workflow=workflow, **fields)
    else:
        LiveRelease.objects.filter(workflow=workflow).update(**fields)
    ReleaseApproval.objects.filter(workflow=workflow, valid_to=None).update(valid_to=at)
    ReleaseApproval.objects.create(workflow=workflow, release=to, valid_from=at)
    return change


def last_known_good(workflow: Workflow, current: Release) -> Release | None:
    """The release that a rollback from `current` returns to.

    The one that served most recently, leaving out `current` itself and every release that was
    rolled back and has not been made live by a promotion since.
    """
    bad: set[str] = set()
    settled: set[str] = set()  # releases whose latest fate is known, newest change first
    candidates: list[Release] = []
    changes = LiveChange.objects.filter(workflow=workflow).order_by("-seq")
    for change in changes.select_related("to_release", "from_release"):
        if change.cause == LiveChange.Cause.ROLLBACK:
            left = change.from_release_id
            if left is not None and left not in settled:
                bad.add(left)
                settled.add(left)
        else:
            settled.add(change.to_release_id)
        candidates.append(change.to_release)
    for release in candidates:
        if release.pk != current.pk and release.pk not in bad:
            return release
    return None


def _passed_a_gate(workflow: Workflow, release: Release) -> bool:
    return LiveChange.objects.filter(
        workflow=workflow, to_release=release, cause=LiveChange.Cause.PROMOTION
    ).exists()
