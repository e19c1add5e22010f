"""What a gate report says, grouped for a reader in a hurry, and what the change costs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboards.gates import report_rows
from dashboards.numbers import MINUS, NOT_MEASURED, Unit, format_value

GROUP_OF = {
    "better": "better",
    "no_worse": "same",
    "met": "same",
    "worse": "worse",
    "not_better": "worse",
    "broken": "worse",
    "not_enough_evidence": "unclear",
    "no_baseline": "unknown",
}
COSTS_READ_FROM = ("recent", "golden", "adversarial")  # recent cases are most like those to come


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that got better or worse: what it is, and by how much on which suite."""

    name: str
    parts: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Findings:
    """Everything a gate looked at, by what it found."""

    better: tuple[Finding, ...] = ()
    worse: tuple[Finding, ...] = ()
    same: tuple[Finding, ...] = ()
    unclear: tuple[Finding, ...] = ()
    unknown: tuple[Finding, ...] = ()
    unjudged: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """A difference in money with its interval, ready to print."""

    value: str
    interval: str


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run costs, and what that makes in a week. What is empty is not known."""

    measured: bool
    per_run: str
    change: Change | None = None
    by_chance: bool = False
    a_week: Change | None = None
    runs_a_week: int = 0
    source: str = ""


def findings(content: Mapping[str, Any], kpis: Sequence[tuple[str, str]]) -> Findings:
    """Group the rows of a gate report.

    Args:
        content: as stored; shares in percent.
        kpis: (name, measure) of the workflow's KPIs: what no eval measures is not known.
    """
    grouped: dict[str, dict[str, list[str]]] = {
        name: {} for name in ("better", "worse", "same", "unclear", "unknown", "unjudged")
    }
    notes: dict[tuple[str, str], str] = {}
    rows: Sequence[Mapping[str, Any]] = content.get("rows", ())
    for row, shown in zip(rows, report_rows(content), strict=True):
        group, note = _group(row)
        name = str(row.get("metric_label", ""))
        grouped[group].setdefault(name, []).append(_part(row, shown.row, shown.base_result))
        if note:
            notes[group, name] = note
    for refusal in content.get("refusals", ()):
        grouped["unknown"].setdefault(str(refusal.get("sentence", "")), [])
    seen = {str(row.get("metric")) for row in rows}
    for name, measure in kpis:
        if measure not in seen:
            grouped["unknown"].setdefault(name, ["only production shows it"])
    return Findings(
        **{
            group: tuple(
                Finding(name, tuple(dict.fromkeys(parts)), notes.get((group, name), ""))
                for name, parts in found.items()
            )
            for group, found in grouped.items()
        }
    )


def _group(row: Mapping[str, Any]) -> tuple[str, str]:
    """Where a row belongs; what the gate did not judge is told by its interval, and says so."""
    verdict = str(row.get("verdict", ""))
    if row.get("role") == "hard_rule":
        return {"pass": "same", "fail": "worse"}.get(str(row.get("outcome")), "unknown"), ""
    low, high = row.get("low"), row.get("high")
    is_known = low is not None and high is not None
    if verdict == "no_worse" and is_known and _is_worse(row):
        # Inside the margin and worse all the same: nobody may find that out afterwards.
        return "worse", "within what the policy allows"
    if verdict == "waived":
        return ("worse" if is_known and _is_worse(row) else "unclear"), "set aside"
    if verdict != "reported":
        group = GROUP_OF.get(verdict, "unknown")
        # Measured and not shown either way is another thing than not measured.
        return ("unknown" if group == "unclear" and row.get("change") is None else group), ""
    if low is None or high is None:
        return "unjudged", ""
    if low <= 0 <= high:
        return "unjudged", ""  # an interval around zero rules nothing out
    return "worse" if _is_worse(row) else "better", "not judged"


def _is_worse(row: Mapping[str, Any]) -> bool:
    """Whether the whole interval is on the bad side of zero."""
    return bool(row["high"] < 0 if row.get("better") == "up" else row["low"] > 0)


def _part(row: Mapping[str, Any], shown: Any, before: str) -> str:
    suite = str(row.get("suite", ""))
    if row.get("change") is not None:
        return f"{shown.change} {suite}".strip()
    if row.get("role") == "hard_rule":
        return str(row.get("sentence", "")).rstrip(".")
    if row.get("role") == "floor":
        return f"{shown.result} {suite}, {shown.change[:1].lower()}{shown.change[1:]}"
    if before:
        return f"{shown.result} {suite}, before {before}"
    return f"{shown.result} {suite}" if shown.result != NOT_MEASURED else suite


def cost_of(content: Mapping[str, Any], *, runs_a_week: int, base: str) -> Cost:
    """Return what the change costs per run and per week, or that nobody measured it.

    Args:
        runs_a_week: runs of the workflow in the last seven whole days.
        base: the name of the release it is compared with; empty where nothing is live.
    """
    rows = {
        str(row.get("suite")): row
        for row in content.get("rows", ())
        if row.get("metric") == "cost" and row.get("value") is not None
    }
    row = next((rows[suite] for suite in COSTS_READ_FROM if suite in rows), None)
    if row is None:
        return Cost(False, "Not measured: the evals report no cost")
    source = f"{row['n']:,} cases of the {row.get('suite')} suite"
    now, before = _money(row["value"]), row.get("base_value")
    if before is None or row.get("change") is None:
        return Cost(True, f"{now} a run; nothing to compare it with", source=source)
    change, low, high = row["change"], row.get("low"), row.get("high")
    return Cost(
        measured=True,
        per_run=f"{now} a run against {_money(before)} of {base}",
        change=_ranged(change, low, high),
        by_chance=low is not None and high is not None and low <= 0 <= high,
        a_week=_ranged(change, low, high, times=runs_a_week) if runs_a_week else None,
        runs_a_week=runs_a_week,
        source=source,
    )


def _ranged(change: float, low: float | None, high: float | None, *, times: int = 1) -> Change:
    """A difference with its interval, times so many runs."""
    ends = [end * times for end in (low, high) if end is not None]
    scale = max(abs(value) for value in (change * times, *ends))
    interval = " to ".join(_change(end, scale=scale) for end in ends) if len(ends) == 2 else ""
    return Change(_change(change * times, scale=scale), interval)


def _money(value: float) -> str:
    return format_value(value, Unit.MONEY)


def _change(value: float, *, scale: float) -> str:
    """A difference in money, with the decimals that its neighbours need."""
    places = 0 if scale >= 20 else 2 if scale >= 0.05 else 4
    text = f"${abs(value):,.{places}f}"
    if not any(digit in text for digit in "123456789"):
        return "no change"
    return f"{'+' if value > 0 else MINUS}{text}"
