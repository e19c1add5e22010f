"""Bake-offs as people see them: the form, the table in words, its charts and its file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from secrets import token_urlsafe
from typing import Any

from django import forms
from django.http import QueryDict

from dashboards.numbers import Unit, format_change, format_value
from dashboards.race_chart import RacePlot, Racer, draw_race
from governance.common.csv_cells import csv_line, safe_cell
from governance.evals.bake_off_table import BETTER, EVEN, UNTESTED, WORSE
from governance.evals.bake_offs import LONGEST_TITLE, race_metrics
from governance.evals.models import SuiteVersion
from governance.evals.policy import SUITE_KINDS
from governance.evals.requests import MOST_REPEATS
from governance.evals.suites import evidence_suites
from governance.releases.models import LiveRelease, Release
from governance.workflows.models import Workflow

RELEASES_OFFERED = 30
VERDICTS = {
    BETTER: ("better", "Better"),
    WORSE: ("worse", "Worse"),
    EVEN: ("not_enough_evidence", "Not told apart"),
    UNTESTED: ("missing", "Not compared"),
}
UNITS = {"percent": Unit.SHARE, "number": Unit.SCORE}
COLUMNS = (
    "release", "title", "digest", "run", "state", "results", "errors", "reason", "quality",
    "quality_low", "quality_high", "quality_of", "change", "change_low", "change_high",
    "p_better_holm", "p_worse_holm", "verdict", "cost", "cost_change", "latency_mean_ms",
    "latency_p50_ms", "latency_p95_ms", "latency_change_ms", "in_front", "dominated_by", "spent",
)  # fmt: skip


class BakeOffForm(forms.Form):
    """Which releases race, on what, for what."""

    title = forms.CharField(
        max_length=LONGEST_TITLE, error_messages={"required": "Say what this bake-off is about."}
    )
    suite = forms.ChoiceField(
        choices=SuiteVersion.Kind.choices, error_messages={"required": "Choose a suite."}
    )
    metric = forms.CharField(
        max_length=80, error_messages={"required": "Choose what the releases race for."}
    )
    reference = forms.CharField(
        max_length=71, error_messages={"required": "Choose what the others are compared with."}
    )
    repeats = forms.IntegerField(min_value=1, max_value=MOST_REPEATS, required=False)
    # Pressing twice asks once: the page that was pressed has one name.
    mark = forms.RegexField(r"^[\w-]{1,60}$", required=True)


def offered(workflow: Workflow, typed: QueryDict) -> dict[str, Any]:
    """What the form offers, with what was typed before; the live release is the reference."""
    releases = list(
        Release.objects.filter(workflow=workflow)
        .order_by("-number")
        .only("pk", "number", "title", "workflow")[:RELEASES_OFFERED]
    )
    live = LiveRelease.objects.filter(workflow=workflow).values_list("release_id", flat=True)
    suites = evidence_suites(workflow)
    usual = live[0] if live else releases[-1].pk if releases else ""
    return {
        "suites": [suites[kind] for kind in SUITE_KINDS if kind in suites],
        "metrics": race_metrics(workflow).items(),
        "releases": releases,
        "live": live[0] if live else "",
        "reference": typed.get("reference") or usual,
        "chosen": typed.getlist("releases") or [usual],
        "typed": typed,
        "most_repeats": MOST_REPEATS,
        "mark": typed.get("mark") or token_urlsafe(12),
    }


@dataclass(frozen=True, slots=True)
class Line:
    """One release as the table shows it."""

    row: Mapping[str, Any]
    is_reference: bool
    quality: str
    quality_range: str
    change: str
    change_range: str
    verdict: tuple[str, str] | None
    note: str
    cost: str
    cost_change: Sequence[str]
    latency: str
    latency_p95: str
    latency_change: Sequence[str]
    behind: str  # names of those that are as good in everything and better in something
    in_front: Sequence[str]


def lines(content: Mapping[str, Any]) -> list[Line]:
    """Return the finished table in words."""
    unit = UNITS[content["metric"]["unit"]]
    names = {row["release"]: row["name"] for row in content["releases"]}
    return [_line(row, unit, names, index == 0) for index, row in enumerate(content["releases"])]


def _line(row: Mapping[str, Any], unit: Unit, names: Mapping[str, str], is_reference: bool) -> Line:
    standing, against = row["standing"] or {}, row["against"] or {}
    quality, over = standing.get("quality") or {}, row["dominated_by"]
    return Line(
        row=row,
        is_reference=is_reference,
        quality=format_value(_in(unit, quality.get("value")), unit),
        quality_range=_range(quality, unit, format_value),
        change=format_change(_in(unit, against["change"]), unit) if against else "",
        change_range=_range(against, unit, format_change),
        verdict=VERDICTS[against["verdict"]] if against else None,
        note=_note(row, against),
        cost=format_value((standing.get("cost") or {}).get("value"), Unit.MONEY),
        cost_change=_difference(against.get("cost"), Unit.MONEY),
        latency=format_value((standing.get("latency") or {}).get("value"), Unit.MILLISECONDS),
        latency_p95=format_value(standing.get("latency_p95"), Unit.MILLISECONDS),
        latency_change=_difference(against.get("latency"), Unit.MILLISECONDS),
        behind=", ".join(names[digest] for digest in over or ()),
        in_front=row["in_front"],
    )


def _in(unit: Unit, value: float | None) -> float | None:
    """Shares are percent in the table and fractions for what writes numbers."""
    return value / 100 if value is not None and unit is Unit.SHARE else value


def _range(found: Mapping[str, Any], unit: Unit, words: Callable[[float | None, Unit], str]) -> str:
    low, high = found.get("low"), found.get("high")
    if low is None or high is None:
        return ""
    return f"{words(_in(unit, low), unit)} to {words(_in(unit, high), unit)}"


def _difference(figure: Mapping[str, Any] | None, unit: Unit) -> tuple[str, ...]:
    """A difference and its interval, such as −$2.02 and (−$2.40 to −$1.61)."""
    if figure is None:
        return ()
    ends = _range(figure, unit, format_change)
    return (format_change(figure["value"], unit), *([f"({ends})"] if ends else []))


def _note(row: Mapping[str, Any], against: Mapping[str, Any]) -> str:
    if row["error"]:
        return str(row["error"])
    if row["state"] == "cancelled":
        return "Its run was cancelled."
    if against.get("why_not"):
        return str(against["why_not"])
    if against and against["verdict"] in (BETTER, WORSE):
        p = against["worse_holm"] if against["verdict"] == WORSE else against["better_holm"]
        return f"p {p:.3f} after correction" if p >= 0.001 else "p below 0.001 after correction"
    return ""


def charts(content: Mapping[str, Any]) -> list[RacePlot]:
    """Quality against cost and against time, where every release reported it and it differs."""
    unit = UNITS[content["metric"]["unit"]]
    found = []
    for name, across, x_unit in (
        ("cost", "Cost per run", Unit.MONEY), ("latency", "Latency", Unit.MILLISECONDS),
    ):  # fmt: skip
        if name not in content["axes"]:
            continue
        racers = [
            Racer(
                name=row["name"], x=standing[name]["value"],
                y=_in(unit, standing["quality"]["value"]) or 0.0,
                low=_in(unit, standing["quality"]["low"]),
                high=_in(unit, standing["quality"]["high"]),
                in_front=name in row["in_front"], is_reference=index == 0,
            )
            for index, row in enumerate(content["releases"])
            if (standing := row["standing"]) and standing["quality"] and standing[name]
        ]  # fmt: skip
        plot = draw_race(
            racers, across=across, x_unit=x_unit, up=content["metric"]["label"], y_unit=unit
        )
        if plot is not None:
            found.append(plot)
    return found


def csv_lines(content: Mapping[str, Any]) -> Iterator[str]:
    """The table as a file: numbers as they were stored, one release a line."""
    yield csv_line(COLUMNS)
    for row in content["releases"]:
        yield csv_line([_cell(cell) for cell in _cells(row)])


def _cells(row: Mapping[str, Any]) -> list[Any]:
    standing, against = row["standing"] or {}, row["against"] or {}
    quality = standing.get("quality") or {}
    over = row["dominated_by"]
    return [
        row["name"], row["title"], row["release"], row["run"], row["state"], row["results"],
        standing.get("errors"), row["error"], quality.get("value"), quality.get("low"),
        quality.get("high"), quality.get("total"),
        against.get("change"), against.get("low"), against.get("high"),
        against.get("better_holm"), against.get("worse_holm"), against.get("verdict"),
        (standing.get("cost") or {}).get("value"), (against.get("cost") or {}).get("value"),
        (standing.get("latency") or {}).get("value"), standing.get("latency_p50"),
        standing.get("latency_p95"), (against.get("latency") or {}).get("value"),
        " ".join(row["in_front"]), " ".join(over or ()), row["spent"],
    ]  # fmt: skip


def _cell(value: object) -> str:
    return f"{value:.10f}" if isinstance(value, float) else safe_cell(value)
