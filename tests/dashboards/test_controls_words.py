"""How windows, lengths and envelopes are said."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from dashboards import controls_words as words


def at(month: int, day: int, hour: int = 0, year: int = 2026) -> datetime:
    return datetime(year, month, day, hour, tzinfo=UTC)


@pytest.mark.parametrize(
    ("starts_at", "ends_at", "said"),
    [
        (at(12, 12), at(12, 20), "12–19 Dec 2026"),
        (at(12, 12), at(12, 13), "12 Dec 2026"),
        (at(11, 28), at(12, 4), "28 Nov – 3 Dec 2026"),
        (at(12, 29), at(1, 4, year=2027), "29 Dec 2026 – 3 Jan 2027"),
        (at(12, 12, 9), at(12, 12, 18), "Sat 12 Dec 09:00–18:00 UTC"),
        (at(12, 12, 9), at(12, 14, 18), "Sat 12 Dec 09:00 to Mon 14 Dec 18:00 UTC"),
    ],
)
def test_a_window_of_whole_days_is_said_without_hours(
    starts_at: datetime, ends_at: datetime, said: str
) -> None:
    assert words.span(starts_at, ends_at) == said


def test_a_gap_ahead_is_said_without_its_year() -> None:
    assert words.gap(at(12, 12), at(12, 20)) == "12–19 Dec"
    assert words.gap(at(12, 12, 9), at(12, 20)) == "Sat 12 Dec 09:00 to Sun 20 Dec 00:00 UTC"


@pytest.mark.parametrize(
    ("minutes", "said"),
    [(-5, "0 min"), (41, "41 min"), (60, "1 h"), (221, "3 h 41 min"), (12 * 24 * 60, "12 days")],
)
def test_a_length_has_the_units_that_matter(minutes: int, said: str) -> None:
    assert words.duration(timedelta(minutes=minutes)) == said


def test_an_envelope_says_each_of_its_limits() -> None:
    said = " ".join(
        words.envelope(
            slot="Retrieval",
            most_documents=50,
            steps=[
                {"share": 500, "minutes": 60, "runs": 50},
                {"share": 2550, "minutes": 0, "runs": 0},
            ],
            uses_per_week=7,
        )
    )
    assert "Changes Retrieval and nothing else, at most 50 documents" in said
    assert (
        "5 % of cases for at least 1 h and 50 runs, then 25.5 % of cases for at least 50 runs,"
        " then every case" in said
    )
    assert "at most 7 times a week" in said


@pytest.mark.parametrize(
    ("today", "first", "last"),
    [
        (date(2026, 11, 25), date(2026, 11, 28), date(2026, 12, 3)),
        (date(2026, 12, 1), date(2026, 11, 28), date(2026, 12, 3)),
        (date(2026, 12, 3), date(2026, 12, 29), date(2027, 1, 3)),
        (date(2027, 2, 10), date(2027, 2, 26), date(2027, 3, 3)),
    ],
)
def test_the_preset_is_the_next_close_that_is_not_over(
    today: date, first: date, last: date
) -> None:
    starts, ends = words.month_end(today)
    assert (starts.date(), (ends - words.DAY).date()) == (first, last)
