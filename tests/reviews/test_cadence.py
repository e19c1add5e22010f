from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.reviews.cadence import (
    CHECKLISTS,
    KINDS,
    MONTHLY,
    QUARTERLY,
    WEEKLY,
    add_months,
    months_until,
    parse_period,
    period_of,
    weeks_until,
)

days = st.dates(min_value=date(2001, 1, 8), max_value=date(2199, 12, 1))


@given(day=days, kind=st.sampled_from(KINDS))
def test_every_day_belongs_to_exactly_one_period_of_a_kind(day: date, kind: str) -> None:
    period = period_of(kind, day)
    assert period.includes(day)
    assert parse_period(kind, period.key) == period
    assert period.next().previous() == period
    assert not period.next().includes(day)
    assert period.next().starts_on == period.after


def test_the_turn_of_a_year_follows_iso_weeks() -> None:
    assert period_of(WEEKLY, date(2027, 1, 1)).key == "2026-W53"
    assert period_of(WEEKLY, date(2026, 11, 22)).span == "Mon 16 to Sun 22 Nov 2026"
    assert period_of(WEEKLY, date(2027, 1, 1)).span == "Mon 28 Dec 2026 to Sun 3 Jan 2027"


def test_months_and_quarters_are_those_of_the_calendar() -> None:
    assert period_of(MONTHLY, date(2026, 2, 28)).span == "1 to 28 Feb 2026"
    quarter = period_of(QUARTERLY, date(2026, 12, 31))
    assert (quarter.key, quarter.starts_on) == ("2026-Q4", date(2026, 10, 1))
    assert add_months(date(2026, 11, 1), 3) == date(2027, 2, 1)


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        (WEEKLY, "2026-W54"),
        (WEEKLY, "2026-11"),
        (WEEKLY, "2026-W47\n"),
        (MONTHLY, "2026-13"),
        (MONTHLY, "0001-01"),
        (QUARTERLY, "2026-Q5"),
        (QUARTERLY, "٢٠٢٦-Q4"),
        ("daily", "2026-11-22"),
    ],
)
def test_a_period_that_does_not_exist_is_an_error(kind: str, key: str) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_period(kind, key)


def test_thirteen_weeks_and_twelve_months_end_where_the_day_is() -> None:
    mondays = weeks_until(date(2026, 11, 22), 13)
    assert (len(mondays), mondays[-1]) == (13, date(2026, 11, 16))
    months = months_until(date(2026, 11, 22), 12)
    assert (months[0], months[-1]) == (date(2025, 12, 1), date(2026, 11, 1))


def test_the_three_checklists_hold_three_items_each() -> None:
    assert {kind: len(CHECKLISTS[kind]) for kind in KINDS} == dict.fromkeys(KINDS, 3)
