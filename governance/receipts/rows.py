"""The SQL that writes receipts and roll-ups: one statement per batch, rows in locking order.

A batch travels as one JSON parameter: encoded once, read by PostgreSQL in one go. Every statement
touches its rows in the order of their keys, so two batches with the same rows never deadlock.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

from django.db import connection

from governance.receipts.drafts import ReceiptDraft
from governance.receipts.rollups import Counted, Sums

COLUMNS = (
    ("day", "date"), ("run_id", "text"), ("workflow_id", "bigint"), ("release_digest", "text"),
    ("resolved_by", "text"), ("standing", "text"), ("segment", "text"), ("case_id", "text"),
    ("started_at", "timestamptz"), ("duration_ms", "float8"), ("cost", "numeric"),
    ("currency", "text"), ("escalated", "boolean"), ("outcome", "text"), ("quality", "float8"),
    ("acceptance", "text"), ("amount", "numeric"), ("refs", "jsonb"), ("measures", "jsonb"),
    ("violations", "text[]"), ("observed", "jsonb"), ("model_answered", "text"),
    ("tokens_in", "bigint"), ("tokens_out", "bigint"), ("error", "text"), ("trace_id", "text"),
    ("output_sha256", "text"), ("body_sha256", "text"), ("received_at", "timestamptz"),
    ("token_id", "bigint"),
)  # fmt: skip
NAMES = ", ".join(name for name, _ in COLUMNS)
RECORD = ", ".join(f"{name} {kind}" for name, kind in COLUMNS)
KEPT = ("day", "run_id", "received_at")
# Marks the body of a receipt made of spans: only these are ever corrected.
MADE_OF_SPANS = "spans:"

# Only names from the tuple above are put into these statements; values are parameters.
INSERT = f"""
    INSERT INTO governance_receipt ({NAMES})
    SELECT {NAMES} FROM json_to_recordset(%s::json) AS batch({RECORD}) ORDER BY run_id, day
    ON CONFLICT (run_id, day) DO NOTHING RETURNING run_id, day
"""  # noqa: S608
REPLACE = f"""
    UPDATE governance_receipt AS receipt
    SET {", ".join(f"{name} = batch.{name}" for name, _ in COLUMNS if name not in KEPT)}
    FROM json_to_recordset(%s::json) AS batch({RECORD})
    WHERE receipt.run_id = batch.run_id AND receipt.day = batch.day
"""  # noqa: S608
ROLL_UP = """
    INSERT INTO governance_rollup AS kept (workflow_id, grain, starts_at, release_digest, segment,
        measure, n, total, total_squares)
    SELECT workflow_id, grain, starts_at, release_digest, segment, measure, n, total, squares
    FROM json_to_recordset(%s::json) AS batch(position bigint, workflow_id bigint, grain text,
        starts_at timestamptz, release_digest text, segment text, measure text, n bigint,
        total float8, squares float8)
    ORDER BY position
    ON CONFLICT (workflow_id, grain, starts_at, release_digest, segment, measure) DO UPDATE SET
        n = kept.n + excluded.n,
        total = CASE WHEN kept.n + excluded.n = 0 THEN 0 ELSE kept.total + excluded.total END,
        total_squares = CASE WHEN kept.n + excluded.n = 0 THEN 0
            ELSE kept.total_squares + excluded.total_squares END
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A draft with everything that was decided about it, ready to be written."""

    draft: ReceiptDraft
    day: date
    workflow_id: int
    standing: str
    body_sha256: str
    received_at: datetime
    token_id: int | None

    @property
    def key(self) -> tuple[str, date]:
        return self.draft.run_id, self.day

    def counted(self) -> Counted:
        draft = self.draft
        return Counted(
            self.workflow_id, draft.started_at, draft.release, draft.segment,
            None if draft.cost is None else float(draft.cost), draft.duration_ms,
            draft.escalated, draft.quality, draft.error, draft.measures,
        )  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        draft = self.draft
        return {
            "day": self.day.isoformat(), "run_id": draft.run_id, "workflow_id": self.workflow_id,
            "release_digest": draft.release, "resolved_by": draft.resolved_by,
            "standing": self.standing, "segment": draft.segment, "case_id": draft.case_id,
            "started_at": draft.started_at.isoformat(), "duration_ms": draft.duration_ms,
            "cost": None if draft.cost is None else str(draft.cost), "currency": draft.currency,
            "escalated": draft.escalated, "outcome": draft.outcome, "quality": draft.quality,
            "acceptance": draft.acceptance,
            "amount": None if draft.amount is None else str(draft.amount),
            "refs": dict(draft.refs), "measures": dict(draft.measures),
            "violations": list(draft.violations or ()), "observed": dict(draft.observed),
            "model_answered": draft.model_answered, "tokens_in": draft.tokens_in,
            "tokens_out": draft.tokens_out, "error": draft.error, "trace_id": draft.trace_id,
            "output_sha256": draft.output_sha256, "body_sha256": self.body_sha256,
            "received_at": self.received_at.isoformat(), "token_id": self.token_id,
        }  # fmt: skip


def insert(rows: Sequence[Row]) -> set[tuple[str, date]]:
    """Insert the rows whose identity is new; returns the identities that were."""
    if not rows:
        return set()
    with connection.cursor() as cursor:
        cursor.execute(INSERT, [json.dumps([row.as_json() for row in rows])])
        return set(cursor.fetchall())


def replace(rows: Sequence[Row]) -> None:
    """Overwrite what stands in the receipts of these traces. The caller holds their locks."""
    if rows:
        with connection.cursor() as cursor:
            cursor.execute(REPLACE, [json.dumps([row.as_json() for row in rows])])


def stored_bodies(keys: Iterable[tuple[str, date]]) -> dict[tuple[str, date], str]:
    """Return the body hash of each receipt that is stored under these identities."""
    wanted = set(keys)
    if not wanted:
        return {}
    run_ids = [run_id for run_id, _ in wanted]
    days = sorted({day for _, day in wanted})
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT run_id, day, body_sha256 FROM governance_receipt"
            " WHERE run_id = ANY(%s) AND day = ANY(%s)",
            [run_ids, days],
        )
        return {(run_id, day): body for run_id, day, body in cursor.fetchall()}


class Known(NamedTuple):
    """A stored receipt that was made of spans, and what the roll-ups counted of it."""

    run_id: str
    day: date
    body_sha256: str
    counted: Counted
    observed: dict[str, str]
    model_answered: str


def stored_traces(trace_ids: Sequence[str], first: date, last: date) -> dict[str, Known]:
    """Return and lock the receipts that were made of these traces, by trace id.

    A trace may have begun on the day before or go on into the next one.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT run_id, day, body_sha256, workflow_id, started_at, release_digest, segment,"
            " cost, duration_ms, escalated, quality, error, measures::text, observed::text,"
            " model_answered"
            " FROM governance_receipt WHERE run_id = ANY(%s) AND day BETWEEN %s AND %s"
            " AND starts_with(body_sha256, %s) ORDER BY run_id, day FOR UPDATE",
            [
                list(trace_ids), first - timedelta(days=1), last + timedelta(days=1),
                MADE_OF_SPANS,
            ],
        )  # fmt: skip
        return {
            run_id: Known(
                run_id,
                day,
                body,
                Counted(
                    workflow_id, started_at.astimezone(UTC), release, segment,
                    None if cost is None else float(cost), duration_ms, escalated, quality, error,
                    json.loads(measures),
                ),
                json.loads(observed),
                model_answered,
            )
            for run_id, day, body, workflow_id, started_at, release, segment, cost, duration_ms,
            escalated, quality, error, measures, observed, model_answered in cursor.fetchall()
        }  # fmt: skip


def roll_up(sums: Sums) -> None:
    """Add the changes to the stored roll-ups, last in the transaction: these rows are hot."""
    changes = [
        {
            "position": position, "workflow_id": key.workflow_id, "grain": key.grain,
            "starts_at": key.starts_at.isoformat(), "release_digest": key.release,
            "segment": key.segment, "measure": key.measure, "n": n, "total": total,
            "squares": squares,
        }
        for position, (key, n, total, squares) in enumerate(sums.changes())
    ]  # fmt: skip
    if changes:
        with connection.cursor() as cursor:
            cursor.execute(ROLL_UP, [json.dumps(changes)])
