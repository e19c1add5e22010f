"""Thirteen weeks in 144 × 36 pixels. Pure: numbers in, drawing instructions out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

WIDTH = 144
HEIGHT = 38
LEFT, RIGHT = 3.0, 139.0
TOP, BOTTOM = 5.0, 27.0


@dataclass(frozen=True, slots=True)
class Sparkline:
    """What the template needs to draw one sparkline (all numbers are pixels)."""

    path: str
    target_y: float | None
    release_x: tuple[float, ...]
    last: tuple[float, float] | None

    width: int = WIDTH
    height: int = HEIGHT


def draw_sparkline(
    values: Sequence[float | None],
    *,
    target: float | None = None,
    releases: Iterable[int] = (),
) -> Sparkline:
    """Lay out one series, oldest first; a missing week is a gap, never a zero.

    Args:
        values: one reading per week, None where nothing was measured.
        target: drawn as a dashed line, and always inside the picture.
        releases: indexes into `values` of the weeks in which a release went live.
    """
    known = [value for value in values if value is not None]
    if not known:
        return Sparkline("", None, (), None)
    inside = [*known, target] if target is not None else known
    low, high = min(inside), max(inside)
    span = (high - low) or 1.0
    flat = high == low

    def y(value: float) -> float:
        share = 0.5 if flat else (value - low) / span
        return round(BOTTOM - share * (BOTTOM - TOP), 1)

    step = (RIGHT - LEFT) / max(len(values) - 1, 1)
    xs = [round(LEFT + index * step, 1) for index in range(len(values))]
    last = len(values) - 1
    last_value = values[last]
    return Sparkline(
        path=line_path(
            (x, None if value is None else y(value)) for x, value in zip(xs, values, strict=False)
        ),
        target_y=None if target is None else y(target),
        release_x=tuple(xs[index] for index in releases if 0 <= index < len(xs)),
        last=None if last_value is None else (xs[last], y(last_value)),
    )


def line_path(points: Iterable[tuple[float, float | None]]) -> str:
    """Return the SVG path through `points`; None lifts the pen.

    A lone point becomes a zero-length line, which round caps show as a dot.
    """
    parts: list[str] = []
    run: list[tuple[float, float]] = []

    def close() -> None:
        if len(run) == 1:
            parts.append(f"M{run[0][0]:g} {run[0][1]:g}h0")
        elif run:
            head, *tail = run
            parts.append(f"M{head[0]:g} {head[1]:g}L" + " ".join(f"{a:g} {b:g}" for a, b in tail))
        run.clear()

    for x, y in points:
        if y is None:
            close()
        else:
            run.append((x, y))
    close()
    return "".join(parts)
