"""Nothing becomes live without its gate and the right people's yes to exactly these bytes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import Error as DatabaseError
from django.db import connection, transaction

from governance.audit.models import AuditEvent
from governance.common.errors import InvalidInputError, NotAllowedError, StateConflictError
from governance.common.time import now, story_time
from governance.evals import services as evals
from governance.evals.models import GateReport
from governance.kpis.models import Kpi
from governance.kpis.services import create_kpi
from governance.people.models import User
from governance.releases.models import LiveRelease, Release, ReleaseApproval
from governance.rollouts import services
from governance.rollouts.approvals import sign_decision
from governance.rollouts.models import Approval, LiveChange, Promotion
from governance.workflows.models import Workflow
from governance.workflows.services import create_workflow
from tests.conftest import TESTER
from tests.rollouts.conftest import POLICY, work

pytestmark = pytest.mark.django_db(transaction=True)
Approve = Callable[[Promotion, User], Promotion]
Propose = Callable[..., Promotion]


def live_digest(workflow: Workflow) -> str:
    return LiveRelease.objects.get(workflow=workflow).release_id


def test_what_already_runs_is_adopted_once_by_its_owner_and_marked_not_gated(
    live: Release, owner: User, cfo: User, make_release: Callable[..., Release]
) -> None:
    row = LiveRelease.objects.get()
    assert (row.release, row.seq, row.gated) == (live, 1, False)
    other = make_release(0.4)
    with pytest.raises(StateConflictError):
        services.adopt_as_found(other, actor=owner, reason="again", authenticated_at=now())
    with pytest.raises(NotAllowedError):
        services.adopt_as_found(other, actor=cfo, reason="mine", authenticated_at=now())


def test_the_owners_yes_after_a_passed_gate_makes_it_live_and_supersedes_the_old(
    propose: Propose, approve: Approve, live: Release, owner: User, workflow: Workflow
) -> None:
    promotion = propose()
    assert promotion.state == Promotion.State.AWAITING_OWNER
    assert promotion.gate_report is not None
    assert promotion.gate_report.verdict == GateReport.Verdict.PASS
    assert live_digest(workflow) == live.pk  # the gate alone changes nothing

    approve(promotion, owner)

    row = LiveRelease.objects.get()
    assert (row.release_id, row.seq, row.gated) == (promotion.release_id, 2, True)
    assert row.last_known_good == live
    states = dict(Promotion.objects.values_list("release_id", "state"))
    assert states == {live.pk: "superseded", promotion.release_id: "live"}
    approval = Approval.objects.get(promotion=promotion)
    assert approval.candidate_digest == promotion.release_id
    assert approval.base_digest == live.pk
    assert approval.gate_report_digest == promotion.gate_report_id
    spans = list(ReleaseApproval.objects.order_by("valid_from"))
    assert spans[0].valid_to == spans[1].valid_from
    assert spans[1].valid_to is None
    assert AuditEvent.objects.filter(verb="promotion.went_live").count() == 1


def test_a_worse_release_is_refused_by_its_gate_and_cannot_be_approved(
    propose: Propose, approve: Approve, owner: User, live: Release, workflow: Workflow
) -> None:
    promotion = propose(20)
    assert promotion.state == Promotion.State.REFUSED
    assert promotion.closing_reason
    with pytest.raises(StateConflictError):
        approve(promotion, owner)
    assert live_digest(workflow) == live.pk
    assert not Approval.objects.filter(promotion=promotion).exists()


def test_the_same_behaviour_is_never_a_pass(propose: Propose) -> None:
    promotion = propose(50, temperature=1)
    assert promotion.state == Promotion.State.REFUSED
    assert promotion.gate_report is not None
    assert promotion.gate_report.verdict == GateReport.Verdict.NOT_ENOUGH_EVIDENCE


def test_only_the_right_people_with_a_fresh_password_and_a_reason_decide(
    propose: Propose,
    owner: User,
    builder: User,
    analyst: User,
    auditor: User,
    admin: User,
    outsider: User,
    cfo: User,
    controller: User,
) -> None:
    promotion = propose()
    assert promotion.risk == Promotion.Risk.MEDIUM  # no second approver is needed
    seen: dict[str, Any] = {"review_round": 1, "reason": "yes", "authenticated_at": now()}
    for stranger in (builder, analyst, auditor, admin, outsider, cfo, controller):
        with pytest.raises(NotAllowedError):
            services.approve_promotion(promotion.pk, actor=stranger, **seen)
        with pytest.raises(NotAllowedError):
            services.reject_promotion(promotion.pk, actor=stranger, **seen)
    stale = {**seen, "authenticated_at": now() - timedelta(minutes=6)}
    with pytest.raises(NotAllowedError):
        services.approve_promotion(promotion.pk, actor=owner, **stale)
    with pytest.raises(InvalidInputError):
        services.approve_promotion(promotion.pk, actor=owner, **{**seen, "reason": "  "})
    with pytest.raises(StateConflictError):
        services.approve_promotion(promotion.pk, actor=owner, **{**seen, "review_round": 0})
    promotion.refresh_from_db()
    assert promotion.state == Promotion.State.AWAITING_OWNER
    assert not Approval.objects.filter(promotion=promotion).exists()


def test_whoever_contributed_does_not_approve_even_as_owner(
    propose: Propose, approve: Approve, owner: User, workflow: Workflow, cfo: User
) -> None:
    proposed = evals.set_policy(workflow, {**POLICY, "confidence": 0.9}, actor=owner)
    evals.confirm_policy(proposed, actor=cfo)
    promotion = propose()
    # Confirmed by another person before the proposal: the owner may set thresholds and approve.
    approve(promotion, owner)
    promotion.refresh_from_db()
    assert promotion.state == Promotion.State.LIVE


def test_an_owner_who_froze_a_suite_alone_does_not_approve(
    propose: Propose, approve: Approve, owner: User, workflow: Workflow, live: Release
) -> None:
    owner.role = User.Role.ANALYST
    owner.save()
    cases = [
        {"key": f"c{n}", "input": {"number": n}, "expected": {"answer": "yes"}} for n in range(100)
    ]
    evals.freeze_suite(workflow, "golden", cases, actor=owner)
    promotion = propose()
    with pytest.raises(NotAllowedError, match="helped"):
        approve(promotion, owner)


def test_a_weaker_guardrail_is_high_risk_and_needs_two(
    propose: Propose, approve: Approve, owner: User, cfo: User, live: Release, workflow: Workflow
) -> None:
    promotion = propose(threshold=0.2)
    assert promotion.risk == Promotion.Risk.HIGH
    approve(promotion, owner)
    assert live_digest(workflow) == live.pk
    with pytest.raises(StateConflictError):
        approve(promotion, owner)  # the same person twice is not two people
    approve(promotion, cfo)
    assert live_digest(workflow) == promotion.release_id


def test_an_expired_approval_does_not_complete_the_quorum(
    propose: Propose, approve: Approve, owner: User, cfo: User, live: Release, workflow: Workflow
) -> None:
    promotion = propose(threshold=0.2)
    approve(promotion, owner)
    with story_time(now() + timedelta(hours=25)):
        approve(promotion, cfo)
    assert live_digest(workflow) == live.pk


def test_asking_again_starts_a_round_in_which_old_approvals_do_not_count(
    propose: Propose, approve: Approve, owner: User, cfo: User, builder: User, live: Release,
    workflow: Workflow,
) -> None:  # fmt: skip
    promotion = propose(threshold=0.2)
    approve(promotion, owner)
    services.repropose_promotion(promotion.pk, actor=builder, rationale="Once more.")
    work()
    promotion.refresh_from_db()
    assert promotion.review_round == 2
    approve(promotion, cfo)
    assert live_digest(workflow) == live.pk
    approve(promotion, owner)
    assert live_digest(workflow) == promotion.release_id


def test_an_approval_is_stale_when_the_policy_changed(
    propose: Propose, approve: Approve, owner: User, builder: User, cfo: User, workflow: Workflow
) -> None:
    promotion = propose()
    changed = evals.set_policy(workflow, {**POLICY, "confidence": 0.9}, actor=owner)
    evals.confirm_policy(changed, actor=cfo)
    with pytest.raises(StateConflictError, match="policy changed"):
        approve(promotion, owner)


def test_no_difference_and_a_second_open_promotion_are_refused(
    propose: Propose, live: Release, builder: User, make_release: Callable[..., Release]
) -> None:
    with pytest.raises(StateConflictError, match="live already"):
        services.propose_promotion(live, actor=builder, rationale="same")
    propose()
    with pytest.raises(StateConflictError, match="open"):
        services.propose_promotion(make_release(0.6), actor=builder, rationale="another")


def test_the_database_refuses_to_go_live_without_an_approval(
    propose: Propose, live: Release, workflow: Workflow
) -> None:
    promotion = propose()
    with pytest.raises(DatabaseError), transaction.atomic():
        LiveChange.objects.create(
            workflow=workflow, seq=2, cause="promotion", from_release=live,
            to_release=promotion.release, promotion=promotion, changed_at=now(), actor_label="x",
        )  # fmt: skip
    with pytest.raises(DatabaseError), transaction.atomic():
        LiveRelease.objects.update(release=promotion.release, seq=2)
    with pytest.raises(DatabaseError), transaction.atomic():
        LiveRelease.objects.update(release=promotion.release)
    with pytest.raises(DatabaseError), transaction.atomic():
        Release.objects.update(title="other")
    assert live_digest(workflow) == live.pk


def test_two_approvers_at_once_promote_exactly_once(
    propose: Propose, owner: User, cfo: User, workflow: Workflow
) -> None:
    promotion = propose(threshold=0.2)
    barrier = threading.Barrier(2)
    refused: list[Exception] = []

    def decide(actor: User) -> None:
        try:
            barrier.wait()
            services.approve_promotion(
                promotion.pk, actor=actor, review_round=1, reason="yes", authenticated_at=now()
            )
        except Exception as error:
            refused.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=decide, args=(actor,)) for actor in (owner, cfo)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused == []
    assert live_digest(workflow) == promotion.release_id
    assert LiveChange.objects.filter(promotion=promotion).count() == 1
    assert AuditEvent.objects.filter(verb="promotion.went_live").count() == 1


def test_another_kpi_owner_sees_and_completes_only_what_needs_a_second_person(
    propose: Propose, approve: Approve, owner: User, controller: User, workflow: Workflow
) -> None:
    create_workflow("close", "Close automation", owner=controller, actor=TESTER)
    promotion = propose(threshold=0.2)
    assert promotion in Promotion.objects.visible_to(controller)
    approve(promotion, controller)
    approve(promotion, owner)
    assert live_digest(workflow) == promotion.release_id
    # Decided, it is the other workflow's business again.
    assert promotion not in Promotion.objects.visible_to(controller)


def test_the_database_counts_the_quorum_itself(
    propose: Propose, approve: Approve, live: Release, workflow: Workflow, owner: User,
    builder: User, cfo: User,
) -> None:  # fmt: skip
    """By hand, in SQL, past every line of Python: still not without the right people."""
    promotion = propose(threshold=0.2)  # high risk: two people
    approve(promotion, owner)

    def go_live(cause: str = "promotion") -> None:
        with transaction.atomic():
            Promotion.objects.filter(state="live").update(state="superseded")
            Promotion.objects.filter(pk=promotion.pk).update(state="live", closed_at=now())
            LiveChange.objects.create(
                workflow=workflow, seq=2, cause=cause, from_release=live,
                to_release=promotion.release, promotion=promotion, changed_at=now(),
                actor_label="by hand",
            )  # fmt: skip

    def copied(**other: Any) -> None:
        given = dict(Approval.objects.filter(promotion=promotion).values().order_by("pk")[0])
        del given["id"]
        with transaction.atomic():
            Approval.objects.create(**{**given, **other})

    with pytest.raises(DatabaseError, match="only what ran before"):
        go_live("adopt")
    with pytest.raises(DatabaseError, match="without the approval"):
        go_live()
    sign_decision(  # asked for it, so does not count
        promotion, builder, Approval.Decision.APPROVED, Approval.Meaning.SECOND_APPROVER, "mine",
        now(), "password",
    )  # fmt: skip
    with pytest.raises(DatabaseError, match="without the approval"):
        go_live()
    for forged in (
        {"approver_id": cfo.pk},
        {"approver_id": cfo.pk, "signature_id": None},
        {"candidate_digest": live.pk},
    ):
        with pytest.raises(DatabaseError, match="signed"):
            copied(**forged)
    assert live_digest(workflow) == live.pk


def test_the_database_refuses_what_the_gate_refused_and_adopting_twice(
    propose: Propose, live: Release, workflow: Workflow, owner: User
) -> None:
    promotion = propose(20)
    sign_decision(
        promotion, owner, Approval.Decision.APPROVED, Approval.Meaning.KPI_OWNER, "by hand",
        now(), "password",
    )  # fmt: skip
    with pytest.raises(DatabaseError, match="from refused to live"), transaction.atomic():
        Promotion.objects.filter(pk=promotion.pk).update(state="live")
    # A row that never went along its path does not help either.
    Promotion.objects.filter(state="live").update(state="superseded")
    forged = Promotion.objects.create(
        workflow=workflow, release=promotion.release, base=live, state="live", risk="low",
        rationale="by hand", requested_by_label="x", requested_at=now(), closed_at=now(),
        gate_report=promotion.gate_report, gate_policy=promotion.gate_policy,
    )  # fmt: skip
    for cause, sentence in (("promotion", "without the approval"), ("adopt", "only what ran")):
        with pytest.raises(DatabaseError, match=sentence), transaction.atomic():
            LiveChange.objects.create(
                workflow=workflow, seq=2, cause=cause, from_release=live,
                to_release=promotion.release, promotion=forged, changed_at=now(),
                actor_label="by hand",
            )  # fmt: skip


def test_who_answers_for_the_lead_kpi_sees_the_workflow_with_all_that_belongs_to_it(
    workflow: Workflow, live: Release, owner: User, controller: User
) -> None:
    seen = (Workflow.objects, Release.objects, Promotion.objects, Kpi.objects)
    assert not any(rows.visible_to(controller).exists() for rows in seen)
    create_kpi(
        workflow, "escalation-rate", "Escalation rate", owner=controller, actor=owner,
        measure="escalated", unit=Kpi.Unit.SHARE, target=0.12, limit=0.20, is_lead=True,
    )  # fmt: skip
    assert all(rows.visible_to(controller).count() == 1 for rows in seen)
    controller.is_active = False
    controller.save()
    assert not any(rows.visible_to(controller).exists() for rows in seen)
