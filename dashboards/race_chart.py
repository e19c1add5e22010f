"""Quality against cost, or against time: one dot per release. Pure: numbers in, positions out.

Drawn in per cent across and pixels down, like the charts of the weekly page.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dashboards.charts import gridlines
from dashboards.numbers import Unit, format_axis

TOP, BOTTOM, HEIGHT = 16.0, 208.0, 236
WIDTH = 340.0  # pixels that one chart is taken to have, where labels are kept apart
DOT, LETTER, LINE = 6.0, 7.0, 13.0  # pixels: a dot's radius, a letter's width, a label's height
# Where a label may stand, seen from its dot, in pixels: the nearest place that is free is taken.
PLACES = (
    (10, 0), (-10, 0), (0, -14), (0, 16), (10, -13), (10, 13), (-10, -13), (-10, 13),
    (22, -22), (22, 22), (-22, -22), (-22, 22), (34, -10), (-34, 10), (0, -34), (0, 36),
    (40, -36), (40, 36), (-40, -36), (-40, 36),
)  # fmt: skip
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
    dx: float  # of the label, in pixels from the dot
    dy: float
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
            dx=0, dy=0, anchor="start", in_front=r.in_front, is_reference=r.is_reference,
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
    """Give every label a place where it covers neither a dot nor another label."""
    taken = [_box(dot, 0, 0, 2 * DOT) for dot in dots]
    placed = []
    for dot in sorted(dots, key=lambda dot: (dot.x, dot.y)):
        width = LETTER * len(dot.name)
        dx, dy = next(
            (
                place
                for place in PLACES
                if _inside(box := _label(dot, *place, width))
                and not any(_touch(box, other) for other in taken)
            ),
            PLACES[0],
        )
        taken.append(_label(dot, dx, dy, width))
        placed.append(replace(dot, dx=dx, dy=dy, anchor=_anchor(dx)))
    return placed


Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels


def _anchor(dx: float) -> str:
    return "start" if dx > 0 else "end" if dx < 0 else "middle"


def _box(dot: Dot, dx: float, dy: float, width: float) -> Box:
    middle, y = dot.x * WIDTH / 100 + dx, dot.y + dy
    return middle - width / 2, y - LINE / 2, middle + width / 2, y + LINE / 2


def _label(dot: Dot, dx: float, dy: float, width: float) -> Box:
    shift = {"start": width / 2, "end": -width / 2, "middle": 0.0}[_anchor(dx)]
    return _box(dot, dx + shift, dy, width)


def _inside(box: Box) -> bool:
    return box[0] >= 0 and box[2] <= WIDTH and box[1] >= 0 and box[3] <= BOTTOM


def _touch(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
