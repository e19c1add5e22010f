"""The roads beside the normal one: each with its own people, limits and way back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import Error as DatabaseError
from django.db import transaction

from governance.common.errors import InvalidInputError, NotAllowedError, StateConflictError
from governance.common.time import now, story_time
from governance.evals import services as evals
from governance.people.models import Delegation, Signature, User
from governance.people.signatures import sign
from governance.releases.models import LiveRelease, Pin, Release, ReleaseApproval
from governance.rollouts import services
from governance.rollouts.models import Approval, LiveChange, PostMortem, Promotion
from governance.rollouts.pilot_models import Pilot
from governance.rollouts.road_models import StandingApproval
from governance.workflows.models import Workflow
from tests.rollouts.conftest import POLICY, work

pytestmark = pytest.mark.django_db(transaction=True)
Approve = Callable[[Promotion, User], Promotion]
Propose = Callable[..., Promotion]
Make = Callable[..., Release]
STEPS = [{"share": 500, "minutes": 0, "runs": 0}, {"share": 2500, "minutes": 0, "runs": 0}]


def again(model: Any) -> Any:
    return type(model).objects.get(pk=model.pk)


@pytest.fixture
def delegate(owner: User, controller: User) -> Callable[..., Delegation]:
    """The owner lets the controller decide for a week."""

    def give(to: User = controller, giver: User = owner, days: int = 7) -> Delegation:
        moment = now()
        return Delegation.objects.create(
            owner=giver, delegate=to, starts_at=moment, ends_at=moment + timedelta(days=days),
            reason="On leave.", created_at=moment,
            signature=sign(
                giver, "delegation", reason="On leave.", subject={"delegate": str(to.pk)},
                role="KPI owner", authenticated_at=moment, authenticated_by="password",
            ),
        )  # fmt: skip

    return give


def test_every_decision_is_signed_with_who_why_how_and_on_which_bytes(
    propose: Propose, approve: Approve, live: Release, owner: User
) -> None:
    promotion = propose()
    approve(promotion, owner)

    signature = Approval.objects.get(promotion=promotion).signature
    assert signature is not None
    manifest = signature.manifest
    assert manifest["signer"]["label"] == "Head of Support (head-of-support)"
    assert (manifest["meaning"], manifest["role"]) == ("kpi_owner", "KPI owner")
    assert manifest["authenticated"]["by"] == "password"
    assert manifest["subject"]["candidate_digest"] == promotion.release_id
    assert manifest["subject"]["gate_report_digest"] == again(promotion).gate_report_id
    with pytest.raises(DatabaseError), transaction.atomic():
        Signature.objects.filter(pk=signature.pk).update(reason="another")


def test_a_delegate_decides_for_the_owner_inside_the_window_only(
    propose: Propose, approve: Approve, controller: User, owner: User, live: Release,
    delegate: Callable[..., Delegation], workflow: Workflow,
) -> None:  # fmt: skip
    promotion = propose()
    with pytest.raises(NotAllowedError):
        approve(promotion, controller)
    held = delegate()
    with story_time(held.ends_at), pytest.raises(NotAllowedError):
        approve(promotion, controller)

    approve(promotion, controller)

    assert LiveRelease.objects.get().release_id == promotion.release_id
    approval = Approval.objects.get(promotion=promotion)
    assert (approval.on_behalf_of, approval.delegation) == (owner, held)
    assert "by delegation" in approval.signature.manifest["role"]  # type: ignore[union-attr]


def test_a_delegation_is_not_passed_on_and_a_revoked_one_counts_no_more(
    propose: Propose, approve: Approve, controller: User, auditor: User, cfo: User, live: Release,
    delegate: Callable[..., Delegation], workflow: Workflow,
) -> None:  # fmt: skip
    promotion = propose(threshold=0.2)  # high risk: two people
    held = delegate()
    delegate(to=auditor, giver=controller)
    with pytest.raises(NotAllowedError):
        approve(promotion, auditor)

    approve(promotion, controller)
    Delegation.objects.filter(pk=held.pk).update(revoked_at=now(), revoked_by_label="owner")
    approve(promotion, cfo)

    assert LiveRelease.objects.get().release_id == live.pk  # the second yes found no first one


def test_nobody_decides_in_the_name_of_an_owner_who_made_the_change(
    propose: Propose, approve: Approve, controller: User, owner: User, live: Release,
    delegate: Callable[..., Delegation],
) -> None:  # fmt: skip
    promotion = propose()
    delegate()
    # The candidate stays as it is; the owner becomes its requester.
    Promotion.objects.filter(pk=promotion.pk).update(review_round=2, requested_by=owner)
    with pytest.raises(NotAllowedError, match="nobody approves it in their name"):
        services.approve_promotion(
            promotion.pk, actor=controller, review_round=2, reason="for her",
            authenticated_at=now(),
        )  # fmt: skip


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


def open_pilot(promotion: Promotion, actor: User, share: int = 1000, days: int = 14) -> Promotion:
    return services.open_evidence_pilot(
        promotion.pk, actor=actor, review_round=promotion.review_round, share=share, days=days,
        reason="We need to know.", authenticated_at=now(),
    )  # fmt: skip


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


@pytest.fixture
def envelope(workflow: Workflow, owner: User, live: Release) -> StandingApproval:
    return services.sign_standing_approval(
        workflow, actor=owner, title="Nightly model refresh", slot="model", uses_per_week=2,
        days=30, reason="Small and repeating.", authenticated_at=now(),
    )  # fmt: skip


def use(envelope: StandingApproval, release: Release, builder: User) -> Promotion:
    promotion = services.propose_promotion(
        release, actor=builder, rationale="Nightly.", standing=envelope
    )
    work()
    return again(promotion)  # type: ignore[no-any-return]


def test_a_change_inside_its_standing_approval_goes_live_by_itself_and_counts(
    envelope: StandingApproval, make_release: Make, model: Any, builder: User, owner: User
) -> None:
    for right in (70, 95):
        promotion = use(envelope, make_release(model=model(right)), builder)
        assert (promotion.state, promotion.road) == (Promotion.State.LIVE, "standing")
    with pytest.raises(StateConflictError, match="2 times in the last 7 days"):
        use(envelope, make_release(model=model(99)), builder)
    services.revoke_standing_approval(envelope.pk, actor=owner, reason="Enough.")
    with pytest.raises(StateConflictError, match="revoked"), story_time(now() + timedelta(days=8)):
        use(envelope, make_release(model=model(99)), builder)


def test_a_change_outside_its_standing_approval_is_refused_or_waits_for_the_owner(
    envelope: StandingApproval, make_release: Make, model: Any, builder: User, owner: User,
    live: Release,
) -> None:  # fmt: skip
    with pytest.raises(StateConflictError, match="also changes Guardrails"):
        use(envelope, make_release(0.3, model=model(90)), builder)

    promotion = services.propose_promotion(
        make_release(model=model(90)), actor=builder, rationale="Nightly.", standing=envelope
    )
    services.revoke_standing_approval(envelope.pk, actor=owner, reason="Not tonight.")
    work()

    promotion = again(promotion)
    assert (promotion.state, promotion.road) == (Promotion.State.AWAITING_OWNER, "promotion")
    assert LiveRelease.objects.get().release == live


def test_a_use_whose_gate_could_not_tell_becomes_a_pilot_by_the_owners_own_decision(
    envelope: StandingApproval, make_release: Make, model: Any, builder: User, owner: User
) -> None:
    promotion = use(envelope, make_release(model=model(52)), builder)
    assert (promotion.state, promotion.standing) == (Promotion.State.REFUSED, envelope)

    open_pilot(promotion, owner)

    promotion = again(promotion)
    assert (promotion.state, promotion.road) == (Promotion.State.PILOTING, "pilot")
    assert promotion.standing is None  # and so it uses nothing of the envelope up


def test_a_worse_change_inside_its_envelope_is_still_refused_by_the_gate(
    envelope: StandingApproval, make_release: Make, model: Any, builder: User, live: Release
) -> None:
    promotion = use(envelope, make_release(model=model(20)), builder)
    assert promotion.state == Promotion.State.REFUSED
    assert LiveRelease.objects.get().release == live


def test_a_maintenance_change_needs_no_improvement_but_every_guardrail(
    live: Release, make_release: Make, model: Any, builder: User, owner: User, approve: Approve
) -> None:
    same = services.propose_promotion(
        make_release(model=model(51)), actor=builder, rationale="The provider retires the model.",
        road="maintenance",
    )  # fmt: skip
    work()
    same = Promotion.objects.for_page().get(pk=same.pk)
    assert same.gate_report is not None
    assert (same.state, same.gate_report.content["road"]) == ("awaiting_owner", "maintenance")
    approve(same, owner)
    assert LiveRelease.objects.get().release_id == same.release_id

    worse = services.propose_promotion(
        make_release(model=model(30)), actor=builder, rationale="Another.", road="maintenance"
    )
    work()
    assert again(worse).state == Promotion.State.REFUSED
    with pytest.raises(InvalidInputError, match="replaces the model"):
        services.propose_promotion(
            make_release(0.3, model=model(51)), actor=builder, rationale="x", road="maintenance"
        )


@pytest.fixture
def breaker(controller: User) -> User:
    """Somebody with the right to make emergency changes."""
    User.objects.filter(pk=controller.pk).update(emergency_changes=True)
    return User.objects.get(pk=controller.pk)


def emergency(release: Release, actor: User, incident: str = "INC-7") -> Promotion:
    return services.emergency_change(
        release, actor=actor, incident=incident, reason="It leaks data.", authenticated_at=now()
    )


def ratify(promotion: Promotion, actor: User) -> Promotion:
    return services.ratify_emergency(
        promotion.pk, actor=actor, reason="Right call.", authenticated_at=now()
    )


def test_an_emergency_change_is_live_at_once_and_stays_when_a_second_person_ratifies(
    live: Release, make_release: Make, breaker: User, builder: User, owner: User, cfo: User
) -> None:
    release = make_release(0.9)
    for person in (builder, owner, cfo):
        with pytest.raises(NotAllowedError):
            emergency(release, person)
    with pytest.raises(InvalidInputError):
        emergency(release, breaker, " ")

    promotion = emergency(release, breaker)

    row = LiveRelease.objects.get()
    assert (row.release, row.last_known_good, row.gated) == (release, live, False)
    for person in (breaker, builder):  # made it; not allowed
        with pytest.raises(NotAllowedError):
            ratify(promotion, person)
    ratify(promotion, cfo)
    with story_time(now() + timedelta(hours=5)):
        assert services.revert_unratified(promotion.pk) is False
    assert LiveRelease.objects.get().release == release
    with pytest.raises(StateConflictError):
        ratify(promotion, owner)


def test_an_emergency_change_that_nobody_ratifies_is_undone_by_itself(
    live: Release, make_release: Make, breaker: User, cfo: User
) -> None:
    promotion = emergency(make_release(0.9), breaker)
    with story_time(now() + timedelta(hours=3, minutes=59)):
        assert services.revert_unratified(promotion.pk) is False
    with story_time(now() + timedelta(hours=4, seconds=1)):
        with pytest.raises(StateConflictError, match="four hours are over"):
            ratify(promotion, cfo)
        assert services.revert_unratified(promotion.pk) is True
        assert services.revert_unratified(promotion.pk) is False

    row = LiveRelease.objects.get()
    assert (row.release, row.stage) == (live, "rolled_back")
    assert again(promotion).state == Promotion.State.ROLLED_BACK
    assert "not ratified" in PostMortem.objects.get().rollback.reason


def test_nothing_leads_back_to_an_emergency_change_that_nobody_ratified(
    live: Release, make_release: Make, breaker: User, cfo: User, workflow: Workflow, builder: User
) -> None:
    first, second = make_release(0.9), make_release(0.8)
    lapsed = emergency(first, breaker)
    services.pin_case(workflow, "case-1", first, actor=builder, reason="A look at it.")
    ratify(emergency(second, breaker), cfo)

    # The case went where all others go, and nobody can send it or a rollback there.
    assert not Pin.objects.exists()
    with pytest.raises(StateConflictError, match="may not serve"):
        services.pin_case(workflow, "case-1", first, actor=builder, reason="Again.")
    with pytest.raises(StateConflictError, match="nobody ratified it"):
        services.pin_known_good(
            workflow, first, actor=cfo, reason="It was good.", authenticated_at=now()
        )
    assert again(lapsed).state == Promotion.State.SUPERSEDED


def test_an_emergency_change_passes_a_freeze_and_takes_an_open_promotion_back(
    live: Release, make_release: Make, breaker: User, cfo: User, propose: Propose
) -> None:
    waiting = propose()
    services.set_freeze(
        actor=cfo, name="Month-end close", starts_at=now(), reason="The books.",
        ends_at=now() + timedelta(days=3),
    )  # fmt: skip
    emergency(make_release(0.9), breaker)
    assert again(waiting).state == Promotion.State.WITHDRAWN


def test_the_database_refuses_an_emergency_by_somebody_without_the_right(
    live: Release, make_release: Make, breaker: User, workflow: Workflow, builder: User
) -> None:
    promotion = emergency(make_release(0.9), breaker)
    services.roll_back(workflow, actor=builder, reason="Wrong one.")
    User.objects.filter(pk=breaker.pk).update(emergency_changes=False)
    with pytest.raises(NotAllowedError):
        emergency(make_release(0.8), User.objects.get(pk=breaker.pk))
    row = LiveRelease.objects.get()
    with pytest.raises(DatabaseError), transaction.atomic():
        LiveChange.objects.create(
            workflow=workflow, seq=row.seq + 1, cause="promotion", from_release=live,
            to_release=promotion.release, promotion=promotion, changed_at=now(),
            actor_label="by hand",
        )  # fmt: skip


def test_a_freeze_holds_everything_back_but_the_named_exception_and_the_way_back(
    live: Release, propose: Propose, approve: Approve, owner: User, cfo: User, builder: User,
    workflow: Workflow,
) -> None:  # fmt: skip
    approve(propose(70), owner)
    promotion = propose(90)
    with pytest.raises(NotAllowedError):
        services.set_freeze(
            actor=builder, name="Mine", starts_at=now(), ends_at=now() + timedelta(days=1),
            reason="x",
        )  # fmt: skip
    (window,) = services.set_freeze(
        actor=cfo, name="Month-end close", starts_at=now() - timedelta(hours=1),
        ends_at=now() + timedelta(days=3), reason="The books.",
    )  # fmt: skip
    with pytest.raises(StateConflictError, match="Month-end close"):
        approve(promotion, owner)
    with pytest.raises(NotAllowedError):
        services.except_from_freeze(
            window.pk, promotion, actor=owner, reason="mine", authenticated_at=now()
        )
    services.except_from_freeze(
        window.pk, promotion, actor=cfo, reason="It cannot wait.", authenticated_at=now()
    )
    approve(promotion, owner)
    assert LiveRelease.objects.get().release_id == promotion.release_id
    services.roll_back(workflow, actor=builder, reason="And back, in the freeze.")


def test_a_freeze_repeats_at_the_same_distance_from_the_end_of_each_month(cfo: User) -> None:
    start = now().replace(year=2027, month=1, day=29, hour=0, minute=0, second=0, microsecond=0)
    windows = services.set_freeze(
        actor=cfo, name="Close", starts_at=start, ends_at=start + timedelta(days=6), reason="Books",
        months=4,
    )  # fmt: skip
    starts = [(window.starts_at.month, window.starts_at.day) for window in windows]
    assert starts == [(1, 29), (2, 26), (3, 29), (4, 28)]


def test_changed_bytes_are_refused_at_the_moment_of_use(
    propose: Propose, approve: Approve, owner: User, live: Release
) -> None:
    """One byte of a stored component, changed past every trigger: nobody can decide on it."""
    from tests.conftest import _flush

    promotion = propose()
    component = promotion.release.components.get(slot="guardrails")
    _flush(
        [
            "UPDATE governance_component SET content_text = replace(content_text, '0.35', '0.36')"
            f" WHERE digest = '{component.pk}'"
        ]
    )
    with pytest.raises(StateConflictError, match="not what its digest names"):
        approve(promotion, owner)
