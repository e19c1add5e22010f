"""What the guard compares: the measures that a pilot and the stable release report."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import connection

from governance.rollouts.guard_statistics import ALPHA, Compared, Sample, Verdict, compare
from governance.rollouts.pilot_models import Pilot

# What a run says of a measure, in SQL over receipts; other names are looked up in `measures`.
COLUMNS = {
    "runs": "1.0",
    "error": "CASE WHEN error <> '' THEN 1.0 ELSE 0.0 END",
    "escalated": "CASE escalated WHEN true THEN 1.0 WHEN false THEN 0.0 END",
    "quality": "quality",
    "cost": "cost::float",
    "latency_ms": "duration_ms",
}
RATES = ("error", "escalated", "quality", "policy_ok", "silent_error", "correct")


def samples(
    workflow_id: int, releases: Sequence[str], measures: Sequence[str], since: datetime
) -> dict[tuple[str, str], Sample]:
    """Return what each release reports of each measure since then.

    Whole hours come from the roll-ups; only the hour in which it began is read from receipts. So
    the work grows with hours, not with receipts.

    Returns:
        By (release digest, measure); what nobody reported is missing.
    """
    first_whole = since.replace(minute=0, second=0, microsecond=0)
    if first_whole < since:
        first_whole += timedelta(hours=1)
    found: dict[tuple[str, str], Sample] = {}
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT release_digest, measure, sum(n), sum(total), sum(total_squares)"
            " FROM governance_rollup WHERE grain = 'hour' AND starts_at >= %s"
            " AND workflow_id = %s AND measure = ANY(%s) AND release_digest = ANY(%s)"
            " GROUP BY release_digest, measure",
            [first_whole, workflow_id, list(measures), list(releases)],
        )
        for release, measure, n, total, squares in cursor.fetchall():
            found[release, measure] = Sample(int(n), float(total), float(squares))
        values = ", ".join(
            f"(%s, {COLUMNS.get(measure, '(measures->>%s)::float')})" for measure in measures
        )
        named = [
            part
            for measure in measures
            for part in ((measure,) if measure in COLUMNS else (measure, measure))
        ]
        cursor.execute(
            "SELECT release_digest, said.measure, count(said.value), sum(said.value),"  # noqa: S608
            " sum(said.value * said.value) FROM governance_receipt,"
            f" LATERAL (VALUES {values}) AS said(measure, value)"
            " WHERE day BETWEEN %s AND %s AND workflow_id = %s AND started_at >= %s"
            " AND started_at < %s AND release_digest = ANY(%s) AND said.value IS NOT NULL"
            " GROUP BY release_digest, said.measure",
            [
                *named, since.date(), first_whole.date(), workflow_id, since, first_whole,
                list(releases),
            ],
        )  # fmt: skip
        for release, measure, n, total, squares in cursor.fetchall():
            before = found.get((release, measure), Sample())
            found[release, measure] = Sample(
                before.n + int(n), before.total + float(total), before.squares + float(squares)
            )
    return found


def judged(pilot: Pilot) -> list[tuple[dict[str, Any], Compared]]:
    """Compare the pilot with the stable release beside it, since the running step began."""
    promotion = pilot.promotion
    stable = str(promotion.base_id)
    measures = [str(rule["measure"]) for rule in pilot.rules]
    found = samples(
        promotion.workflow_id, [promotion.release_id, stable], ["runs", *measures],
        pilot.step_started_at,
    )  # fmt: skip
    runs = found.get((promotion.release_id, "runs"), Sample())
    rows: list[tuple[dict[str, Any], Compared]] = [
        (
            {"measure": "runs", "level": "notify"},
            Compared(
                Verdict.PASS if runs.n else Verdict.NO_DATA,
                runs,
                found.get((stable, "runs"), Sample()),
            ),
        )
    ]
    for rule in pilot.rules:
        measure = str(rule["measure"])
        rows.append(
            (
                rule,
                compare(
                    found.get((promotion.release_id, measure), Sample()),
                    found.get((stable, measure), Sample()),
                    higher_is_better=rule["direction"] == "higher",
                    margin=float(rule["margin_points"]) / 100.0,
                    rules=len(pilot.rules),
                    alpha=ALPHA / len(pilot.steps),
                    is_rate=measure in RATES,
                ),
            )
        )
    return rows
