"""Making tomorrow's partitions before its first receipt needs them, and dropping old ones."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings

from governance import audit
from governance.audit import Actor
from governance.common.time import now, true_now
from governance.jobs.kinds import job_kind
from governance.jobs.models import Schedule
from governance.jobs.services import Claim
from governance.receipts.partitions import drop_before, ensure_partitions

SCHEDULE = "Receipt partitions of the coming week"
DAYS_AHEAD = 7


@job_kind("receipts.partitions")
def make_partitions(claim: Claim) -> None:
    """Make the partitions of the coming days, drop what retention lets go. Safe to repeat."""
    today = true_now().date()
    ensure_partitions(today + timedelta(days=ahead) for ahead in range(DAYS_AHEAD + 1))
    for parent, days in (
        ("governance_receipt", settings.RECEIPT_DAYS),
        ("governance_span", settings.SPAN_DAYS),
    ):
        if days:
            drop_before(parent, today - timedelta(days=days))


@audit.atomic()
def ensure_schedule(*, actor: Actor) -> Schedule:
    """Have the partitions made every day. Ingestion works without it, one pause a day slower."""
    schedule, created = Schedule.objects.get_or_create(
        name=SCHEDULE,
        defaults={
            "kind": "receipts.partitions",
            "every": Schedule.Every.DAY,
            "next_at": now().replace(hour=0, minute=5, second=0, microsecond=0),
        },
    )
    if created:
        audit.record("schedule.created", schedule, actor=actor, every=schedule.every)
    return schedule
