"""Partitions made before their first receipt, old ones dropped, receipts sealed every minute."""

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
from governance.receipts.seals import seal_everything

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


@job_kind("receipts.seal", lease=timedelta(minutes=10), every=timedelta(minutes=1))
def seal(claim: Claim) -> None:
    """Seal what was stored before this minute. Safe to repeat."""
    seal_everything()


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
