"""Creating users and tokens."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime

from governance import audit
from governance.audit import Actor
from governance.common.errors import InvalidInputError, StateConflictError
from governance.common.time import now
from governance.people.models import ApiToken, User
from governance.people.permissions import require

TOKEN_PREFIX = "cs_"  # noqa: S105 - not a secret: it tells a scanner whose secret this is


def create_user(
    username: str, *, actor: Actor | User, role: str = "", job_title: str = "", password: str
) -> User:
    """Create a person who can log in."""
    if isinstance(actor, User):
        require(actor, "people.manage")
    with audit.atomic():
        user = User(username=username, role=role, job_title=job_title)
        user.set_password(password)
        user.save()
        audit.record("user.created", user, actor=actor, role=role, job_title=job_title)
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
