"""Checkpoints leave the database: to a folder, and by e-mail where somebody asked for it.

What is delivered contradicts a chain that was rewritten later, so a delivery never blocks the
product and is never given up: a place that fails is tried again and shows as an alarm.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction

from governance.audit.checkpoint_models import Checkpoint, CheckpointDelivery
from governance.audit.keys import write_once
from governance.common.time import true_now

FIRST_PAUSE = timedelta(seconds=30)
LONGEST_PAUSE = timedelta(hours=1)
AT_ONCE = 200  # deliveries per run


class ContradictionError(Exception):
    """Another checkpoint with this number stands there already."""


@dataclass(frozen=True, slots=True)
class Sink:
    """One place outside the database. `deliver` returns where it put the checkpoint."""

    name: str
    deliver: Callable[[Checkpoint], str]


def configured() -> list[Sink]:
    """The places that the settings name: always the folder, e-mail where it was asked for."""
    found = [Sink("file", to_folder)]
    if settings.AUDIT_SINK_EMAIL:
        found.append(Sink("email", to_mail))
    return found


def folder() -> Path:
    return Path(settings.AUDIT_SINK_DIR or settings.DATA_DIR / "checkpoints")


def file_text(checkpoint: Checkpoint) -> str:
    return json.dumps(checkpoint.as_file(), indent=1, sort_keys=True) + "\n"


def file_name(number: int) -> str:
    return f"checkpoint-{number:08}.json"


def to_folder(checkpoint: Checkpoint) -> str:
    """Write the checkpoint as one synced file that nothing here ever overwrites."""
    path = folder() / file_name(checkpoint.number)
    text = file_text(checkpoint)
    if not write_once(path, text.encode(), mode=0o444) and path.read_text() != text:
        raise ContradictionError(f"{path} holds another checkpoint {checkpoint.number}")
    return str(path)


def to_mail(checkpoint: Checkpoint) -> str:
    """Send the checkpoint as an attachment; its digest stands in the text too."""
    message = EmailMessage(
        subject=f"Countersign checkpoint {checkpoint.number}, to event {checkpoint.last_seq}",
        body=(
            f"Checkpoint {checkpoint.number} of the audit chain, made"
            f" {checkpoint.made_at:%Y-%m-%d %H:%M:%S} UTC.\n\n"
            f"Events: 1 to {checkpoint.last_seq}\nRoot:   {checkpoint.root}\n"
            f"Digest: {checkpoint.digest}\nKey:    {checkpoint.key_id}\n\n"
            "Keep the attached file. With it `manage.py audit_verify --checkpoint FILE` shows"
            " whether anything up to this event was changed since.\n"
        ),
        to=settings.AUDIT_SINK_EMAIL,
    )
    name = file_name(checkpoint.number)
    message.attach(name, file_text(checkpoint), "application/json")
    message.send()
    return ", ".join(settings.AUDIT_SINK_EMAIL)[:500]


def plan(checkpoint: Checkpoint) -> None:
    """Note where this checkpoint has to go, in the transaction that makes it."""
    CheckpointDelivery.objects.bulk_create(
        CheckpointDelivery(checkpoint=checkpoint, sink=sink.name, try_at=checkpoint.made_at)
        for sink in configured()
    )


def deliver_due(moment: datetime | None = None) -> int:
    """Deliver what waits, the oldest first; returns how many arrived. Safe to run twice at once.

    A place that fails is left alone for the rest of this run.
    """
    arrived = 0
    for sink in configured():
        for _ in range(AT_ONCE):
            done = _deliver_next(sink, moment or true_now())
            if not done:
                break
            arrived += 1
    return arrived


def _deliver_next(sink: Sink, moment: datetime) -> bool:
    with transaction.atomic():
        delivery = (
            CheckpointDelivery.objects.select_for_update(skip_locked=True, of=("self",))
            .select_related("checkpoint")
            .filter(sink=sink.name, state="waiting", try_at__lte=moment)
            .order_by("checkpoint_id")
            .first()
        )
        if delivery is None:
            return False
        delivery.attempts += 1
        try:
            delivery.where = sink.deliver(delivery.checkpoint)
        except ContradictionError as error:
            delivery.state = CheckpointDelivery.State.CONTRADICTED
            delivery.error = str(error)[:500]
        except Exception as error:  # mail and file systems fail in many ways
            pause = min(FIRST_PAUSE * 2 ** min(delivery.attempts - 1, 10), LONGEST_PAUSE)
            delivery.try_at = moment + pause
            delivery.error = f"{type(error).__name__}: {error}"[:500]
        else:
            delivery.state = CheckpointDelivery.State.DELIVERED
            delivery.delivered_at = true_now()
            delivery.error = ""
        delivery.save()
        return delivery.state == CheckpointDelivery.State.DELIVERED
