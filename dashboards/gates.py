"""The gate's table: from the stored content of a report to rows that can be printed. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboards.charts import draw_interval
from dashboards.numbers import NOT_MEASURED, Unit, format_change, format_value
from dashboards.review_page import GateRow
from dashboards.tones import VERDICT, Chip

ROLES = {
    "primary": "Has to get better",
    "guardrail": "May not get worse",
    "floor": "Absolute limit",
    "hard_rule": "Zero tolerance",
    "reported": "Reported, not judged",
}
_MORE_VERDICTS = {
    "met": Chip("Within limit", "good", "circle-check"),
    "broken": Chip("Outside limit", "bad", "triangle-alert"),
    "reported": Chip("Reported", "none", "circle-minus"),
    "no_baseline": Chip("No baseline", "none", "circle-dashed"),
}


@dataclass(frozen=True, slots=True)
class ReportRow:
    """A row of the table with everything the report knows about it."""

    row: GateRow
    role: str
    base_result: str
    sentence: str
    settle: str
    method: str
    cases: tuple[str, ...]


def verdict_chip(row: Mapping[str, Any]) -> Chip:
    """The verdict word of one row with its shape and tone."""
    code = str(row.get("verdict", ""))
    chip = VERDICT.get(code) or _MORE_VERDICTS.get(code) or VERDICT["missing"]
    word = str(row.get("verdict_label") or chip.word)
    return Chip(word, chip.tone, chip.icon)


def gate_rows(content: Mapping[str, Any], *, judged: bool) -> tuple[GateRow, ...]:
    """Return the rows of a report's content, fit for `elements/gates.html`.

    Args:
        content: a gate report; shares are percent (0 to 100), changes percentage points.
        judged: what the verdict stands on, or what is only reported beside it.
    """
    return tuple(
        found.row for found in report_rows(content) if judged == (found.role != ROLES["reported"])
    )


def report_rows(content: Mapping[str, Any]) -> tuple[ReportRow, ...]:
    """Return every row of a report's content with its sentences."""
    rows: Sequence[Mapping[str, Any]] = content.get("rows", ())
    reach: dict[str, float] = defaultdict(float)
    for row in rows:  # rows of one unit share a scale, so that their bars compare
        for key in ("change", "low", "high"):
            reach[_scale(row)] = max(reach[_scale(row)], abs(row.get(key) or 0.0))
    return tuple(_report_row(row, reach[_scale(row)]) for row in rows)


def _scale(row: Mapping[str, Any]) -> str:
    return str(row.get("unit", ""))


def _report_row(row: Mapping[str, Any], reach: float) -> ReportRow:
    role = str(row.get("role", ""))
    return ReportRow(
        row=_gate_row(row, reach),
        role=ROLES.get(role, role),
        base_result=_result(row, "base_passed", "base_value"),
        sentence=str(row.get("sentence") or ""),
        settle=str(row.get("settle") or ""),
        method=str(row.get("method") or ""),
        cases=tuple(str(case) for case in row.get("cases") or ()),
    )


def _gate_row(row: Mapping[str, Any], reach: float) -> GateRow:
    change, low, high = row.get("change"), row.get("low"), row.get("high")
    bar = None
    if change is not None and low is not None and high is not None:
        # Margins of money and time are percent, and so have no place on a bar of amounts.
        margin = (row.get("margin") or 0.0) if row.get("unit") not in ("money", "ms") else 0.0
        signed = -margin if row.get("better") == "up" else margin
        reach = max(reach, abs(margin))
        bar = draw_interval(
            low, change, high, reach=reach or 1.0, margin=signed if margin else None
        )
    return GateRow(
        name=str(row.get("suite_label", "")),
        metric=str(row.get("metric_label", "")),
        result=_result(row, "passed", "value") or _count(row),
        change=_change(row, change) if change is not None else _instead(row),
        interval=f"{_change(row, low)} to {_change(row, high)}" if bar is not None else "",
        bar=bar,
        verdict=verdict_chip(row),
        allowed=_allowed(row),
    )


def _count(row: Mapping[str, Any]) -> str:
    """A hard rule counts what broke it: "0 failed" reads better than "none" passed."""
    result = str(row.get("result") or NOT_MEASURED)
    if row.get("role") == "hard_rule" and result == "none":
        return "0 failed" if row.get("metric") == "must_pass" else "0"
    return result


def _allowed(row: Mapping[str, Any]) -> str:
    """What the policy lets pass: without it "No worse" cannot be understood."""
    role, margin = row.get("role"), row.get("margin")
    if role == "guardrail" and margin is not None:
        return f"may be up to {_least(row, margin)} worse"
    if role == "primary" and margin:
        return f"has to be at least {_least(row, margin)} better"
    return ""


def _least(row: Mapping[str, Any], margin: float) -> str:
    if row.get("unit") == "percent":
        return f"{margin:g}\N{NO-BREAK SPACE}pt"
    unit = "" if row.get("unit") == "number" else "\N{NO-BREAK SPACE}%"
    return f"{margin:,.10g}{unit}"


def _instead(row: Mapping[str, Any]) -> str:
    """What stands where no change can be given: a floor's limit, or why there is nothing."""
    limit = row.get("limit")
    if row.get("role") == "floor" and limit is not None:
        side = "at least" if row.get("better") == "up" else "at most"
        return f"Limit: {side} {format_value(limit / 100, Unit.SHARE)}"
    return str(row.get("sentence") or "Not compared")


def _result(row: Mapping[str, Any], passed_key: str, value_key: str) -> str:
    passed, value = row.get(passed_key), row.get(value_key)
    if passed is not None and row.get("n"):
        return f"{passed:,} / {row['n']:,}"
    if value is None:
        return ""
    return format_value(_own(row, value), _unit(row))


def _change(row: Mapping[str, Any], value: float | None) -> str:
    return format_change(None if value is None else _own(row, value), _unit(row))


def _unit(row: Mapping[str, Any]) -> Unit:
    known = {"money": Unit.MONEY, "ms": Unit.MILLISECONDS, "percent": Unit.SHARE}
    return known.get(str(row.get("unit", "")), Unit.SCORE)


def _own(row: Mapping[str, Any], value: float) -> float:
    """Percent are shares on our pages; money and milliseconds stay what they are."""
    return value / 100 if row.get("unit") == "percent" else value
