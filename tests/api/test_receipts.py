"""POST /api/v1/receipts: JSON receipts, stored once or refused one by one."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any
from unittest import mock

import pytest
from django.db import OperationalError
from django.test import Client

from governance.people.models import ApiToken, User
from governance.receipts import rows
from governance.receipts.models import Receipt, RollUp
from governance.workflows.models import Workflow
from governance.workflows.services import create_workflow
from tests.conftest import TESTER
from tests.receipts.drafts import STARTED

Machine = Callable[..., Client]
URL = "/api/v1/receipts"


@pytest.fixture
def sender(machine: Machine, workflow: Workflow) -> Client:
    return machine(ApiToken.Scope.RECEIPTS_WRITE)


def item(run_id: str = "run-1", **changes: Any) -> dict[str, Any]:
    return {
        "run_id": run_id, "workflow": "support-triage", "started_at": STARTED.isoformat(),
        "cost": 0.0125, "escalated": False, **changes,
    }  # fmt: skip


def send(client: Client, body: Any, **extra: Any) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.post(
        URL, data, content_type="application/json", CONTENT_LENGTH=str(len(data)),
        **{"CONTENT_TYPE": "application/json", **extra},
    )  # fmt: skip


def test_receipts_are_stored_and_may_be_sent_again(sender: Client) -> None:
    body = {"receipts": [item(refs={"ticket": "T-1"}, violations=["pii"]), item("run-2")]}

    first, again = send(sender, body), send(sender, body)

    assert (first.status_code, first.json()) == (
        200, {"accepted": 2, "duplicates": 0, "refused": []},
    )  # fmt: skip
    assert again.json() == {"accepted": 0, "duplicates": 2, "refused": []}
    kept = Receipt.objects.get(run_id="run-1")
    assert (kept.cost, kept.violations, kept.refs) == (
        Decimal("0.0125"), ["pii"], {"ticket": "T-1"},
    )  # fmt: skip


def test_what_is_refused_is_named_and_the_rest_stored(sender: Client) -> None:
    send(sender, [item("known")])

    answer = send(
        sender,
        {"receipts": [item("a"), 7, item("b", cost=-1), item("known", cost=3), item("c", tokn=1)]},
    )

    assert answer.status_code == 200
    assert answer.json() == {
        "accepted": 1,
        "duplicates": 0,
        "refused": [
            {"index": 1, "run_id": "", "error": "A receipt must be a JSON object."},
            {"index": 2, "run_id": "b", "error": "cost must be from 0 to 1000000000."},
            {
                "index": 3,
                "run_id": "known",
                "error": "A receipt with this run_id and day is stored already, with another"
                " content. Nothing was changed.",
            },
            {"index": 4, "run_id": "c", "error": "There is no field 'tokn'."},
        ],
    }


def test_when_nothing_was_stored_the_status_says_so(sender: Client) -> None:
    answer = send(sender, [item(cost="a lot")])

    assert answer.status_code == 422
    assert answer.json()["error"].startswith("No receipt was stored.")
    assert send(sender, {"receipts": []}).status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"started_at": "2026-11-22T10:00:00"}, {"started_at": "yesterday"}, {"started_at": 17},
        {"started_at": "1970-01-01T00:00:00Z"}, {"started_at": "2262-04-12T00:00:00Z"},
        {"started_at": "9999-12-31T23:59:59-23:59"}, {"started_at": "0001-01-01T00:00:00+14:00"},
        {"started_at": None}, {"run_id": None}, {"run_id": 5}, {"workflow": ["support-triage"]},
        {"cost": "1_000"}, {"cost": "٣"}, {"cost": "１２"}, {"cost": " 1"}, {"cost": "+1"},
        {"cost": "1."}, {"cost": ".5"}, {"cost": "1\n"}, {"amount": "1,5"}, {"amount": ""},
        {"cost": True}, {"cost": "1" * 101}, {"cost": "NaN"}, {"cost": [1]}, {"amount": "1e99"},
        {"tokens_in": 1.5}, {"tokens_in": 2**53}, {"quality": "good"}, {"measures": [1]},
        {"measures": {"x": "1"}}, {"measures": {"x": 10**400}}, {"violations": "pii"},
        {"violations": [1]}, {"refs": {"a": 1}}, {"observed": "x"}, {"escalated": "yes"},
        {"release": "SHA256:" + "a" * 64}, {"release": "v1"}, {"resolved_by": "me"},
        {"run_id": "\ud800"}, {"case_id": "x" * 201}, {"workflow": "a\0b"},
    ],
)  # fmt: skip
def test_a_bad_field_is_refused_and_nothing_is_stored(
    sender: Client, changes: dict[str, Any]
) -> None:
    answer = send(sender, [item(**changes)])

    assert answer.status_code == 422
    (refusal,) = answer.json()["refused"]
    assert refusal["error"].endswith(".")
    assert not Receipt.objects.exists()
    assert not RollUp.objects.exists()


@pytest.mark.parametrize(
    ("said", "stored"),
    [(0, "0"), (12.5, "12.5"), ("12.50", "12.5"), ("1e-3", "0.001"), ("2.5E+2", "250"),
     (1e-7, "0.0000001"), ("-0", "0")],
)  # fmt: skip
def test_numbers_are_read_as_json_writes_them(sender: Client, said: Any, stored: str) -> None:
    assert send(sender, [item(cost=said)]).status_code == 200
    assert Receipt.objects.get().cost == Decimal(stored)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (422, b""), (422, b"{"), (422, b"null"), (422, b'{"receipts": {}}'), (422, b"\xff\xfe"),
        (422, b'[{"run_id": NaN}]'), (422, b'[{"cost": -Infinity}]'), (422, b'[{"a":1,"a":2}]'),
        (422, b"[" * 10_000 + b"]" * 10_000), (422, b'[{"cost": ' + b"9" * 5_000 + b"}]"),
        (422, b'[{"run_id": "r", "cost": 1e400, "workflow": "support-triage", "started_at": "'
              + STARTED.isoformat().encode() + b'"}]'),
        (413, json.dumps([item()] * 5_001).encode()), (413, b" " * (8 * 2**20 + 1)),
    ],
)  # fmt: skip
def test_a_bad_request_is_refused_as_a_whole(sender: Client, status: int, body: bytes) -> None:
    answer = send(sender, body)

    assert answer.status_code == status
    assert answer.json()["error"]
    assert not Receipt.objects.exists()


def test_gzip_is_inflated_within_bounds(sender: Client) -> None:
    small = gzip.compress(json.dumps([item()]).encode())

    assert send(sender, small, HTTP_CONTENT_ENCODING="gzip").json()["accepted"] == 1
    bomb = gzip.compress(b" " * 50_000_000)
    assert send(sender, bomb, HTTP_CONTENT_ENCODING="gzip").status_code == 413
    assert send(sender, small, HTTP_CONTENT_ENCODING="br").status_code == 415
    assert send(sender, b"[]", CONTENT_TYPE="text/plain").status_code == 415


def test_five_thousand_receipts_in_one_request(sender: Client) -> None:
    answer = send(sender, [item(f"run-{number}") for number in range(5_000)])

    assert answer.json()["accepted"] == 5_000
    assert RollUp.objects.get(grain="day", measure="runs").n == 5_000


def test_tokens_are_needed_and_scoped(machine: Machine, workflow: Workflow) -> None:
    assert send(Client(), [item()]).status_code == 401
    assert send(machine(ApiToken.Scope.RELEASES_READ), [item()]).status_code == 403
    assert machine(ApiToken.Scope.RECEIPTS_WRITE).get(URL).status_code == 405
    assert not Receipt.objects.exists()


def test_a_token_is_held_to_its_workflow_per_receipt(
    machine: Machine, workflow: Workflow, owner: User
) -> None:
    create_workflow("close-automation", "Close automation", owner=owner, actor=TESTER)
    client = machine(ApiToken.Scope.RECEIPTS_WRITE, workflow_slug="close-automation")

    answer = send(client, [item("a"), item("b", workflow="close-automation"), item("c")])

    assert answer.json()["accepted"] == 1
    assert [refusal["index"] for refusal in answer.json()["refused"]] == [0, 2]
    assert Receipt.objects.get().run_id == "b"


@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_away_is_a_503_and_nothing_is_half_written(sender: Client) -> None:
    with mock.patch.object(rows, "roll_up", side_effect=OperationalError("gone")):
        answer = send(sender, [item(), item("run-2")])

    assert (answer.status_code, answer["Retry-After"]) == (503, "3")
    assert not Receipt.objects.exists()
    assert send(sender, [item(), item("run-2")]).json()["accepted"] == 2


def test_the_zone_of_started_at_decides_the_utc_day(sender: Client) -> None:
    local = (STARTED.replace(hour=1) - timedelta(days=1)).isoformat().replace("+00:00", "+05:00")

    send(sender, [item(started_at=local)])

    assert Receipt.objects.get().day == (STARTED - timedelta(days=2)).date()
