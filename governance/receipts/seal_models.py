"""Seals over run receipts: what was stored each minute, by digest, bound to an audit event."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models


class ReceiptPending(models.Model):
    """Digests of receipts that were stored or corrected and wait for their seal.

    A trigger writes them in the statement that stores the receipts, so none can be forgotten.
    """

    workflow_id = models.BigIntegerField()
    noted_at = models.DateTimeField(help_text="The true time, not that of a story.")
    leaves = models.BinaryField()

    class Meta:
        indexes = (models.Index(fields=("workflow_id", "id"), name="receipt_pending_in_order"),)

    def __str__(self) -> str:
        return f"{self.pk} of workflow {self.workflow_id}"


class ReceiptSeal(models.Model):
    """What one audit event `receipts.sealed` is about: digests of receipts, in one fixed order.

    Each leaf has 68 bytes: the UTC day as days since 2000, the SHA-256 of day and run id, the
    SHA-256 of everything stored of the receipt. The event holds their Merkle root, so the digests
    stay provable when retention has dropped the receipts.
    """

    number = models.BigIntegerField(primary_key=True)
    workflow_id = models.BigIntegerField()
    sealed_at = models.DateTimeField()
    first_at = models.DateTimeField(help_text="When the first of them was stored.")
    last_at = models.DateTimeField()
    count = models.BigIntegerField()
    root = models.CharField(max_length=71, help_text="Merkle root as in RFC 6962.")
    days = ArrayField(models.DateField())
    leaves = models.BinaryField()

    class Meta:
        ordering = ("-number",)
        indexes = (GinIndex(fields=("days",), name="receipt_seal_by_day"),)

    def __str__(self) -> str:
        return f"seal {self.number}"
