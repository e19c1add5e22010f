"""`manage.py audit_checkpoint`: sign the audit until now, and deliver what waits."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from governance.audit import checkpoints, sinks
from governance.audit.alarms import alarms
from governance.common.errors import GovernanceError
from governance.receipts import seals


class Command(BaseCommand):
    help = "Make a signed checkpoint of the audit chain now, and deliver every one that waits."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            made = checkpoints.make()
        except GovernanceError as refusal:
            raise CommandError(str(refusal)) from refusal
        if made is None:
            newest = checkpoints.newest()
            covered = newest.last_seq if newest else 0
            self.stdout.write(f"Nothing new since event {covered:,}.")
        else:
            self.stdout.write(
                f"Checkpoint {made.number}: events 1 to {made.last_seq:,}, root {made.root},"
                f" digest {made.digest}, key {made.key_id}"
            )
        arrived = sinks.deliver_due()
        self.stdout.write(f"Delivered: {arrived}. Folder: {sinks.folder()}")
        for alarm in (*alarms(), *seals.alarms()):
            self.stderr.write(f"Alarm: {alarm.sentence}")
