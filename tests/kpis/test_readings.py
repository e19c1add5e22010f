from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from governance.kpis.readings import (
    NOTHING,
    Coverage,
    Total,
    complete_to,
    coverage,
    daily,
    monthly,
    weekly,
)
from governance.receipts.models import RollUp
from governance.releases.models import Release, ReleaseApproval
from governance.workflows.models import Workflow

MONDAY = date(2026, 11, 16)


def roll_up(
    workflow: Workflow, day: date, n: int, total: float, *, measure: str = "escalated",
    release: str = "", grain: str = "day",
) -> None:  # fmt: skip
    RollUp.objects.create(
        workflow=workflow,
        grain=grain,
        starts_at=datetime(day.year, day.month, day.day, tzinfo=UTC),
        release_digest=release,
        measure=measure,
        n=n,
        total=total,
        total_squares=total,
    )


def test_a_week_is_the_mean_over_its_runs_not_over_its_days(workflow: Workflow) -> None:
    roll_up(workflow, MONDAY, n=90, total=9)
    roll_up(workflow, MONDAY + timedelta(days=6), n=10, total=9)
    roll_up(workflow, MONDAY + timedelta(days=7), n=10, total=10)
    totals = weekly([workflow.pk], ["escalated"], [MONDAY])
    assert totals.mean(workflow.pk, "escalated", MONDAY) == pytest.approx(0.18)


def test_releases_are_summed_and_hours_are_not_counted_twice(workflow: Workflow) -> None:
    roll_up(workflow, MONDAY, n=10, total=1, release="sha256:a")
    roll_up(workflow, MONDAY, n=10, total=3, release="sha256:b")
    roll_up(workflow, MONDAY, n=20, total=4, grain="hour")
    totals = weekly([workflow.pk], ["escalated"], [MONDAY])
    assert totals.of(workflow.pk, "escalated", MONDAY).n == 20


def test_a_week_without_receipts_has_no_reading(workflow: Workflow) -> None:
    totals = weekly([workflow.pk], ["escalated"], [MONDAY])
    assert totals.mean(workflow.pk, "escalated", MONDAY) is None
    assert daily(workflow.pk, "escalated", MONDAY, MONDAY + timedelta(days=2)) == {
        MONDAY: NOTHING,
        MONDAY + timedelta(days=1): NOTHING,
    }


def test_weeks_a_year_apart_cost_one_query(workflow: Workflow) -> None:
    year_ago = MONDAY - timedelta(weeks=52)
    roll_up(workflow, MONDAY, n=10, total=1)
    roll_up(workflow, year_ago, n=10, total=5)
    roll_up(workflow, MONDAY - timedelta(weeks=20), n=10, total=9)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        totals = weekly([workflow.pk], ["escalated"], [year_ago, MONDAY])
    assert len(queries) == 1
    assert totals.mean(workflow.pk, "escalated", year_ago) == 0.5
    assert totals.mean(workflow.pk, "escalated", MONDAY) == 0.1


def test_runs_are_covered_while_their_release_is_approved(
    workflow: Workflow, make_release: Callable[..., Release]
) -> None:
    release = make_release()
    noon = datetime(2026, 11, 18, 12, 20, tzinfo=UTC)
    ReleaseApproval.objects.create(
        workflow=workflow, release=release, valid_from=noon, valid_to=noon + timedelta(hours=5)
    )
    for hour, digest, n in (
        (11, release.pk, 5),  # before it was approved
        (12, release.pk, 100),
        (17, release.pk, 20),
        (18, release.pk, 3),  # after it was rolled back
        (12, "", 7),
        (12, "sha256:unknown", 2),
    ):
        RollUp.objects.create(
            workflow=workflow, grain="hour", starts_at=noon.replace(hour=hour, minute=0),
            release_digest=digest, measure="runs", n=n, total=n, total_squares=n,
        )  # fmt: skip
    roll_up(workflow, MONDAY, n=1000, total=1000, measure="runs")  # days are not counted again
    with CaptureQueriesContext(
        connection,
    ) as queries:
        found = coverage([workflow.pk], MONDAY, MONDAY + timedelta(days=7))
    assert len(queries) == 1
    assert (found.runs, found.unattributed, found.unauthorised) == (137, 7, 10)
    assert found.percent == 87.5
    assert Coverage(100_000, 1, 0).percent == 99.9
    assert coverage([], MONDAY, MONDAY + timedelta(days=7)).runs == 0


def test_months_add_up_to_a_quarter(workflow: Workflow) -> None:
    roll_up(workflow, date(2026, 10, 31), n=10, total=2)
    roll_up(workflow, date(2026, 11, 1), n=30, total=2)
    totals = monthly([workflow.pk], ["escalated"], date(2026, 10, 1), date(2026, 12, 1))
    assert totals.mean(workflow.pk, "escalated", date(2026, 10, 1)) == 0.2
    both = totals.span(workflow.pk, "escalated", [date(2026, 10, 1), date(2026, 11, 1)])
    assert both.mean == 0.1


def test_a_share_keeps_its_interval_between_zero_and_one() -> None:
    low, high = Total(5, 5.0, 5.0).interval(share=True) or (0.0, 0.0)
    assert (low, high) == pytest.approx((0.5655, 1.0), abs=1e-3)
    assert Total(1, 3.0, 9.0).interval(share=False) is None
    assert NOTHING.interval(share=True) is None
    low, high = Total(4, 8.0, 20.0).interval(share=False) or (0.0, 0.0)
    assert low < 2.0 < high


def test_data_is_complete_to_the_newest_hour_that_has_receipts(workflow: Workflow) -> None:
    assert complete_to([workflow.pk]) is None
    roll_up(workflow, MONDAY, n=1, total=1, grain="hour")
    assert complete_to([workflow.pk]) == datetime(2026, 11, 16, tzinfo=UTC)
