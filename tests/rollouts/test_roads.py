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
from governance.people.models import Signature, User
from governance.releases.models import LiveRelease, Release
from governance.rollouts import services
from governance.rollouts.models import Approval, Promotion
from governance.rollouts.road_models import StandingApproval
from governance.workflows.models import Workflow
from tests.rollouts.conftest import again, open_pilot, work

pytestmark = pytest.mark.django_db(transaction=True)
Approve = Callable[[Promotion, User], Promotion]
Propose = Callable[..., Promotion]
Make = Callable[..., Release]


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
