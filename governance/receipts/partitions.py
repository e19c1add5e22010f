"""The partitions of receipts and spans: made when the first row needs one, dropped when old."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from django.db import connection, transaction

from governance import audit
from governance.audit import Actor

AT_ONCE = 31  # days per transaction: every new table holds locks until the commit
ACTOR = Actor.system("receipts")
MISSING = """
    SELECT day FROM unnest(%s::date[]) AS day
    WHERE to_regclass('public.governance_receipt_' || to_char(day, 'YYYYMMDD')) IS NULL
       OR to_regclass('public.governance_span_' || to_char(day, 'YYYYMMDD')) IS NULL
    ORDER BY day
"""

# Days whose partitions are committed. A partition that an operator dropped is found missing by
# the insert, which forgets this and tries once more.
_known: set[date] = set()


def forget() -> None:
    """Ask the database again about every day."""
    _known.clear()


def ensure_partitions(days: Iterable[date]) -> int:
    """Make the partitions of these UTC days where they are missing; returns how many days."""
    missing = sorted(set(days) - _known)
    made = 0
    for start in range(0, len(missing), AT_ONCE):
        made += _make(missing[start : start + AT_ONCE])
    return made


def _make(days: list[date]) -> int:
    with audit.atomic():
        made = []
        with connection.cursor() as cursor:
            cursor.execute(MISSING, [days])
            missing = [day for (day,) in cursor.fetchall()]
            if missing:
                # Two senders of a day's first receipts: the second waits here, and only after a
                # table lock does PostgreSQL look again at which tables exist.
                cursor.execute(
                    "LOCK TABLE governance_receipt, governance_span IN SHARE UPDATE EXCLUSIVE MODE"
                )
            for day in missing:
                cursor.execute("SELECT cs_make_partitions(%s)", [day])
                if cursor.fetchone()[0]:
                    made.append(day.isoformat())
        if made:
            # A bulk act is one event that lists its objects.
            audit.record(
                "receipts.partition_made", actor=ACTOR, days=made,
                label=made[0] if len(made) == 1 else f"{made[0]} to {made[-1]}",
            )  # fmt: skip
        # Only what is committed may be remembered.
        transaction.on_commit(lambda: _known.update(days))
    return len(made)


def drop_before(parent: str, first_kept: date) -> list[str]:
    """Drop the partitions of `parent` that hold only days before `first_kept`.

    Seals, roll-ups and the audit stay. The database itself refuses to drop the last thirty days.

    Args:
        parent: governance_receipt or governance_span.

    Returns:
        The days that were dropped, in order.
    """
    with audit.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT cs_drop_partitions(%s, %s)", [parent, first_kept])
            days = [day.isoformat() for (day,) in cursor.fetchall()]
        if days:
            audit.record(
                "receipts.partition_dropped", actor=ACTOR, table=parent, days=days,
                label=days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}",
            )  # fmt: skip
        transaction.on_commit(forget)
    return days
