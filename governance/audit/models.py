"""The audit chain's one table. Rows are only ever inserted, by `audit.chain`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import models

from governance.audit.verbs import VERBS

if TYPE_CHECKING:
    from governance.people.models import User


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did something, kept as text so that history outlives people."""

    type: str  # user, token, system, operator
    id: str
    label: str
    authenticated_by: str = ""

    @classmethod
    def system(cls, name: str) -> Actor:
        """Countersign itself, acting by a rule."""
        return cls("system", name, f"Countersign ({name})")

    @classmethod
    def operator(cls, login: str) -> Actor:
        """A person at the command line of the server."""
        return cls("operator", f"operator:{login}", f"operator:{login}", "shell")


class AuditQuerySet(models.QuerySet["AuditEvent"]):
    def visible_to(self, user: User) -> AuditQuerySet:
        """Everything for those who read everything, own workflows for KPI owners."""
        if user.reads_everything:
            return self
        return self.filter(workflow__in=user.owned_workflow_slugs())


class AuditEvent(models.Model):
    """One thing that was done, chained to the one before it."""

    seq = models.BigIntegerField(primary_key=True)
    event_id = models.UUIDField(unique=True)
    prev = models.CharField(max_length=71)
    hash = models.CharField(max_length=71, unique=True)
    recorded_at = models.DateTimeField()
    occurred_at = models.DateTimeField()
    demo = models.BooleanField()
    actor_type = models.CharField(max_length=20)
    actor_id = models.CharField(max_length=200)
    actor_label = models.CharField(max_length=200)
    verb = models.CharField(max_length=60)
    object_type = models.CharField(max_length=60)
    object_id = models.CharField(max_length=200)
    object_label = models.CharField(max_length=300)
    object_digest = models.CharField(max_length=71, blank=True)
    workflow = models.CharField(max_length=100, blank=True)
    reason = models.TextField(blank=True)
    body = models.TextField(help_text="Canonical JSON, hashed exactly as stored.")

    objects = AuditQuerySet.as_manager()

    class Meta:
        ordering = ("-seq",)
        indexes = (
            models.Index(fields=("workflow", "-seq"), name="audit_by_workflow"),
            models.Index(fields=("object_type", "object_id", "-seq"), name="audit_by_object"),
            models.Index(fields=("actor_id", "-seq"), name="audit_by_actor"),
            models.Index(fields=("verb", "-seq"), name="audit_by_verb"),
            # What the page lists: without one seal a minute and workflow in between.
            models.Index(
                fields=("-seq",),
                condition=~models.Q(verb="receipts.sealed"),
                name="audit_without_seals",
            ),
        )

    def __str__(self) -> str:
        return f"{self.seq} {self.actor_label} {self.sentence} {self.object_label}"

    @property
    def sentence(self) -> str:
        """The verb in words."""
        return VERBS.get(self.verb, self.verb)
