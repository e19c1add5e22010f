"""The guard compares a pilot with the stable release beside it, and acts by its rules."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from governance.audit.models import AuditEvent
from governance.common.time import now, story_time
from governance.jobs.models import Job
from governance.kpis.models import Kpi
from governance.people.models import User
from governance.receipts.drafts import ReceiptDraft
from governance.receipts.services import store
from governance.releases.models import LiveRelease, Release
from governance.rollouts import guard, services
from governance.rollouts.guard_statistics import Sample, Verdict, compare
from governance.rollouts.models import Promotion
from governance.rollouts.pilot_models import GuardDecision, Pilot
from governance.triage.models import ExceptionCase
from governance.workflows.models import Workflow
from tests.rollouts.conftest import again, work

pytestmark = pytest.mark.django_db(transaction=True)
STEPS = [{"share": 500, "minutes": 0, "runs": 100}, {"share": 5000, "minutes": 30, "runs": 100}]
Piloting = Callable[..., Promotion]


@pytest.fixture
def piloting(
    live: Release, owner: User, builder: User, make_release: Callable[..., Release], model: Any
) -> Promotion:
    promotion = services.propose_promotion(
        make_release(model=model(90)), actor=builder, rationale="Better.", pilot_steps=STEPS
    )
    work()
    services.approve_promotion(
        promotion.pk, actor=owner, review_round=1, reason="Go on.", authenticated_at=now()
    )
    return again(promotion)  # type: ignore[no-any-return]


def report(
    release: str, workflow: Workflow, runs: int, *, escalated: int = 0, silent: int = 0,
    name: str = "a",
) -> None:  # fmt: skip
    """Receipts of this moment: so many runs, of which some were escalated or wrong in silence."""
    at = now()
    result = store(
        [
            ReceiptDraft(
                run_id=f"{name}-{release[7:13]}-{number}", workflow=workflow.slug, release=release,
                resolved_by="countersign.release", started_at=at, escalated=number < escalated,
                measures={"silent_error": float(number < silent)},
            )
            for number in range(runs)
        ]
    )  # fmt: skip
    assert result.accepted == runs, result.refused


def test_harm_beyond_a_guardrail_ends_the_pilot_at_the_second_look(
    piloting: Promotion, live: Release, workflow: Workflow
) -> None:
    report(live.pk, workflow, 1000, silent=30)
    report(piloting.release_id, workflow, 300, silent=90)

    assert guard.look(piloting.pk) is True  # once may be a hiccup
    assert LiveRelease.objects.get().pilot_share == 500
    assert guard.look(piloting.pk) is False

    row = LiveRelease.objects.get()
    assert (row.release, row.pilot_release) == (live, None)
    promotion = again(piloting)
    assert promotion.state == Promotion.State.STOPPED
    assert "“Answered wrong without a person” is 30.0 % against 3.0 %" in promotion.closing_reason
    decision = GuardDecision.objects.first()
    assert decision is not None
    assert decision.action == GuardDecision.Action.ROLLED_BACK
    row_of = next(entry for entry in decision.evidence if entry["measure"] == "silent_error")
    assert (row_of["pilot_runs"], row_of["stable_runs"], row_of["verdict"]) == (300, 1000, "fail")
    assert AuditEvent.objects.filter(verb="pilot.stopped", actor_id="guard").exists()


def test_a_harmless_pilot_widens_step_by_step_and_serves_every_case_in_the_end(
    piloting: Promotion, live: Release, workflow: Workflow
) -> None:
    report(live.pk, workflow, 3000, silent=60)
    report(piloting.release_id, workflow, 2000, silent=40)
    assert guard.look(piloting.pk) is True
    row = LiveRelease.objects.get()
    assert (row.pilot_share, row.release) == (5000, live)
    salt = row.pilot_salt

    # What came before the step does not count for it.
    assert guard.look(piloting.pk) is True
    assert LiveRelease.objects.get().pilot_share == 5000

    report(live.pk, workflow, 3000, silent=60, name="b")
    report(piloting.release_id, workflow, 3000, silent=60, name="b")
    assert guard.look(piloting.pk) is True  # its thirty minutes are not over
    assert LiveRelease.objects.get().pilot_salt == salt
    with story_time(now() + timedelta(minutes=31)):
        assert guard.look(piloting.pk) is False

    row = LiveRelease.objects.get()
    assert (row.release_id, row.pilot_release) == (piloting.release_id, None)
    assert again(piloting).state == Promotion.State.LIVE
    assert Pilot.objects.get().state == Pilot.State.COMPLETED


def test_a_signal_pauses_the_pilot_and_the_owner_lets_it_go_on(
    piloting: Promotion, live: Release, workflow: Workflow, owner: User, builder: User
) -> None:
    report(live.pk, workflow, 1000, escalated=50)
    report(piloting.release_id, workflow, 300, escalated=120)
    for _ in range(3):
        assert guard.look(piloting.pk) is True

    pilot = Pilot.objects.get()
    assert pilot.state == Pilot.State.PAUSED
    assert "“Escalated to a person” is 40.0 % against 5.0 %" in pilot.paused_reason
    assert LiveRelease.objects.get().pilot_share == 500
    services.resume_pilot(
        piloting.pk, actor=owner, reason="That is what we wanted.", authenticated_at=now()
    )
    assert guard.look(piloting.pk) is True
    assert Pilot.objects.get().state == Pilot.State.RUNNING


def test_a_pilot_without_data_raises_one_alarm_and_neither_stops_nor_widens(
    piloting: Promotion, live: Release, workflow: Workflow
) -> None:
    report(live.pk, workflow, 1000)
    assert guard.look(piloting.pk) is True
    assert not ExceptionCase.objects.exists()
    for minutes in (16, 17):
        with story_time(now() + timedelta(minutes=minutes)):
            assert guard.look(piloting.pk) is True
    assert ExceptionCase.objects.get().kind == ExceptionCase.Kind.GUARD
    assert LiveRelease.objects.get().pilot_share == 500


def test_too_little_evidence_pauses_and_asks_after_three_times_the_planned_time(
    piloting: Promotion, live: Release, workflow: Workflow
) -> None:
    report(live.pk, workflow, 60)
    report(piloting.release_id, workflow, 20)
    with story_time(now() + timedelta(minutes=59)):
        guard.look(piloting.pk)
    assert Pilot.objects.get().state == Pilot.State.RUNNING
    with story_time(now() + timedelta(minutes=61)):
        guard.look(piloting.pk)
    pilot = Pilot.objects.get()
    assert pilot.state == Pilot.State.PAUSED
    assert pilot.paused_reason.startswith("Not enough evidence after 1 h 1 min")


def test_a_freeze_keeps_a_pilot_where_it_is(
    piloting: Promotion, live: Release, workflow: Workflow, cfo: User
) -> None:
    services.set_freeze(
        actor=cfo, name="Close", starts_at=now(), ends_at=now() + timedelta(days=1), reason="Books"
    )
    report(live.pk, workflow, 3000, silent=60)
    report(piloting.release_id, workflow, 2000, silent=40)
    assert guard.look(piloting.pk) is True
    assert LiveRelease.objects.get().pilot_share == 500


def test_a_worker_looks_every_minute_while_the_pilot_is_open(
    piloting: Promotion, live: Release, workflow: Workflow, builder: User
) -> None:
    waiting = Job.objects.filter(kind="rollouts.guard", state=Job.State.WAITING)
    assert waiting.count() == 1
    Job.objects.filter(kind="rollouts.guard").update(run_at=now())
    work()
    assert waiting.count() == 1  # the next look
    services.stop_pilot(piloting.pk, actor=builder, reason="Enough.")
    Job.objects.filter(kind="rollouts.guard", state=Job.State.WAITING).update(run_at=now())
    work()
    assert waiting.count() == 0


def test_a_pilot_that_gathers_evidence_ends_by_itself_when_its_time_is_over(
    live: Release, propose: Callable[..., Promotion], owner: User
) -> None:
    promotion = propose(52)
    services.open_evidence_pilot(
        promotion.pk, actor=owner, review_round=1, share=500, days=2, reason="Let us see.",
        authenticated_at=now(),
    )  # fmt: skip
    with story_time(now() + timedelta(days=2, seconds=1)):
        assert guard.look(promotion.pk) is False
    assert LiveRelease.objects.get().pilot_release is None
    assert again(promotion).state == Promotion.State.STOPPED


@pytest.fixture
def limited(workflow: Workflow, owner: User) -> Kpi:
    return Kpi.objects.create(
        workflow=workflow, slug="escalation", name="Escalation rate", owner=owner,
        measure="escalated", unit="share", limit=0.10, is_lead=True,
    )  # fmt: skip


@pytest.mark.parametrize("opted_in", [False, True])
def test_outside_its_limit_at_full_share_it_rolls_back_only_where_the_owner_opted_in(
    limited: Kpi, live: Release, propose: Callable[..., Promotion],
    approve: Callable[..., Promotion], owner: User, workflow: Workflow, opted_in: bool,
) -> None:  # fmt: skip
    Workflow.objects.update(automatic_rollback=opted_in)
    promotion = propose()
    approve(promotion, owner)
    report(promotion.release_id, workflow, 60, escalated=7)
    assert guard.watch(promotion.pk) is True  # 11.7 % of 60 may be chance
    report(promotion.release_id, workflow, 400, escalated=120, name="b")

    assert guard.watch(promotion.pk) is not opted_in

    actions = list(GuardDecision.objects.values_list("action", flat=True))
    if opted_in:
        assert actions == ["rolled_back"]
        assert LiveRelease.objects.get().release == live
    else:
        assert guard.watch(promotion.pk) is True
        assert actions == ["recommended"]  # once
        assert LiveRelease.objects.get().release_id == promotion.release_id


def test_an_unchanged_pilot_is_called_worse_in_at_most_five_percent_of_thirty_looks() -> None:
    import numpy as np

    random = np.random.default_rng(20261123)
    worlds, called = 400, 0
    for _ in range(worlds):
        sums = [0, 0, 0, 0]
        for _ in range(30):
            for side, size in ((0, 40), (2, 120)):
                sums[side] += size
                sums[side + 1] += int(random.binomial(size, 0.2))
            pilot, stable = (Sample(sums[side], sums[side + 1], sums[side + 1]) for side in (0, 2))
            verdict = compare(pilot, stable, higher_is_better=False, margin=0.0).verdict
            if verdict == Verdict.FAIL:
                called += 1
                break
    assert called / worlds <= 0.05


def test_nothing_degenerate_is_called_worse_or_no_worse() -> None:
    few = Sample(10, 10.0, 10.0)
    none, many = Sample(), Sample(1000, 0.0, 0.0)
    for pilot, stable in ((none, many), (many, none), (none, none)):
        found = compare(pilot, stable, higher_is_better=False, margin=0.05)
        assert found.verdict == Verdict.NO_DATA
    found = compare(few, many, higher_is_better=False, margin=0.05)
    assert found.verdict == Verdict.INCONCLUSIVE
    found = compare(Sample(60), Sample(60), higher_is_better=False, margin=0.01)
    assert found.verdict == Verdict.INCONCLUSIVE  # no failure among 60 does not show there are none
