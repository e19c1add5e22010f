"""Addresses that cannot lead anywhere are a 404, never a 500."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from governance.people.models import User
from governance.workflows.models import Workflow


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "path",
    [
        "/workflows/a%00b/",
        "/releases/?workflow=%00",
        "/promotions/?workflow=%00",
        "/promotions/99999999999999999999/",
        "/exceptions/99999999999999999999/take/",
        "/evals/runs/99999999999999999999/",
        "/post-mortems/99999999999999999999/",
        "/receipts/2026-11-22/a%00b/",
    ],
)
def test_nonsense_in_an_address_is_not_an_error_of_ours(
    workflow: Workflow, analyst: User, login: Callable[[User], Client], path: str
) -> None:
    client = login(analyst)
    answer = client.post(path) if path.endswith("take/") else client.get(path)
    assert answer.status_code in (200, 404)
