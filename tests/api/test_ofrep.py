"""OFREP: which release is live, asked by hand and by an ordinary OpenFeature client."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.test import Client
from openfeature.contrib.provider.ofrep import OFREPProvider
from openfeature.evaluation_context import EvaluationContext
from openfeature.exception import FlagNotFoundError, OpenFeatureError
from openfeature.flag_evaluation import Reason
from pytest_django import DjangoAssertNumQueries
from pytest_django.live_server_helper import LiveServer

from governance.api import rate_limits
from governance.common.time import now
from governance.people.models import ApiToken, User
from governance.people.services import revoke_token
from governance.releases.models import Release
from governance.releases.services import register_release
from governance.rollouts.services import roll_back
from governance.workflows.models import Workflow
from governance.workflows.services import create_workflow
from tests.conftest import TESTER, slots

pytestmark = pytest.mark.django_db
ONE = "/ofrep/v1/evaluate/flags/support-triage"
ALL = "/ofrep/v1/evaluate/flags"
READ = "releases:read"


@pytest.fixture
def live(make_release: Callable[..., Release], adopt: Callable[[Release], Any]) -> Release:
    release = make_release()
    adopt(release)
    return release


@pytest.fixture
def second(live: Release, controller: User) -> Release:
    """Another workflow with its own live release."""
    from governance.rollouts.services import adopt_as_found

    other = create_workflow("close", "Close automation", owner=controller, actor=TESTER)
    release, _ = register_release(other, slots(), title="As found", actor=TESTER)
    adopt_as_found(release, actor=controller, reason="It runs.", authenticated_at=now())
    return release


def ask(client: Client, path: str = ONE, body: str = "{}", **headers: str) -> Any:
    return client.post(path, body, content_type="application/json", headers=headers)


def test_the_answer_names_the_live_release_in_every_field_a_client_keeps(
    live: Release, machine: Callable[..., Client]
) -> None:
    client = machine(READ)
    for body in ("{}", '{"context":{}}', '{"context":{"targetingKey":"ticket-1","tier":"gold"}}'):
        response = ask(client, body=body)
        assert response.status_code == 200, response.content
        answer = response.json()
        assert answer["key"] == "support-triage"
        assert answer["reason"] == "STATIC"
        assert answer["variant"] == live.digest
        assert answer["value"] == {
            "release": live.digest,
            "workflow": "support-triage",
            "seq": 1,
            "stage": "stable",
            "authority": "draft",
            "config": {},
            "content_url": f"/api/v1/releases/{live.digest}",
        }
        assert all(isinstance(part, str | int | bool) for part in answer["metadata"].values())


def test_an_api_key_header_is_as_good_as_a_bearer_token(
    live: Release, secret: Callable[..., str]
) -> None:
    assert ask(Client(), **{"X-API-Key": secret(READ)}).status_code == 200


def test_an_evaluation_costs_one_statement(
    live: Release,
    machine: Callable[..., Client],
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    client = machine(READ)
    with django_assert_num_queries(2):  # the first one also writes when the token was used
        ask(client)
    with django_assert_num_queries(1):
        ask(client)
    token = ApiToken.objects.get()
    assert token.last_used_at is not None
    ApiToken.objects.update(last_used_at=token.last_used_at - timedelta(seconds=61))
    ask(client)
    token.refresh_from_db()
    assert now() - token.last_used_at < timedelta(seconds=30)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("", "PARSE_ERROR"),
        ("{", "PARSE_ERROR"),
        ("[]", "PARSE_ERROR"),
        ('{"context":{},"context":{}}', "PARSE_ERROR"),
        ("[" * 100_000, "PARSE_ERROR"),
        ('{"context":3}', "INVALID_CONTEXT"),
        ('{"context":{"targetingKey":7}}', "INVALID_CONTEXT"),
    ],
)
def test_a_bad_body_is_named_with_the_code_of_the_protocol(
    live: Release, machine: Callable[..., Client], body: str, code: str
) -> None:
    client = machine(READ)
    for path in (ONE, ALL):
        response = ask(client, path, body)
        assert response.status_code == 400
        assert response.json()["errorCode"] == code
        assert response.json()["errorDetails"]


@pytest.mark.parametrize("key", ["unknown", "UPPER", "a%00b", "%F0%9F%98%80", "x" * 101, "-"])
def test_an_unknown_workflow_is_a_flag_that_is_not_found(
    live: Release, machine: Callable[..., Client], key: str
) -> None:
    response = ask(machine(READ), f"{ALL}/{key}")
    assert response.status_code == 404
    assert response.json()["errorCode"] == "FLAG_NOT_FOUND"
    assert response.json()["errorDetails"]


def test_a_workflow_without_a_live_release_is_not_found_and_left_out_of_the_bulk_answer(
    make_release: Callable[..., Release], machine: Callable[..., Client]
) -> None:
    make_release()
    client = machine(READ)
    assert ask(client).json()["errorCode"] == "FLAG_NOT_FOUND"
    assert ask(client, ALL).json() == {"flags": []}


def test_other_methods_get_405_in_json(live: Release, machine: Callable[..., Client]) -> None:
    client = machine(READ)
    for path in (ONE, ALL):
        for method in (client.get, client.put, client.delete, client.options):
            response = method(path)
            assert response.status_code == 405
            assert response["Allow"] == "POST"
            assert response.json()["errorDetails"]


def test_without_a_good_token_the_answer_is_401_in_json_and_never_a_redirect(
    live: Release, secret: Callable[..., str]
) -> None:
    revoked = secret(READ, name="revoked")
    revoke_token(ApiToken.objects.get(name="revoked").pk, actor=TESTER)
    expired = secret(READ, name="expired")
    ApiToken.objects.filter(name="expired").update(expires_at=now() - timedelta(seconds=1))
    shown: list[dict[str, str]] = [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Basic abc"},
        {"Authorization": "Bearer cs_unknown"},
        {"Authorization": f"Bearer {revoked}"},
        {"Authorization": f"Bearer {expired}"},
    ]
    for headers in shown:
        for path in (ONE, ALL):
            response = ask(Client(), path, **headers)
            assert response.status_code == 401, headers
            assert response["WWW-Authenticate"] == "Bearer"
            assert response.json()["errorDetails"]


def test_a_token_without_the_scope_is_forbidden(
    live: Release, machine: Callable[..., Client]
) -> None:
    client = machine("receipts:write")
    for path in (ONE, ALL):
        response = ask(client, path)
        assert response.status_code == 403
        assert "releases:read" in response.json()["errorDetails"]


def test_a_token_of_one_workflow_learns_nothing_about_another(
    live: Release, second: Release, machine: Callable[..., Client]
) -> None:
    mine = machine(READ, workflow_slug="close")
    assert ask(mine, f"{ALL}/close").json()["variant"] == second.digest
    existing, unknown = ask(mine), ask(mine, f"{ALL}/no-such-workflow")
    assert existing.status_code == unknown.status_code == 403
    assert existing.json()["errorDetails"] == unknown.json()["errorDetails"]
    assert [flag["key"] for flag in ask(mine, ALL).json()["flags"]] == ["close"]


def test_the_bulk_answer_is_not_sent_again_while_nothing_changed(
    live: Release,
    second: Release,
    machine: Callable[..., Client],
    make_release: Callable[..., Release],
    promote: Callable[[Release], Any],
) -> None:
    client = machine(READ)
    first = ask(client, ALL)
    assert [flag["key"] for flag in first.json()["flags"]] == ["close", "support-triage"]
    for shown in (first["ETag"], f'"other", W/{first["ETag"]}'):
        again = ask(client, ALL, **{"If-None-Match": shown})
        assert again.status_code == 304
        assert again.content == b""
        assert again["ETag"] == first["ETag"]
    promote(make_release(0.2))
    changed = ask(client, ALL, **{"If-None-Match": first["ETag"]})
    assert changed.status_code == 200
    assert changed["ETag"] != first["ETag"]


def test_serving_sets_no_cookie(live: Release, machine: Callable[..., Client]) -> None:
    response = ask(machine(READ))
    assert not response.cookies
    assert "Content-Security-Policy" not in response


def test_an_ordinary_openfeature_client_sees_a_promotion_and_a_rollback_at_its_next_evaluation(
    live: Release,
    make_release: Callable[..., Release],
    promote: Callable[[Release], Any],
    analyst: User,
    secret: Callable[..., str],
    live_server: LiveServer,
) -> None:
    shown = secret(READ)
    provider = OFREPProvider(
        live_server.url, headers_factory=lambda: {"Authorization": f"Bearer {shown}"}
    )
    context = EvaluationContext("ticket-4711", {"channel": "mail"})

    def evaluate() -> Any:
        return provider.resolve_object_details("support-triage", {}, context)

    try:
        assert evaluate().variant == live.digest
        better = make_release(0.2)
        promote(better)
        seen = evaluate()
        assert (seen.variant, seen.value["release"], seen.value["seq"]) == (
            better.digest,
            better.digest,
            2,
        )
        assert seen.reason == Reason.STATIC
        assert seen.flag_metadata["release"] == better.digest

        workflow = Workflow.objects.get(slug="support-triage")
        roll_back(workflow, actor=analyst, reason="Customers complain.", seen_seq=2)
        seen = evaluate()
        assert (seen.variant, seen.value["stage"], seen.value["seq"]) == (
            live.digest,
            "rolled_back",
            3,
        )
        with pytest.raises(FlagNotFoundError):
            provider.resolve_object_details("unknown", {}, None)
        ApiToken.objects.update(revoked_at=now())
        with pytest.raises(OpenFeatureError, match="unauthorized"):
            evaluate()
    finally:
        provider.session.close()


def test_the_answer_stays_within_the_size_that_clients_accept(
    live: Release, machine: Callable[..., Client]
) -> None:
    assert len(json.dumps(ask(machine(READ)).json()["value"])) < 16 * 1024


@pytest.mark.django_db(transaction=True)
def test_a_kept_connection_that_died_is_replaced_within_the_evaluation(
    live: Release, machine: Callable[..., Client]
) -> None:
    client = machine(READ)
    assert ask(client).status_code == 200
    kept = connection.connection
    assert kept is not None
    with psycopg.connect(**connection.get_connection_params()) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [kept.info.backend_pid])
    assert ask(client).json()["variant"] == live.digest
    assert connection.connection is not kept


def test_the_server_plans_the_read_once_and_reads_of_others_as_always(
    live: Release, machine: Callable[..., Client]
) -> None:
    client = machine(READ)
    for _ in range(3):
        assert ask(client).status_code == 200
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements")
        ((statement,),) = cursor.fetchall()
    assert "governance_apitoken" in statement


def test_the_whole_answer_says_how_long_it_is(
    live: Release, machine: Callable[..., Client]
) -> None:
    client = machine(READ)
    for path, body in ((ONE, "{}"), (ALL, "{}"), (ONE, "{"), ("/api/v1/nothing", "{}")):
        response = ask(client, path, body)
        assert response["Content-Length"] == str(len(response.content))
        assert response["Cache-Control"]


def test_an_answer_lets_a_client_answer_for_other_cases(
    live: Release, machine: Callable[..., Client]
) -> None:
    metadata = ask(machine(READ)).json()["metadata"]
    assert metadata["stable_release"] == live.digest
    assert (metadata["stable_stage"], metadata["stable_authority"]) == ("stable", "draft")
    assert metadata["has_pins"] is False


def test_a_limit_answers_429_with_whole_seconds_on_every_path(
    live: Release, machine: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = machine(READ)
    monkeypatch.setattr(rate_limits, "ofrep", rate_limits.Limiter(0.5, 1))
    for path in (ONE, ALL):
        ask(client, path)
        limited = ask(client, path)
        assert limited.status_code == 429
        assert limited["Retry-After"].isdigit()
        assert limited.json()["errorDetails"]


def test_what_breaks_inside_is_a_500_that_says_so_in_json(
    live: Release, machine: Callable[..., Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = machine(READ)
    monkeypatch.setattr(rate_limits, "ofrep", None)  # as a mistake of ours would
    response = ask(client)
    assert response.status_code == 500
    assert response.json()["errorDetails"]
