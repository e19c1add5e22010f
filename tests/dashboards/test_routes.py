"""I13 and I14 beyond pages: fragments, services, scopes, commands, other people's things."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from http.cookies import SimpleCookie
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from governance.common.errors import GovernanceError, NotAllowedError
from governance.common.time import now
from governance.people.models import ApiToken, User
from governance.people.services import create_token
from governance.releases.models import Release
from governance.rollouts import services
from governance.rollouts.models import Promotion
from governance.workflows.models import Workflow
from tests.conftest import TESTER
from tests.dashboards import test_roles as pages
from tests.dashboards.role_rows import (
    ADMIN,
    BUILDER,
    EXECUTIVE,
    GOES_BACK,
    NOBODY,
    OTHER_OWNER,
    OWNER,
    ROLES,
    World,
)  # fmt: skip
from tests.dashboards.sessions import approve, confirmed, propose
from tests.faults.conftest import figure

__all__ = ("approve", "confirmed", "figure", "propose")
world, people = pages.world, pages.people
Figure = Callable[..., None]
HTMX = {"HTTP_HX_REQUEST": "true", "HTTP_HX_TARGET": "main"}
EVERY_ROLE = set(ROLES) - {NOBODY}
SECOND = {EXECUTIVE, OTHER_OWNER}
MAKES_POST_MORTEMS = GOES_BACK


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


# -- services, called directly ---------------------------------------------------------------------

Call = Callable[[Any, User], object]


def proof() -> dict[str, Any]:
    return {"authenticated_at": now()}


def decision(case: Any) -> dict[str, Any]:
    return {"review_round": case.promotion.review_round, "reason": "Because.", **proof()}


# Who may call it, and how. What has no actor is the system's: its own rules and the database
# decide, and no page, endpoint or command hands it a person's wish.
SERVICES: dict[str, tuple[set[str], Call | None]] = {
    "add_action": (
        MAKES_POST_MORTEMS, lambda c, who: services.add_action(c.pm, actor=who, text="Do it.")
    ),
    "add_to_timeline": (
        MAKES_POST_MORTEMS,
        lambda c, who: services.add_to_timeline(c.pm, actor=who, at=now(), what="Seen."),
    ),
    "adopt_as_found": (
        {OWNER},
        lambda c, who: services.adopt_as_found(c.live, actor=who, reason="It runs.", **proof()),
    ),
    "approve_promotion": (
        {OWNER} | SECOND,
        lambda c, who: services.approve_promotion(c.promotion.pk, actor=who, **decision(c)),
    ),
    "ask_check": (GOES_BACK, lambda c, who: services.ask_check(c.workflow, actor=who)),
    "ask_gate_again": (
        {OWNER, BUILDER}, lambda c, who: services.ask_gate_again(c.promotion.pk, actor=who)
    ),
    "cancel_drill": (
        GOES_BACK, lambda c, who: services.cancel_drill(c.drill, actor=who, reason="No.")
    ),
    "cancel_freeze": (
        {EXECUTIVE, OWNER}, lambda c, who: services.cancel_freeze(c.freeze, actor=who, reason="No.")
    ),
    "decide_recall": (
        MAKES_POST_MORTEMS,
        lambda c, who: services.decide_recall(
            c.pm, actor=who, state="nothing_needed", cases=None
        ),
    ),
    "emergency_change": (
        set(),  # a right of its own, which none of these people has
        lambda c, who: services.emergency_change(
            c.other, actor=who, incident="INC-1", reason="It burns.", **proof()
        ),
    ),
    "except_from_freeze": (
        {EXECUTIVE},
        lambda c, who: services.except_from_freeze(
            c.freeze, c.promotion, actor=who, reason="Urgent.", **proof()
        ),
    ),
    "finish_action": (
        MAKES_POST_MORTEMS, lambda c, who: services.finish_action(c.action, actor=who)
    ),
    "finish_post_mortem": (
        MAKES_POST_MORTEMS, lambda c, who: services.finish_post_mortem(c.pm, actor=who)
    ),
    "judge_promotion": (set(), None),
    "note_asked": (
        MAKES_POST_MORTEMS,
        lambda c, who: services.note_asked(c.pm, actor=who, whom="The vendor"),
    ),
    "open_evidence_pilot": (
        {OWNER},
        lambda c, who: services.open_evidence_pilot(
            c.promotion.pk, actor=who, share=500, days=1, **decision(c)
        ),
    ),
    "open_post_mortem": (set(), None),
    "pin_case": (
        {OWNER, BUILDER},
        lambda c, who: services.pin_case(c.workflow, "case", c.live, actor=who, reason="Why."),
    ),
    "pin_known_good": (
        {OWNER, EXECUTIVE},
        lambda c, who: services.pin_known_good(
            c.workflow, c.live, actor=who, reason="Good.", **proof()
        ),
    ),
    "plan_drill": (
        GOES_BACK,
        lambda c, who: services.plan_drill(
            c.workflow, actor=who, planned_for=now() + timedelta(days=1)
        ),
    ),
    "promote": (set(), None),  # below the doors: the database counts the quorum
    "propose_once": (set(), None),  # machines, behind the scope
    "propose_promotion": (
        {BUILDER},
        lambda c, who: services.propose_promotion(c.other, actor=who, rationale="Better."),
    ),
    "ratify_emergency": (
        {OWNER} | SECOND,
        lambda c, who: services.ratify_emergency(
            c.promotion.pk, actor=who, reason="Fine.", **proof()
        ),
    ),
    "reject_promotion": (
        {OWNER} | SECOND,
        lambda c, who: services.reject_promotion(c.promotion.pk, actor=who, **decision(c)),
    ),
    "repropose_promotion": (
        {BUILDER},
        lambda c, who: services.repropose_promotion(
            c.promotion.pk, actor=who, rationale="Once more."
        ),
    ),
    "resume_pilot": (
        {OWNER},
        lambda c, who: services.resume_pilot(c.promotion.pk, actor=who, reason="Seen.", **proof()),
    ),
    "return_from_drill": (
        GOES_BACK, lambda c, who: services.return_from_drill(c.drill, actor=who)
    ),
    "return_post_mortem": (
        MAKES_POST_MORTEMS,
        lambda c, who: services.return_post_mortem(c.pm, actor=who, reason="More."),
    ),
    "revert_unratified": (set(), None),
    "revoke_standing_approval": (
        {OWNER, EXECUTIVE},
        lambda c, who: services.revoke_standing_approval(c.standing, actor=who, reason="No."),
    ),
    "roll_back": (
        GOES_BACK, lambda c, who: services.roll_back(c.workflow, actor=who, reason="Worse.")
    ),
    "set_automatic_rollback": (
        {OWNER},
        lambda c, who: services.set_automatic_rollback(
            c.workflow, actor=who, allowed=True, reason="Yes.", **proof()
        ),
    ),
    "set_freeze": (
        {OWNER, EXECUTIVE},
        lambda c, who: services.set_freeze(
            actor=who, name="Close", starts_at=now(), ends_at=now() + timedelta(days=1),
            reason="Close.", workflow=c.workflow,
        ),
    ),
    "set_mode": (
        {OWNER, ADMIN},
        lambda c, who: services.set_mode(
            c.workflow, actor=who, mode="observe", reason="Why.", **proof()
        ),
    ),
    "sign_drill": (
        {OWNER}, lambda c, who: services.sign_drill(c.drill, actor=who, reason="Yes.", **proof())
    ),
    "sign_standing_approval": (
        {OWNER},
        lambda c, who: services.sign_standing_approval(
            c.workflow, actor=who, title="More models", slot="model", uses_per_week=1, days=1,
            reason="Routine.", **proof(),
        ),
    ),
    "start_drill": (
        GOES_BACK, lambda c, who: services.start_drill(c.drill, actor=who, clicked_at=now())
    ),
    "stop_pilot": (
        GOES_BACK, lambda c, who: services.stop_pilot(c.promotion.pk, actor=who, reason="Stop.")
    ),
    "submit_post_mortem": (
        MAKES_POST_MORTEMS, lambda c, who: services.submit_post_mortem(c.pm, actor=who)
    ),
    "switch_off": (
        GOES_BACK, lambda c, who: services.switch_off(c.workflow, actor=who, reason="Off.")
    ),
    "switch_on": (
        {OWNER},
        lambda c, who: services.switch_on(c.workflow, actor=who, reason="On.", **proof()),
    ),
    "unpin_case": (
        {OWNER, BUILDER},
        lambda c, who: services.unpin_case(c.workflow, "case", actor=who, reason="Why."),
    ),
    "withdraw_promotion": (
        {BUILDER},
        lambda c, who: services.withdraw_promotion(c.promotion.pk, actor=who, reason="No."),
    ),
    "write_post_mortem": (
        MAKES_POST_MORTEMS,
        lambda c, who: services.write_post_mortem(c.pm, actor=who, cause="This.", impact="That."),
    ),
    "write_stop": (
        GOES_BACK,
        lambda c, who: services.write_stop(
            c.promotion.pk, actor=who, what_happened="This.", what_next="That."
        ),
    ),
}  # fmt: skip


def test_every_service_has_its_row() -> None:
    assert set(SERVICES) == set(services.__all__)


def test_services_refuse_by_role_whatever_page_calls_them(
    world: World, people: dict[str, User], workflow: Workflow, live: Release, owner: User,
    builder: User, make_release: Callable[..., Release], figure: Figure,
) -> None:  # fmt: skip
    planned = services.plan_drill(workflow, actor=owner, planned_for=now() + timedelta(days=1))
    freeze = services.set_freeze(
        actor=people[EXECUTIVE], name="Close", starts_at=now() + timedelta(days=20),
        ends_at=now() + timedelta(days=21), reason="Close.", workflow=workflow,
    )[0]  # fmt: skip
    standing = services.sign_standing_approval(
        workflow, actor=owner, title="Models", slot="model", uses_per_week=1, days=1,
        reason="Routine.", **proof(),
    )  # fmt: skip
    case = SimpleNamespace(
        workflow=workflow, live=live, other=make_release(0.6),
        promotion=Promotion.objects.get(pk=world["promotion"][0]), pm=world["post-mortem"][0],
        action=world["action"][0], drill=planned.pk, freeze=freeze.pk, standing=standing.pk,
    )  # fmt: skip
    unexpected: list[str] = []
    cells = 0
    for name, (allowed, call) in SERVICES.items():
        if call is None:
            continue
        for role, who in people.items():
            cells += 1
            try:
                with pages.undone():
                    call(case, who)
                through = True
            except NotAllowedError:
                through = False
            except GovernanceError:
                through = True  # this person may; the thing is in another state here
            if through != (role in allowed):
                unexpected.append(f"{name}: {role} was {'let through' if through else 'refused'}")
    assert unexpected == []
    figure("I13", by_route={"services": cells}, cells=cells, unexpected_allows=0)


def test_a_deactivated_person_is_refused_by_every_service(
    workflow: Workflow, owner: User, live: Release
) -> None:
    owner.is_active = False
    for act in (
        lambda: services.roll_back(workflow, actor=owner, reason="Worse."),
        lambda: services.switch_off(workflow, actor=owner, reason="Off."),
        lambda: services.set_automatic_rollback(
            workflow, actor=owner, allowed=True, reason="Yes.", **proof()
        ),
    ):
        with pytest.raises(NotAllowedError):
            act()


def test_services_without_an_actor_are_called_by_the_product_only() -> None:
    for name, (_, call) in SERVICES.items():
        if call is None and name not in ("promote", "open_post_mortem", "propose_once"):
            assert "actor" not in signature(getattr(services, name)).parameters, name


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
