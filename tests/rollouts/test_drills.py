"""Drills: going back on a quiet day, measured, and returning by itself."""

from __future__ import annotations

from datetime import timedelta

import pytest

from governance.common.errors import NotAllowedError, StateConflictError
from governance.common.time import now, story_time
from governance.people.models import User
from governance.releases.models import KnownGood, LiveRelease, Release
from governance.rollouts import (
    drills,
    services,
)
from governance.rollouts.models import LiveChange, PostMortem, Promotion
from governance.rollouts.recovery_models import Drill
from governance.workflows.models import Workflow
from tests.rollouts.conftest import report

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def drill(better: Promotion, workflow: Workflow, owner: User, builder: User) -> Drill:
    planned = services.plan_drill(workflow, actor=builder, planned_for=now())
    with pytest.raises(StateConflictError, match="not signed"):
        services.start_drill(planned.pk, actor=builder, clicked_at=now())
    with pytest.raises(NotAllowedError):
        services.sign_drill(planned.pk, actor=builder, reason="x", authenticated_at=now())
    return services.sign_drill(
        planned.pk, actor=owner, reason="To be sure.", authenticated_at=now()
    )


def test_a_drill_goes_back_is_measured_and_returns_by_itself(
    drill: Drill, better: Promotion, live: Release, workflow: Workflow, builder: User
) -> None:
    started = services.start_drill(drill.pk, actor=builder, clicked_at=now())
    drills.note_served(started)
    assert LiveRelease.objects.get().release == live
    assert not PostMortem.objects.exists()
    report(live.pk, workflow, ["a"], "drill")
    assert drills.look(drill.pk) is True
    with story_time(now() + timedelta(minutes=10, seconds=1)):
        assert drills.look(drill.pk) is False

    done = Drill.objects.get()
    assert done.state == Drill.State.DONE
    assert done.seconds_to_restore is not None
    assert 0 <= done.seconds_to_restore < 60
    row = LiveRelease.objects.get()
    assert (row.release_id, row.last_known_good) == (better.release_id, live)
    causes = list(LiveChange.objects.order_by("seq").values_list("cause", flat=True))
    assert causes == ["adopt", "promotion", "drill", "drill_returned"]
    with pytest.raises(StateConflictError):
        services.start_drill(drill.pk, actor=builder, clicked_at=now())


def test_a_drill_leaves_alone_what_moved_meanwhile(
    drill: Drill, workflow: Workflow, builder: User
) -> None:
    services.start_drill(drill.pk, actor=builder, clicked_at=now())
    services.switch_off(workflow, actor=builder, reason="A real one.")
    services.return_from_drill(drill.pk, actor=builder)
    done = Drill.objects.get()
    assert (done.returned_at, done.state) == (None, Drill.State.DONE)
    assert LiveRelease.objects.get().switched_off


def test_drills_are_planned_every_quarter_and_once(better: Promotion) -> None:
    assert len(drills.plan_quarterly()) == 1
    assert drills.plan_quarterly() == []
    assert KnownGood.objects.count() == 0
