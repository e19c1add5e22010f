"""Signing a decision: one manifest that names who, role, meaning, reason, how, and what."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings

from governance.common.canonical import canonical, digest_text
from governance.common.errors import InvalidInputError, NotAllowedError
from governance.common.time import now
from governance.people.models import Signature, User

VERSION = "countersign.signature.v1"


def require_reason(text: str) -> str:
    """Every decision carries its reason."""
    reason = text.strip()
    if not reason:
        raise InvalidInputError("Give a reason: it stays in the record.")
    return reason[:4000]


def require_fresh_login(authenticated_at: datetime | None) -> None:
    """A sensitive act needs a password typed within the last minutes, by the database's clock."""
    limit = timedelta(seconds=settings.REAUTHENTICATION_SECONDS)
    if authenticated_at is None or now() - authenticated_at > limit:
        raise NotAllowedError("Confirm your password first: the last time is over 5 minutes ago.")


def sign(
    signer: User,
    meaning: str,
    *,
    reason: str,
    subject: Mapping[str, Any],
    role: str,
    authenticated_at: datetime,
    authenticated_by: str,
    on_behalf_of: User | None = None,
) -> Signature:
    """Keep one person's decision as it was made.

    Args:
        meaning: what the yes stands for, such as `kpi_owner`.
        subject: what was signed, JSON values only: its type, id and every digest it is bound to.
        role: as what the person signed, in words ("KPI owner", "Executive").
    """
    moment = now()
    manifest_text = canonical(
        {
            "v": VERSION,
            "signer": {"id": str(signer.pk), "label": signer.as_actor().label},
            "on_behalf_of": on_behalf_of.as_actor().label if on_behalf_of is not None else "",
            "role": role,
            "meaning": meaning,
            "reason": reason,
            "authenticated": {"by": authenticated_by, "at": authenticated_at.isoformat()},
            "signed_at": moment.isoformat(),
            "subject": dict(subject),
        }
    )
    return Signature.objects.create(
        digest=digest_text(manifest_text),
        manifest_text=manifest_text,
        signer=signer,
        signer_label=signer.as_actor().label,
        signer_role=role,
        meaning=meaning,
        reason=reason,
        authenticated_by=authenticated_by,
        authenticated_at=authenticated_at,
        signed_at=moment,
    )
