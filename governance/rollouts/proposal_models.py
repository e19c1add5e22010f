"""The key under which a machine proposed, so that a repeated request proposes nothing anew."""

from __future__ import annotations

from django.db import models

from governance.people.models import ApiToken
from governance.rollouts.models import Promotion


class ProposalKey(models.Model):
    """One `Idempotency-Key` of one token, and what came of it (trigger: immutable)."""

    token = models.ForeignKey(ApiToken, models.PROTECT, related_name="proposal_keys")
    key = models.CharField(max_length=200)
    body_digest = models.CharField(max_length=71, help_text="Of the request it came with.")
    promotion = models.ForeignKey(Promotion, models.PROTECT, related_name="proposal_keys")
    created_at = models.DateTimeField()

    class Meta:
        constraints = (
            models.UniqueConstraint(fields=("token", "key"), name="proposal_key_once_per_token"),
        )

    def __str__(self) -> str:
        return f"{self.key}: promotion {self.promotion_id}"
