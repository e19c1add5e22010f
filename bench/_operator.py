"""Does inside the product what a measurement asks for, one line of JSON after the other.

`python -m bench._operator`; started by `bench._product`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import django

django.setup()

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY  # noqa: E402
from django.contrib.sessions.backends.db import SessionStore  # noqa: E402

from governance.audit import Actor  # noqa: E402
from governance.common.time import now  # noqa: E402
from governance.people.models import User  # noqa: E402
from governance.people.services import create_token, create_user  # noqa: E402
from governance.releases.models import LiveRelease, Release  # noqa: E402
from governance.releases.services import register_release  # noqa: E402
from governance.rollouts import services  # noqa: E402
from governance.workflows.models import Workflow  # noqa: E402
from governance.workflows.services import create_workflow  # noqa: E402

OPERATOR = Actor.system("measurement")
SCOPES = ["releases:read", "receipts:write"]


def seed(workflow: str) -> dict[str, Any]:
    """A workflow with one live release and another that can go live in an emergency."""
    password = {"password": "not for people 123"}
    owner = create_user("owner", actor=OPERATOR, role=User.Role.MEMBER, **password)
    builder = create_user("builder", actor=OPERATOR, role=User.Role.BUILDER, **password)
    builder.emergency_changes = True
    builder.save(update_fields=["emergency_changes"])
    made = create_workflow(workflow, "Support triage", owner=owner, actor=OPERATOR)
    good, bad = (
        register_release(
            made, {"model": {"provider": "own", "id": name}}, title=name, actor=builder
        )[0]
        for name in ("good", "bad")
    )
    services.adopt_as_found(good, actor=owner, reason="It runs.", authenticated_at=now())
    session = SessionStore()
    session[SESSION_KEY] = str(owner.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = owner.get_session_auth_hash()
    session["logged_in_at"] = now().isoformat()
    session.create()
    _, token = create_token("measurement", scopes=SCOPES, actor=OPERATOR)
    return {
        "good": good.pk, "bad": bad.pk, "token": token, "cookie": session.session_key,
    }  # fmt: skip


def forward(release: str) -> dict[str, Any]:
    """Make a release live without its evals, as one person may in an emergency."""
    services.emergency_change(
        Release.objects.get(pk=release), actor=User.objects.get(username="builder"),
        incident="MEASURED-1", reason="Measured.", authenticated_at=now(),
    )  # fmt: skip
    return live()


def roll_back() -> dict[str, Any]:
    services.roll_back(Workflow.objects.get(), actor=OPERATOR, reason="Measured.")
    return live()


def switch(off: bool) -> dict[str, Any]:
    """The kill switch."""
    owner, workflow = User.objects.get(username="owner"), Workflow.objects.get()
    if off:
        services.switch_off(workflow, actor=owner, reason="Measured.")
    else:
        services.switch_on(workflow, actor=owner, reason="Measured.", authenticated_at=now())
    return live()


def live() -> dict[str, Any]:
    found = LiveRelease.objects.get()
    return {"seq": found.seq, "release": found.release_id, "off": found.switched_off}


DEEDS: dict[str, Callable[..., dict[str, Any]]] = {
    "seed": seed,
    "forward": forward,
    "roll_back": roll_back,
    "switch": switch,
    "live": live,
}


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            done = DEEDS[asked.pop("do")](**asked)
        except Exception as error:
            done = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(done), flush=True)


if __name__ == "__main__":
    main()
