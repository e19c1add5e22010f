"""Roll-ups: what one receipt adds to each sum. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple

HOUR = "hour"
DAY = "day"


class Counted(NamedTuple):
    """What the roll-ups read of one receipt."""

    workflow_id: int
    started_at: datetime
    release: str
    segment: str
    cost: float | None
    duration_ms: float | None
    escalated: bool | None
    quality: float | None
    error: str
    measures: Mapping[str, float]


class Key(NamedTuple):
    """The identity of one roll-up row; its order is the order in which rows are locked."""

    workflow_id: int
    grain: str
    starts_at: datetime
    release: str
    segment: str
    measure: str


def measured(receipt: Counted) -> Iterator[tuple[str, float]]:
    """Yield each measure that the receipt reports; what nobody said is not a zero."""
    yield "runs", 1.0
    yield "error", 1.0 if receipt.error else 0.0
    if receipt.escalated is not None:
        yield "escalated", float(receipt.escalated)
    if receipt.cost is not None:
        yield "cost", receipt.cost
    if receipt.duration_ms is not None:
        yield "latency_ms", receipt.duration_ms
    if receipt.quality is not None:
        yield "quality", receipt.quality
    yield from receipt.measures.items()


@dataclass(slots=True)
class Sums:
    """Changes to roll-up rows: count, sum and sum of squares per key."""

    rows: dict[Key, list[float]] = field(default_factory=dict)

    def add(self, receipt: Counted, sign: int = 1) -> None:
        """Count one receipt in, or with sign -1 take it out again."""
        hour = receipt.started_at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        day = hour.replace(hour=0)
        for measure, value in measured(receipt):
            square = value * value
            for key in (
                Key(receipt.workflow_id, HOUR, hour, receipt.release, receipt.segment, measure),
                Key(receipt.workflow_id, DAY, day, receipt.release, "", measure),
            ):
                row = self.rows.get(key)
                if row is None:
                    self.rows[key] = [sign, sign * value, sign * square]
                else:
                    row[0] += sign
                    row[1] += sign * value
                    row[2] += sign * square

    def changes(self) -> list[tuple[Key, int, float, float]]:
        """Return what must be added to the stored rows, in locking order."""
        return [
            (key, int(n), total, squares)
            for key, (n, total, squares) in sorted(self.rows.items())
            if n or not math.isclose(total, 0.0, abs_tol=1e-12) or squares
        ]


def recount(receipts: Iterable[Counted]) -> dict[Key, tuple[int, float, float]]:
    """Return the roll-ups that these receipts should have, from nothing."""
    sums = Sums()
    for receipt in receipts:
        sums.add(receipt)
    return {key: (n, total, squares) for key, n, total, squares in sums.changes()}
