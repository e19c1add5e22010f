"""People and the tokens of machines."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

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
    emergency_changes = models.BooleanField(
        default=False, help_text="May make an emergency change; a second person must ratify it."
    )

    # The ids of the workflows that this person was found to see, set by a page that asked for them
    # already: its many other queries need not find them out again. It ends with the request.
    found_to_see: list[int] | None = None

    def __str__(self) -> str:
        return self.job_title or self.get_full_name() or self.username

    @property
    def reads_everything(self) -> bool:
        """Every installation role reads everything; owners read their own workflows."""
        return self.is_active and self.role not in (self.Role.NONE, self.Role.MEMBER)

    def decides_for(self) -> models.QuerySet[User]:
        """This person, and the owners who let them decide in a window that is open now."""
        held = Delegation.objects.in_force(Now()).filter(delegate=self)
        return User.objects.filter(models.Q(pk=self.pk) | models.Q(pk__in=held.values("owner")))

    def owned_workflow_slugs(self) -> list[str]:
        """The workflows whose KPIs this person answers for."""
        return list(self.owned_workflows.values_list("slug", flat=True))

    def as_actor(self) -> Actor:
        return Actor("user", str(self.pk), f"{self} ({self.username})", "session")


class Signature(models.Model):
    """One person's decision as it was signed: who, role, meaning, reason, how, on which bytes.

    Immutable (trigger). `manifest_text` is canonical JSON and names everything that was signed, so
    that the decision can be checked without this database.
    """

    digest = models.CharField(max_length=71, primary_key=True)
    manifest_text = models.TextField(help_text="Canonical JSON, hashed exactly as stored.")
    signer = models.ForeignKey(User, models.PROTECT, related_name="signatures")
    signer_label = models.CharField(max_length=200)
    signer_role = models.CharField(max_length=60)
    meaning = models.CharField(max_length=60)
    reason = models.TextField()
    authenticated_by = models.CharField(max_length=60)
    authenticated_at = models.DateTimeField()
    signed_at = models.DateTimeField()

    class Meta:
        ordering = ("signed_at",)
        constraints = (
            models.CheckConstraint(condition=~models.Q(reason=""), name="signature_with_reason"),
        )

    def __str__(self) -> str:
        return f"{self.signer_label}: {self.meaning}"

    @property
    def manifest(self) -> dict[str, Any]:
        return json.loads(self.manifest_text)  # type: ignore[no-any-return]


class DelegationQuerySet(models.QuerySet["Delegation"]):
    def in_force(self, at: datetime | Now) -> DelegationQuerySet:
        """Neither revoked nor outside their window at that moment."""
        return self.filter(starts_at__lte=at, ends_at__gt=at).exclude(revoked_at__lte=at)

    def visible_to(self, user: User) -> DelegationQuerySet:
        if user.reads_everything:
            return self
        mine = models.Q(owner=user) | models.Q(delegate=user)
        return self.filter(mine) if user.is_active else self.none()


class Delegation(models.Model):
    """In this window the delegate decides for the owner. Nobody passes a delegation on."""

    owner = models.ForeignKey(User, models.PROTECT, related_name="delegations_given")
    delegate = models.ForeignKey(User, models.PROTECT, related_name="delegations_held")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    reason = models.TextField()
    signature = models.ForeignKey(Signature, models.PROTECT, related_name="+")
    created_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_by_label = models.CharField(max_length=200, blank=True)

    objects = DelegationQuerySet.as_manager()

    class Meta:
        ordering = ("-starts_at",)
        constraints = (
            models.CheckConstraint(
                condition=models.Q(ends_at__gt=models.F("starts_at")),
                name="delegation_ends_after_start",
            ),
            models.CheckConstraint(
                condition=~models.Q(owner=models.F("delegate")), name="delegation_to_another"
            ),
        )

    def __str__(self) -> str:
        return f"{self.delegate} for {self.owner}"


class AbsenceQuerySet(models.QuerySet["Absence"]):
    def visible_to(self, user: User) -> AbsenceQuerySet:
        if user.reads_everything:
            return self
        return self.filter(person=user) if user.is_active else self.none()

    def to_come(self, at: datetime) -> AbsenceQuerySet:
        """Neither cancelled nor over at that moment."""
        return self.filter(cancelled_at=None, ends_at__gt=at)


class Absence(models.Model):
    """A time in which a KPI owner does not decide. Without a delegation it is a gap."""

    person = models.ForeignKey(User, models.PROTECT, related_name="absences")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    note = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField()
    cancelled_at = models.DateTimeField(null=True, blank=True)

    objects = AbsenceQuerySet.as_manager()

    class Meta:
        ordering = ("starts_at",)
        constraints = (
            models.CheckConstraint(
                condition=models.Q(ends_at__gt=models.F("starts_at")),
                name="absence_ends_after_start",
            ),
        )

    def __str__(self) -> str:
        return f"{self.person} away"


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
