"""Corners that the state machine of tests/faults found; each was a hole or a dead end once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from governance.common.errors import NotAllowedError, StateConflictError
from governance.common.time import now
from governance.evals import services as evals
from governance.people.models import User
from governance.releases.models import LiveRelease, Release
from governance.rollouts import services
from governance.rollouts.models import Promotion
from governance.rollouts.recovery_models import Drill
from governance.workflows.models import Workflow
from tests.rollouts.conftest import POLICY, work

pytestmark = pytest.mark.django_db(transaction=True)
Approve = Callable[[Promotion, User], Promotion]
Propose = Callable[..., Promotion]
STEPS = [{"share": 500, "minutes": 0, "runs": 0}]


def drill(workflow: Workflow, owner: User) -> Drill:
    planned = services.plan_drill(workflow, actor=owner, planned_for=now() + timedelta(hours=1))
    return services.sign_drill(planned.pk, actor=owner, reason="Practice.", authenticated_at=now())


def test_the_drills_of_a_workflow_run_one_after_the_other(
    propose: Propose, approve: Approve, owner: User, workflow: Workflow
) -> None:
    approve(propose(), owner)
    first, second = drill(workflow, owner), drill(workflow, owner)
    services.start_drill(first.pk, actor=owner, clicked_at=now())
    with pytest.raises(StateConflictError, match="Another drill"):
        services.start_drill(second.pk, actor=owner, clicked_at=now())


def test_a_rollback_in_the_middle_of_a_drill_leaves_one_promotion_live(
    propose: Propose, approve: Approve, owner: User, builder: User, live: Release,
    workflow: Workflow,
) -> None:  # fmt: skip
    first = approve(propose(70), owner)
    second = approve(propose(95), owner)
    running = drill(workflow, owner)
    services.start_drill(running.pk, actor=owner, clicked_at=now())
    assert LiveRelease.objects.get().release_id == first.release_id

    services.roll_back(workflow, actor=builder, reason="The old one harms too.")

    assert LiveRelease.objects.get().release_id != first.release_id
    assert Promotion.objects.filter(workflow=workflow, state="live").count() == 1
    second.refresh_from_db()
    assert second.state in ("live", "superseded")


def test_margins_confirmed_after_the_proposal_bar_who_set_them(
    propose: Propose, approve: Approve, owner: User, cfo: User, builder: User, live: Release,
    workflow: Workflow, make_release: Callable[..., Release], model: Any,
) -> None:  # fmt: skip
    looser = evals.set_policy(workflow, {**POLICY, "confidence": 0.9}, actor=owner)
    promotion = services.propose_promotion(
        make_release(model=model(90)), actor=builder, rationale="Better."
    )
    evals.confirm_policy(looser, actor=cfo)
    work()
    promotion.refresh_from_db()
    assert promotion.gate_policy == looser
    with pytest.raises(NotAllowedError, match="helped"):
        approve(promotion, owner)


def test_an_owner_whose_cases_another_person_confirmed_may_still_approve(
    propose: Propose, approve: Approve, owner: User, cfo: User, live: Release, workflow: Workflow
) -> None:
    cases = [
        {"key": f"c{n}", "input": {"number": n}, "expected": {"answer": "yes"}} for n in range(100)
    ]
    edited = evals.freeze_suite(workflow, "golden", cases, actor=owner)
    evals.confirm_suite(edited, actor=cfo)
    assert approve(propose(), owner).state == Promotion.State.LIVE


def test_switching_off_and_on_forgives_nobody_an_edited_suite(
    propose: Propose, approve: Approve, owner: User, live: Release, workflow: Workflow
) -> None:
    cases = [
        {"key": f"c{n}", "input": {"number": n}, "expected": {"answer": "yes"}} for n in range(100)
    ]
    evals.freeze_suite(workflow, "golden", cases, actor=owner)
    services.switch_off(workflow, actor=owner, reason="A moment.")
    services.switch_on(workflow, actor=owner, reason="Again.", authenticated_at=now())
    with pytest.raises(NotAllowedError, match="helped"):
        approve(propose(), owner)


def test_a_pilot_waits_until_its_workflow_is_switched_on(
    live: Release, approve: Approve, owner: User, builder: User, workflow: Workflow,
    make_release: Callable[..., Release], model: Any,
) -> None:  # fmt: skip
    promotion = services.propose_promotion(
        make_release(model=model(90)), actor=builder, rationale="Better.", pilot_steps=STEPS
    )
    work()
    promotion.refresh_from_db()
    services.switch_off(workflow, actor=owner, reason="A moment.")
    with pytest.raises(StateConflictError, match="switched off"):
        approve(promotion, owner)
    services.switch_on(workflow, actor=owner, reason="Again.", authenticated_at=now())
    approve(promotion, owner)
    assert LiveRelease.objects.get().pilot_release_id == promotion.release_id


def test_a_standing_approval_ends_with_who_signed_it(
    live: Release, owner: User, builder: User, workflow: Workflow,
    make_release: Callable[..., Release], model: Any,
) -> None:  # fmt: skip
    standing = services.sign_standing_approval(
        workflow, actor=owner, title="Models", slot="model", uses_per_week=2, days=30,
        reason="Routine.", authenticated_at=now(),
    )  # fmt: skip
    promotion = services.propose_promotion(
        make_release(model=model(90)), actor=builder, rationale="Better.", standing=standing
    )
    User.objects.filter(pk=owner.pk).update(is_active=False)
    work()
    promotion.refresh_from_db()
    assert (promotion.state, promotion.standing) == (Promotion.State.AWAITING_OWNER, None)
    assert LiveRelease.objects.get().release_id == live.pk
