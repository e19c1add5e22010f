"""Pilots: a small share for a short time, stopped with one click, widened by a gate."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import Error as DatabaseError
from django.db import transaction

from governance.common.errors import InvalidInputError, NotAllowedError, StateConflictError
from governance.common.time import now
from governance.evals import services as evals
from governance.people.models import User
from governance.releases.models import LiveRelease, Release, ReleaseApproval
from governance.rollouts import services
from governance.rollouts.models import LiveChange, PostMortem, Promotion
from governance.rollouts.pilot_models import Pilot
from governance.workflows.models import Workflow
from tests.rollouts.conftest import POLICY, again, open_pilot, work

pytestmark = pytest.mark.django_db(transaction=True)
Approve = Callable[[Promotion, User], Promotion]
Propose = Callable[..., Promotion]
Make = Callable[..., Release]
STEPS = [{"share": 500, "minutes": 0, "runs": 0}, {"share": 2500, "minutes": 0, "runs": 0}]


def test_an_approved_promotion_with_steps_opens_its_pilot_and_leaves_the_stable_release(
    live: Release, approve: Approve, owner: User, builder: User, make_release: Make, model: Any
) -> None:
    promotion = services.propose_promotion(
        make_release(model=model(90)), actor=builder, rationale="Better.", pilot_steps=STEPS
    )
    work()
    approve(again(promotion), owner)

    row = LiveRelease.objects.get()
    assert (row.release, row.pilot_release_id, row.pilot_share) == (live, promotion.release_id, 500)
    assert again(promotion).state == Promotion.State.PILOTING
    assert row.seq == 2
    assert LiveChange.objects.get(seq=2).cause == "pilot_opened"
    allowed = ReleaseApproval.objects.filter(valid_to=None).values_list("release_id", flat=True)
    assert set(allowed) == {live.pk, promotion.release_id}


def test_one_click_stops_a_pilot_and_its_fix_can_be_proposed_at_once(
    live: Release, approve: Approve, owner: User, builder: User, make_release: Make, model: Any
) -> None:
    promotion = services.propose_promotion(
        make_release(model=model(90)), actor=builder, rationale="Better.", pilot_steps=STEPS
    )
    work()
    approve(again(promotion), owner)

    services.stop_pilot(promotion.pk, actor=builder, reason="Customers complain.")

    row = LiveRelease.objects.get()
    assert (row.release, row.pilot_release, row.pilot_share, row.seq) == (live, None, 0, 3)
    assert again(promotion).state == Promotion.State.STOPPED
    assert Pilot.objects.get().what_happened == "Customers complain."
    assert not PostMortem.objects.exists()
    with pytest.raises(StateConflictError):
        services.stop_pilot(promotion.pk, actor=builder, reason="again")
    services.write_stop(
        promotion.pk, actor=owner, what_happened="It was rude.", what_next="Soften."
    )
    fix = services.propose_promotion(
        make_release(model=model(91)), actor=builder, rationale="Softened."
    )
    assert fix.state == Promotion.State.EVALUATING


def test_a_rollback_ends_the_pilot_with_it(
    live: Release, propose: Propose, approve: Approve, owner: User, builder: User,
    make_release: Make, model: Any, workflow: Workflow,
) -> None:  # fmt: skip
    approve(propose(80), owner)
    promotion = services.propose_promotion(
        make_release(model=model(95)), actor=builder, rationale="Better.", pilot_steps=STEPS
    )
    work()
    approve(again(promotion), owner)

    services.roll_back(workflow, actor=builder, reason="It got worse.")

    row = LiveRelease.objects.get()
    assert (row.release, row.pilot_release, row.pilot_share) == (live, None, 0)
    assert again(promotion).state == Promotion.State.STOPPED
    assert Pilot.objects.get().state == Pilot.State.STOPPED


@pytest.fixture
def unsure(propose: Propose) -> Promotion:
    """A promotion whose gate could not tell."""
    promotion = propose(52)
    assert promotion.gate_report is not None
    assert promotion.gate_report.verdict == "not_enough_evidence"
    return promotion


def test_not_enough_evidence_lets_the_owner_open_a_small_pilot_that_only_drafts(
    unsure: Promotion, live: Release, owner: User, cfo: User, builder: User, workflow: Workflow
) -> None:
    Workflow.objects.update(authority=Workflow.Authority.EXECUTE)
    for share, days in ((1001, 14), (1000, 15), (0, 3)):
        with pytest.raises(InvalidInputError):
            open_pilot(unsure, owner, share, days)
    for person in (cfo, builder):
        with pytest.raises(NotAllowedError):
            open_pilot(unsure, person)

    open_pilot(unsure, owner)

    row = LiveRelease.objects.get()
    assert (row.pilot_release_id, row.pilot_share, row.pilot_authority) == (
        unsure.release_id, 1000, "draft",
    )  # fmt: skip
    pilot = Pilot.objects.get()
    assert pilot.ends_at == pilot.opened_at + timedelta(days=14)
    with pytest.raises(StateConflictError):  # its gate has not passed
        services.approve_promotion(
            unsure.pk, actor=owner, review_round=1, reason="ship it", authenticated_at=now()
        )


def test_the_database_refuses_a_pilot_that_is_too_large_too_long_or_may_do_too_much(
    unsure: Promotion, live: Release, owner: User, workflow: Workflow
) -> None:
    open_pilot(unsure, owner)
    row = LiveRelease.objects.get()

    def widen(share: int, authority: str) -> None:
        with transaction.atomic():
            LiveChange.objects.create(
                workflow=workflow, seq=row.seq + 1, cause="pilot_widened", from_release=live,
                to_release=live, promotion=unsure, pilot_release_id=unsure.release_id,
                pilot_share=share, pilot_salt=row.pilot_salt, pilot_authority=authority,
                changed_at=now(), actor_label="by hand",
            )  # fmt: skip

    for share, authority in ((1001, "draft"), (1000, "execute"), (1000, "")):
        with pytest.raises(DatabaseError, match="without the approval"):
            widen(share, authority)


def test_a_failed_gate_opens_no_pilot(propose: Propose, owner: User) -> None:
    promotion = propose(20)
    with pytest.raises(StateConflictError, match="not enough evidence"):
        open_pilot(promotion, owner)


def test_a_pilot_asks_its_gate_again_in_a_new_round_and_needs_the_whole_quorum(
    unsure: Promotion, live: Release, owner: User, builder: User, workflow: Workflow, cfo: User,
    approve: Approve,
) -> None:  # fmt: skip
    open_pilot(unsure, owner)
    looser = {key: value for key, value in POLICY.items() if key != "primary"}
    looser["guardrails"] = [{"metric": "silent_error", "suites": ["golden"], "margin_points": 9.0}]
    evals.confirm_policy(evals.set_policy(workflow, looser, actor=owner), actor=cfo)

    services.ask_gate_again(unsure.pk, actor=builder)
    work()

    promotion = Promotion.objects.for_page().get(pk=unsure.pk)
    assert (promotion.review_round, promotion.state) == (2, Promotion.State.PILOTING)
    assert promotion.gate_report is not None
    assert promotion.gate_report.verdict == "pass"
    with pytest.raises(StateConflictError):
        services.approve_promotion(
            promotion.pk, actor=owner, review_round=1, reason="old", authenticated_at=now()
        )
    approve(promotion, owner)
    row = LiveRelease.objects.get()
    assert (row.release_id, row.pilot_release) == (promotion.release_id, None)
    assert Pilot.objects.get().state == Pilot.State.COMPLETED
