from __future__ import annotations

from xml.etree import ElementTree

from dashboards.charts import Marker, Series, draw_drift, draw_interval
from dashboards.drawing import drift_svg, interval_svg, sparkline_svg
from dashboards.numbers import Unit
from dashboards.sparkline import draw_sparkline

HOSTILE = '"><script>alert(1)</script>'


def parsed(drawing: str) -> ElementTree.Element:
    return ElementTree.fromstring(drawing)  # noqa: S314 - our own drawing


def test_a_chart_is_well_formed_and_says_its_numbers() -> None:
    plot = draw_drift(
        Series([0.9, None, 0.95], ["W45", "46", "W47"], [0.8, 0.8, 0.8], [Marker(2, "r5")]),
        Series([0.9], ["N"]),
        unit=Unit.SHARE,
        target=0.93,
    )
    root = parsed(drift_svg(plot, "Quality over 3 weeks."))
    assert root.get("role") == "img"
    assert root.get("aria-label") == "Quality over 3 weeks."
    texts = [node.text for node in root.iter("text")]
    assert "r5" in texts
    assert "W47" in texts
    assert sum(node.get("class") == "point now" for node in root.iter("circle")) == 2


def test_a_sparkline_without_numbers_is_a_word() -> None:
    assert "No data yet" in sparkline_svg(draw_sparkline([None]), "Nothing.", "none")


def test_what_people_named_is_escaped_inside_a_drawing() -> None:
    spark = sparkline_svg(draw_sparkline([0.1, 0.2], target=0.15, releases=[1]), HOSTILE, "good")
    plot = draw_drift(
        Series([0.9, 0.8], [HOSTILE, "b"], (), [Marker(0, HOSTILE)]),
        Series((), ()),
        unit=Unit.SHARE,
        target=None,
    )
    for drawing in (spark, drift_svg(plot, HOSTILE)):
        assert "<script" not in drawing
        parsed(drawing)


def test_an_interval_is_drawn_only_where_there_is_one() -> None:
    assert interval_svg(None, "good") == ""
    bar = draw_interval(-0.01, 0.02, 0.05, reach=0.1, margin=-0.02)
    assert parsed(interval_svg(bar, "good")).find("rect") is not None
