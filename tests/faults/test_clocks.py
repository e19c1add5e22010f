"""I15: the application's clock is two hours off; what is decided follows PostgreSQL's."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine

from governance.common.errors import NotAllowedError, StateConflictError
from governance.common.time import now, story_time, true_now
from governance.people.models import Delegation
from governance.people.services import create_token
from governance.rollouts import rules, services
from tests.conftest import TESTER
from tests.faults.arena import Arena, EveryTarget

pytestmark = pytest.mark.django_db(transaction=True)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


@pytest.mark.parametrize("hours", [-2, 2])
def test_a_wrong_clock_expires_nothing_early_and_accepts_nothing_late(
    settings: Any, hours: int, figure: Callable[..., None]
) -> None:
    settings.EVAL_TARGETS = EveryTarget()
    right = true_now()
    checks = 0
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=hours), tick=True):
        assert abs((now() - right).total_seconds()) < 60  # whatever this process believes
        arena = Arena()
        with story_time(now()):
            arena.delegations.clear()

        # An approval holds for its 24 hours, not for two more or less.
        promotion = arena.waiting()
        arena.approve(promotion, "cfo")
        promotion.refresh_from_db()
        given = true_now()
        for later, counts in ((timedelta(), 1), (23 * HOUR, 1), (24 * HOUR + MINUTE, 0)):
            with story_time(given + later):
                assert len(rules.valid_approvals(promotion)) == counts
            checks += 1

        # A password typed now is fresh, one of six minutes ago is not.
        arena.approve(promotion, "owner")
        stale = now() - 6 * MINUTE
        with pytest.raises(NotAllowedError):
            services.switch_on(
                arena.workflow, actor=arena.people["owner"], reason="x", authenticated_at=stale
            )
        checks += 2

        # A delegation, a token, a freeze and an emergency change end when they end.
        moment = now()
        arena.delegate("owner", "analyst", 0, 0 + 1)  # long over
        held = Delegation.objects.order_by("-pk")[0]
        assert not Delegation.objects.in_force(moment).filter(pk=held.pk).exists()
        token, _ = create_token(
            f"short {hours}", scopes=["releases:read"], actor=TESTER, expires_at=moment + HOUR
        )
        assert token.usable_at(now())
        assert not token.usable_at(now() + HOUR)
        window = services.set_freeze(
            actor=arena.people["cfo"], name="Close", reason="Month end.",
            workflow=arena.workflow, starts_at=moment - MINUTE, ends_at=moment + HOUR,
        )[0]  # fmt: skip
        held_back = arena.waiting()
        with pytest.raises(StateConflictError, match="nothing goes forward"):
            arena.approve(held_back, "cfo")
        services.cancel_freeze(window.pk, actor=arena.people["cfo"], reason="Over.")
        arena.withdraw(held_back)
        burning = services.emergency_change(
            arena.releases[0], actor=arena.people["maker"], incident="INC-1", reason="It burns.",
            authenticated_at=now(),
        )  # fmt: skip
        assert services.revert_unratified(burning.pk) is False
        assert burning.ratify_by is not None
        assert timedelta(hours=3, minutes=58) < burning.ratify_by - true_now() <= 4 * HOUR
        with story_time(burning.ratify_by):
            assert services.revert_unratified(burning.pk) is True
        checks += 7
    figure("I15", application_clock=f"{hours:+d} h", checks=checks, wrong_expiries=0)
