"""What happened, why, and what is done about it. Opened by every rollback."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Sum

from governance import audit
from governance.audit import Actor
from governance.audit.chain import HasActor
from governance.audit.models import AuditEvent
from governance.common.errors import InvalidInputError, NotAllowedError, StateConflictError
from governance.common.time import now
from governance.jobs.services import enqueue
from governance.people.models import User
from governance.people.permissions import require
from governance.rollouts import impact, recall
from governance.rollouts.models import LiveChange, PostMortem, Rollback
from governance.rollouts.recovery_models import PostMortemAction

DUE_AFTER = timedelta(days=5)
LONGEST_TIMELINE = 60
RECALL_AFTER_MINUTES = (0, 15, 60)


def open_post_mortem(rollback: Rollback, *, actor: Actor | HasActor) -> PostMortem:
    """Open it with what the audit already knows. Runs in the rollback's transaction."""
    workflow = rollback.workflow
    moment = now()
    post_mortem = PostMortem.objects.create(
        rollback=rollback,
        title=f"Rollback of {rollback.from_release.name} on {moment:%d %b %Y}",
        timeline=_timeline(rollback),
        owner=workflow.owner,
        opened_at=moment,
        due_at=moment + DUE_AFTER,
    )
    audit.record(
        "post_mortem.opened", post_mortem, actor=actor, workflow=workflow.slug,
        due=post_mortem.due_at, rollback=rollback.pk,
    )  # fmt: skip
    # At once, and again when the runs that were under way have reported.
    for minutes in RECALL_AFTER_MINUTES:
        enqueue(
            "rollouts.recall", f"post-mortem {post_mortem.pk} after {minutes}",
            {"post_mortem": post_mortem.pk}, run_at=moment + timedelta(minutes=minutes),
        )  # fmt: skip
    return post_mortem


def _timeline(rollback: Rollback) -> list[dict[str, str]]:
    """Everything recorded about the workflow since the bad release was proposed."""
    came = (
        LiveChange.objects.filter(workflow=rollback.workflow, to_release=rollback.from_release)
        .select_related("promotion")
        .order_by("-seq")
        .first()
    )
    events = AuditEvent.objects.filter(workflow=rollback.workflow.slug)
    if came is not None:
        start = came.promotion.requested_at if came.promotion else came.changed_at
        events = events.filter(occurred_at__gte=start)
    entries = [
        {
            "at": event.occurred_at.isoformat(),
            "who": event.actor_label,
            "what": f"{event.sentence} {event.object_label}",
            "reason": event.reason,
            "seq": str(event.seq),
        }
        for event in events.order_by("-seq")[:LONGEST_TIMELINE]
    ]
    entries.reverse()
    entries.append(
        {
            "at": rollback.done_at.isoformat(),
            "who": rollback.actor_label,
            "what": f"rolled back {rollback}",
            "reason": rollback.reason,
            "seq": "",
        }
    )
    return entries


def _lock(post_mortem_id: int, actor: User) -> PostMortem:
    post_mortem = (
        PostMortem.objects.select_for_update(of=("self",))
        .select_related(
            "submitted_by",
            "rollback__workflow__owner",
            "rollback__from_release",
            "rollback__to_release",
        )
        .get(pk=post_mortem_id)
    )
    require(actor, "post_mortem.edit", post_mortem)
    if post_mortem.finished_at is not None:
        raise StateConflictError("This post-mortem is finished; it is not changed any more.")
    return post_mortem


def _record(verb: str, post_mortem: PostMortem, actor: User, **details: Any) -> None:
    audit.record(
        verb, post_mortem, actor=actor, workflow=post_mortem.rollback.workflow.slug, **details
    )


@audit.atomic()
def write_post_mortem(post_mortem_id: int, *, actor: User, cause: str, impact: str) -> PostMortem:
    """Write what happened and why."""
    post_mortem = _lock(post_mortem_id, actor)
    post_mortem.cause = cause.strip()
    post_mortem.impact = impact.strip()
    # Who reviews it reviews this text: an edit takes back what was handed in.
    post_mortem.submitted_at = post_mortem.submitted_by = None
    post_mortem.save(update_fields=["cause", "impact", "submitted_at", "submitted_by"])
    _record("post_mortem.edited", post_mortem, actor, cause=cause.strip(), impact=impact.strip())
    return post_mortem


@audit.atomic()
def add_action(
    post_mortem_id: int,
    *,
    actor: User,
    text: str,
    owner: User | None = None,
    due_on: date | None = None,
) -> PostMortemAction:
    """Note one thing that will be done so that it does not happen again."""
    post_mortem = _lock(post_mortem_id, actor)
    if not text.strip():
        raise InvalidInputError("Say what will be done.")
    if due_on is not None and due_on < now().date():
        raise InvalidInputError("It is due today or on a day to come.")
    action = PostMortemAction.objects.create(
        post_mortem=post_mortem, text=text.strip()[:300], owner=owner, due_on=due_on
    )
    _record("post_mortem.edited", post_mortem, actor, action_added=action.text)
    return action


@audit.atomic()
def note_asked(post_mortem_id: int, *, actor: User, whom: str) -> PostMortem:
    """Note who was asked to go back, where nobody here can switch what runs."""
    post_mortem = _lock(post_mortem_id, actor)
    if not whom.strip():
        raise InvalidInputError("Say who was asked, and how.")
    target = post_mortem.rollback.to_release.name
    _add_entry(
        post_mortem, actor, what=f"asked {whom.strip()[:200]} to put {target} back",
        asked=whom.strip()[:200],
    )  # fmt: skip
    return post_mortem


@audit.atomic()
def add_to_timeline(
    post_mortem_id: int, *, actor: User, what: str, at: datetime | None = None
) -> PostMortem:
    """Note something that neither the audit nor the receipts know: who called, who was told."""
    post_mortem = _lock(post_mortem_id, actor)
    if not what.strip():
        raise InvalidInputError("Say what happened.")
    if at is not None and at > now():
        raise InvalidInputError("The timeline tells what has happened: choose a time before now.")
    _add_entry(post_mortem, actor, what=what.strip()[:300], at=at)
    return post_mortem


def _add_entry(
    post_mortem: PostMortem, actor: User, *, what: str, at: datetime | None = None, **more: str
) -> None:
    entry = {
        "at": (at or now()).isoformat(), "who": actor.as_actor().label, "what": what,
        "reason": "", "seq": "", "source": "person", **more,
    }  # fmt: skip
    post_mortem.timeline = sorted(
        [*post_mortem.timeline, entry], key=lambda one: datetime.fromisoformat(one["at"])
    )
    post_mortem.save(update_fields=["timeline"])
    _record("post_mortem.edited", post_mortem, actor, timeline_added=what, at=entry["at"])


@audit.atomic()
def finish_action(action_id: int, *, actor: User) -> PostMortemAction:
    """Mark an action as done. Also after the post-mortem is finished: actions take longer."""
    action = (
        PostMortemAction.objects.select_for_update(of=("self",))
        .select_related("post_mortem__rollback__workflow__owner")
        .get(pk=action_id)
    )
    require(actor, "post_mortem.edit", action.post_mortem)
    if action.done_at is not None:
        raise StateConflictError("This action is done already.")
    action.done_at = now()
    action.save(update_fields=["done_at"])
    _record("post_mortem.edited", action.post_mortem, actor, action_done=action.text)
    return action


def submit_post_mortem(post_mortem_id: int, *, actor: User) -> PostMortem:
    """Hand it to a second person, once it names its cause, its impact and at least one action."""
    refresh(post_mortem_id)  # stays, also when the list it brings up to date refuses what follows
    return _submit(post_mortem_id, actor)


@audit.atomic()
def _submit(post_mortem_id: int, actor: User) -> PostMortem:
    post_mortem = _lock(post_mortem_id, actor)
    if post_mortem.submitted_at is not None:
        raise StateConflictError(f"{post_mortem.submitted_by} handed it in already.")
    missing = [
        name
        for name, present in (
            ("the cause", post_mortem.cause),
            ("the impact", post_mortem.impact),
            ("at least one action", post_mortem.actions.exists()),
        )
        if not present
    ]
    if missing:
        raise InvalidInputError(f"Still missing: {', '.join(missing)}.")
    recall.refuse_undecided(post_mortem)
    post_mortem.submitted_at = now()
    post_mortem.submitted_by = actor
    post_mortem.save(update_fields=["submitted_at", "submitted_by"])
    _record("post_mortem.submitted", post_mortem, actor)
    return post_mortem


@audit.atomic()
def finish_post_mortem(post_mortem_id: int, *, actor: User) -> PostMortem:
    """Close it as the second person, after reading it. The next promotion is free again."""
    post_mortem = _lock(post_mortem_id, actor)
    if post_mortem.submitted_at is None:
        raise StateConflictError("It was not handed in for review yet.")
    if post_mortem.submitted_by_id == actor.pk:
        raise NotAllowedError("Somebody else reviews what you handed in.")
    recall.refuse_undecided(post_mortem)
    post_mortem.finished_at = now()
    post_mortem.finished_by = actor
    post_mortem.save(update_fields=["finished_at", "finished_by"])
    _record(
        "post_mortem.finished", post_mortem, actor,
        written_by=str(post_mortem.submitted_by), runs=post_mortem.impact_runs,
    )  # fmt: skip
    return post_mortem


@audit.atomic()
def return_post_mortem(post_mortem_id: int, *, actor: User, reason: str) -> PostMortem:
    """Give it back to its writers: the reviewer says what is missing."""
    post_mortem = _lock(post_mortem_id, actor)
    if post_mortem.submitted_at is None:
        raise StateConflictError("It was not handed in for review.")
    if not reason.strip():
        raise InvalidInputError("Say what is missing.")
    post_mortem.submitted_at = post_mortem.submitted_by = None
    post_mortem.save(update_fields=["submitted_at", "submitted_by"])
    _record("post_mortem.returned", post_mortem, actor, reason=reason.strip())
    return post_mortem


def refresh(post_mortem_id: int) -> int:
    """Bring the recall list and the measured impact up to date; returns the cases listed.

    What people wrote and decided stays as it is.
    """
    with transaction.atomic():
        post_mortem = (
            PostMortem.objects.select_for_update(of=("self",))
            .select_related("rollback__workflow", "rollback__from_release", "rollback__to_release")
            .get(pk=post_mortem_id)
        )
        if post_mortem.finished_at is not None:
            return post_mortem.recall.count()
        cases = recall.fill(post_mortem)
        sums = post_mortem.recall.aggregate(runs=Sum("runs"), amount=Sum("amount"))
        post_mortem.impact_runs = sums["runs"] or 0
        post_mortem.impact_money = sums["amount"]
        rollback = post_mortem.rollback
        post_mortem.impact_kpi = impact.sentence(impact.kpi_effects(rollback), rollback)
        kept = [entry for entry in post_mortem.timeline if entry.get("source") != "receipts"]
        post_mortem.timeline = sorted(
            [*kept, *impact.receipts_say(post_mortem)],
            key=lambda entry: datetime.fromisoformat(entry["at"]),
        )
        post_mortem.save(update_fields=["impact_runs", "impact_money", "impact_kpi", "timeline"])
    return cases
