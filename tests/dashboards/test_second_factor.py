"""Second factors: set up, asked for, used once; and who may take one away."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import pytest
import time_machine
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.test import Client
from django.urls import reverse

from governance.audit.models import AuditEvent
from governance.common.time import true_now
from governance.people import second_factor
from governance.people.models import User
from tests.conftest import PASSWORD

START = int(time.time())  # codes depend on the clock; it stands still where a code is made


def code_at(secret: str, moment: float) -> str:
    return str(format_hotp_value(hotp_value(secret, int(moment) // 30)))


@pytest.fixture(autouse=True)
def _mfa(settings: Any) -> None:
    settings.MFA = "optional"


@pytest.fixture
def secret(owner: User) -> str:
    """The owner's second factor, set up a while before START."""
    made = second_factor.new_secret()
    with time_machine.travel(START - 600, tick=False):
        second_factor.set_up(owner, made, code_at(made, START - 600))
    return made


def first_step(user: User, following: str = "/workflows/") -> Client:
    client = Client()
    data = {"username": user.username, "password": PASSWORD, "next": following}
    answer = client.post(reverse("login"), data)
    assert answer["Location"] == reverse("login-code")
    return client


def test_a_password_alone_does_not_open_the_door(owner: User, secret: str) -> None:
    client = first_step(owner)
    assert client.get("/workflows/").status_code == 302
    assert not AuditEvent.objects.filter(verb="user.logged_in").exists()


def test_password_and_code_log_in_and_say_so(owner: User, secret: str) -> None:
    with time_machine.travel(START, tick=False):
        client = first_step(owner)
        wrong = client.post(reverse("login-code"), {"code": "000000"})
        right = client.post(reverse("login-code"), {"code": code_at(secret, START)})
        assert wrong.status_code == 422
        assert (right.status_code, right["Location"]) == (302, "/workflows/")
        assert client.get("/workflows/").status_code == 200
    assert client.session["authenticated_by"] == "password+totp"


def test_a_code_counts_once(owner: User, secret: str) -> None:
    with time_machine.travel(START, tick=False):
        code = code_at(secret, START)
        assert first_step(owner).post(reverse("login-code"), {"code": code}).status_code == 302
        assert first_step(owner).post(reverse("login-code"), {"code": code}).status_code == 422
        earlier = code_at(secret, START - 30)
        assert first_step(owner).post(reverse("login-code"), {"code": earlier}).status_code == 422
    with time_machine.travel(START + 30, tick=False):
        code = code_at(secret, START + 30)
        assert first_step(owner).post(reverse("login-code"), {"code": code}).status_code == 302


def test_wrong_codes_lock_like_wrong_passwords(owner: User, secret: str) -> None:
    client = first_step(owner)
    answers = [client.post(reverse("login-code"), {"code": "000000"}).status_code for _ in range(8)]
    assert answers == [422] * 7 + [429]
    with time_machine.travel(true_now(), tick=False):
        now_right = code_at(secret, true_now().timestamp())
        assert client.post(reverse("login-code"), {"code": now_right}).status_code == 429


def test_the_second_step_waits_ten_minutes_at_most(owner: User, secret: str) -> None:
    client = first_step(owner)
    session = client.session
    session["pending_login"] = {**session["pending_login"], "at": true_now().timestamp() - 601}
    session.save()
    assert client.get(reverse("login-code"))["Location"] == reverse("login")


def test_it_is_set_up_with_a_code_and_shows_recovery_codes_that_work_once(
    owner: User, login: Callable[[User], Client]
) -> None:
    client = login(owner)
    client.post("/reauthenticate/", {"password": PASSWORD, "next": "/account/"})
    page = client.get(reverse("second-factor")).content.decode()
    assert 'src="data:image/svg+xml;base64,' in page
    (shown,) = re.findall(r"Type this key: <code>([A-Z2-7 ]+)</code>", page)
    made = shown.replace(" ", "")

    with time_machine.travel(START, tick=False):
        wrong = client.post(reverse("second-factor"), {"code": "000000"})
        assert wrong.status_code == 422
        assert shown in wrong.content.decode()  # the same key: the app has it already
        done = client.post(reverse("second-factor"), {"code": code_at(made, START)})
    assert done.status_code == 201
    codes = re.findall(r"<li><code>(\d{10})</code></li>", done.content.decode())
    assert len(codes) == 10
    stored = str(list(Authenticator.objects.values_list("data", flat=True)))
    assert made not in stored
    assert AuditEvent.objects.filter(verb="second_factor.added").count() == 1

    assert first_step(owner).post(reverse("login-code"), {"code": codes[0]}).status_code == 302
    assert first_step(owner).post(reverse("login-code"), {"code": codes[0]}).status_code == 422
    assert second_factor.codes_left(owner) == 9


def test_a_decision_asks_for_the_code_again(owner: User, secret: str) -> None:
    with time_machine.travel(START, tick=False):
        client = first_step(owner)
        client.post(reverse("login-code"), {"code": code_at(secret, START)})
        assert "Code of your authenticator app" in client.get("/reauthenticate/").content.decode()
        alone = client.post("/reauthenticate/", {"password": PASSWORD, "next": "/"})
        assert alone.status_code == 422
    with time_machine.travel(START + 60, tick=False):
        both = {"password": PASSWORD, "code": code_at(secret, START + 60), "next": "/"}
        assert client.post("/reauthenticate/", both).status_code == 302
    event = AuditEvent.objects.get(verb="user.reauthenticated")
    assert '"authenticated_by":"password+totp"' in event.body


def test_where_it_is_required_nothing_else_opens_before_it_is_set_up(
    owner: User, settings: Any
) -> None:
    settings.MFA = "required"
    client = Client()
    data = {"username": owner.username, "password": PASSWORD, "next": "/workflows/"}
    assert client.post(reverse("login"), data)["Location"] == reverse("second-factor")
    assert client.get("/workflows/")["Location"] == reverse("second-factor")
    assert client.get(reverse("second-factor")).status_code == 200
    assert client.post(reverse("logout")).status_code == 302


def test_only_the_person_and_an_administrator_remove_it(
    owner: User, admin: User, cfo: User, secret: str, login: Callable[[User], Client]
) -> None:
    url = reverse("person-reset-factor", args=(owner.pk,))
    for user, status in ((cfo, 403), (admin, 302)):
        client = login(user)
        client.post("/reauthenticate/", {"password": PASSWORD, "next": "/"})
        assert client.post(url).status_code == status
    assert not second_factor.has_one(owner)
    event = AuditEvent.objects.get(verb="second_factor.removed")
    assert event.actor_id == str(admin.pk)


def test_switched_off_it_is_neither_asked_nor_offered(
    owner: User, secret: str, settings: Any
) -> None:
    settings.MFA = "off"
    client = Client()
    data = {"username": owner.username, "password": PASSWORD, "next": "/workflows/"}
    assert client.post(reverse("login"), data)["Location"] == "/workflows/"
    assert client.get(reverse("second-factor")).status_code == 404
    assert "does not ask for second factors" in client.get("/account/").content.decode()
