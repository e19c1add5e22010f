"""Who decides for whom: windows, no chain, signatures; absences and the gaps they leave."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import Error as DatabaseError
from django.db import transaction

from governance.audit.models import AuditEvent
from governance.common.errors import (
    GovernanceError,
    InvalidInputError,
    NotAllowedError,
    StateConflictError,
)
from governance.common.time import now
from governance.people import delegations
from governance.people.models import Absence, Delegation, User
from governance.people.services import set_emergency_right
from governance.workflows.models import Workflow

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


def give(to: User, by: User, *, start: int = 0, days: int = 7, **more: Any) -> Delegation:
    first = now() + start * DAY
    kept = {"reason": "On leave.", "authenticated_at": now(), **more}
    return delegations.delegate(to, actor=by, starts_at=first, ends_at=first + days * DAY, **kept)


def test_an_owner_lets_somebody_decide_signed_and_recorded(
    workflow: Workflow, owner: User, controller: User
) -> None:
    held = give(controller, owner, start=3)

    assert (held.owner, held.delegate) == (owner, controller)
    assert held.signature.manifest["subject"]["workflows"] == ["support-triage"]
    assert held.signature.manifest["authenticated"]["by"] == "password"
    event = AuditEvent.objects.get(verb="delegation.given")
    assert event.actor_id == str(owner.pk)
    with pytest.raises(DatabaseError), transaction.atomic():
        Delegation.objects.filter(pk=held.pk).update(ends_at=held.ends_at + DAY)


def test_only_owners_delegate_and_what_is_held_is_not_passed_on(
    workflow: Workflow, owner: User, controller: User, auditor: User, cfo: User, admin: User
) -> None:
    give(controller, owner)
    for person in (controller, cfo, admin):
        with pytest.raises(NotAllowedError, match="a delegate does not"):
            give(auditor, person)
    assert Delegation.objects.count() == 1


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"days": 61}, InvalidInputError),
        ({"days": 0}, InvalidInputError),
        ({"start": -9, "days": 2}, InvalidInputError),
        ({"reason": " "}, InvalidInputError),
        ({"authenticated_at": datetime.fromisoformat("1970-01-01T00:00Z")}, NotAllowedError),
    ],
)
def test_a_delegation_has_a_window_a_reason_and_a_fresh_password(
    workflow: Workflow, owner: User, controller: User, change: dict[str, Any],
    refusal: type[GovernanceError],
) -> None:  # fmt: skip
    with pytest.raises(refusal):
        give(controller, owner, **change)
    assert not Delegation.objects.exists()


def test_nobody_without_a_role_decides_and_nobody_for_themselves(
    workflow: Workflow, owner: User, outsider: User, controller: User
) -> None:
    for person in (outsider, owner):
        with pytest.raises(InvalidInputError):
            give(person, owner)
    User.objects.filter(pk=controller.pk).update(is_active=False)
    controller.refresh_from_db()
    with pytest.raises(InvalidInputError):
        give(controller, owner)


def test_one_delegate_at_a_time(
    workflow: Workflow, owner: User, controller: User, cfo: User
) -> None:
    held = give(controller, owner)
    with pytest.raises(StateConflictError, match="Controller decides for you"):
        give(cfo, owner, start=6)
    give(cfo, owner, start=8)
    delegations.revoke_delegation(held.pk, actor=owner, reason="Back early.")
    give(cfo, owner, days=5)


def test_the_owner_the_delegate_or_an_executive_ends_it_once(
    workflow: Workflow, owner: User, controller: User, cfo: User, analyst: User
) -> None:
    for days, person in enumerate((owner, controller, cfo), 1):
        held = give(controller, owner, days=days)
        with pytest.raises(NotAllowedError):
            delegations.revoke_delegation(held.pk, actor=analyst, reason="mine")
        with pytest.raises(InvalidInputError):
            delegations.revoke_delegation(held.pk, actor=person, reason="")
        delegations.revoke_delegation(held.pk, actor=person, reason="Back early.")
        with pytest.raises(StateConflictError):
            delegations.revoke_delegation(held.pk, actor=person, reason="again")
    assert AuditEvent.objects.filter(verb="delegation.revoked").count() == 3


def test_who_decides_for_an_owner_reads_the_workflow_in_that_window_only(
    workflow: Workflow, owner: User, controller: User
) -> None:
    visible = Workflow.objects.visible_to
    assert not visible(controller).exists()
    later = give(controller, owner, start=9)
    assert not visible(controller).exists()
    delegations.revoke_delegation(later.pk, actor=owner, reason="Now instead.")
    held = give(controller, owner)
    assert visible(controller).get() == workflow
    delegations.revoke_delegation(held.pk, actor=owner, reason="Back.")
    assert not visible(controller).exists()


def test_an_absence_is_a_gap_until_somebody_decides_or_it_is_taken_back(
    workflow: Workflow, owner: User, controller: User, cfo: User, analyst: User
) -> None:
    start = now() + 5 * DAY
    with pytest.raises(NotAllowedError):
        delegations.note_absence(owner, actor=analyst, starts_at=start, ends_at=start + DAY)
    absence = delegations.note_absence(
        owner, actor=owner, starts_at=start, ends_at=start + 4 * DAY, note="Leave"
    )

    def gaps() -> list[tuple[datetime, datetime]]:
        found = delegations.coming_gaps({owner.pk: owner}, at=now(), until=now() + 14 * DAY)
        return [(gap.starts_at, gap.ends_at) for gap in found]

    assert gaps() == [(start, start + 4 * DAY)]
    held = give(controller, owner, start=1, days=20)
    assert gaps() == []
    delegations.revoke_delegation(held.pk, actor=cfo, reason="Wrong person.")
    assert gaps() == [(start, start + 4 * DAY)]
    delegations.cancel_absence(absence.pk, actor=cfo)
    assert gaps() == []
    with pytest.raises(StateConflictError):
        delegations.cancel_absence(absence.pk, actor=owner)
    with pytest.raises(DatabaseError), transaction.atomic():
        Absence.objects.filter(pk=absence.pk).delete()


def test_an_administrator_gives_the_emergency_right_to_others_and_takes_it_back(
    admin: User, controller: User, cfo: User, outsider: User
) -> None:
    def give_right(user: User, by: User, *, allowed: bool = True) -> User:
        return set_emergency_right(
            user.pk, actor=by, allowed=allowed, reason="On call.", authenticated_at=now()
        )

    with pytest.raises(NotAllowedError):
        give_right(controller, cfo)
    with pytest.raises(NotAllowedError, match="Another administrator"):
        give_right(admin, admin)
    with pytest.raises(InvalidInputError):
        give_right(outsider, admin)
    with pytest.raises(NotAllowedError, match="password"):
        set_emergency_right(controller.pk, actor=admin, allowed=True, reason="On call.")
    assert give_right(controller, admin).emergency_changes
    with pytest.raises(StateConflictError):
        give_right(controller, admin)
    set_emergency_right(controller.pk, actor=admin, allowed=False, reason="Left the rota.")
    assert not User.objects.get(pk=controller.pk).emergency_changes
    assert AuditEvent.objects.filter(verb="user.emergency_right_changed").count() == 2
