"""I13 behind the pages: every service refuses by role, whoever calls it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from inspect import signature
from types import SimpleNamespace
from typing import Any

import pytest

from governance.common.errors import GovernanceError, NotAllowedError
from governance.common.time import now
from governance.people.models import User
from governance.releases.models import Release
from governance.rollouts import services
from governance.rollouts.models import Promotion
from governance.workflows.models import Workflow
from tests.dashboards import test_roles as pages
from tests.dashboards.role_rows import (
    ADMIN,
    BUILDER,
    EXECUTIVE,
    GOES_BACK,
    OTHER_OWNER,
    OWNER,
    World,
)  # fmt: skip
from tests.dashboards.sessions import approve, confirmed, propose
from tests.faults.conftest import figure

__all__ = ("approve", "confirmed", "figure", "propose")
world, people = pages.world, pages.people
Figure = Callable[..., None]
SECOND = {EXECUTIVE, OTHER_OWNER}
MAKES_POST_MORTEMS = GOES_BACK
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
