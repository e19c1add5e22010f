"""Going back to the last known good. No gate, no approval, nothing but PostgreSQL is needed."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from django.db import transaction

from governance import audit
from governance.audit import Actor
from governance.audit.chain import HasActor
from governance.common.errors import StateConflictError
from governance.common.time import is_story, now
from governance.people.models import User
from governance.people.permissions import require
from governance.rollouts import convergence, pilots
from governance.rollouts.live import live_release, lock_workflow, move
from governance.rollouts.models import LiveChange, Promotion, Rollback
from governance.rollouts.post_mortems import open_post_mortem
from governance.rollouts.rules import require_reason
from governance.workflows.models import Workflow


@audit.atomic()
def roll_back(
    workflow: Workflow,
    *,
    actor: Actor | HasActor,
    reason: str,
    seen_seq: int | None = None,
    clicked_at: datetime | None = None,
) -> Rollback:
    """Return to the last known good, and open the post-mortem.

    Args:
        clicked_at: when the click or the command arrived, before any waiting for locks; None is
            the start of the transaction.
        seen_seq: the live `seq` that the person was looking at; a second click then finds that
            somebody was faster instead of going back twice.
    """
    workflow = lock_workflow(workflow.pk)
    if isinstance(actor, User):
        require(actor, "workflow.roll_back", workflow)
    return go_back(
        workflow, actor=actor, reason=require_reason(reason), seen_seq=seen_seq,
        clicked_at=clicked_at,
    )  # fmt: skip


def go_back(
    workflow: Workflow,
    *,
    actor: Actor | HasActor,
    reason: str,
    seen_seq: int | None = None,
    clicked_at: datetime | None = None,
) -> Rollback:
    """The rollback itself. The caller holds the workflow's lock."""
    live = live_release(workflow)
    if live is None:
        raise StateConflictError("Nothing is live in this workflow.")
    if seen_seq is not None and seen_seq != live.seq:
        raise StateConflictError(
            f"Somebody was faster: {live.release.name} is live now (change {live.seq})."
        )
    target = live.last_known_good
    if target is None:
        raise StateConflictError("There is no earlier good release to go back to.")
    moment = now()
    label = actor.label if isinstance(actor, Actor) else actor.as_actor().label
    bad = live.release
    pilots.close_open_pilot(workflow, actor=actor, why=f"{bad.name} was rolled back: {reason}")
    change = move(
        workflow, to=target, cause=LiveChange.Cause.ROLLBACK, actor_label=label, at=moment,
        reason=reason,
    )  # fmt: skip
    rollback = Rollback.objects.create(
        change=change, workflow=workflow, from_release=bad, to_release=target, reason=reason,
        actor_label=label, done_at=moment,
    )  # fmt: skip
    Promotion.objects.filter(workflow=workflow, release=bad, state=Promotion.State.LIVE).update(
        state=Promotion.State.ROLLED_BACK, closed_at=moment, closed_by_label=label,
        closing_reason=reason,
    )  # fmt: skip
    # Rolled back in the middle of a drill, what the drill left aside does not serve either.
    Promotion.objects.filter(workflow=workflow, state=Promotion.State.LIVE).update(
        state=Promotion.State.SUPERSEDED
    )
    reinstated = (
        Promotion.objects.filter(
            workflow=workflow, release=target, state=Promotion.State.SUPERSEDED
        )
        # The release stands on what people approved, not on an emergency change that lapsed.
        .exclude(road=Promotion.Road.EMERGENCY, ratified_at=None)
        .order_by("-closed_at")
        .first()
    )
    if reinstated is not None:
        reinstated.state = Promotion.State.LIVE
        reinstated.save(update_fields=["state"])
    audit.record(
        "rollback.done", rollback, actor=actor, workflow=workflow.slug, reason=reason,
        before=bad.pk, after=target.pk, seq=change.seq,
    )  # fmt: skip
    open_post_mortem(rollback, actor=actor)
    if not is_story():  # the demo's past was served by nobody
        # Robust: a rollback that is done stays done, whether or not its proof can be kept.
        transaction.on_commit(
            partial(convergence.confirm_served, rollback, clicked_at or moment), robust=True
        )
    return rollback
