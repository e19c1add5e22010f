"""Making tomorrow's partitions before the first receipt of tomorrow needs them."""

from __future__ import annotations

from datetime import timedelta

from governance import audit
from governance.audit import Actor
from governance.common.time import now, true_now
from governance.jobs.kinds import job_kind
from governance.jobs.models import Schedule
from governance.jobs.services import Claim
from governance.receipts.partitions import ensure_partitions

SCHEDULE = "Receipt partitions of the coming week"
DAYS_AHEAD = 7


@job_kind("receipts.partitions")
def make_partitions(claim: Claim) -> None:
    """Make the partitions of today and the coming days. Safe to repeat."""
    today = true_now().date()
    ensure_partitions(today + timedelta(days=ahead) for ahead in range(DAYS_AHEAD + 1))


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
