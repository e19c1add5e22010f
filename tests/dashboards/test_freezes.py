"""The pages of change freezes, without JavaScript."""

# ruff: noqa: F811 - a fixture's name is also a parameter

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client

from governance.common.time import now
from governance.people.models import User
from governance.releases.models import Release
from governance.rollouts import services
from governance.rollouts.models import Promotion
from governance.rollouts.road_models import FreezeException, FreezeWindow
from governance.workflows.models import Workflow
from tests.dashboards.reading import text
from tests.dashboards.sessions import approve, confirmed, propose  # noqa: F401 - fixtures

pytestmark = pytest.mark.django_db(transaction=True)
Login = Callable[[User], Client]
DAY = timedelta(days=1)


def test_a_freeze_is_set_shown_by_month_and_lifted(cfo: User, login: Login, live: Release) -> None:
    client = login(cfo)
    page = text(client, "/controls/freezes/?preset=month-end")
    assert 'value="Month-end close"' in page
    assert 'value="12"' in page
    start = (now() + DAY).replace(hour=0, minute=0, second=0, microsecond=0)
    sent = {
        "name": "Close", "starts_at": f"{start:%Y-%m-%dT%H:%M}", "workflow": "",
        "ends_at": f"{start + 2 * DAY:%Y-%m-%dT%H:%M}", "months": "2", "reason": "The books.",
    }  # fmt: skip
    for wrong in ({"name": ""}, {"ends_at": "soon"}, {"ends_at": sent["starts_at"]},
                  {"months": "13"}, {"reason": ""}):  # fmt: skip
        assert client.post("/controls/freezes/set/", {**sent, **wrong}).status_code == 422
    assert client.post("/controls/freezes/set/", sent).status_code == 302
    assert FreezeWindow.objects.count() == 2
    window = FreezeWindow.objects.order_by("starts_at")[0]
    assert (window.starts_at, window.ends_at) == (start, start + 2 * DAY)
    assert "Coming" in text(client, "/controls/freezes/")

    assert client.post(f"/controls/freezes/{window.pk}/lift/", {"reason": ""}).status_code == 422
    url = f"/controls/freezes/{window.pk}/"
    assert client.post(f"{url}lift/", {"reason": "Done early."}).status_code == 302
    assert client.post(f"{url}lift/", {"reason": "Again."}).status_code == 409
    assert "Lifted" in text(client, url)


def test_a_freeze_over_three_months_is_drawn_in_each(
    cfo: User, workflow: Workflow, login: Login
) -> None:
    start = (now() + 400 * DAY).replace(month=1, day=20, hour=0, minute=0)
    services.set_freeze(
        actor=cfo, name="Migration", starts_at=start, ends_at=start + 45 * DAY, reason="Ledger."
    )
    page = text(login(cfo), "/controls/freezes/")
    for said in (
        f"January {start.year}: 12 of 31 days are frozen",
        f"February {start.year}:",
        f"March {start.year}:",
    ):
        assert said in page, said


def test_an_owner_freezes_the_own_workflow_only(
    owner: User, workflow: Workflow, login: Login, controller: User
) -> None:
    Workflow.objects.create(slug="close", name="Close", owner=controller, created_at=now())
    sent = {
        "name": "Sale", "starts_at": "2030-01-01T00:00", "ends_at": "2030-01-02T00:00",
        "reason": "Three times the mail.",
    }  # fmt: skip
    client = login(owner)
    assert client.post("/controls/freezes/set/", sent).status_code == 403
    assert client.post("/controls/freezes/set/", {**sent, "workflow": "close"}).status_code == 404
    answer = client.post("/controls/freezes/set/", {**sent, "workflow": workflow.slug})
    assert answer.status_code == 302
    assert FreezeWindow.objects.get().workflow == workflow


def test_an_executive_lets_one_promotion_through_by_name_and_everybody_reads_who_and_why(
    propose: Callable[..., Promotion], cfo: User, owner: User, confirmed: Login, login: Login
) -> None:
    promotion = propose(90)
    (window,) = services.set_freeze(
        actor=cfo, name="Close", starts_at=now(), ends_at=now() + DAY, reason="The books."
    )
    url = f"/controls/freezes/{window.pk}/"
    sent = {"promotion": promotion.pk, "reason": "It mends the books."}
    assert confirmed(owner).post(f"{url}let-through/", sent).status_code == 403
    stale = login(cfo).post(f"{url}let-through/", sent)
    assert stale["Location"].startswith("/reauthenticate/")
    client = confirmed(cfo)
    assert promotion.release.name in text(client, url)
    assert client.post(f"{url}let-through/", sent).status_code == 302
    assert client.post(f"{url}let-through/", sent).status_code == 409
    assert FreezeException.objects.get().promotion == promotion
    for page in (text(login(owner), url), text(login(owner), "/controls/freezes/")):
        assert "It mends the books." in page
        assert "CFO" in page
