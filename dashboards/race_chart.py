"""Quality against cost, or against time: one dot per release. Pure: numbers in, positions out.

Drawn in per cent across and pixels down, like the charts of the weekly page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dashboards.charts import gridlines
from dashboards.numbers import Unit, format_axis

TOP, BOTTOM, HEIGHT = 16.0, 208.0, 236
LINE = 14.0  # pixels that a label needs for itself
NEAR = 26.0  # per cent across, within which two labels can touch
LEFT, RIGHT = 6.0, 94.0  # where dots may stand, in per cent


@dataclass(frozen=True, slots=True)
class Racer:
    """One release: across, up with its interval, and whether nobody dominates it."""

    name: str
    x: float
    y: float
    low: float | None
    high: float | None
    in_front: bool
    is_reference: bool


@dataclass(frozen=True, slots=True)
class Dot:
    """A release, placed; its label stands beside it, moved where others are near."""

    name: str
    x: float
    y: float
    top: float
    bottom: float
    label_x: float
    label_y: float
    anchor: str
    in_front: bool
    is_reference: bool


@dataclass(frozen=True, slots=True)
class RacePlot:
    """One chart; `rows` and `columns` are gridlines with their words."""

    across: str
    up: str
    rows: tuple[tuple[float, str], ...]
    columns: tuple[tuple[float, str], ...]
    dots: tuple[Dot, ...]
    sentence: str
    height: int = HEIGHT


def draw_race(
    racers: Sequence[Racer], *, across: str, x_unit: Unit, up: str, y_unit: Unit
) -> RacePlot | None:
    """Place the releases; None where fewer than two can be placed."""
    if len(racers) < 2:
        return None
    ys = [value for r in racers for value in (r.y, r.low, r.high) if value is not None]
    rows, columns = (
        gridlines(min(ys), max(ys), y_unit),
        gridlines(min(r.x for r in racers), max(r.x for r in racers), x_unit),
    )

    def y(value: float) -> float:
        return round(BOTTOM - (value - rows[0]) / (rows[-1] - rows[0]) * (BOTTOM - TOP), 1)

    def x(value: float) -> float:
        share = (value - columns[0]) / (columns[-1] - columns[0])
        return round(LEFT + share * (RIGHT - LEFT), 2)

    dots = [
        Dot(
            name=r.name, x=x(r.x), y=y(r.y),
            top=y(r.y if r.high is None else r.high), bottom=y(r.y if r.low is None else r.low),
            label_x=x(r.x), label_y=y(r.y), anchor="end" if x(r.x) > 80 else "start",
            in_front=r.in_front, is_reference=r.is_reference,
        )
        for r in racers
    ]  # fmt: skip
    front = [r.name for r in racers if r.in_front]
    return RacePlot(
        across=across,
        up=up,
        rows=tuple((y(v), format_axis(v, y_unit, rows[1] - rows[0])) for v in rows),
        columns=tuple((x(v), format_axis(v, x_unit, columns[1] - columns[0])) for v in columns),
        dots=tuple(_apart(dots)),
        sentence=f"{up} against {across.lower()} of {len(racers)} releases; in front: "
        f"{', '.join(front) or 'none'}. The table has the numbers.",
    )


def _apart(dots: Sequence[Dot]) -> list[Dot]:
    """Move labels down where they would overprint one that stands near; highest first."""
    placed: list[Dot] = []
    for dot in sorted(dots, key=lambda dot: (dot.y, dot.x)):
        at = dot.label_y
        for other in sorted(placed, key=lambda other: other.label_y):
            if abs(other.x - dot.x) < NEAR and abs(other.label_y - at) < LINE:
                at = other.label_y + LINE
        placed.append(replace(dot, label_y=at))
    return placed
