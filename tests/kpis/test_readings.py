from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from governance.kpis.readings import NOTHING, Total, complete_to, daily, monthly, weekly
from governance.receipts.models import RollUp
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
