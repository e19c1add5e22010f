"""Changing accounts: passwords, roles, leaving and coming back. Nobody is ever deleted."""

from __future__ import annotations

from governance import audit
from governance.audit import Actor
from governance.common.errors import InvalidInputError, StateConflictError
from governance.people.models import User
from governance.people.permissions import require


def _lock(user_id: int) -> User:
    return User.objects.select_for_update(of=("self",)).get(pk=user_id)


@audit.atomic()
def change_password(user_id: int, new: str, *, actor: User) -> User:
    """Take a new password of one's own. Every other session of the account ends."""
    user = _lock(user_id)
    if actor.pk != user.pk:
        raise InvalidInputError("Set another person's password on their page.")
    user.set_password(new)
    user.save(update_fields=["password"])
    audit.record("user.password_changed", user, actor=actor)
    return user


@audit.atomic()
def set_password(user_id: int, new: str, *, actor: Actor | User) -> User:
    """Give somebody a new password, because the old one is lost. Their sessions end."""
    if isinstance(actor, User):
        require(actor, "people.manage")
    user = _lock(user_id)
    user.set_password(new)
    user.save(update_fields=["password"])
    audit.record("user.password_set", user, actor=actor)
    return user


@audit.atomic()
def change_account(user_id: int, *, actor: User, role: str, job_title: str, email: str) -> User:
    """Change what a person is called, may do, and is known by to the identity provider."""
    require(actor, "people.manage")
    user = _lock(user_id)
    if role not in User.Role.values:
        raise InvalidInputError("Pick a role from the list.")
    if user.role == User.Role.ADMIN and role != User.Role.ADMIN:
        _refuse_last_admin(user)
    email = email.strip()
    if email and User.objects.filter(email__iexact=email).exclude(pk=user.pk).exists():
        raise StateConflictError(f"Another account has the address {email}.")
    before = {"role": user.role, "job_title": user.job_title, "email": user.email}
    after = {"role": role, "job_title": job_title.strip(), "email": email}
    changed = {name for name, value in after.items() if before[name] != value}
    if not changed:
        return user
    for name in changed:
        setattr(user, name, after[name])
    user.save(update_fields=sorted(changed))
    if "role" in changed:
        audit.record("user.role_changed", user, actor=actor, old=before["role"], new=role)
    if changed - {"role"}:
        # The address is personal data: that it changed is of record, what it is stays here.
        audit.record(
            "user.changed", user, actor=actor, fields=sorted(changed - {"role"}),
            job_title=user.job_title,
        )  # fmt: skip
    return user


@audit.atomic()
def deactivate(user_id: int, *, actor: Actor | User, reason: str) -> User:
    """End a person's access at once; what they did stays, and their approvals stop counting."""
    if isinstance(actor, User):
        require(actor, "people.manage")
        if actor.pk == user_id:
            raise StateConflictError("Another administrator deactivates you.")
    user = _lock(user_id)
    if not reason.strip():
        raise InvalidInputError("Give a reason: it stays in the record.")
    if not user.is_active:
        raise StateConflictError("This account is deactivated already.")
    if user.role == User.Role.ADMIN:
        _refuse_last_admin(user)
    user.is_active = False
    user.save(update_fields=["is_active"])
    audit.record("user.deactivated", user, actor=actor, reason=reason.strip()[:500])
    return user


@audit.atomic()
def reactivate(user_id: int, *, actor: User, reason: str) -> User:
    """Let a person back in, with the password they had."""
    require(actor, "people.manage")
    user = _lock(user_id)
    if not reason.strip():
        raise InvalidInputError("Give a reason: it stays in the record.")
    if user.is_active:
        raise StateConflictError("This account is active.")
    user.is_active = True
    user.save(update_fields=["is_active"])
    audit.record("user.reactivated", user, actor=actor, reason=reason.strip()[:500])
    return user


def _refuse_last_admin(user: User) -> None:
    # All of them are locked, so that two who leave at once do not both see the other.
    admins = User.objects.select_for_update(of=("self",)).filter(
        role=User.Role.ADMIN, is_active=True
    )
    if not any(admin.pk != user.pk for admin in admins):
        raise StateConflictError("This is the last administrator. Make another one first.")
