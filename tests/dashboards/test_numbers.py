from __future__ import annotations

from decimal import Decimal

import pytest

from dashboards.numbers import (
    Unit,
    format_axis,
    format_bound,
    format_change,
    format_relative,
    format_value,
)


def plain(text: str) -> str:
    return text.replace("\u00a0", " ").replace("\u2212", "-")


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (0.118, Unit.SHARE, "11.8 %"),
        (0.0069, Unit.SHARE, "0.69 %"),
        (0.0, Unit.SHARE, "0.0 %"),
        (400, Unit.SECONDS, "6 m 40 s"),
        (59.6, Unit.SECONDS, "1 m 0 s"),
        (4.25, Unit.SECONDS, "4.2 s"),
        (3725, Unit.SECONDS, "1 h 2 m"),
        (640, Unit.MILLISECONDS, "640 ms"),
        (0.42, Unit.MILLISECONDS, "0.42 ms"),
        (1240, Unit.MILLISECONDS, "1.2 s"),
        (38.2, Unit.DAYS, "38.2 d"),
        (Decimal("0.17"), Unit.MONEY, "$0.17"),
        (Decimal("0.0042"), Unit.MONEY, "$0.0042"),
        (12480, Unit.MONEY, "$12,480"),
        (1_240_000, Unit.MONEY, "$1.24 m"),
        (None, Unit.MONEY, "–"),
    ],
)
def test_a_number_reads_in_its_unit(value: float | None, unit: Unit, shown: str) -> None:
    assert plain(format_value(value, unit)) == shown


def test_a_change_carries_its_sign_and_percentages_differ_in_points() -> None:
    assert plain(format_change(0.006, Unit.SHARE)) == "+0.6 pt"
    assert plain(format_change(-35, Unit.SECONDS)) == "-35 s"
    assert plain(format_change(0.0000001, Unit.SHARE)) == "no change"
    assert plain(format_change(None, Unit.SHARE)) == "–"


def test_a_threshold_says_which_side_is_good() -> None:
    assert plain(format_bound(0.12, Unit.SHARE, lower_is_better=True)) == "≤ 12 %"
    assert plain(format_bound(0.95, Unit.SHARE, lower_is_better=False)) == "≥ 95 %"
    assert plain(format_bound(480, Unit.SECONDS, lower_is_better=True)) == "≤ 8 m"


def test_a_share_of_nothing_is_not_a_number() -> None:
    assert format_relative(1.0, 0.0) == "–"
    assert plain(format_relative(0.95, 1.0)) == "-5 %"


def test_neighbouring_gridlines_never_read_the_same() -> None:
    labels = [format_axis(value, Unit.SHARE, 0.005) for value in (0.93, 0.935, 0.94)]
    assert len(set(labels)) == 3
