"""I13 and I14 beyond pages: fragments, scopes, commands, other people's things."""

from __future__ import annotations

import json
from collections.abc import Callable
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

from django.test import Client
from django.urls import reverse

from governance.people.models import ApiToken, User
from governance.people.services import create_token
from governance.releases.models import Release
from governance.rollouts import services
from governance.rollouts.models import Promotion
from governance.workflows.models import Workflow
from tests.conftest import TESTER
from tests.dashboards import test_roles as pages
from tests.dashboards.role_rows import (
    NOBODY,
    OTHER_OWNER,
    ROLES,
    World,
)  # fmt: skip
from tests.dashboards.sessions import approve, confirmed, propose
from tests.faults.conftest import figure

__all__ = ("approve", "confirmed", "figure", "propose")
world, people = pages.world, pages.people
Figure = Callable[..., None]
HTMX = {"HTTP_HX_REQUEST": "true", "HTTP_HX_TARGET": "main"}


def test_a_fragment_checks_what_its_page_checks(
    world: World, people: dict[str, User], confirmed: Callable[[User], Client], figure: Figure
) -> None:
    unexpected: list[str] = []
    cells = 0
    for role in ROLES:
        client = Client() if role == NOBODY else confirmed(people[role])
        cookies = client.cookies.output(header="")
        for name, row in pages.TABLE.items():
            if name in pages.TWO_WORLDS:
                continue
            url = reverse(name, args=world[row.key])
            for method, allowed in (("get", row.get), ("post", row.post)):
                client.cookies = SimpleCookie(cookies)
                with pages.undone():
                    answer = getattr(client, method)(
                        url, row.data if method == "post" else {}, **HTMX
                    )
                    if answer.streaming:
                        for _ in answer.streaming_content:
                            pass  # read to its end, a download closes its file
                cells += 1
                assert answer.status_code != 500
                refused = answer.status_code in (403, 404, 405) or is_sent_away(answer)
                if not refused and role not in allowed:
                    unexpected.append(f"{method.upper()} {name}: {role} was let through")
    assert unexpected == []
    figure("I13", by_route={"htmx fragments": cells}, cells=cells, unexpected_allows=0)


def is_sent_away(answer: Any) -> bool:
    """To the login page or to confirm the password, however htmx is told."""
    target = answer.headers.get("HX-Redirect") or answer.headers.get("Location") or ""
    return target.startswith(("/login/", "/reauth"))


# -- machines --------------------------------------------------------------------------------------


def test_a_token_opens_its_own_endpoints_only_and_approves_nowhere(
    workflow: Workflow, live: Release, make_release: Callable[..., Release], figure: Figure
) -> None:
    other = make_release(0.6)
    endpoints = {
        ("get", f"/api/v1/releases/{live.pk}"): "releases:read",
        ("post", f"/ofrep/v1/evaluate/flags/{workflow.slug}"): "releases:read",
        ("post", "/ofrep/v1/evaluate/flags"): "releases:read",
        ("post", f"/api/v1/workflows/{workflow.slug}/releases"): "releases:write",
        ("post", "/api/v1/promotions"): "promotions:propose",
        ("post", "/api/v1/receipts"): "receipts:write",
        ("post", "/v1/traces"): "receipts:write",
    }
    cells = 0
    unexpected = []
    for scope in ApiToken.Scope.values:
        _, secret = create_token(f"only {scope}", scopes=[scope], actor=TESTER)
        client = Client(headers={"Authorization": f"Bearer {secret}"})
        for (method, path), needed in endpoints.items():
            with pages.undone():
                answer = client.generic(
                    method.upper(), path, json.dumps({"release": other.pk, "rationale": "x"}),
                    content_type="application/json",
                )  # fmt: skip
            cells += 1
            through = answer.status_code not in (401, 403, 404)
            if through and scope != needed:
                unexpected.append(f"{path}: {scope} was let through ({answer.status_code})")
            if scope == needed:
                assert through, (path, scope, answer.status_code)
        # Pages know no tokens.
        for path in ("/promotions/1/approve/", "/", f"/workflows/{workflow.slug}/roll-back/"):
            answer = client.post(path)
            cells += 1
            if answer.status_code not in (302, 403, 404, 405) or is_allowed_redirect(answer):
                unexpected.append(f"{path}: a token was let through")
    assert unexpected == []
    assert not Promotion.objects.filter(state="live").exclude(road="adopt").exists()
    figure("I13", by_route={"API scopes": cells}, cells=cells, unexpected_allows=0)


def is_allowed_redirect(answer: Any) -> bool:
    return answer.status_code == 302 and not is_sent_away(answer)


# Who is recorded for what a command does. A command without a row fails.
COMMANDS = {
    "audit_checkpoint": "nothing that people decide", "audit_key": "nothing that people decide",
    "audit_verify": "reads", "create_token": "operator", "create_user": "operator",
    "demo_tamper": "the demo's own application", "evidence_pack": "operator", "export_lkg": "reads",
    "register_release": "operator", "role_sql": "prints", "roll_back": "operator",
    "run_evals": "operator", "seed_demo": "the demo", "up": "starts processes",
}  # fmt: skip


def test_commands_act_as_the_operator_and_none_approves(figure: Figure) -> None:
    folder = Path(services.__file__).parents[1] / "management" / "commands"
    sources = {path.stem: path.read_text() for path in folder.glob("[a-z]*.py")}
    assert set(sources) == set(COMMANDS)
    for name, text in sources.items():
        assert ("Actor.operator(" in text) == (COMMANDS[name] == "operator"), name
        for forbidden in ("approve_promotion", "adopt_as_found", "emergency_change", "ratify_"):
            assert forbidden not in text, name
    figure("I13", by_route={"commands": len(COMMANDS)}, cells=len(COMMANDS), unexpected_allows=0)


def test_djangos_admin_does_not_exist_for_anybody(
    people: dict[str, User], login: Callable[[User], Client], figure: Figure
) -> None:
    for person in people.values():
        person.is_staff = person.is_superuser = True
        person.save()
        for path in ("/admin/", "/admin/governance/promotion/", "/admin/login/"):
            assert login(person).get(path).status_code == 404
    cells = 3 * len(people)
    figure("I13", by_route={"Django's admin": cells}, cells=cells, unexpected_allows=0)


# -- other people's things -------------------------------------------------------------------------


def test_the_owner_of_another_workflow_finds_nothing_of_this_one(
    world: World, people: dict[str, User], confirmed: Callable[[User], Client], builder: User,
    workflow: Workflow, live: Release, figure: Figure,
) -> None:  # fmt: skip
    # While it waits for a second approver, any KPI owner may be asked. Now nobody is.
    services.withdraw_promotion(world["promotion"][0], actor=builder, reason="Not yet.")
    secrets = {workflow.name, workflow.slug, live.pk, live.pk[7:19], "Threshold 0.35"}
    client = confirmed(people[OTHER_OWNER])
    crawled, leaks = 0, []
    for name, row in pages.TABLE.items():
        if not row.get or name in pages.TWO_WORLDS:
            continue
        url = reverse(name, args=world[row.key])
        for address in (url, f"{url}?workflow={workflow.slug}", f"{url}?format=csv"):
            answer = client.get(address)
            crawled += 1
            if answer.status_code in (403, 404):
                continue
            text = answer.getvalue().decode(errors="replace")
            # What was asked for may stand in the form again.
            asked = {workflow.slug} if "workflow=" in address else set()
            leaks += [f"{address}: {secret}" for secret in secrets - asked if secret in text]
    assert leaks == []

    _, secret = create_token(
        "other", scopes=ApiToken.Scope.values, actor=TESTER, workflow_slug="close"
    )
    machine = Client(headers={"Authorization": f"Bearer {secret}"})
    for method, path, body in (
        ("GET", f"/api/v1/releases/{live.pk}", None),
        ("GET", f"/api/v1/promotions/{world['promotion'][0]}", None),
        ("POST", f"/ofrep/v1/evaluate/flags/{workflow.slug}", {}),
        ("POST", "/ofrep/v1/evaluate/flags", {}),
        ("POST", f"/api/v1/workflows/{workflow.slug}/releases", {"slots": {"model": {"id": "x"}}}),
        ("POST", "/api/v1/promotions", {"release": live.pk, "rationale": "x"}),
    ):  # fmt: skip
        answer = machine.generic(
            method, path, json.dumps(body or {}), content_type="application/json"
        )
        crawled += 1
        text = answer.content.decode()
        assert answer.status_code in (403, 404) or live.pk not in text, (path, text)
    figure("I14", crawled=crawled, leaks=len(leaks))
