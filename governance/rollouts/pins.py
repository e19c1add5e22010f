"""Pinning one case to a release: a customer in a dispute stays on what answered before."""

from __future__ import annotations

from governance import audit
from governance.common.errors import InvalidInputError, StateConflictError
from governance.common.time import now
from governance.people.models import User
from governance.people.permissions import register_rule, require
from governance.releases.models import Pin, Release
from governance.rollouts import rules
from governance.rollouts.live import (
    allow_serving,
    bad_releases,
    live_release,
    lock_workflow,
    on_change,
)
from governance.rollouts.models import LiveChange
from governance.workflows.models import Workflow

LONGEST_KEY = 512
MOST_PINS = 1_000  # of one workflow

register_rule(
    "case.pin",
    lambda user, workflow: (
        user.role == User.Role.BUILDER or user.pk == rules.kpi_owner(workflow).pk
    ),
    "A builder or the KPI owner pins a case.",
)


@audit.atomic()
def pin_case(
    workflow: Workflow, targeting_key: str, release: Release, *, actor: User, reason: str
) -> Pin:
    """Have this release serve the case from now on.

    Only what serves now, the running pilot, or what served before and was not rolled back.
    """
    workflow = lock_workflow(workflow.pk)
    require(actor, "case.pin", workflow)
    reason = rules.require_reason(reason)
    key = targeting_key.strip()
    if not key or len(key) > LONGEST_KEY or not key.isprintable():
        raise InvalidInputError(f"The case is named by 1 to {LONGEST_KEY} printable characters.")
    live = live_release(workflow)
    if live is None:
        raise StateConflictError("Nothing is live in this workflow.")
    served = LiveChange.objects.filter(workflow=workflow, to_release=release).exists()
    if release.pk in bad_releases(workflow) or not (served or release.pk == live.pilot_release_id):
        raise StateConflictError(f"{release.name} may not serve: pin to one that was made live.")
    if Pin.objects.filter(workflow=workflow).exclude(targeting_key=key).count() >= MOST_PINS:
        raise StateConflictError(f"A workflow has at most {MOST_PINS:,} pins. Remove one first.")
    pin, _ = Pin.objects.update_or_create(
        workflow=workflow, targeting_key=key,
        defaults={
            "release": release, "reason": reason, "pinned_by_label": actor.as_actor().label,
            "pinned_at": now(),
        },
    )  # fmt: skip
    allow_serving(workflow, now())
    audit.record(
        "case.pinned", workflow, actor=actor, workflow=workflow.slug, reason=reason,
        digest=release.pk, case=key,
    )  # fmt: skip
    return pin


@audit.atomic()
def unpin_case(workflow: Workflow, targeting_key: str, *, actor: User, reason: str) -> None:
    """Let the case go where all others go."""
    workflow = lock_workflow(workflow.pk)
    require(actor, "case.pin", workflow)
    reason = rules.require_reason(reason)
    deleted, _ = Pin.objects.filter(workflow=workflow, targeting_key=targeting_key.strip()).delete()
    if not deleted:
        raise StateConflictError("This case is not pinned.")
    allow_serving(workflow, now())
    audit.record(
        "case.unpinned", workflow, actor=actor, workflow=workflow.slug, reason=reason,
        case=targeting_key.strip(),
    )  # fmt: skip


@on_change
def drop_pins(change: LiveChange) -> None:
    """Nobody stays pinned to a release that was rolled back, or whose pilot ended."""
    live = live_release(change.workflow)
    if live is None:
        return
    pinned = set(
        Pin.objects.filter(workflow=change.workflow).values_list("release_id", flat=True).distinct()
    )
    if not pinned:
        return
    served = set(
        LiveChange.objects.filter(workflow=change.workflow, to_release__in=pinned).values_list(
            "to_release_id", flat=True
        )
    )
    gone = (pinned & bad_releases(change.workflow)) | (pinned - served - {live.pilot_release_id})
    if gone:
        Pin.objects.filter(workflow=change.workflow, release__in=gone).delete()
        allow_serving(change.workflow, change.changed_at)
