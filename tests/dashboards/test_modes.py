"""The page that says how releases reach a workflow."""

# ruff: noqa: F811 - a fixture's name is also a parameter

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from governance.common.time import now
from governance.people.models import User
from governance.releases.models import Release
from governance.rollouts import services
from governance.rollouts.push_models import PushDelivery
from governance.workflows.models import Workflow
from tests.dashboards.sessions import confirmed  # noqa: F401 - fixture

PAGE = "/workflows/support-triage/mode/"
PUSH = {
    "mode": "push", "push_url": "https://pipeline.example.com/in", "reason": "It cannot ask.",
    "push_secret_ref": "env:COUNTERSIGN_PUSH",
}  # fmt: skip


def test_an_owner_chooses_push_and_sees_that_the_pipeline_was_asked(
    live: Release,
    owner: User,
    confirmed: Callable[[User], Client],
    workflow: Workflow,
) -> None:
    client = confirmed(owner)
    assert "Nobody is told" in client.get(PAGE).content.decode()
    done = client.post(f"{PAGE}set/", PUSH, follow=True)
    assert done.status_code == 200
    shown = done.content.decode()
    assert "Asked, not delivered yet after 0 tries." in shown
    workflow.refresh_from_db()
    assert (workflow.mode, workflow.push_url) == ("push", PUSH["push_url"])
    assert PushDelivery.objects.get().change.seq == 1


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"push_url": "http://10.0.0.7/x"}, "must start with https://"),
        ({"push_url": "https://169.254.169.254/latest"}, "not public"),
        ({"push_secret_ref": "hunter2hunter2"}, "env:COUNTERSIGN_NAME"),
        ({"reason": ""}, "Write the reason"),
        ({"mode": "<svg onload=alert(1)>"}, "Select a valid choice"),
    ],
)
def test_what_is_wrong_is_said_and_what_was_typed_stays(
    changes: dict[str, str], sentence: str, live: Release, owner: User,
    confirmed: Callable[[User], Client], workflow: Workflow,
) -> None:  # fmt: skip
    answer = confirmed(owner).post(f"{PAGE}set/", {**PUSH, **changes})
    shown = answer.content.decode()
    assert answer.status_code == 422
    assert sentence in shown
    assert "<svg onload" not in shown
    assert {**PUSH, **changes}["push_url"] in shown
    workflow.refresh_from_db()
    assert workflow.mode == "pull"


def test_the_password_is_asked_for_first_and_what_was_typed_waits(
    live: Release, owner: User, login: Callable[[User], Client], workflow: Workflow
) -> None:
    client = login(owner)
    answer = client.post(f"{PAGE}set/", PUSH)
    assert answer.status_code == 302
    assert answer["Location"].startswith("/reauth")
    assert PUSH["push_url"] in client.get(PAGE).content.decode()
    workflow.refresh_from_db()
    assert workflow.mode == "pull"


def test_who_may_not_change_it_reads_what_holds(
    live: Release, analyst: User, login: Callable[[User], Client]
) -> None:
    shown = login(analyst).get(PAGE).content.decode()
    assert "The KPI owner or an administrator changes it." in shown
    assert "<form class" not in shown.partition("<main")[2]


def test_a_long_history_costs_a_bounded_number_of_queries(
    live: Release, owner: User, confirmed: Callable[[User], Client], workflow: Workflow,
    django_assert_max_num_queries: Any,
) -> None:  # fmt: skip
    client = confirmed(owner)
    client.post(f"{PAGE}set/", PUSH)
    for _ in range(6):
        services.switch_off(workflow, actor=owner, reason="Stop.")
        services.switch_on(workflow, actor=owner, reason="Go.", authenticated_at=now())
    PushDelivery.objects.update(state="delivered", delivered_at=now())
    assert PushDelivery.objects.count() == 13
    with django_assert_max_num_queries(36):  # ten are shown, two queries each
        shown = client.get(PAGE).content.decode()
    assert shown.count("Overtaken") == 9
    assert shown.count("Delivered, not confirmed") == 1
