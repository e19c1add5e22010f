"""Receipts for tests: a good one, of which a test changes what it is about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from governance.receipts.drafts import ReceiptDraft

STARTED = datetime.now(UTC).replace(minute=30, second=0, microsecond=0) - timedelta(hours=3)


def draft(run_id: str = "run-1", **changes: Any) -> ReceiptDraft:
    return ReceiptDraft(
        **{
            "run_id": run_id,
            "workflow": "support-triage",
            "started_at": STARTED,
            "segment": "billing",
            "case_id": "ticket-7",
            "duration_ms": 41.5,
            "cost": Decimal("0.0125"),
            "currency": "USD",
            "escalated": False,
            "measures": {"correct": 1.0, "first_response_s": 90.0},
            "violations": (),
            **changes,
        }
    )
