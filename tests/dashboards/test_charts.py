from __future__ import annotations

import re
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboards.assets import PlotlyFinder
from dashboards.charts import (
    PLOT_BOTTOM,
    PLOT_TOP,
    PLOTLY_STYLE_IDS,
    DriftPlot,
    Marker,
    Series,
    draw_drift,
    draw_interval,
    explorer_figure,
    gridlines,
)
from dashboards.numbers import Unit
from dashboards.sparkline import draw_sparkline

WEEKS = ("W42", "43", "44", "45", "46", "W47")


def drift_of(
    *values: float | None, target: float | None = None, markers: tuple[Marker, ...] = ()
) -> DriftPlot:
    return draw_drift(
        Series(values, WEEKS, (), markers), Series((), ()), unit=Unit.SHARE, target=target
    )


def test_a_missing_week_is_a_gap_and_never_zero() -> None:
    spark = draw_sparkline([0.2, None, 0.3, 0.4])
    assert spark.path.count("M") == 2
    plot = drift_of(0.93, 0.94, None, 0.95, 0.95, 0.96)
    assert plot.weeks.line.count("M") == 2
    assert len(plot.weeks.points) == 4
    assert all(PLOT_TOP <= y <= PLOT_BOTTOM for _, y in plot.weeks.points)


def test_the_last_point_is_drawn_only_when_the_last_week_was_measured() -> None:
    assert draw_sparkline([0.2, 0.3]).last is not None
    assert draw_sparkline([0.2, None]).last is None
    assert drift_of(0.9, 0.9, 0.9, 0.9, 0.9, None).weeks.last is None


def test_nothing_measured_draws_nothing() -> None:
    assert draw_sparkline([None, None], target=0.1).path == ""
    empty = drift_of(None, None, None, None, None, None)
    assert empty.weeks.line == ""
    assert empty.grid == ()


def test_the_target_is_always_inside_the_picture() -> None:
    spark = draw_sparkline([0.2, 0.3], target=0.9)
    assert spark.target_y is not None
    assert 0 < spark.target_y < spark.height
    plot = drift_of(0.2, 0.2, 0.2, 0.2, 0.2, 0.3, target=0.9)
    assert plot.target_y is not None
    assert PLOT_TOP <= plot.target_y <= PLOT_BOTTOM


@given(
    low=st.floats(min_value=0, max_value=1e6),
    span=st.floats(min_value=1e-4, max_value=1e6),
    unit=st.sampled_from(list(Unit)),
)
def test_four_gridlines_always_enclose_the_numbers(low: float, span: float, unit: Unit) -> None:
    lines = gridlines(low, low + span, unit)
    assert len(lines) == 4
    assert lines[0] <= low + 1e-9
    assert lines[-1] >= low + span - 1e-6


def test_gridlines_of_a_duration_are_round_on_a_clock() -> None:
    assert gridlines(400, 620, Unit.SECONDS) == [360, 480, 600, 720]


def test_two_releases_in_one_week_share_one_label() -> None:
    plot = drift_of(
        0.9, 0.9, 0.9, 0.9, 0.9, 0.9, markers=(Marker(5, "r5"), Marker(5, "r4"), Marker(4, "r3"))
    )
    assert [marker.label for marker in plot.weeks.markers] == ["r3", "r5,r4"]
    assert plot.weeks.markers[0].label_y != plot.weeks.markers[1].label_y


def test_an_interval_keeps_its_sides_of_zero() -> None:
    better = draw_interval(0.01, 0.04, 0.07, reach=0.1)
    assert better.x > better.zero
    unsure = draw_interval(-0.02, 0.01, 0.04, reach=0.1)
    assert unsure.x < unsure.zero < unsure.x + unsure.width
    assert draw_interval(-9, 0, 9, reach=0.1).width <= better.total
    assert draw_interval(0, 0, 0, reach=0.1).width == 6


def test_the_explorer_breaks_its_band_where_data_is_missing() -> None:
    days = [date(2026, 11, 1) + timedelta(days=n) for n in range(5)]
    figure = explorer_figure(
        days=days,
        values=[0.9, 0.9, None, 0.9, 0.9],
        low=[0.8, 0.8, None, 0.8, 0.8],
        high=[1.0, 1.0, None, 1.0, 1.0],
        unit=Unit.SHARE,
        name="Quality",
        target=0.95,
        releases=[(days[3], "r2")],
    )
    bands = [trace for trace in figure["data"] if trace.get("fill") == "toself"]
    assert len(bands) == 2
    assert figure["data"][-1]["y"][2] is None
    assert figure["layout"]["annotations"][0]["text"] == "r2"
    assert figure["layout"]["template"] == "none"


def test_the_explorer_tells_long_times_in_hours() -> None:
    figure = explorer_figure(
        days=[date(2026, 11, 1)],
        values=[36_000.0],
        low=[None],
        high=[None],
        unit=Unit.SECONDS,
        name="Time to first response",
        target=21_600.0,
        releases=[],
    )
    assert figure["data"][-1]["y"] == [10.0]
    assert figure["layout"]["shapes"][0]["y0"] == 6.0
    assert figure["layout"]["yaxis"]["ticksuffix"] == " h"


def test_plotly_finds_every_style_element_it_would_otherwise_create() -> None:
    found = PlotlyFinder().find("plotly/plotly.min.js")
    bundle = Path(found).read_text(encoding="utf-8")
    looked_for = set(re.findall(r'getElementById\("([0-9a-f]{64})"\)', bundle))
    prefixed = re.findall(r'"(plotly\.js-style-)"', bundle)
    assert prefixed
    assert looked_for
    assert looked_for | {"plotly.js-style-global"} == set(PLOTLY_STYLE_IDS)


@pytest.mark.parametrize("unit", list(Unit))
def test_every_unit_labels_its_axis(unit: Unit) -> None:
    plot = draw_drift(Series((1.0, 2.0), ("a", "b")), Series((), ()), unit=unit, target=None)
    assert all(label for _, label in plot.grid)
