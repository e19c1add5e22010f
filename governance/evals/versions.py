"""What targets and evaluators have in common: versions, set by one person, confirmed by another."""

from __future__ import annotations

from typing import TypeVar

from governance import audit
from governance.common.canonical import digest_text
from governance.common.errors import InvalidInputError, StateConflictError
from governance.common.time import now
from governance.evals.actors import lock
from governance.evals.setup_models import EvalTarget, Evaluator
from governance.people.models import User
from governance.people.permissions import require
from governance.workflows.models import Workflow

LONGEST_REASON = 500
Versioned = TypeVar("Versioned", EvalTarget, Evaluator)


def newest(model: type[Versioned], workflow: Workflow) -> Versioned | None:
    """Return the version in use."""
    return model._default_manager.filter(workflow=workflow).order_by("-version").first()


def add_version(
    model: type[Versioned], workflow: Workflow, text: str, *, actor: User, reason: str, verb: str
) -> Versioned:
    """Put new content into use. Its author is a contributor until another person confirms it.

    Args:
        text: canonical JSON.

    Raises:
        InvalidInputError: no reason is given.
        StateConflictError: nothing would change.
    """
    reason = reason.strip()
    if not 1 <= len(reason) <= LONGEST_REASON:
        raise InvalidInputError(f"Say why, in 1 to {LONGEST_REASON} characters.")
    with audit.atomic():
        lock(workflow)
        before = newest(model, workflow)
        if before is not None and before.content_text == text:
            raise StateConflictError("This is in use already.")
        made = model._default_manager.create(
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
            verb, made, actor=actor, workflow=workflow.slug, reason=reason, digest=made.digest,
            before=before.digest if before else "", after=made.digest,
        )  # fmt: skip
    return made


@audit.atomic()
def confirm_version(row: Versioned, *, actor: User, rule: str, verb: str) -> Versioned:
    """Say yes to somebody else's version; confirmed before a proposal, it binds nobody.

    Raises:
        NotAllowedError: the author, or somebody who confirms none.
        StateConflictError: it is confirmed already, or a newer version is in use.
    """
    model = type(row)
    found = model._default_manager.select_for_update().get(pk=row.pk)
    require(actor, rule, found)
    if found.confirmed_at is not None:
        raise StateConflictError("This version is confirmed already.")
    current = newest(model, found.workflow)
    if current is None or current.pk != found.pk:
        raise StateConflictError("A newer version is in use by now. Confirm that one.")
    found.confirmed_by = actor
    found.confirmed_by_label = actor.as_actor().label
    found.confirmed_at = now()
    found.save(update_fields=["confirmed_by", "confirmed_by_label", "confirmed_at"])
    audit.record(verb, found, actor=actor, workflow=found.workflow.slug, digest=found.digest)
    return found
