"""Emergency changes: live at once, and undone unless a second person ratifies them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import Error as DatabaseError
from django.db import transaction

from governance.common.errors import InvalidInputError, NotAllowedError, StateConflictError
from governance.common.time import now, story_time
from governance.people.models import User
from governance.releases.models import LiveRelease, Pin, Release
from governance.rollouts import services
from governance.rollouts.models import LiveChange, PostMortem, Promotion
from governance.workflows.models import Workflow
from tests.rollouts.conftest import again

pytestmark = pytest.mark.django_db(transaction=True)
Propose = Callable[..., Promotion]
Make = Callable[..., Release]


@pytest.fixture
def breaker(controller: User) -> User:
    """Somebody with the right to make emergency changes."""
    User.objects.filter(pk=controller.pk).update(emergency_changes=True)
    return User.objects.get(pk=controller.pk)


def emergency(release: Release, actor: User, incident: str = "INC-7") -> Promotion:
    return services.emergency_change(
        release, actor=actor, incident=incident, reason="It leaks data.", authenticated_at=now()
    )


def ratify(promotion: Promotion, actor: User) -> Promotion:
    return services.ratify_emergency(
        promotion.pk, actor=actor, reason="Right call.", authenticated_at=now()
    )


def test_an_emergency_change_is_live_at_once_and_stays_when_a_second_person_ratifies(
    live: Release, make_release: Make, breaker: User, builder: User, owner: User, cfo: User
) -> None:
    release = make_release(0.9)
    for person in (builder, owner, cfo):
        with pytest.raises(NotAllowedError):
            emergency(release, person)
    with pytest.raises(InvalidInputError):
        emergency(release, breaker, " ")

    promotion = emergency(release, breaker)

    row = LiveRelease.objects.get()
    assert (row.release, row.last_known_good, row.gated) == (release, live, False)
    for person in (breaker, builder):  # made it; not allowed
        with pytest.raises(NotAllowedError):
            ratify(promotion, person)
    ratify(promotion, cfo)
    with story_time(now() + timedelta(hours=5)):
        assert services.revert_unratified(promotion.pk) is False
    assert LiveRelease.objects.get().release == release
    with pytest.raises(StateConflictError):
        ratify(promotion, owner)


def test_an_emergency_change_that_nobody_ratifies_is_undone_by_itself(
    live: Release, make_release: Make, breaker: User, cfo: User
) -> None:
    promotion = emergency(make_release(0.9), breaker)
    with story_time(now() + timedelta(hours=3, minutes=59)):
        assert services.revert_unratified(promotion.pk) is False
    with story_time(now() + timedelta(hours=4, seconds=1)):
        with pytest.raises(StateConflictError, match="four hours are over"):
            ratify(promotion, cfo)
        assert services.revert_unratified(promotion.pk) is True
        assert services.revert_unratified(promotion.pk) is False

    row = LiveRelease.objects.get()
    assert (row.release, row.stage) == (live, "rolled_back")
    assert again(promotion).state == Promotion.State.ROLLED_BACK
    assert "not ratified" in PostMortem.objects.get().rollback.reason


def test_nothing_leads_back_to_an_emergency_change_that_nobody_ratified(
    live: Release, make_release: Make, breaker: User, cfo: User, workflow: Workflow, builder: User
) -> None:
    first, second = make_release(0.9), make_release(0.8)
    lapsed = emergency(first, breaker)
    services.pin_case(workflow, "case-1", first, actor=builder, reason="A look at it.")
    ratify(emergency(second, breaker), cfo)

    # The case went where all others go, and nobody can send it or a rollback there.
    assert not Pin.objects.exists()
    with pytest.raises(StateConflictError, match="may not serve"):
        services.pin_case(workflow, "case-1", first, actor=builder, reason="Again.")
    with pytest.raises(StateConflictError, match="nobody ratified it"):
        services.pin_known_good(
            workflow, first, actor=cfo, reason="It was good.", authenticated_at=now()
        )
    assert again(lapsed).state == Promotion.State.SUPERSEDED


def test_an_emergency_change_passes_a_freeze_and_takes_an_open_promotion_back(
    live: Release, make_release: Make, breaker: User, cfo: User, propose: Propose
) -> None:
    waiting = propose()
    services.set_freeze(
        actor=cfo, name="Month-end close", starts_at=now(), reason="The books.",
        ends_at=now() + timedelta(days=3),
    )  # fmt: skip
    emergency(make_release(0.9), breaker)
    assert again(waiting).state == Promotion.State.WITHDRAWN


def test_the_database_refuses_an_emergency_by_somebody_without_the_right(
    live: Release, make_release: Make, breaker: User, workflow: Workflow, builder: User
) -> None:
    promotion = emergency(make_release(0.9), breaker)
    services.roll_back(workflow, actor=builder, reason="Wrong one.")
    User.objects.filter(pk=breaker.pk).update(emergency_changes=False)
    with pytest.raises(NotAllowedError):
        emergency(make_release(0.8), User.objects.get(pk=breaker.pk))
    row = LiveRelease.objects.get()
    with pytest.raises(DatabaseError), transaction.atomic():
        LiveChange.objects.create(
            workflow=workflow, seq=row.seq + 1, cause="promotion", from_release=live,
            to_release=promotion.release, promotion=promotion, changed_at=now(),
            actor_label="by hand",
        )  # fmt: skip
