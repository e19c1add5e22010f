"""The kill switch: no release serves, applications do without. Off is a step back, on is not."""

from __future__ import annotations

from datetime import datetime

from governance import audit
from governance.audit import Actor
from governance.common.errors import StateConflictError
from governance.common.time import now
from governance.people.models import User
from governance.people.permissions import register_rule, require
from governance.people.signatures import sign
from governance.rollouts import pilots, rules
from governance.rollouts.live import live_release, lock_workflow, move
from governance.rollouts.models import LiveChange
from governance.workflows.models import Workflow

register_rule(
    "workflow.switch_on",
    lambda user, workflow: user.pk == rules.kpi_owner(workflow).pk,
    "Only the KPI owner switches a workflow on again.",
)


@audit.atomic()
def switch_off(workflow: Workflow, *, actor: Actor | User, reason: str) -> LiveChange:
    """Have no release serve any case. Who may roll back may do this too."""
    workflow = lock_workflow(workflow.pk)
    if isinstance(actor, User):
        require(actor, "workflow.roll_back", workflow)
    reason = rules.require_reason(reason)
    live = live_release(workflow)
    if live is None:
        raise StateConflictError("Nothing is live in this workflow.")
    if live.switched_off:
        raise StateConflictError("It is switched off already.")
    pilots.close_open_pilot(workflow, actor=actor, why=f"Switched off: {reason}")
    label = actor.label if isinstance(actor, Actor) else actor.as_actor().label
    change = move(
        workflow, cause=LiveChange.Cause.SWITCHED_OFF, switched_off=True, actor_label=label,
        at=now(), reason=reason,
    )  # fmt: skip
    audit.record(
        "workflow.switched_off", workflow, actor=actor, workflow=workflow.slug, reason=reason,
        before=live.release_id, seq=change.seq,
    )  # fmt: skip
    return change


@audit.atomic()
def switch_on(
    workflow: Workflow,
    *,
    actor: User,
    reason: str,
    authenticated_at: datetime,
    authenticated_by: str = "password",
) -> LiveChange:
    """Let the stable release serve again; signed by the KPI owner."""
    workflow = lock_workflow(workflow.pk)
    require(actor, "workflow.switch_on", workflow)
    rules.require_fresh_login(authenticated_at)
    reason = rules.require_reason(reason)
    live = live_release(workflow)
    if live is None or not live.switched_off:
        raise StateConflictError("It is not switched off.")
    signature = sign(
        actor, "switch_on", reason=reason,
        subject={
            "type": "workflow", "workflow": workflow.slug, "seq": live.seq,
            "release": live.release_id,
        },
        role="KPI owner", authenticated_at=authenticated_at, authenticated_by=authenticated_by,
    )  # fmt: skip
    change = move(
        workflow, cause=LiveChange.Cause.SWITCHED_ON, switched_off=False, signature=signature,
        actor_label=actor.as_actor().label, at=now(), reason=reason,
    )  # fmt: skip
    audit.record(
        "workflow.switched_on", workflow, actor=actor, workflow=workflow.slug, reason=reason,
        after=live.release_id, seq=change.seq, references={"signature": signature.pk},
    )  # fmt: skip
    return change


@audit.atomic()
def set_automatic_rollback(
    workflow: Workflow,
    *,
    actor: User,
    allowed: bool,
    reason: str,
    authenticated_at: datetime,
    authenticated_by: str = "password",
) -> Workflow:
    """Let the guard roll back what serves every case, or take that right back."""
    workflow = lock_workflow(workflow.pk)
    require(actor, "workflow.switch_on", workflow)
    rules.require_fresh_login(authenticated_at)
    reason = rules.require_reason(reason)
    if workflow.automatic_rollback == allowed:
        raise StateConflictError("It is set like that already.")
    workflow.automatic_rollback = allowed
    workflow.save(update_fields=["automatic_rollback"])
    audit.record(
        "workflow.guard_changed", workflow, actor=actor, workflow=workflow.slug, reason=reason,
        automatic_rollback=allowed, authenticated_by=authenticated_by,
    )  # fmt: skip
    return workflow
