"""What somebody must look at about the checkpoints: none is made, or one does not get out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Count, Min

from governance.audit.checkpoint_models import CheckpointDelivery
from governance.audit.checkpoints import uncovered


@dataclass(frozen=True, slots=True)
class Alarm:
    """One thing that is not as it should be, since when, in a sentence for people."""

    kind: str  # late, undelivered, contradicted, unsealed
    sentence: str
    since: datetime


def alarms() -> list[Alarm]:
    """Return what is wrong now; the worst first. Reads the database only."""
    return [*_contradicted(), *_late(), *_undelivered()]


def _late() -> list[Alarm]:
    """Events that should have been signed long ago: a worker or the key is missing."""
    waiting, oldest, moment = uncovered()
    patience = 2 * timedelta(minutes=settings.AUDIT_CHECKPOINT_MINUTES)
    if oldest is None or moment - oldest < patience:
        return []
    events = "1 event has" if waiting == 1 else f"{waiting:,} events have"
    return [
        Alarm(
            "late",
            f"{events} no signed checkpoint yet, the oldest for {_minutes(moment - oldest)}."
            " Is a worker running, and has it the key?",
            oldest,
        )
    ]


def _undelivered() -> list[Alarm]:
    found = []
    stuck = CheckpointDelivery.objects.filter(state="waiting", attempts__gt=0)
    for row in (
        stuck.values("sink").annotate(n=Count("pk"), since=Min("checkpoint__made_at")).order_by()
    ):
        error = stuck.filter(sink=row["sink"]).order_by("-try_at").values_list("error", flat=True)
        waiting = CheckpointDelivery.objects.filter(state="waiting", sink=row["sink"]).count()
        found.append(
            Alarm(
                "undelivered",
                f"{waiting:,} checkpoint{'s wait' if waiting != 1 else ' waits'} for delivery to"
                f" {_place(row['sink'])}: {error[0]}",
                row["since"],
            )
        )
    return found


def _contradicted() -> list[Alarm]:
    return [
        Alarm(
            "contradicted",
            f"Checkpoint {delivery.checkpoint_id} contradicts what was delivered before to"
            f" {_place(delivery.sink)}: {delivery.error}. Either an old backup was restored or the"
            " audit was rewritten.",
            delivery.checkpoint.made_at,
        )
        for delivery in CheckpointDelivery.objects.filter(state="contradicted")
        .select_related("checkpoint")
        .order_by("checkpoint_id")[:5]
    ]


def _place(sink: str) -> str:
    return {"file": "the folder", "email": "e-mail"}.get(sink, sink)


def _minutes(age: timedelta) -> str:
    minutes = int(age.total_seconds() // 60)
    return f"{minutes} minutes" if minutes < 120 else f"{minutes // 60} hours"
