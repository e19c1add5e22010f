"""Logging in by an identity provider: a real one, on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from allauth.socialaccount.models import SocialAccount
from django.test import Client
from django.urls import reverse

from governance.audit.models import AuditEvent
from governance.people.models import User
from tests.dashboards.provider import CLIENT, SECRET, Provider


@pytest.fixture
def provider(settings: Any) -> Iterator[Provider]:
    found = Provider()
    settings.OIDC_ISSUER = found.issuer
    settings.OIDC_NAME = "Example ID"
    settings.SOCIALACCOUNT_PROVIDERS = {
        "openid_connect": {
            "OAUTH_PKCE_ENABLED": True,
            "APPS": [
                {"provider_id": "oidc", "name": "Example ID", "client_id": CLIENT,
                 "secret": SECRET, "settings": {"server_url": found.issuer}}
            ],
        }
    }  # fmt: skip
    yield found
    found.close()


@pytest.fixture
def known(owner: User) -> User:
    owner.email = "support@example.com"
    owner.save()
    return owner


def go(
    client: Client, provider: Provider, *, name: str = "sso-start", to: str = "/workflows/"
) -> Any:
    """Press the button, log in there, come back."""
    away = client.post(reverse(name), {"next": to})
    assert away.status_code == 302
    return client.get(provider.authorize(away["Location"]))


def claim(provider: Provider, **more: Any) -> None:
    provider.person = {
        "sub": "person-7", "email": "Support@example.com", "email_verified": True, **more,
    }  # fmt: skip


def test_the_button_is_there_only_with_a_provider(provider: Provider, settings: Any) -> None:
    assert "Log in with Example ID" in Client().get("/login/").content.decode()
    settings.OIDC_ISSUER = ""
    assert "Log in with" not in Client().get("/login/").content.decode()
    assert Client().post(reverse("sso-start")).status_code == 404
    assert Client().get("/sso/oidc/back/?code=1&state=2").status_code == 404


def test_who_is_known_by_a_confirmed_address_gets_in_and_is_linked(
    provider: Provider, known: User
) -> None:
    claim(provider)
    provider.auth_time = int(time.time())
    client = Client()
    answer = go(client, provider)
    assert (answer.status_code, answer["Location"]) == (302, "/workflows/")
    assert client.get("/workflows/").status_code == 200
    assert provider.asked["code_challenge_method"] == "S256"
    linked = SocialAccount.objects.get()
    assert (linked.user_id, linked.uid) == (known.pk, "person-7")
    event = AuditEvent.objects.get(verb="user.logged_in")
    assert f'"authenticated_by":"oidc:{provider.issuer}"' in event.body

    claim(provider, email="changed@example.com")  # from now on the subject counts
    assert go(Client(), provider).status_code == 302


@pytest.mark.parametrize(
    ("claims", "sentence"),
    [
        ({"email_verified": False}, "no verified e-mail address"),
        ({"email_verified": "true"}, "no verified e-mail address"),
        ({"email": ""}, "no verified e-mail address"),
        ({"email": "stranger@example.com"}, "no account with your e-mail address"),
    ],
)
def test_nobody_else_gets_in(
    provider: Provider, known: User, claims: dict[str, Any], sentence: str
) -> None:
    claim(provider, **claims)
    client = Client()
    answer = go(client, provider)
    assert answer.status_code == 403
    assert sentence in answer.content.decode()
    assert client.get("/workflows/").status_code == 302
    assert not SocialAccount.objects.exists()


def test_who_was_deactivated_stays_out(provider: Provider, known: User) -> None:
    claim(provider)
    assert go(Client(), provider).status_code == 302
    User.objects.filter(pk=known.pk).update(is_active=False)
    assert go(Client(), provider).status_code == 403


def test_a_made_up_return_is_refused(provider: Provider, known: User) -> None:
    claim(provider)
    client = Client()
    away = client.post(reverse("sso-start"))
    back = provider.authorize(away["Location"])
    assert client.get(back.replace("code=", "code=x")).status_code == 401
    assert Client().get(back).status_code == 401  # the state of another browser
    assert client.get("/sso/oidc/back/?error=access_denied&state=none").status_code == 401
    assert client.get("/workflows/").status_code == 302


def test_a_decision_needs_a_proof_that_the_provider_dates(
    provider: Provider, known: User, login: Callable[[User], Client]
) -> None:
    claim(provider)
    client = Client()
    go(client, provider)
    assert "Confirm with Example ID" in client.get("/reauthenticate/").content.decode()

    undated = go(client, provider, name="sso-prove", to="/promotions/1/")
    assert undated.status_code == 401
    assert provider.asked["prompt"] == "login"
    assert provider.asked["max_age"] == "0"

    provider.auth_time = int(time.time())
    dated = go(client, provider, name="sso-prove", to="/promotions/1/")
    assert dated["Location"] == "/promotions/1/"
    assert AuditEvent.objects.filter(verb="user.reauthenticated").count() == 1

    provider.auth_time = int(time.time()) - 3600  # an old session there is no fresh proof
    go(client, provider, name="sso-prove", to="/")
    assert (
        client.session["reauthenticated_at"]
        < AuditEvent.objects.latest("seq").recorded_at.isoformat()
    )


def test_nobody_proves_to_be_somebody_else(
    provider: Provider, known: User, cfo: User, login: Callable[[User], Client]
) -> None:
    claim(provider)
    provider.auth_time = int(time.time())
    client = login(cfo)
    assert go(client, provider, name="sso-prove").status_code == 403
    assert "reauthenticated_at" not in client.session
