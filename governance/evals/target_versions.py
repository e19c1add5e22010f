"""Changing how a workflow's releases are called: a new version by one, confirmed by another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from governance import audit
from governance.common.canonical import canonical, digest_text
from governance.common.errors import InvalidInputError, NotAllowedError, StateConflictError
from governance.common.time import now
from governance.evals.actors import edits, lock
from governance.evals.setup_models import EvalTarget
from governance.evals.target_content import clean
from governance.evals.targets import current_target
from governance.people.models import User
from governance.people.permissions import register_rule, require
from governance.workflows.models import Workflow

LONGEST_REASON = 500


def _confirms(user: User, target: EvalTarget) -> bool:
    """Somebody else than the author, and nobody who builds what is called."""
    if target.created_by_id == user.pk or user.role == User.Role.BUILDER:
        return False
    return user.role in (User.Role.EXECUTIVE, User.Role.ANALYST) or user.owned_workflows.exists()


register_rule(
    "target.set", edits, "Analysts, builders and the KPI owner say how releases are called."
)
register_rule(
    "target.confirm",
    _confirms,
    "Another person confirms a target: an executive, an analyst or a KPI owner.",
)


def set_target(
    workflow: Workflow, content: Mapping[str, Any], *, actor: User, reason: str
) -> EvalTarget:
    """Put a new version of the target into use. Its author is a contributor until it is confirmed.

    Raises:
        InvalidInputError: the content is no target, or no reason is given; the sentence says why.
        StateConflictError: nothing would change.
        NotAllowedError: a person who does not edit evals.
    """
    require(actor, "target.set", workflow)
    reason = reason.strip()
    if not 1 <= len(reason) <= LONGEST_REASON:
        raise InvalidInputError(f"Say why, in 1 to {LONGEST_REASON} characters.")
    text = canonical(clean(content))
    with audit.atomic():
        lock(workflow)
        before = current_target(workflow)
        if before is not None and before.content_text == text:
            raise StateConflictError("This is the target that is in use already.")
        target = EvalTarget.objects.create(
            workflow=workflow,
            version=before.version + 1 if before else 1,
            digest=digest_text(text),
            content_text=text,
            reason=reason,
            created_by=actor,
            created_by_label=actor.as_actor().label,
            created_at=now(),
        )
        audit.record(
            "target.set", target, actor=actor, workflow=workflow.slug, reason=reason,
            digest=target.digest, before=before.digest if before else "", after=target.digest,
        )  # fmt: skip
    return target


@audit.atomic()
def confirm_target(target: EvalTarget, *, actor: User) -> EvalTarget:
    """Say yes to somebody else's target; confirmed before a proposal, it binds nobody.

    Raises:
        NotAllowedError: the author, or somebody who confirms no targets.
        StateConflictError: it is confirmed already, or a newer version is in use.
    """
    found = EvalTarget.objects.select_for_update().get(pk=target.pk)
    require(actor, "target.confirm", found)
    if found.created_by_id == actor.pk:
        raise NotAllowedError("Whoever set a target does not confirm it: another person does.")
    if found.confirmed_at is not None:
        raise StateConflictError("This version is confirmed already.")
    newest = current_target(found.workflow)
    if newest is None or newest.pk != found.pk:
        raise StateConflictError("A newer version is in use by now. Confirm that one.")
    found.confirmed_by = actor
    found.confirmed_by_label = actor.as_actor().label
    found.confirmed_at = now()
    found.save(update_fields=["confirmed_by", "confirmed_by_label", "confirmed_at"])
    audit.record(
        "target.confirmed", found, actor=actor, workflow=found.workflow.slug, digest=found.digest
    )
    return found
