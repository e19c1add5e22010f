"""Numbers as people read them: units, signs, thresholds. Pure; percentages come in as fractions."""

from __future__ import annotations

from decimal import Decimal
from enum import StrEnum

NBSP = "\u00a0"
MINUS = "\u2212"
NOT_MEASURED = "\u2013"

Number = float | int | Decimal


class Unit(StrEnum):
    """What a KPI or measure is counted in."""

    SHARE = "share"  # fraction 0 to 1 in, per cent out
    SECONDS = "seconds"
    MILLISECONDS = "ms"
    DAYS = "days"
    MONEY = "money"
    COUNT = "count"
    SCORE = "score"


def format_value(value: Number | None, unit: Unit) -> str:
    """Return one reading with its unit; what was not measured is a dash, never a zero."""
    if value is None:
        return NOT_MEASURED
    number = float(value)
    sign = MINUS if number < 0 else ""
    return sign + _magnitude(abs(number), unit)


def format_change(change: Number | None, unit: Unit) -> str:
    """Return a difference with its sign; percentages differ in points."""
    if change is None:
        return NOT_MEASURED
    number = float(change)
    if unit is Unit.SHARE:
        text = f"{abs(number) * 100:.2f}" if abs(number) < 0.001 else f"{abs(number) * 100:.1f}"
        text += f"{NBSP}pt"
    else:
        text = _magnitude(abs(number), unit)
    if not any(digit in text for digit in "123456789"):
        return "no change"
    return ("+" if number > 0 else MINUS) + text


def format_relative(now: Number | None, before: Number | None) -> str:
    """Return the change as a share of what it was before."""
    if now is None or before is None or not float(before):
        return NOT_MEASURED
    share = (float(now) - float(before)) / abs(float(before))
    text = f"{abs(share) * 100:.0f}"
    if text == "0":
        return "no change"
    return f"{'+' if share > 0 else MINUS}{text}{NBSP}%"


def format_bound(value: Number | None, unit: Unit, *, lower_is_better: bool) -> str:
    """Return a target or limit with the side it is on: at most, at least."""
    if value is None:
        return NOT_MEASURED
    return f"{'≤' if lower_is_better else '≥'}{NBSP}{_trimmed(format_value(value, unit))}"


def format_axis(value: float, unit: Unit, step: float) -> str:
    """Return a gridline's label, with just the decimals its neighbours need."""
    if unit is Unit.SHARE:
        return f"{value * 100:.{_decimals(step * 100)}f}{NBSP}%"
    if unit is Unit.MONEY:
        return f"${value:,.{_decimals(step)}f}"
    if unit in (Unit.COUNT, Unit.SCORE):
        return f"{value:,.{_decimals(step)}f}"
    if unit is Unit.MILLISECONDS and value < 1000:
        return f"{value:.{_decimals(step)}f}{NBSP}ms"
    return _trimmed(format_value(value, unit))


def _decimals(step: float) -> int:
    """Return how many decimals tell multiples of `step` apart (at most 6)."""
    for places in range(6):
        if abs(step * 10**places - round(step * 10**places)) < 1e-6:
            return places
    return 6


def _trimmed(text: str) -> str:
    """Drop zero parts that a threshold does not need: "8 m 0 s", "12.0 %"."""
    for empty in (f"{NBSP}0{NBSP}s", f"{NBSP}0{NBSP}m"):
        text = text.removesuffix(empty)
    number, gap, unit = text.partition(NBSP)
    if "." in number and unit in ("%", "d", "s"):
        number = number.rstrip("0").rstrip(".")
    return number + gap + unit


def _magnitude(number: float, unit: Unit) -> str:
    match unit:
        case Unit.SHARE:
            places = 2 if 0 < number < 0.01 else 1
            return f"{number * 100:.{places}f}{NBSP}%"
        case Unit.SECONDS:
            return _duration(number)
        case Unit.MILLISECONDS:
            return _duration(number / 1000) if number >= 1000 else f"{_short(number)}{NBSP}ms"
        case Unit.DAYS:
            return f"{number:.1f}{NBSP}d"
        case Unit.MONEY:
            return _dollars(number)
        case Unit.COUNT:
            return f"{number:,.0f}"
        case Unit.SCORE:
            return f"{number:.2f}"


def _short(number: float) -> str:
    if number >= 10 or number == 0:
        return f"{number:.0f}"
    return f"{number:.1f}" if number >= 1 else f"{number:.2f}"


def _duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f}{NBSP}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{NBSP}s"
    if whole < 3600:
        return f"{whole // 60}{NBSP}m{NBSP}{whole % 60}{NBSP}s"
    hours, rest = divmod(whole, 3600)
    return f"{hours:,}{NBSP}h{NBSP}{rest // 60}{NBSP}m"


def _dollars(number: float) -> str:
    if number >= 1_000_000:
        return f"${number / 1_000_000:,.2f}{NBSP}m"
    if number >= 1_000:
        return f"${number:,.0f}"
    if number == 0 or number >= 0.1:
        return f"${number:,.2f}"
    if 0 < number < 0.0001:
        return "< $0.0001"
    return f"${number:.3f}" if number >= 0.01 else f"${number:.4f}"
