"""SlotObservation: what the runs of a release showed of each of its slots, summed up."""

from __future__ import annotations

from django.db import models

from governance.workflows.models import Workflow


class SlotObservation(models.Model):
    """One value that runs reported for one slot of the release they claim, and how often.

    Kept in the transaction that stores the receipts, like the roll-ups.
    """

    class Verdict(models.TextChoices):
        MATCHES = "matches", "Matches"
        DIFFERS = "differs", "Differs"
        UNKNOWN = "unknown", "Nothing declared to compare with"

    workflow = models.ForeignKey(Workflow, models.PROTECT, related_name="+")
    release_digest = models.CharField(max_length=71)
    slot = models.CharField(max_length=20)
    value = models.CharField(max_length=200)
    verdict = models.CharField(max_length=10, choices=Verdict)
    n = models.BigIntegerField(help_text="Receipts that report it.")
    first_at = models.DateTimeField()
    first_run_id = models.CharField(max_length=200)
    first_day = models.DateField(help_text="With first_run_id, the first receipt.")
    last_at = models.DateTimeField()

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("workflow", "release_digest", "slot", "value", "verdict"),
                name="observation_once",
            ),
        )

    def __str__(self) -> str:
        return f"{self.slot} {self.verdict}: {self.value}"
