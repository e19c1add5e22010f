"""What happened to the KPI in the seven days after, beside what was expected."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import Error as DatabaseError
from django.db import transaction
from hypothesis import given
from hypothesis import strategies as st

from governance.audit.models import AuditEvent
from governance.common.time import now, story_time
from governance.jobs.models import Job
from governance.kpis.models import Kpi
from governance.people.models import User
from governance.receipts.models import RollUp
from governance.releases.models import Release
from governance.rollouts import outcomes, services
from governance.rollouts.guard_statistics import Sample
from governance.rollouts.models import Promotion
from governance.rollouts.outcomes import effect
from governance.rollouts.proposals import Expectation
from governance.rollouts.road_models import PromotionOutcome
from governance.workflows.models import Workflow
from tests.rollouts.conftest import work

Verdict = PromotionOutcome.Verdict
WEEK = timedelta(days=7)


@pytest.fixture
def went_live(
    workflow: Workflow, live: Release, owner: User, builder: User,
    make_release: Callable[..., Release], model: Any,
) -> Promotion:  # fmt: skip
    """A release that was asked for with "two points less escalation", and is live."""
    kpi = Kpi.objects.create(
        workflow=workflow, slug="escalation", name="Escalation rate", owner=owner,
        measure="escalated", unit="share",
    )  # fmt: skip
    promotion = services.propose_promotion(
        make_release(model=model(90)), actor=builder, rationale="Fewer.",
        expects=Expectation(kpi, -2.0, "By answering more."),
    )  # fmt: skip
    work()
    return services.approve_promotion(
        promotion.pk, actor=owner, review_round=1, reason="Go.", authenticated_at=now()
    )


def a_week(workflow: Workflow, ends: datetime, *, runs: int, escalated: float) -> None:
    """Seven days of roll-ups, one hour each, before `ends`."""
    noon = ends.replace(minute=0, second=0, microsecond=0) - timedelta(hours=12)
    RollUp.objects.bulk_create(
        RollUp(
            workflow=workflow, grain=RollUp.Grain.HOUR, measure="escalated", n=runs,
            starts_at=noon - timedelta(days=d),
            total=runs * escalated, total_squares=runs * escalated,
        )
        for d in range(7)
    )  # fmt: skip


def test_the_job_of_seven_days_later_keeps_what_happened(
    went_live: Promotion, workflow: Workflow
) -> None:
    assert went_live.closed_at is not None
    live_at = went_live.closed_at
    a_week(workflow, live_at, runs=1000, escalated=0.30)
    a_week(workflow, live_at + WEEK, runs=1000, escalated=0.27)
    job = Job.objects.get(kind="rollouts.outcome")
    assert job.run_at >= live_at + WEEK
    assert outcomes.measure_outcome(went_live.pk) is None  # the seven days are not over

    with story_time(live_at + WEEK + timedelta(hours=1)):
        found = outcomes.measure_outcome(went_live.pk)
        again = outcomes.measure_outcome(went_live.pk)

    assert found is not None
    assert again == found
    assert found.verdict == Verdict.AS_EXPECTED
    assert found.change == pytest.approx(-3.0)
    assert (found.runs_before, found.runs_after) == (7000, 7000)
    assert "-2 points was expected, -3 points happened" in found.sentence
    assert AuditEvent.objects.filter(verb="promotion.measured").count() == 1
    with pytest.raises(DatabaseError), transaction.atomic():
        PromotionOutcome.objects.update(verdict=Verdict.AS_EXPECTED)


def test_a_week_without_runs_is_no_data_and_never_zero(went_live: Promotion) -> None:
    assert went_live.closed_at is not None
    with story_time(went_live.closed_at + WEEK):
        found = outcomes.measure_outcome(went_live.pk)
    assert found is not None
    assert (found.verdict, found.change, found.after) == (Verdict.NO_DATA, None, None)
    assert "cannot be measured" in found.sentence


def test_what_came_after_a_rollback_does_not_count_for_the_release(
    went_live: Promotion, workflow: Workflow, owner: User
) -> None:
    assert went_live.closed_at is not None
    live_at = went_live.closed_at
    services.roll_back(workflow, actor=owner, reason="worse")
    a_week(workflow, live_at, runs=1000, escalated=0.30)
    a_week(workflow, live_at + WEEK, runs=1000, escalated=0.10)
    with story_time(live_at + WEEK):
        found = outcomes.measure_outcome(went_live.pk)
    assert found is not None
    assert (found.runs_after, found.verdict) == (0, Verdict.NO_DATA)


def test_a_promotion_that_expects_nothing_is_not_measured(
    live: Release, workflow: Workflow, owner: User
) -> None:
    promotion = Promotion.objects.get(workflow=workflow)
    assert outcomes.measure_outcome(promotion.pk) is None
    assert not Job.objects.filter(kind="rollouts.outcome").exists()


@given(
    before=st.integers(0, 1000), after=st.integers(0, 1000),
    expected=st.floats(-0.5, 0.5).filter(lambda x: abs(x) > 1e-3),
)  # fmt: skip
def test_the_verdict_never_contradicts_the_interval(
    before: int, after: int, expected: float
) -> None:
    found = effect(Sample(1000, before, before), Sample(1000, after, after), expected, is_rate=True)
    assert found.low is not None
    assert found.high is not None
    assert found.change is not None
    assert found.low <= found.change <= found.high
    if found.verdict == Verdict.UNCLEAR:
        assert found.low <= 0 <= found.high
    elif found.verdict == Verdict.OPPOSITE:
        assert found.change * expected < 0
    else:
        assert found.change * expected > 0
        holds = found.low <= expected <= found.high
        assert holds == (found.verdict == Verdict.AS_EXPECTED)
        if not holds:
            more = abs(found.change) > abs(expected)
            assert found.verdict == (Verdict.MORE if more else Verdict.LESS)
