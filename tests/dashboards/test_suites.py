"""The suites' pages: what is there, how much of the traffic has a case."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from governance.common.time import now
from governance.evals.services import freeze_suite
from governance.people.models import User
from governance.receipts.models import RollUp
from governance.workflows.models import Workflow

pytestmark = pytest.mark.django_db
Login = Callable[[User], Client]


def cases(count: int, **changes: Any) -> list[dict[str, Any]]:
    """Cases number 0, 1, …, each with its reason."""
    return [
        {
            "key": f"c{number:03}",
            "input": {"text": f"Where is parcel {number}?"},
            "expected": {"answer": "parcel"},
            "category": "parcels",
            "reason": "Everyday mail.",
            **changes,
        }
        for number in range(count)
    ]


def ran(workflow: Workflow, **runs: int) -> None:
    """So many runs per segment, an hour ago; `none` are those that name no segment."""
    RollUp.objects.bulk_create(
        RollUp(
            workflow=workflow, grain="hour", starts_at=now() - timedelta(hours=1),
            segment="" if segment == "none" else segment, measure="runs", n=n, total=n,
            total_squares=n,
        )
        for segment, n in runs.items()
    )  # fmt: skip


def test_the_list_shows_each_suite_and_what_traffic_has_no_case(
    workflow: Workflow, analyst: User, login: Login
) -> None:
    page = login(analyst).get("/evals/suites/").content.decode()
    assert "none yet" in page
    freeze_suite(workflow, "golden", cases(3), actor=analyst)
    ran(workflow, en=75, de=25)
    page = login(analyst).get("/evals/suites/").content.decode()
    assert "100 % of traffic has no case." in page
    assert "v1" in page
    assert "nothing changed" in page


def test_nobody_sees_the_suites_of_others(
    workflow: Workflow, owner: User, controller: User, login: Login
) -> None:
    assert workflow.name in login(owner).get("/evals/suites/").content.decode()
    assert workflow.name not in login(controller).get("/evals/suites/").content.decode()
