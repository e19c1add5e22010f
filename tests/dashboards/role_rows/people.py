"""Accounts, one's own account, and the ways in."""

from __future__ import annotations

from governance.people.models import User
from tests.dashboards.role_rows import ADMIN, EVERYBODY, LOGGED_IN, NONE, Cast, Row, World

NEW = {"username": "new-person", "job_title": "New person", "role": "analyst", "email": ""}
SAME = {"job_title": "Somebody", "role": "auditor", "email": ""}

ROWS: dict[str, Row] = {
    "login-code": Row(EVERYBODY, EVERYBODY, data={"code": "123456"}),  # leads to the first step
    "sso-start": Row(NONE),  # there is no provider here, so there is no such page
    "sso-prove": Row(NONE),
    "openid_connect_callback": Row(NONE, key="provider"),
    "account": Row(LOGGED_IN),
    "account-change-password": Row(
        NONE, LOGGED_IN, data={"password": "three blue lamps", "again": "three blue lamps"}
    ),
    "people": Row({ADMIN}),
    "person-create": Row(NONE, {ADMIN}, data=NEW),
    "person": Row({ADMIN}, key="somebody"),
    "person-change": Row(NONE, {ADMIN}, key="somebody", data=SAME),
    "person-change-emergency-right": Row(
        NONE, {ADMIN}, key="somebody", data={"allowed": "on", "reason": "On call."}
    ),
    "person-reset-password": Row(NONE, {ADMIN}, key="somebody"),
    "person-deactivate": Row(NONE, {ADMIN}, key="somebody", data={"reason": "Left."}),
    "person-reactivate": Row(NONE, {ADMIN}, key="somebody who left", data={"reason": "Back."}),
    # Second factors are off here: tests/dashboards/test_second_factor.py switches them on.
    "second-factor": Row(NONE),
    "second-factor-remove": Row(NONE),
    "recovery-codes-renew": Row(NONE),
    "person-reset-factor": Row(NONE, key="somebody"),
}


def extend(world: World, cast: Cast) -> None:
    somebody = User.objects.create_user("somebody", role=User.Role.AUDITOR, job_title="Somebody")
    gone = User.objects.create_user("gone", role=User.Role.AUDITOR, is_active=False)
    world["somebody"] = (somebody.pk,)
    world["somebody who left"] = (gone.pk,)
    world["provider"] = ("oidc",)
