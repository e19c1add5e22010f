"""Accounts: made, changed, deactivated; one's own password."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from django.urls import NoReverseMatch, reverse

from governance.audit.models import AuditEvent
from governance.common.errors import StateConflictError
from governance.people import accounts
from governance.people.models import User
from tests.conftest import PASSWORD


@pytest.fixture
def office(admin: User, login: Callable[[User], Client]) -> Client:
    """The administrator, whose password was typed just now."""
    client = login(admin)
    client.post("/reauthenticate/", {"password": PASSWORD, "next": "/"})
    return client


def test_an_account_is_made_and_its_password_shown_once(office: Client) -> None:
    data = {"username": "dana", "job_title": "IT", "role": "analyst", "email": "d@example.com"}
    answer = office.post(reverse("person-create"), data)
    assert answer.status_code == 201
    (password,) = re.findall(r'<code class="whole-digest">([^<]+)</code>', answer.content.decode())
    came_in = Client().post("/login/", {"username": "dana", "password": password})
    assert came_in.status_code == 302
    event = AuditEvent.objects.get(verb="user.created", object_label="IT")
    assert password not in event.body
    assert "d@example.com" not in event.body

    again = office.post(reverse("person-create"), data)
    assert again.status_code == 409
    assert "The user name dana is taken." in again.content.decode()
    assert 'value="dana"' in again.content.decode()


def test_who_leaves_is_out_at_once_and_kept(
    office: Client, owner: User, login: Callable[[User], Client]
) -> None:
    client = login(owner)
    assert client.get("/workflows/").status_code == 200
    url = reverse("person-deactivate", args=(owner.pk,))
    assert office.post(url, {"reason": ""}).status_code == 422
    assert office.post(url, {"reason": "Left the company."}).status_code == 302
    assert client.get("/workflows/").status_code == 302
    assert office.post(url, {"reason": "Again."}).status_code == 409
    assert User.objects.filter(pk=owner.pk).exists()
    assert AuditEvent.objects.get(verb="user.deactivated").reason == "Left the company."


def test_there_is_always_an_administrator(office: Client, admin: User, cfo: User) -> None:
    url = reverse("person-change", args=(admin.pk,))
    data = {"job_title": "IT", "role": "analyst", "email": ""}
    answer = office.post(url, data)
    assert answer.status_code == 409
    assert "last administrator" in answer.content.decode()
    User.objects.filter(pk=cfo.pk).update(role=User.Role.ADMIN)
    assert office.post(url, data).status_code == 302
    with pytest.raises(StateConflictError):
        accounts.deactivate(cfo.pk, actor=User.objects.get(pk=cfo.pk), reason="Me.")


def test_a_new_password_ends_the_other_sessions(
    owner: User, login: Callable[[User], Client]
) -> None:
    here, elsewhere = login(owner), login(owner)
    here.post("/reauthenticate/", {"password": PASSWORD, "next": "/account/"})
    url = reverse("account-change-password")
    for data, sentence in (
        ({"password": "short", "again": "short"}, "at least 12"),
        ({"password": "three blue lamps", "again": "three red lamps"}, "not the same"),
    ):
        answer = here.post(url, data)
        assert answer.status_code == 422
        assert sentence in answer.content.decode()
    good = {"password": "three blue lamps", "again": "three blue lamps"}
    assert here.post(url, good).status_code == 302
    assert here.get("/workflows/").status_code == 200
    assert elsewhere.get("/workflows/").status_code == 302
    assert Client().post(
        "/login/", {"username": owner.username, "password": "three blue lamps"}
    ).status_code == 302  # fmt: skip


def test_a_password_never_waits_in_the_session(
    owner: User, login: Callable[[User], Client]
) -> None:
    client = login(owner)
    data = {"password": "three blue lamps", "again": "three blue lamps"}
    asked = client.post(reverse("account-change-password"), data)
    assert asked["Location"].startswith("/reauthenticate/")
    assert "blue lamps" not in str(dict(client.session))


def test_the_first_administrator_comes_from_the_shell(db: None, capsys: Any) -> None:
    call_command("create_user", "dana", "--role", "admin", "--title", "IT operations")
    password = capsys.readouterr().out.strip()
    client = Client()
    assert client.post("/login/", {"username": "dana", "password": password}).status_code == 302
    assert client.get("/people/").status_code == 200


def test_there_is_no_other_admin_site(client: Client) -> None:
    with pytest.raises(NoReverseMatch):
        reverse("admin:index")
    assert client.get("/admin/").status_code == 404
