"""Coming in, leaving, and proving again who one is."""

# ruff: noqa: F811 - a fixture's name is also a parameter

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from governance.audit.models import AuditEvent
from governance.people.models import User
from governance.rollouts.models import Promotion
from tests.conftest import PASSWORD
from tests.dashboards.sessions import approve, confirmed, propose  # noqa: F401 - fixtures


def enter(client: Client, username: str, password: str, following: str = "") -> Any:
    data = {"username": username, "password": password, "next": following}
    return client.post(reverse("login"), data)


def test_the_right_password_leads_to_the_page_that_was_asked_for(owner: User) -> None:
    client = Client()
    asked = client.get("/workflows/")
    assert asked.status_code == 302
    assert asked["Location"] == "/login/?next=/workflows/"

    answer = enter(client, owner.username, PASSWORD, "/workflows/")

    assert (answer.status_code, answer["Location"]) == (302, "/workflows/")
    assert client.get("/workflows/").status_code == 200
    assert AuditEvent.objects.filter(verb="user.logged_in", actor_id=str(owner.pk)).count() == 1


@pytest.mark.parametrize("elsewhere", ["https://example.org/", "//example.org/", "/\\example.org"])
def test_logging_in_never_leads_to_another_site(owner: User, elsewhere: str) -> None:
    assert enter(Client(), owner.username, PASSWORD, elsewhere)["Location"] == "/"


def test_a_wrong_password_says_so_and_keeps_the_name(owner: User) -> None:
    answer = enter(Client(), owner.username, "guess")
    assert answer.status_code == 422
    assert "do not belong together" in answer.content.decode()
    assert f'value="{owner.username}"' in answer.content.decode()
    assert not AuditEvent.objects.filter(verb="user.logged_in").exists()


def test_somebody_who_left_cannot_log_in(owner: User) -> None:
    User.objects.filter(pk=owner.pk).update(is_active=False)
    assert enter(Client(), owner.username, PASSWORD).status_code == 422


def test_after_eight_wrong_passwords_even_the_right_one_waits(owner: User) -> None:
    client = Client()
    answers = [enter(client, owner.username, "guess").status_code for _ in range(8)]
    assert answers == [422] * 7 + [429]
    answer = enter(client, owner.username, PASSWORD)
    assert answer.status_code == 429
    assert "Wait 15 minutes" in answer.content.decode()


def test_logging_out_takes_a_post_and_may_be_repeated(
    owner: User, login: Callable[[User], Client]
) -> None:
    client = login(owner)
    assert client.get(reverse("logout")).status_code == 405
    assert client.post(reverse("logout")).status_code == 302
    assert client.post(reverse("logout")).status_code == 302
    assert client.get("/workflows/").status_code == 302


def test_pages_are_never_kept_by_a_cache(owner: User, login: Callable[[User], Client]) -> None:
    for client in (Client(), login(owner)):
        answer = client.get(reverse("login"))
        assert answer["Cache-Control"] == "no-store"


def test_the_theme_is_kept_in_a_cookie_and_only_known_ones() -> None:
    client = Client()
    answer = client.post(reverse("theme"), {"theme": "dark", "next": "/login/"})
    assert (answer.status_code, answer["Location"]) == (302, "/login/")
    assert '<html lang="en" data-theme="dark">' in client.get("/login/").content.decode()
    client.post(reverse("theme"), {"theme": '"><script>'})
    assert "data-theme=" not in client.get("/login/").content.decode()


def test_a_fragment_asked_for_after_the_session_ended_sends_the_whole_page_to_log_in() -> None:
    headers = {"HX-Request": "true", "HX-Current-URL": "http://testserver/promotions/3/"}
    answer = Client().get("/promotions/3/", headers=headers, follow=True)
    assert answer["HX-Redirect"] == "/login/?next=%2Fpromotions%2F3%2F"


def test_an_approval_asks_for_the_password_and_keeps_what_was_typed(
    propose: Callable[..., Promotion], owner: User, login: Callable[[User], Client]
) -> None:
    promotion = propose()
    client, page = login(owner), reverse("promotion", args=(promotion.pk,))
    typed = {"review_round": 1, "reason": "Clearly better on <golden>."}

    asked = client.post(reverse("promotion-approve", args=(promotion.pk,)), typed)
    assert asked["Location"] == f"/reauthenticate/?next=%2Fpromotions%2F{promotion.pk}%2F"
    assert Promotion.objects.get(pk=promotion.pk).state == Promotion.State.AWAITING_OWNER

    wrong = client.post("/reauthenticate/", {"password": "guess", "next": page})
    assert wrong.status_code == 422
    assert "not your password" in wrong.content.decode()

    right = client.post("/reauthenticate/", {"password": PASSWORD, "next": page})
    assert (right.status_code, right["Location"]) == (302, page)
    shown = client.get(page).content.decode()
    assert "Clearly better on &lt;golden&gt;.</textarea>" in shown
    assert "Clearly better" not in client.get(page).content.decode()  # handed out once

    client.post(reverse("promotion-approve", args=(promotion.pk,)), typed)
    assert Promotion.objects.get(pk=promotion.pk).state == Promotion.State.LIVE
    assert AuditEvent.objects.filter(verb="user.reauthenticated").count() == 1


def test_a_password_typed_too_long_ago_is_asked_for_again(
    propose: Callable[..., Promotion], owner: User, confirmed: Callable[[User], Client],
    settings: Any,
) -> None:  # fmt: skip
    promotion = propose()
    client = confirmed(owner)
    settings.REAUTHENTICATION_SECONDS = -1
    answer = client.post(
        reverse("promotion-approve", args=(promotion.pk,)), {"review_round": 1, "reason": "Yes."}
    )
    assert answer["Location"].startswith("/reauthenticate/")


def test_nobody_confirms_with_somebody_elses_password(
    owner: User, cfo: User, login: Callable[[User], Client]
) -> None:
    cfo.set_password("another long password")
    cfo.save()
    client = login(owner)
    answer = client.post("/reauthenticate/", {"password": "another long password", "next": "/"})
    assert answer.status_code == 422
    assert "reauthenticated_at" not in client.session
