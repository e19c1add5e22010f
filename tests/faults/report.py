"""docs/reliability.md from the figures of one run: promise, attack, figure, how to repeat it."""

from __future__ import annotations

import json
import os
import platform
from collections import defaultdict
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

RESULTS = "FAULTS_RESULTS"  # the variable that names the file of figures
PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"


@dataclass(frozen=True)
class Promise:
    """One invariant: what is promised, how it is attacked, and by which tests."""

    key: str
    promise: str
    attack: str
    tests: tuple[str, ...]
    # What is measured elsewhere today, where `make faults` does not attack it yet.
    elsewhere: str = ""


PROMISES = (
    Promise(
        "I1", "nothing becomes live without a valid quorum on exactly those bytes",
        "a state machine does everything that people and machines do, in any order, against a"
        " small reference; one byte of each slot is changed after the first approval",
        ("tests/faults/test_quorum.py", "tests/faults/test_bytes.py"),
    ),
    Promise(
        "I2", "one effect per idempotency key; the same key with another body is refused",
        "2 to 32 identical requests at once; the web process is killed between commit and answer,"
        " then asked again",
        ("tests/faults/test_once.py",),
    ),
    Promise(
        "I3", "two approvers at once count exactly", "2, 4 and 8 threads let go at once",
        ("tests/faults/test_races.py",),
    ),
    Promise(
        "I4", "promoting beside promoting or going back leaves one line of history; the loser gets"
        " a reason", "pairs let go at once; every step of the history is compared",
        ("tests/faults/test_races.py",),
    ),
    Promise(
        "I5", "an acknowledged change survives kill -9",
        "the web process, PostgreSQL and Valkey are killed at six named places of an approval and"
        " of a rollback, a worker at four of its evals and gate; who got no answer asks again",
        ("tests/faults/test_kills.py",),
    ),
    Promise(
        "I6", "going back works with Redis, workers, mail and eval targets down",
        "all of them away, refusing and hanging; click; watch what is served",
        ("tests/faults/test_serving_without.py",),
    ),
    Promise(
        "I7", "applications keep the last known good when we are down, and never run an unapproved"
        " digest", "web process and database away under load of real clients; damaged caches",
        ("tests/faults/test_client_outage.py",),
    ),
    Promise(
        "I8", "a scheduled eval runs once and is never silently missed",
        "a worker is killed with -9 in the middle of a run, again and again; Redis forgets"
        " everything before and during a run; several beats at once; hours without a beat; the"
        " nights in which clocks change",
        ("tests/faults/test_eval_runs.py", "tests/faults/test_beats.py"),
    ),
    Promise(
        "I9", "the share of a pilot is the share that was asked for, and sticky",
        "100,000 keys; restarts; widening", ("tests/faults/test_serving_without.py",),
    ),
    Promise(
        "I10", "tampering with the audit is detected",
        "twelve moves past the database's own rules; events from many threads while it is verified",
        ("tests/faults/test_tampered.py",),
    ),
    Promise(
        "I11", "an accepted receipt is stored once, or refused with a code",
        "bad inputs, duplicates, kills in the middle of a batch, a slow database",
        (), "Not attacked in full yet. Today: bad inputs and duplicates through the doors"
        " (tests/api/test_otlp.py, tests/api/test_receipts.py, tests/receipts/test_store.py);"
        " repeated batches are part of I2.",
    ),
    Promise(
        "I12", "a money action executes at most once; unknown is shown as unknown",
        "a ledger that commits and drops the connection; kills between send and record",
        (), "There are no money actions yet: nothing to attack.",
    ),
    Promise(
        "I13", "segregation of duties holds on every route",
        "roles × pages, htmx fragments, API scopes, Django's admin, commands and services",
        (
            "tests/dashboards/test_roles.py",
            "tests/dashboards/test_routes.py",
            "tests/dashboards/test_service_roles.py",
        ),
    ),
    Promise(
        "I14", "nobody sees a workflow that is not theirs",
        "every address, export and endpoint is asked for another workflow's things",
        ("tests/dashboards/test_routes.py",),
    ),
    Promise(
        "I15", "clocks do not matter", "the application's clock two hours off, both ways",
        ("tests/faults/test_clocks.py",),
    ),
)  # fmt: skip
Figures = dict[str, list[dict[str, Any]]]


def read(results: Path) -> Figures:
    """The figures of one run, by invariant, in the order they were measured."""
    found: Figures = defaultdict(list)
    for line in results.read_text().splitlines() if results.exists() else ():
        row = json.loads(line)
        found[row.pop("invariant")].append(row)
    return found


def unmeasured(figures: Figures) -> list[str]:
    """The invariants that a full run should have measured and did not."""
    return [one.key for one in PROMISES if one.tests and not figures.get(one.key)]


def number(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,g}"


def _line(row: dict[str, Any]) -> str:
    flat = {
        name: value
        for name, value in row.items()
        if name != "full" and not isinstance(value, dict | list)
    }
    return ", ".join(f"{name.replace('_', ' ')} {number(value)}" for name, value in flat.items())


def figure_of(one: Promise, figures: Figures) -> str:
    """One cell: how hard it was attacked, and what was measured, in words and numbers."""
    rows = figures.get(one.key, [])
    if not rows:
        return one.elsewhere or "**not measured in this run**"
    in_full = [bool(row.get("full")) for row in rows]
    return ("In full: " if all(in_full) else "Short: ") + _measured(one, rows)


def _measured(one: Promise, rows: list[dict[str, Any]]) -> str:
    if one.key == "I1":
        slots = [row for row in rows if "slot" in row]
        rest = [row for row in rows if "slot" not in row]
        said = [_line(row) for row in rest]
        if slots:
            said.append(f"{sum(row['refused'] for row in slots)} of 7 slots refused")
        return "; ".join(said)
    return "; ".join(_line(row) for row in rows)


def tables(figures: Figures) -> list[str]:
    """What does not fit into one cell."""
    lines: list[str] = []
    for row in figures.get("I1", []):
        if "kinds" in row:
            lines += [
                "", "## What the state machine did (I1)", "",
                "| act | allowed | refused |", "|---|---:|---:|",
                *(
                    f"| {name.strip('_').replace('_', ' ')} | {allowed:,} | {refused:,} |"
                    for name, (allowed, refused) in row["kinds"].items()
                ),
            ]  # fmt: skip
    for row in figures.get("I10", []):
        if "moves" in row:
            lines += [
                "", "## Twelve ways to tamper (I10)", "",
                "| move | refused to the product's logins | done past the triggers, shown by |",
                "|---|---|---|",
                *(f"| {name} | {refused} | {shown} |" for name, refused, shown in row["moves"]),
            ]  # fmt: skip
    for row in figures.get("I13", []):
        if "by_route" in row:
            lines += [
                "", "## Cells of the role tables (I13)", "", "| route | cells |", "|---|---:|",
                *(f"| {name} | {count:,} |" for name, count in row["by_route"].items()),
            ]  # fmt: skip
    return lines


def page(figures: Figures, day: date, *, run: str, failed: list[str]) -> str:
    """The whole page. `run` is the command that measured."""
    missing = unmeasured(figures)
    outcome = f" **Failed: {', '.join(failed)}.**" if failed else ""
    outcome += f" **Not measured: {', '.join(missing)}.**" if missing else ""
    lines = [
        "# Reliability", "",
        "What Countersign promises, how it is attacked, and what the last run found. This page is",
        f"written by `{run}` from what it measured;",
        "nobody types a figure here. The same attacks run shorter in `make test`.", "",
        f"Last run: {day:%d %B %Y}, {os.cpu_count()} processors,"
        f" Python {platform.python_version()}.{outcome or ' Every attack was withstood.'}",
        "", "| | promise | attack | figure | repeat |", "|---|---|---|---|---|",
    ]  # fmt: skip
    for one in PROMISES:
        repeat = f"`make faults ARGS='--only {one.key}'`" if one.tests else "–"
        figure = figure_of(one, figures).replace("|", "\\|")
        lines.append(f"| {one.key} | {one.promise} | {one.attack} | {figure} | {repeat} |")
    lines += [
        *tables(figures), "",
        "A figure is a measurement on one machine, not a guarantee for another. What a chain of",
        "hashes alone cannot show, and what checkpoints add, is in [Security](security.md).", "",
    ]  # fmt: skip
    return "\n".join(lines)
