"""Who decides for an owner who is away, for how long; and absences that nobody covers."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Q

from governance import audit
from governance.common.errors import InvalidInputError, StateConflictError
from governance.common.time import now
from governance.people.gaps import Away, Cover, uncovered
from governance.people.models import Absence, Delegation, User
from governance.people.permissions import register_rule, require
from governance.people.signatures import require_fresh_login, require_reason, sign

LONGEST_DELEGATION = timedelta(days=60)
LONGEST_ABSENCE = timedelta(days=366)


def answers_for_something(user: User) -> bool:
    """Whether this person owns a workflow or a KPI, so that decisions wait for them."""
    return user.owned_workflows.exists() or user.owned_kpis.exists()


register_rule(
    "delegation.give",
    lambda user, _: answers_for_something(user),
    "Only the owner of a KPI or a workflow lets somebody else decide; a delegate does not.",
)
register_rule(
    "delegation.revoke",
    lambda user, delegation: (
        user.pk in (delegation.owner_id, delegation.delegate_id) or user.role == User.Role.EXECUTIVE
    ),
    "The owner, the delegate or an executive ends a delegation.",
)
register_rule(
    "absence.note",
    lambda user, person: (
        user.role in (User.Role.EXECUTIVE, User.Role.ADMIN)
        or (user.pk == person.pk and user.role != User.Role.NONE)
    ),
    "You note your own absence; an executive or an administrator notes that of others.",
)


@audit.atomic()
def delegate(
    to: User,
    *,
    actor: User,
    starts_at: datetime,
    ends_at: datetime,
    reason: str,
    authenticated_at: datetime,
    authenticated_by: str = "password",
) -> Delegation:
    """Let `to` decide for the actor in this window; one delegate at a time, at most 60 days.

    It covers what the actor owns themselves: what they hold by delegation is not passed on.
    """
    require(actor, "delegation.give")
    require_fresh_login(authenticated_at)
    reason = require_reason(reason)
    User.objects.select_for_update().get(pk=actor.pk)  # two at once would overlap
    moment = now()
    starts_at = max(starts_at, moment)
    if ends_at <= starts_at:
        raise InvalidInputError("A delegation ends after it starts, in a time to come.")
    if ends_at - starts_at > LONGEST_DELEGATION:
        raise InvalidInputError(f"A delegation lasts at most {LONGEST_DELEGATION.days} days.")
    if to.pk == actor.pk:
        raise InvalidInputError("You decide for yourself already: name somebody else.")
    if not to.is_active or to.role == User.Role.NONE:
        raise InvalidInputError(f"{to} has no role here, so cannot decide.")
    given = Delegation.objects.filter(owner=actor, revoked_at=None)
    other = given.filter(starts_at__lt=ends_at, ends_at__gt=starts_at).first()
    if other is not None:
        raise StateConflictError(
            f"{other.delegate} decides for you in that time already. End that delegation first."
        )
    signature = sign(
        actor, "delegation", reason=reason,
        subject={
            "type": "delegation", "owner": actor.as_actor().label,
            "delegate": {"id": str(to.pk), "label": to.as_actor().label},
            "workflows": sorted(actor.owned_workflow_slugs()),
            "from": starts_at.isoformat(), "to": ends_at.isoformat(),
        },
        role="KPI owner", authenticated_at=authenticated_at, authenticated_by=authenticated_by,
    )  # fmt: skip
    held = Delegation.objects.create(
        owner=actor, delegate=to, starts_at=starts_at, ends_at=ends_at, reason=reason,
        signature=signature, created_at=moment,
    )  # fmt: skip
    audit.record(
        "delegation.given", held, actor=actor, reason=reason, owner=actor.as_actor().label,
        delegate=to.as_actor().label, starts_at=starts_at, ends_at=ends_at,
        authenticated_by=authenticated_by, references={"signature": signature.pk},
    )  # fmt: skip
    return held


@audit.atomic()
def revoke_delegation(delegation_id: int, *, actor: User, reason: str) -> Delegation:
    """End it at once. Approvals that were not used yet count no more."""
    held = (
        Delegation.objects.select_for_update(of=("self",))
        .select_related("owner", "delegate")
        .get(pk=delegation_id)
    )
    require(actor, "delegation.revoke", held)
    reason = require_reason(reason)
    moment = now()
    if held.revoked_at is not None or held.ends_at <= moment:
        raise StateConflictError("This delegation has ended already.")
    held.revoked_at = moment
    held.revoked_by_label = actor.as_actor().label
    held.save(update_fields=["revoked_at", "revoked_by_label"])
    audit.record(
        "delegation.revoked", held, actor=actor, reason=reason,
        owner=held.owner.as_actor().label, delegate=held.delegate.as_actor().label,
    )  # fmt: skip
    return held


@audit.atomic()
def note_absence(
    person: User, *, actor: User, starts_at: datetime, ends_at: datetime, note: str = ""
) -> Absence:
    """Say that somebody does not decide in this window, so that a gap is seen beforehand."""
    require(actor, "absence.note", person)
    moment = now()
    if ends_at <= starts_at or ends_at <= moment:
        raise InvalidInputError("An absence ends after it starts, in a time to come.")
    if ends_at - starts_at > LONGEST_ABSENCE:
        raise InvalidInputError(f"An absence lasts at most {LONGEST_ABSENCE.days} days.")
    if not person.is_active or person.role == User.Role.NONE:
        raise InvalidInputError(f"{person} has no role here, so decides nothing.")
    absence = Absence.objects.create(
        person=person, starts_at=starts_at, ends_at=ends_at, note=note.strip()[:200],
        created_at=moment,
    )  # fmt: skip
    audit.record(
        "absence.noted", absence, actor=actor, person=person.as_actor().label,
        starts_at=starts_at, ends_at=ends_at,
    )  # fmt: skip
    return absence


@audit.atomic()
def cancel_absence(absence_id: int, *, actor: User) -> Absence:
    """The person is there after all."""
    absence = (
        Absence.objects.select_for_update(of=("self",)).select_related("person").get(pk=absence_id)
    )
    require(actor, "absence.note", absence.person)
    if absence.cancelled_at is not None or absence.ends_at <= now():
        raise StateConflictError("This absence is over or was taken back already.")
    absence.cancelled_at = now()
    absence.save(update_fields=["cancelled_at"])
    audit.record("absence.cancelled", absence, actor=actor, person=absence.person.as_actor().label)
    return absence


def coming_gaps(owners: dict[int, User], *, at: datetime, until: datetime) -> list[Away]:
    """The times before `until` in which nobody decides for one of these owners."""
    away = [
        Away(absence.person_id, absence.starts_at, absence.ends_at)
        for absence in Absence.objects.to_come(at).filter(starts_at__lt=until)
    ]
    covers = [
        Cover(held.owner_id, held.delegate_id, held.starts_at, held.ends_at)
        for held in Delegation.objects.filter(
            Q(delegate__is_active=True), owner__in=owners, revoked_at=None, ends_at__gt=at
        )
    ]
    return [gap for gap in uncovered(owners, away, covers) if gap.ends_at > at]
