"""Signed checkpoints of the audit chain, and where each of them was delivered."""

from __future__ import annotations

from typing import Any

from django.db import models


class Checkpoint(models.Model):
    """The signed root over every event up to one: who rewrites an event contradicts it."""

    number = models.BigIntegerField(primary_key=True)
    first_seq = models.BigIntegerField(help_text="The first event that is new in it.")
    last_seq = models.BigIntegerField()
    tree_size = models.BigIntegerField(help_text="Events under the root, from the very first.")
    root = models.CharField(max_length=71, help_text="Merkle root as in RFC 6962.")
    head = models.CharField(max_length=71, help_text="Hash of the last event.")
    made_at = models.DateTimeField()
    previous = models.CharField(max_length=71, help_text="Digest of the checkpoint before it.")
    digest = models.CharField(max_length=71, unique=True)
    text = models.TextField(help_text="Canonical JSON, signed exactly as stored.")
    signature = models.CharField(max_length=88, help_text="Ed25519 over the text, base64.")
    key_id = models.CharField(max_length=71)
    public_key = models.TextField(help_text="PEM. Trust it only after comparing it.")
    edge = models.BinaryField(help_text="The right edge of the tree: where the next one goes on.")
    blocks = models.BinaryField(help_text="Roots of the blocks of 1,024 events it completed.")

    class Meta:
        ordering = ("-number",)
        indexes = (models.Index(fields=("last_seq",), name="checkpoint_by_last"),)

    def __str__(self) -> str:
        return f"checkpoint {self.number} to event {self.last_seq}"

    def as_file(self) -> dict[str, Any]:
        """What leaves the database: enough to check it anywhere."""
        return {
            "checkpoint": self.text,
            "digest": self.digest,
            "signature": self.signature,
            "public_key": self.public_key,
        }


class CheckpointDelivery(models.Model):
    """One checkpoint on its way to one place outside the database."""

    class State(models.TextChoices):
        WAITING = "waiting", "Waiting"
        DELIVERED = "delivered", "Delivered"
        CONTRADICTED = "contradicted", "Another one stands there"

    checkpoint = models.ForeignKey(Checkpoint, models.PROTECT, related_name="deliveries")
    sink = models.CharField(max_length=20)
    state = models.CharField(max_length=15, choices=State, default=State.WAITING)
    attempts = models.PositiveIntegerField(default=0)
    try_at = models.DateTimeField()
    where = models.CharField(max_length=500, blank=True)
    error = models.CharField(max_length=500, blank=True)
    delivered_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("checkpoint", "sink"), name="delivery_once_per_sink"),
            models.CheckConstraint(
                condition=models.Q(state="delivered") ^ models.Q(delivered_at=None),
                name="delivery_delivered_has_time",
            ),
        )
        indexes = (
            models.Index(
                fields=("try_at",),
                condition=models.Q(state="waiting"),
                name="delivery_waiting",
            ),
        )

    def __str__(self) -> str:
        return f"checkpoint {self.checkpoint_id} to {self.sink}"
