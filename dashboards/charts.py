"""Charts as drawing instructions. Pure: numbers in, positions or plain dicts out.

A panel is drawn in per cent across and pixels down, so that it fills any width while its
letters, dots and hairlines keep their size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from dashboards.numbers import Unit, format_axis
from dashboards.sparkline import line_path

PLOT_TOP, PLOT_BOTTOM = 24.0, 120.0
PLOT_HEIGHT = 150
GRIDLINES = 4
LINE_WIDTH = 1000.0  # the line's own coordinate system, stretched to the panel's width

# Plotly adds rules to the first and creates the second (for maps) unless they exist. Our policy
# allows neither to be created, so the page brings both, empty, with its nonce.
PLOTLY_STYLE_IDS = (
    "plotly.js-style-global",
    "9f215cf04c5486422605d13261cb87401f4e7763b6296af81e98efbc0130da53",
)

INTERVAL_WIDTH = 148.0
INTERVAL_PAD = 6.0


@dataclass(frozen=True, slots=True)
class Marker:
    """A release on a time axis: its place among the points and its short name."""

    index: int
    label: str


@dataclass(frozen=True, slots=True)
class PlacedMarker:
    """A release marker, placed (`x` in per cent, `anchor` keeps its label inside)."""

    x: float
    label: str
    anchor: str
    label_y: float


@dataclass(frozen=True, slots=True)
class AxisLabel:
    """One label under a panel."""

    x: float
    text: str
    strong: bool


@dataclass(frozen=True, slots=True)
class Panel:
    """One half of a 6–12 chart."""

    line: str
    prior: str
    points: tuple[tuple[float, float], ...]
    last: tuple[float, float] | None
    labels: tuple[AxisLabel, ...]
    markers: tuple[PlacedMarker, ...]


@dataclass(frozen=True, slots=True)
class DriftPlot:
    """Six weeks and twelve months on one vertical scale."""

    grid: tuple[tuple[float, str], ...]
    target_y: float | None
    weeks: Panel
    months: Panel
    height: int = PLOT_HEIGHT


@dataclass(frozen=True, slots=True)
class Series:
    """One panel's numbers, oldest first; None where nothing was measured."""

    values: Sequence[float | None]
    labels: Sequence[str]
    prior: Sequence[float | None] = ()
    markers: Sequence[Marker] = ()


@dataclass(frozen=True, slots=True)
class IntervalBar:
    """A change with its interval on a scale that has zero in the middle (pixels)."""

    x: float
    width: float
    dot: float
    zero: float
    margin: float | None
    total: float = INTERVAL_WIDTH


def draw_drift(weeks: Series, months: Series, *, unit: Unit, target: float | None) -> DriftPlot:
    """Lay out a 6–12 chart; both panels share one scale and four gridlines."""
    every = [*weeks.values, *months.values, *weeks.prior, *months.prior, target]
    known = [value for value in every if value is not None]
    grid = gridlines(min(known), max(known), unit) if known else []
    low, high = (grid[0], grid[-1]) if grid else (0.0, 1.0)

    def y(value: float) -> float:
        return round(PLOT_BOTTOM - (value - low) / (high - low) * (PLOT_BOTTOM - PLOT_TOP), 1)

    def panel(series: Series) -> Panel:
        count = max(len(series.values), 1)
        inset = min(8.0, 50.0 / count)
        step = (100 - 2 * inset) / max(count - 1, 1)
        xs = [round(inset + index * step, 2) for index in range(count)]
        scale = LINE_WIDTH / 100

        def path(values: Sequence[float | None]) -> str:
            return line_path(
                (round(x * scale, 1), None if value is None else y(value))
                for x, value in zip(xs, values, strict=False)
            )

        placed = [(x, y(v)) for x, v in zip(xs, series.values, strict=False) if v is not None]
        ends_now = bool(series.values) and series.values[-1] is not None
        return Panel(
            line=path(series.values),
            prior=path(series.prior),
            points=tuple(placed[:-1] if ends_now else placed),
            last=placed[-1] if ends_now else None,
            labels=tuple(
                AxisLabel(x, text, index == len(series.labels) - 1)
                for index, (x, text) in enumerate(zip(xs, series.labels, strict=False))
            ),
            markers=_place_markers(series.markers, xs),
        )

    step = grid[1] - grid[0] if grid else 1.0
    return DriftPlot(
        grid=tuple((y(value), format_axis(value, unit, step)) for value in grid),
        target_y=None if target is None or not grid else y(target),
        weeks=panel(weeks),
        months=panel(months),
    )


def _place_markers(markers: Sequence[Marker], xs: Sequence[float]) -> tuple[PlacedMarker, ...]:
    """Join the markers of one week to one label, so that names never overprint.

    A week names its last two releases; where points stand close (months), only the last.
    """
    crowded = len(xs) > 8
    by_index: dict[int, list[str]] = {}
    for marker in markers:
        if 0 <= marker.index < len(xs):
            by_index.setdefault(marker.index, []).append(marker.label)
    placed = []
    previous, row = -2, 0
    for index in sorted(by_index):
        names = by_index[index]
        label = names[-1] if crowded or len(names) == 1 else ",".join(dict.fromkeys(names[-2:]))
        row = 1 - row if index - previous == 1 else 0  # neighbours take turns, high and low
        previous = index
        x = xs[index]
        anchor = "end" if x > 85 else "start" if x < 15 else "middle"
        placed.append(PlacedMarker(x, label, anchor, 20.0 if row else 9.0))
    return tuple(placed)


def gridlines(low: float, high: float, unit: Unit) -> list[float]:
    """Return four round values that enclose `low` to `high`."""
    if high - low < 1e-12:
        pad = abs(high) * 0.05 or 1.0
        low, high = low - pad, high + pad
    if low >= 0:
        low = max(low - (high - low) * 0.04, 0.0)
    for step in _round_steps((high - low) / (GRIDLINES - 1), unit):
        start = math.floor(low / step + 1e-9) * step
        if start + step * (GRIDLINES - 1) >= high - 1e-12:
            return [round(start + step * index, 10) for index in range(GRIDLINES)]
    raise ValueError("no round step encloses the range")  # pragma: no cover - steps are unbounded


def _round_steps(least: float, unit: Unit) -> list[float]:
    """Return round steps from `least` up; durations step in parts of a minute and an hour."""
    power = math.floor(math.log10(least))
    steps = [m * 10.0**p for p in range(power, power + 3) for m in (1, 1.5, 2, 2.5, 3, 4, 5)]
    per_second = {Unit.SECONDS: 1.0, Unit.MILLISECONDS: 1000.0}.get(unit)
    if per_second and least >= 5 * per_second:
        clock = (5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400)
        steps = [seconds * per_second for seconds in clock] + steps
    return sorted(step for step in steps if step >= least * 0.999)


def draw_interval(
    low: float, point: float, high: float, *, reach: float, margin: float | None = None
) -> IntervalBar:
    """Place a change and its interval between -reach and +reach.

    Args:
        low, point, high: the interval and its middle, in the metric's own unit.
        reach: the largest absolute value the row's neighbours show; above 0.
        margin: the signed change that would count as worse, drawn as a faint tick.
    """
    middle = INTERVAL_WIDTH / 2
    scale = (middle - INTERVAL_PAD) / reach if reach > 0 else 0.0

    def x(value: float) -> float:
        inside = max(-reach, min(reach, value))
        return round(middle + inside * scale, 1)

    start, end = x(low), x(high)
    if end - start < 6:  # a bar is never thinner than it is high
        start, end = x(point) - 3, x(point) + 3
    return IntervalBar(
        x=start,
        width=round(end - start, 1),
        dot=x(point),
        zero=middle,
        margin=None if margin is None else x(margin),
    )


def explorer_figure(
    *,
    days: Sequence[date],
    values: Sequence[float | None],
    low: Sequence[float | None],
    high: Sequence[float | None],
    unit: Unit,
    name: str,
    target: float | None,
    releases: Sequence[tuple[date, str]],
) -> dict[str, Any]:
    """Return the Plotly figure of the daily explorer as a plain dict.

    Colours are names of our tokens (`token:…`): Plotly rejects `var(--x)`, so the browser
    resolves them for the theme that is on. No template: it would weigh 8 kB.
    """
    unit_scale, clock = _clock([*values, target], unit)
    values, low, high = ([_times(v, unit_scale) for v in row] for row in (values, low, high))
    target = _times(target, unit_scale)
    x = [day.isoformat() for day in days]
    share = unit is Unit.SHARE
    prefix, tick = ("$", "") if unit is Unit.MONEY else ("", ".1%" if share else "")
    suffix = clock or {Unit.MILLISECONDS: " ms", Unit.DAYS: " d"}.get(unit, "")
    hover = tick or ",.3~r"  # three digits are enough beside the line
    data: list[dict[str, Any]] = [
        *_band(x, low, high),
        {
            "type": "scatter",
            "mode": "lines+markers",
            "x": x,
            "y": list(values),
            "name": name,
            "connectgaps": False,
            "line": {"color": "token:chart-actual", "width": 2},
            "marker": {"color": "token:chart-actual", "size": 4},
            "hovertemplate": f"%{{x|%a %d %b}}: {prefix}%{{y:{hover}}}{suffix}<extra></extra>",
        },
    ]
    shapes: list[dict[str, Any]] = []
    notes: list[dict[str, Any]] = []
    if target is not None:
        across = {"xref": "paper", "x0": 0, "x1": 1, "y0": target, "y1": target}
        stroke = {"color": "token:chart-target", "width": 1.25, "dash": "dash"}
        shapes.append({"type": "line", **across, "line": stroke})
    for day, label in releases:
        at = day.isoformat()
        stroke = {"color": "token:chart-release", "width": 1}
        place = {"x0": at, "x1": at, "yref": "paper", "y0": 0, "y1": 1}
        shapes.append({"type": "line", **place, "line": stroke})
        font = {"color": "token:chart-release", "size": 12}
        note = {"x": at, "yref": "paper", "y": 1, "yanchor": "bottom", "showarrow": False}
        notes.append({**note, "text": label, "font": font})
    axis = {"gridcolor": "token:line", "zeroline": False, "color": "token:ink-3"}
    layout: dict[str, Any] = {
        "template": "none",
        "height": 320,
        "margin": {"l": 64, "r": 16, "t": 28, "b": 36},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "Inter, system-ui, sans-serif", "size": 12, "color": "token:ink-3"},
        "showlegend": False,
        "hovermode": "x",
        "xaxis": {**axis, "type": "date"},
        "yaxis": {**axis, "tickformat": tick, "tickprefix": prefix, "ticksuffix": suffix},
        "shapes": shapes,
        "annotations": notes,
    }
    return {"data": data, "layout": layout}


def _clock(values: Sequence[float | None], unit: Unit) -> tuple[float, str]:
    """Return the factor and the word that make seconds readable: 60,000 s are 16.7 h."""
    if unit is not Unit.SECONDS:
        return 1.0, ""
    most = max((value for value in values if value is not None), default=0.0)
    if most >= 2 * 3600:
        return 1 / 3600, " h"
    return (1 / 60, " min") if most >= 120 else (1.0, " s")


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _band(
    x: Sequence[str], low: Sequence[float | None], high: Sequence[float | None]
) -> list[dict[str, Any]]:
    """Return the interval around the line, one closed shape per stretch without a gap."""
    runs: list[list[tuple[str, float, float]]] = [[]]
    for day, bottom, top in zip(x, low, high, strict=True):
        if bottom is None or top is None:
            runs.append([])
        else:
            runs[-1].append((day, bottom, top))
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [day for day, _, _ in run] + [day for day, _, _ in reversed(run)],
            "y": [top for _, _, top in run] + [bottom for _, bottom, _ in reversed(run)],
            "fill": "toself",
            "fillcolor": "token:chart-band",
            "line": {"width": 0},
            "hoverinfo": "skip",
        }
        for run in runs
        if len(run) > 1
    ]
