"""The SQL of spans: inserted once, found again by trace, serialised where a trace is split."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from django.db import connection

from governance.receipts.spans import SpanData

TRACE_LOCK = 0x74726163  # "trac": the first half of the advisory locks' keys
BUCKETS = 64

INSERT = """
    INSERT INTO governance_span (day, trace_id, span_id, parent_span_id, name, service, started_at,
        duration_ns, status, attributes, received_at)
    SELECT d, t, s, p, n, v, a, u, c, j, %s
    FROM json_to_recordset(%s::json) AS batch(d date, t text, s text, p text, n text, v text,
        a timestamptz, u bigint, c smallint, j jsonb)
    ORDER BY t, s
    ON CONFLICT (trace_id, span_id, day) DO NOTHING RETURNING trace_id, span_id
"""
DIFFERENT = """
    SELECT kept.trace_id, kept.span_id
    FROM json_to_recordset(%s::json) AS batch(d date, t text, s text, p text, n text, v text,
        a timestamptz, u bigint, c smallint, j jsonb)
    JOIN governance_span AS kept ON kept.trace_id = t AND kept.span_id = s AND kept.day = d
    WHERE kept.day BETWEEN %s AND %s
      AND (parent_span_id, name, service, started_at, duration_ns, status, attributes)
          IS DISTINCT FROM (p, n, v, a, u, c, j)
"""
OTHERS = """
    SELECT trace_id, span_id, parent_span_id, name, service, started_at, duration_ns, status,
        attributes::text
    FROM governance_span
    WHERE trace_id = ANY(%s) AND day BETWEEN %s AND %s
      AND trace_id || span_id <> ALL(%s)
"""


def _as_json(span: SpanData) -> dict[str, object]:
    return {
        "d": span.day.isoformat(), "t": span.trace_id, "s": span.span_id,
        "p": span.parent_span_id, "n": span.name, "v": span.service,
        "a": span.started_at.isoformat(), "u": span.duration_ns, "c": span.status,
        "j": span.attributes,
    }  # fmt: skip


def lock_traces(split: Mapping[str, bool]) -> None:
    """Hold the locks of these traces until the transaction ends.

    Args:
        split: per trace id, whether this batch holds only a part of the trace.

    Whole traces share a lock, so batches of whole traces run side by side. A batch with a part of
    a trace takes it alone: else two halves that arrive at once would not see each other, and the
    receipt would be made of one of them.
    """
    alone: dict[int, bool] = {}
    for trace_id, is_split in split.items():
        bucket = int(trace_id[-4:], 16) % BUCKETS
        alone[bucket] = alone.get(bucket, False) or is_split
    with connection.cursor() as cursor:
        for shared, buckets in (
            ("", sorted(bucket for bucket, is_alone in alone.items() if is_alone)),
            ("_shared", sorted(bucket for bucket, is_alone in alone.items() if not is_alone)),
        ):
            if buckets:
                cursor.execute(
                    f"SELECT count(pg_advisory_xact_lock{shared}(%s, bucket)::text)"  # noqa: S608
                    " FROM unnest(%s::int[]) AS bucket",
                    [TRACE_LOCK, buckets],
                )


def insert(spans: Sequence[SpanData], received_at: datetime) -> set[tuple[str, str]]:
    """Insert the spans whose ids are new; returns the ids that were."""
    with connection.cursor() as cursor:
        cursor.execute(INSERT, [received_at, json.dumps([_as_json(span) for span in spans])])
        return set(cursor.fetchall())


def different(spans: Sequence[SpanData]) -> set[tuple[str, str]]:
    """Return which of these spans are stored with another content."""
    if not spans:
        return set()
    days = [span.day for span in spans]
    with connection.cursor() as cursor:
        cursor.execute(
            DIFFERENT, [json.dumps([_as_json(span) for span in spans]), min(days), max(days)]
        )
        return set(cursor.fetchall())


def others(fresh: Mapping[str, Sequence[SpanData]]) -> dict[str, list[SpanData]]:
    """Return the spans of these traces that are stored beside the given ones.

    A trace may have begun on the day before or go on into the next one.
    """
    spans = [span for group in fresh.values() for span in group]
    days = [span.day for span in spans]
    found: dict[str, list[SpanData]] = {}
    with connection.cursor() as cursor:
        cursor.execute(
            OTHERS,
            [
                list(fresh), min(days) - timedelta(days=1), max(days) + timedelta(days=1),
                [span.trace_id + span.span_id for span in spans],
            ],
        )  # fmt: skip
        for (
            trace_id,
            span_id,
            parent,
            name,
            service,
            started_at,
            duration,
            status,
            text,
        ) in cursor.fetchall():
            found.setdefault(trace_id, []).append(
                SpanData(
                    trace_id, span_id, parent, name, service, started_at.astimezone(UTC),
                    duration, status, json.loads(text),
                )
            )  # fmt: skip
    return found


def delete(spans: Sequence[SpanData]) -> None:
    """Take back spans of this very transaction, whose trace turned out to be unusable."""
    if spans:
        days = [span.day for span in spans]
        with connection.cursor() as cursor:
            cursor.execute(
                "DELETE FROM governance_span USING unnest(%s::text[], %s::text[])"
                " AS taken(trace_id, span_id) WHERE governance_span.trace_id = taken.trace_id"
                " AND governance_span.span_id = taken.span_id AND day BETWEEN %s AND %s",
                [
                    [span.trace_id for span in spans], [span.span_id for span in spans],
                    min(days), max(days),
                ],
            )  # fmt: skip
