"""What would become of a proposal is said before anybody sends it, and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from governance.audit.models import AuditEvent
from governance.common.time import now, story_time
from governance.kpis.models import Kpi
from governance.people.models import Delegation, User
from governance.people.signatures import sign
from governance.releases.models import Release
from governance.rollouts import quorum, rules, services
from governance.rollouts.models import PostMortem, Promotion
from governance.rollouts.previews import preview
from governance.workflows.models import Workflow

Make = Callable[..., Release]
Propose = Callable[..., Promotion]
Approve = Callable[[Promotion, User], Promotion]


def said(found: Any) -> list[str]:
    return [hindrance.sentence for hindrance in found.hindrances]


def test_a_preview_names_the_risk_and_the_people_and_writes_nothing(
    live: Release, make_release: Make, builder: User, owner: User, cfo: User
) -> None:
    events = AuditEvent.objects.count()
    found = preview(make_release(threshold=0.2), actor=builder)
    assert found.can_be_asked
    assert found.promotion.risk == "high"
    assert [[voice.person for voice in part.voices] for part in found.parts] == [[owner], [cfo]]
    assert [(m.person, m.because) for m in found.makers] == [
        (builder, "asked for it, registered the release, wrote Guardrails and wrote Model")
    ]
    assert not Promotion.objects.filter(pk=found.promotion.pk).exists()
    assert AuditEvent.objects.count() == events + 1  # the registration itself


def test_a_preview_names_everything_in_the_way_at_once(
    propose: Propose, approve: Approve, make_release: Make, model: Any, workflow: Workflow,
    owner: User, builder: User, cfo: User,
) -> None:  # fmt: skip
    approve(propose(80), owner)
    services.roll_back(workflow, actor=owner, reason="worse")
    post_mortem = PostMortem.objects.get()
    waiting = propose(95, fixes=post_mortem)
    services.set_freeze(
        actor=cfo, name="Month-end close", starts_at=now(), ends_at=now() + timedelta(days=2),
        reason="close",
    )  # fmt: skip

    found = preview(make_release(model=model(70)), actor=builder)

    assert not found.can_be_asked
    sentences = " ".join(said(found))
    assert f"{waiting.release.name} is asked for already" in sentences
    assert "is not finished" in sentences
    assert "Month-end close holds everything back" in sentences
    assert {h.about for h in found.hindrances if h.refuses} == {waiting, post_mortem}
    services.withdraw_promotion(waiting.pk, actor=builder, reason="again")
    assert preview(make_release(model=model(70)), actor=builder, fixes=post_mortem).can_be_asked


def test_a_suite_or_a_policy_that_is_missing_is_said_before_asking(
    workflow: Workflow, make_release: Make, builder: User
) -> None:
    found = preview(make_release(), actor=builder)
    assert not found.can_be_asked
    assert "There is no confirmed gate policy" in " ".join(said(found))


def test_an_owner_who_made_the_change_is_said_to_block_the_quorum(
    live: Release, make_release: Make, workflow: Workflow, builder: User, owner: User
) -> None:
    found = preview(make_release(threshold=0.4), actor=owner)
    assert any("helped to make this change" in sentence for sentence in said(found))


def test_the_standing_approval_says_why_it_does_not_fit(
    live: Release, make_release: Make, workflow: Workflow, builder: User, owner: User, model: Any
) -> None:
    envelope = services.sign_standing_approval(
        workflow, actor=owner, title="Thresholds", slot="guardrails", uses_per_week=2, days=30,
        reason="Small.", authenticated_at=now(),
    )  # fmt: skip
    fits = preview(make_release(0.5, model=model(50)), actor=builder, envelope=envelope)
    assert fits.envelopes == ((envelope, ""),)
    assert fits.can_be_asked
    wider = preview(make_release(0.5, model=model(60)), actor=builder, envelope=envelope)
    assert not wider.can_be_asked
    assert "It also changes Model." in " ".join(said(wider))


def test_the_makers_in_words_are_the_contributors_of_the_rule(
    propose: Propose, builder: User
) -> None:
    promotion = propose()
    assert {m.person.pk for m in quorum.makers(promotion)} == rules.contributors(promotion)


def test_what_was_given_counts_until_a_moment_that_is_named(
    propose: Propose, approve: Approve, owner: User, cfo: User, controller: User
) -> None:
    promotion = propose(threshold=0.2)
    approve(promotion, owner)
    first, second = quorum.parts(promotion, quorum.makers(promotion))
    assert first.given is not None
    assert first.counts_until == first.given.decided_at + timedelta(hours=24)
    assert [voice.person for voice in second.voices] == [cfo]
    with story_time(first.counts_until + timedelta(minutes=1)):
        first, second = quorum.parts(promotion, quorum.makers(promotion))
    assert first.given is None
    assert [voice.person for voice in first.voices] == [owner]


def test_a_delegate_finds_the_promotion_inside_the_window_only(
    propose: Propose, owner: User, controller: User
) -> None:
    promotion, moment = propose(), now()
    assert promotion not in Promotion.objects.visible_to(controller)
    held = Delegation.objects.create(
        owner=owner, delegate=controller, starts_at=moment - timedelta(hours=1),
        ends_at=moment + timedelta(days=1), reason="On leave.", created_at=moment,
        signature=sign(
            owner, "delegation", reason="On leave.", subject={"delegate": str(controller.pk)},
            role="KPI owner", authenticated_at=moment, authenticated_by="password",
        ),
    )  # fmt: skip
    assert promotion in Promotion.objects.visible_to(controller)
    (part,) = quorum.parts(promotion, quorum.makers(promotion))
    assert [str(voice.person) for voice in part.voices] == ["Head of Support", "Controller"]
    assert part.voices[1].note.startswith("for Head of Support until")
    held.revoked_at = now()
    held.save(update_fields=["revoked_at"])
    assert promotion not in Promotion.objects.visible_to(controller)


def test_the_owner_of_the_lead_kpi_finds_it_too(
    propose: Propose, workflow: Workflow, controller: User
) -> None:
    promotion = propose()
    Kpi.objects.create(
        workflow=workflow, slug="lead", name="Lead", owner=controller, measure="escalated",
        unit="share", is_lead=True,
    )  # fmt: skip
    assert promotion in Promotion.objects.visible_to(controller)
