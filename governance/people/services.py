"""Creating users and tokens."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime

from governance import audit
from governance.audit import Actor
from governance.common.errors import InvalidInputError, NotAllowedError, StateConflictError
from governance.common.time import now
from governance.people.models import ApiToken, User
from governance.people.permissions import require
from governance.people.signatures import require_fresh_login, require_reason

TOKEN_PREFIX = "cs_"  # noqa: S105 - not a secret: it tells a scanner whose secret this is


def create_user(
    username: str,
    *,
    actor: Actor | User,
    role: str = "",
    job_title: str = "",
    email: str = "",
    password: str,
) -> User:
    """Create a person who can log in."""
    if isinstance(actor, User):
        require(actor, "people.manage")
    with audit.atomic():
        if User.objects.filter(username__iexact=username).exists():
            raise StateConflictError(f"The user name {username} is taken.")
        if email and User.objects.filter(email__iexact=email).exists():
            raise StateConflictError(f"Another account has the address {email}.")
        user = User(username=username, role=role, job_title=job_title, email=email)
        user.set_password(password)
        user.save()
        audit.record("user.created", user, actor=actor, role=role, job_title=job_title)
    return user


@audit.atomic()
def set_emergency_right(
    user_id: int,
    *,
    actor: Actor | User,
    allowed: bool,
    reason: str,
    authenticated_at: datetime | None = None,
    authenticated_by: str = "password",
) -> User:
    """Give or take the right to make an emergency change. Nobody gives it to themselves.

    Giving asks a person for a fresh password; taking away does not.
    """
    if isinstance(actor, User):
        require(actor, "people.manage")
        if allowed:
            require_fresh_login(authenticated_at)
            if actor.pk == user_id:
                raise NotAllowedError("Another administrator gives you this right.")
    reason = require_reason(reason)
    user = User.objects.select_for_update().get(pk=user_id)
    if user.emergency_changes == allowed:
        raise StateConflictError("It is set like that already.")
    if allowed and (not user.is_active or user.role == User.Role.NONE):
        raise InvalidInputError(f"{user} has no role here, so no right to emergency changes.")
    user.emergency_changes = allowed
    user.save(update_fields=["emergency_changes"])
    audit.record(
        "user.emergency_right_changed", user, actor=actor, reason=reason, allowed=allowed,
        authenticated_by=authenticated_by if allowed else "",
    )  # fmt: skip
    return user


def create_token(
    name: str,
    *,
    scopes: Sequence[str],
    actor: Actor | User,
    workflow_slug: str = "",
    expires_at: datetime | None = None,
) -> tuple[ApiToken, str]:
    """Create a token and return it with its secret, which is shown this one time."""
    if isinstance(actor, User):
        require(actor, "people.manage")
    if not scopes or ApiToken.unknown_scopes(scopes):
        raise InvalidInputError(f"Scopes are: {', '.join(ApiToken.Scope.values)}.")
    secret = TOKEN_PREFIX + secrets.token_urlsafe(32)
    with audit.atomic():
        if ApiToken.objects.select_for_update().filter(name=name, revoked_at=None).exists():
            raise StateConflictError(f"A token named {name!r} is in use. Revoke it first.")
        label = actor.label if isinstance(actor, Actor) else actor.as_actor().label
        token = ApiToken.objects.create(
            name=name,
            prefix=secret[:10],
            token_hash=ApiToken.hash_of(secret),
            scopes=sorted(set(scopes)),
            workflow_slug=workflow_slug,
            created_by_label=label,
            created_at=now(),
            expires_at=expires_at,
        )
        audit.record(
            "token.created", token, actor=actor, workflow=workflow_slug, scopes=token.scopes
        )
    return token, secret


@audit.atomic()
def revoke_token(token_id: int, *, actor: Actor | User) -> None:
    """Make a token useless at once."""
    if isinstance(actor, User):
        require(actor, "people.manage")
    token = ApiToken.objects.select_for_update().get(pk=token_id)
    if token.revoked_at is not None:
        raise StateConflictError("This token is revoked already.")
    token.revoked_at = now()
    token.save(update_fields=["revoked_at"])
    audit.record("token.revoked", token, actor=actor, workflow=token.workflow_slug)
