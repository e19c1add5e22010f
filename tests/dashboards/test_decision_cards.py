"""The cards of the review: pilots that ask, freezes, and a second person who is missing."""

# ruff: noqa: F811 - a fixture's name is also a parameter

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from django.test import Client

from governance.common.time import now
from governance.people.models import User
from governance.rollouts import services
from governance.rollouts.models import Promotion
from tests.dashboards.sessions import approve, confirmed, propose  # noqa: F401 - fixtures
from tests.dashboards.test_pilots import paused, piloting  # noqa: F401 - fixtures

Login = Callable[[User], Client]


def week(client: Client) -> str:
    return client.get("/").content.decode()


def test_a_paused_pilot_is_a_decision_and_never_a_release_that_went_live(
    paused: Promotion, owner: User, builder: User, login: Login
) -> None:
    page = week(login(owner))
    assert "Pilot at 5 %, paused" in page
    assert "<strong>Paused.</strong> Error is 24.0 % against 1.0 %." in page
    assert f'href="/promotions/{paused.pk}/#pilot-section"' in page
    assert "One click and a reason stop the pilot: r1 serves every case again." in page
    assert "r2 serves 5 % as a pilot" in page
    assert "r1 went live" not in page
    assert "r2 went live" not in page
    page = week(login(builder))
    assert "Waits for the KPI owner (Head of Support)." in page
    assert "#pilot-section" not in page


def test_a_running_pilot_asks_nothing(piloting: Promotion, owner: User, login: Login) -> None:
    page = week(login(owner))
    assert "No decision waits" in page
    assert "r2 serves 5 % as a pilot" in page


def test_a_freeze_takes_the_yes_from_the_card_and_leaves_the_no(
    propose: Callable[..., Promotion], owner: User, cfo: User, login: Login
) -> None:
    promotion, moment = propose(), now()
    services.set_freeze(
        actor=cfo, name="Month-end close", starts_at=moment, ends_at=moment + timedelta(days=2),
        reason="close",
    )  # fmt: skip
    page = week(login(owner))
    assert "Month-end close: nothing goes forward until" in page
    assert "1 waiting, 1 cannot be approved now" in page
    assert f"/promotions/{promotion.pk}/approve/" not in page
    assert f"/promotions/{promotion.pk}/reject/" in page


def test_a_card_says_that_only_the_second_person_is_missing(
    propose: Callable[..., Promotion], approve: Callable[..., Promotion], owner: User, cfo: User,
    login: Login,
) -> None:  # fmt: skip
    promotion = propose(threshold=0.2)
    assert "The KPI owner said yes" not in week(login(cfo))
    approve(promotion, owner)
    page = week(login(cfo))
    assert "The KPI owner said yes. It waits for a second approver." in page
    assert f"/promotions/{promotion.pk}/approve/" in page
    assert "You have decided. Waits for a second approver." in week(login(owner))
