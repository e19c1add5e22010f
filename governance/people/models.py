"""People and the tokens of machines."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime

from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.fields import ArrayField
from django.db import models

from governance.audit.models import Actor


class User(AbstractUser):
    """A person. Deactivated when they leave, never deleted: history outlives people."""

    class Role(models.TextChoices):
        NONE = "", "No role"
        MEMBER = "member", "Member (sees the workflows they own)"
        EXECUTIVE = "executive", "Executive"
        ANALYST = "analyst", "Analyst"
        BUILDER = "builder", "Builder"
        AUDITOR = "auditor", "Auditor"
        ADMIN = "admin", "Administrator"

    role = models.CharField(max_length=20, choices=Role, blank=True, default=Role.NONE)
    job_title = models.CharField(max_length=100, blank=True)

    def __str__(self) -> str:
        return self.job_title or self.get_full_name() or self.username

    @property
    def reads_everything(self) -> bool:
        """Every installation role reads everything; owners read their own workflows."""
        return self.is_active and self.role not in (self.Role.NONE, self.Role.MEMBER)

    def owned_workflow_slugs(self) -> list[str]:
        """The workflows whose KPIs this person answers for."""
        return list(self.owned_workflows.values_list("slug", flat=True))

    def as_actor(self) -> Actor:
        return Actor("user", str(self.pk), f"{self} ({self.username})", "session")


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    def visible_to(self, user: User) -> ApiTokenQuerySet:
        """Only administrators see tokens at all."""
        return self if user.is_active and user.role == User.Role.ADMIN else self.none()


class ApiToken(models.Model):
    """What a machine shows instead of a password. Only its hash is kept."""

    class Scope(models.TextChoices):
        RECEIPTS_WRITE = "receipts:write", "Send run receipts"
        RELEASES_READ = "releases:read", "Ask which release is live"
        RELEASES_WRITE = "releases:write", "Register releases"
        PROMOTIONS_PROPOSE = "promotions:propose", "Propose promotions"
        ACTIONS_WRITE = "actions:write", "Propose and report actions"

    name = models.CharField(max_length=100)
    prefix = models.CharField(max_length=12)
    token_hash = models.CharField(max_length=64, unique=True)
    scopes = ArrayField(models.CharField(max_length=40, choices=Scope))
    workflow_slug = models.CharField(max_length=100, blank=True, help_text="Empty: every workflow.")
    created_by_label = models.CharField(max_length=200)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        constraints = (
            models.UniqueConstraint(
                fields=("name",), condition=models.Q(revoked_at=None), name="token_name_in_use_once"
            ),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @staticmethod
    def hash_of(secret: str) -> str:
        """The secret has 256 bits of randomness, so a plain SHA-256 is enough."""
        return hashlib.sha256(secret.encode()).hexdigest()

    def allows(self, scope: str, workflow_slug: str = "") -> bool:
        """Whether the token has this scope, for this workflow."""
        return scope in self.scopes and self.workflow_slug in ("", workflow_slug)

    def usable_at(self, moment: datetime) -> bool:
        return self.revoked_at is None and (self.expires_at is None or moment < self.expires_at)

    def as_actor(self) -> Actor:
        return Actor("token", str(self.pk), f"token {self}", "token")

    @classmethod
    def unknown_scopes(cls, scopes: Iterable[str]) -> list[str]:
        return [scope for scope in scopes if scope not in cls.Scope.values]
