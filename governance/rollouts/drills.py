"""Rollback drills: going back on purpose, measured, and forward again to where it was."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial

from django.db import connection, transaction

from governance import audit
from governance.audit import Actor
from governance.common.errors import InvalidInputError, StateConflictError
from governance.common.time import is_story, now
from governance.jobs.services import enqueue
from governance.people.models import User
from governance.people.permissions import register_rule, require
from governance.people.signatures import sign
from governance.receipts.models import Receipt
from governance.rollouts import rules
from governance.rollouts.live import live_release, lock_workflow, move
from governance.rollouts.models import LiveChange
from governance.rollouts.recovery_models import Drill
from governance.workflows.models import Workflow

RETURNS_AFTER = timedelta(minutes=10)
LOOK_EVERY = timedelta(seconds=15)
SYSTEM = Actor.system("drill")

register_rule(
    "drill.sign",
    lambda user, drill: user.pk == rules.kpi_owner(drill.workflow).pk,
    "The KPI owner signs a drill: it changes what serves for a few minutes.",
)


def _lock(drill_id: int) -> Drill:
    """Lock the workflow, then the drill: always in this order."""
    workflow_id = Drill.objects.values_list("workflow_id", flat=True).get(pk=drill_id)
    lock_workflow(workflow_id)
    return (
        Drill.objects.select_for_update(of=("self",))
        .select_related("workflow__owner", "from_release", "to_release")
        .get(pk=drill_id)
    )


@audit.atomic()
def plan_drill(workflow: Workflow, *, actor: Actor | User, planned_for: datetime) -> Drill:
    """Put a drill on the calendar; the KPI owner signs it before it runs."""
    workflow = lock_workflow(workflow.pk)
    if isinstance(actor, User):
        require(actor, "workflow.roll_back", workflow)
    if workflow.mode == Workflow.Mode.OBSERVE:
        raise StateConflictError("Nobody here can switch this workflow, so nobody can practise it.")
    if planned_for < now() - timedelta(hours=1):
        raise InvalidInputError("Plan a drill for a time to come.")
    drill = Drill.objects.create(workflow=workflow, planned_for=planned_for)
    audit.record(
        "drill.planned", drill, actor=actor, workflow=workflow.slug, planned_for=planned_for
    )
    return drill


@audit.atomic()
def sign_drill(
    drill_id: int,
    *,
    actor: User,
    reason: str,
    authenticated_at: datetime,
    authenticated_by: str = "password",
) -> Drill:
    """Agree that this workflow goes back and forth once."""
    drill = _lock(drill_id)
    require(actor, "drill.sign", drill)
    rules.require_fresh_login(authenticated_at)
    reason = rules.require_reason(reason)
    if drill.state != Drill.State.PLANNED or drill.signature_id is not None:
        raise StateConflictError("This drill is signed, run or called off already.")
    drill.signature = sign(
        actor, "drill", reason=reason,
        subject={
            "type": "drill", "id": str(drill.pk), "workflow": drill.workflow.slug,
            "planned_for": drill.planned_for.isoformat(),
        },
        role="KPI owner", authenticated_at=authenticated_at, authenticated_by=authenticated_by,
    )  # fmt: skip
    drill.signed_by = actor
    drill.save(update_fields=["signature", "signed_by"])
    audit.record(
        "drill.signed", drill, actor=actor, workflow=drill.workflow.slug, reason=reason,
        references={"signature": drill.signature.pk},
    )  # fmt: skip
    return drill


@audit.atomic()
def start_drill(drill_id: int, *, actor: User, clicked_at: datetime) -> Drill:
    """Go back to the last known good, as a rollback would, and come back after ten minutes."""
    drill = _lock(drill_id)
    require(actor, "workflow.roll_back", drill.workflow)
    if drill.state != Drill.State.PLANNED:
        raise StateConflictError("This drill was run or called off already.")
    if drill.signature_id is None:
        raise StateConflictError("The KPI owner has not signed this drill.")
    if Drill.objects.filter(workflow=drill.workflow, state=Drill.State.RUNNING).exists():
        raise StateConflictError("Another drill of this workflow is running.")
    live = live_release(drill.workflow)
    if live is None or live.last_known_good is None:
        raise StateConflictError("There is no earlier good release to go back to.")
    if live.switched_off or live.pilot_release_id is not None:
        raise StateConflictError("Not while a pilot runs or the workflow is switched off.")
    moment, label = now(), actor.as_actor().label
    drill.state = Drill.State.RUNNING
    drill.from_release, drill.to_release = live.release, live.last_known_good
    drill.clicked_at, drill.run_by_label = clicked_at, label
    drill.save(update_fields=["state", "from_release", "to_release", "clicked_at", "run_by_label"])
    change = move(
        drill.workflow, to=live.last_known_good, cause=LiveChange.Cause.DRILL, drill=drill,
        actor_label=label, at=moment, reason="A rollback drill.",
    )  # fmt: skip
    audit.record(
        "drill.started", drill, actor=actor, workflow=drill.workflow.slug,
        before=live.release_id, after=live.last_known_good_id or "", seq=change.seq,
    )  # fmt: skip
    if not is_story():
        transaction.on_commit(partial(note_served, drill), robust=True)
    enqueue(
        "rollouts.drill", f"drill {drill.pk} first", {"drill": drill.pk},
        run_at=moment + LOOK_EVERY,
    )  # fmt: skip
    return drill


def note_served(drill: Drill) -> None:
    """After the commit: when the serving row named the target."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (served_at,) = cursor.fetchone()
    Drill.objects.filter(pk=drill.pk, served_at=None).update(served_at=served_at)


def look(drill_id: int) -> bool:
    """Note the first receipt on the target, and come back when the time is over.

    Returns:
        Whether somebody must look again.
    """
    with audit.atomic():
        drill = _lock(drill_id)
        if drill.state != Drill.State.RUNNING or drill.clicked_at is None:
            return False
        if drill.confirmed_at is None:
            _confirm(drill)
        is_over = now() >= drill.clicked_at + RETURNS_AFTER
    if is_over:
        return_from_drill(drill_id, actor=SYSTEM)
        return False
    return True


def _confirm(drill: Drill) -> None:
    """The first run that started on the target after it was served."""
    since = drill.served_at or drill.clicked_at
    if since is None:
        return
    first = (
        Receipt.objects.filter(
            workflow=drill.workflow, started_at__gte=since, day__gte=since.date(),
            release_digest=drill.to_release_id,
        )
        .order_by("started_at")
        .values_list("started_at", flat=True)
        .first()
    )  # fmt: skip
    if first is not None and drill.clicked_at is not None:
        drill.confirmed_at = first
        drill.seconds_to_restore = max((first - drill.clicked_at).total_seconds(), 0.0)
        drill.save(update_fields=["confirmed_at", "seconds_to_restore"])
        audit.record(
            "drill.confirmed", drill, actor=SYSTEM, workflow=drill.workflow.slug,
            seconds_to_restore=round(drill.seconds_to_restore, 3),
        )  # fmt: skip


@audit.atomic()
def return_from_drill(drill_id: int, *, actor: Actor | User) -> Drill:
    """Serve again what served before the drill, if nothing moved meanwhile."""
    drill = _lock(drill_id)
    if isinstance(actor, User):
        require(actor, "workflow.roll_back", drill.workflow)
    if drill.state != Drill.State.RUNNING or drill.from_release is None:
        raise StateConflictError("This drill is not running.")
    _confirm(drill)
    label = actor.label if isinstance(actor, Actor) else actor.as_actor().label
    last = LiveChange.objects.filter(workflow=drill.workflow).order_by("-seq").first()
    moment = now()
    if last is not None and last.drill_id == drill.pk:
        change = move(
            drill.workflow, to=drill.from_release, cause=LiveChange.Cause.DRILL_RETURNED,
            drill=drill, actor_label=label, at=moment, reason="Back from the rollback drill.",
        )  # fmt: skip
        drill.returned_at = moment
        seq = change.seq
    else:
        drill.note = "Something else moved the workflow meanwhile, so the drill left it as it is."
        seq = last.seq if last is not None else 0
    drill.state = Drill.State.DONE
    drill.save(update_fields=["state", "returned_at", "note"])
    audit.record(
        "drill.returned", drill, actor=actor, workflow=drill.workflow.slug, seq=seq,
        seconds_to_restore=drill.seconds_to_restore, reason=drill.note,
    )  # fmt: skip
    return drill


@audit.atomic()
def cancel_drill(drill_id: int, *, actor: User, reason: str) -> Drill:
    """Take a planned drill off the calendar."""
    drill = _lock(drill_id)
    require(actor, "workflow.roll_back", drill.workflow)
    reason = rules.require_reason(reason)
    if drill.state != Drill.State.PLANNED:
        raise StateConflictError("Only a planned drill is called off.")
    drill.state = Drill.State.CANCELLED
    drill.note = reason
    drill.save(update_fields=["state", "note"])
    audit.record("drill.cancelled", drill, actor=actor, workflow=drill.workflow.slug, reason=reason)
    return drill


def plan_quarterly() -> list[Drill]:
    """Plan a drill for every governed workflow that has had none for a quarter. Safe to repeat."""
    moment = now()
    planned = []
    recent = Drill.objects.exclude(state=Drill.State.CANCELLED).filter(
        planned_for__gt=moment - timedelta(days=91)
    )
    for workflow in (
        Workflow.objects.filter(live__last_known_good__isnull=False)
        .exclude(mode=Workflow.Mode.OBSERVE)
        .exclude(pk__in=recent.values("workflow_id"))
    ):
        planned.append(plan_drill(workflow, actor=SYSTEM, planned_for=moment + timedelta(days=14)))
    return planned
