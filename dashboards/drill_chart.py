"""Measured times to restore as bars. Pure: numbers in, drawing instructions out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dashboards.numbers import Unit, format_value

WIDTH, HEIGHT = 360, 112
TOP, BASE = 18.0, 88.0
WIDEST = 44.0  # pixels of one bar
GAP = 6.0
SIDE = 16.0  # room for labels that are wider than their bar


@dataclass(frozen=True, slots=True)
class Bar:
    """One drill; a drill that no receipt confirmed has no height and says so."""

    x: float
    y: float
    width: float
    height: float
    middle: float
    value: str
    label: str
    is_measured: bool


@dataclass(frozen=True, slots=True)
class Bars:
    """What the template draws, oldest drill first (all numbers are pixels)."""

    bars: tuple[Bar, ...]
    sentence: str
    width: int = WIDTH
    height: int = HEIGHT
    base: float = BASE


def draw_bars(name: str, drills: Sequence[tuple[str, float | None]]) -> Bars | None:
    """Lay out the drills of one workflow; bars start at zero.

    Args:
        drills: day in words and seconds to restore, oldest first; None was not confirmed.
    """
    measured = [seconds for _, seconds in drills if seconds is not None]
    if not measured:
        return None
    highest = max(measured) or 1.0
    step = min((WIDTH - 2 * SIDE) / len(drills), WIDEST + GAP)
    bars = []
    for index, (label, seconds) in enumerate(drills):
        height = 0.0 if seconds is None else max((BASE - TOP) * seconds / highest, 1.5)
        x = SIDE + index * step
        bars.append(
            Bar(
                x=round(x, 1), y=round(BASE - height, 1), width=round(step - GAP, 1),
                height=round(height, 1), middle=round(x + (step - GAP) / 2, 1),
                value=format_value(seconds, Unit.SECONDS), label=label,
                is_measured=seconds is not None,
            )
        )  # fmt: skip
    last = format_value(drills[-1][1], Unit.SECONDS) if drills[-1][1] is not None else "unconfirmed"
    extremes = f"slowest {format_value(highest, Unit.SECONDS)}"
    if len(measured) > 1:
        extremes += f", fastest {format_value(min(measured), Unit.SECONDS)}"
    number = f"{len(drills)} drill{'' if len(drills) == 1 else 's'}"
    return Bars(tuple(bars), f"{name}: {number}, last {last}, {extremes}.")
