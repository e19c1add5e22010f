"""What a pipeline that cannot ask was told, and whether it heard."""

from __future__ import annotations

from django.db import models

from governance.rollouts.models import LiveChange
from governance.workflows.models import Workflow


class PushDelivery(models.Model):
    """One live change sent to a workflow's webhook. Receipts confirm it, not the answer alone."""

    class State(models.TextChoices):
        ASKED = "asked", "Asked"
        DELIVERED = "delivered", "Delivered"
        SUPERSEDED = "superseded", "Superseded by a newer change"
        FAILED = "failed", "Not delivered"

    workflow = models.ForeignKey(Workflow, models.PROTECT, related_name="push_deliveries")
    change = models.OneToOneField(LiveChange, models.PROTECT, related_name="push")
    state = models.CharField(max_length=12, choices=State, default=State.ASKED)
    attempts = models.PositiveIntegerField(default=0)
    last_status = models.PositiveIntegerField(null=True, help_text="HTTP status.")
    last_error = models.CharField(max_length=500, blank=True)
    asked_at = models.DateTimeField()
    delivered_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-asked_at", "-pk")

    def __str__(self) -> str:
        return f"{self.change}: {self.get_state_display()}"
