"""Tokens: administrators only, the password first, the secret once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from governance.audit.models import AuditEvent
from governance.people.models import ApiToken, User
from governance.people.services import create_token
from governance.workflows.models import Workflow
from tests.conftest import PASSWORD, TESTER

pytestmark = pytest.mark.django_db
Login = Callable[[User], Client]
NEW = {"name": "router", "scopes": ["releases:read", "receipts:write"], "days": "30"}


@pytest.fixture
def fresh(admin: User, login: Login) -> Client:
    """An administrator who has just confirmed their password."""
    client = login(admin)
    client.post("/reauthenticate/", {"password": PASSWORD, "next": "/tokens/"})
    return client


def test_only_administrators_come_in(
    owner: User, cfo: User, builder: User, auditor: User, outsider: User, login: Login
) -> None:
    token, _ = create_token("used", scopes=["releases:read"], actor=TESTER)
    for user in (owner, cfo, builder, auditor, outsider):
        client = login(user)
        client.post("/reauthenticate/", {"password": PASSWORD, "next": "/"})
        assert client.get("/tokens/").status_code == 403
        assert client.post("/tokens/create/", NEW).status_code == 403
        assert client.post(f"/tokens/{token.pk}/revoke/").status_code == 403
    assert Client().get("/tokens/").status_code == 302
    assert ApiToken.objects.filter(revoked_at=None).count() == 1


def test_creating_asks_for_the_password_first_and_keeps_what_was_typed(
    admin: User, login: Login
) -> None:
    client = login(admin)
    response = client.post("/tokens/create/", NEW)
    assert response.status_code == 302
    assert response["Location"].startswith("/reauthenticate/?next=%2Ftokens%2F")
    assert not ApiToken.objects.exists()
    client.post("/reauthenticate/", {"password": PASSWORD, "next": "/tokens/"})
    assert 'value="router"' in client.get("/tokens/").content.decode()


def test_the_secret_is_shown_in_one_answer_and_never_again(fresh: Client, admin: User) -> None:
    response = fresh.post("/tokens/create/", NEW)
    assert response.status_code == 201
    secret = response.context["secret"]
    assert secret in response.content.decode()
    assert response["Cache-Control"] == "no-store"
    token = ApiToken.objects.get()
    assert token.token_hash == ApiToken.hash_of(secret)
    assert set(token.scopes) == set(NEW["scopes"])
    assert secret not in fresh.get("/tokens/").content.decode()
    assert AuditEvent.objects.get(verb="token.created").actor_id == str(admin.pk)
    answer = Client(headers={"Authorization": f"Bearer {secret}"}).post(
        "/ofrep/v1/evaluate/flags", "{}", content_type="application/json"
    )
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": ""}, "Name the machine"),
        ({"scopes": []}, "at least one scope"),
        ({"scopes": ["everything"]}, "not one of the available"),
        ({"workflow": "nothing"}, "no such workflow"),
        ({"days": "99999"}, "Ten years at most"),
    ],
)
def test_a_wrong_form_is_answered_with_a_sentence(
    fresh: Client, workflow: Workflow, change: dict[str, object], said: str
) -> None:
    response = fresh.post("/tokens/create/", {**NEW, **change})
    assert response.status_code == 422
    assert said in response.content.decode()
    assert not ApiToken.objects.exists()


def test_a_name_in_use_is_a_conflict(fresh: Client) -> None:
    assert fresh.post("/tokens/create/", NEW).status_code == 201
    assert fresh.post("/tokens/create/", NEW).status_code == 409


def test_revoking_needs_no_password_and_works_at_once(admin: User, login: Login) -> None:
    token, secret = create_token("used", scopes=["releases:read"], actor=TESTER)
    client = login(admin)
    assert client.post(f"/tokens/{token.pk}/revoke/").status_code == 302
    machine = Client(headers={"Authorization": f"Bearer {secret}"})
    answer = machine.post("/ofrep/v1/evaluate/flags", "{}", content_type="application/json")
    assert answer.status_code == 401
    assert client.post(f"/tokens/{token.pk}/revoke/").status_code == 409
    assert client.get(f"/tokens/{token.pk}/revoke/").status_code == 405
    assert "revoked" in client.get("/tokens/").content.decode()
