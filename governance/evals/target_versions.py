"""Changing how a workflow's releases are called: a new version by one, confirmed by another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from governance.common.canonical import canonical
from governance.evals.actors import confirms, edits
from governance.evals.setup_models import EvalTarget
from governance.evals.target_content import clean
from governance.evals.versions import add_version, confirm_version
from governance.people.models import User
from governance.people.permissions import register_rule, require
from governance.workflows.models import Workflow

register_rule(
    "target.set", edits, "Analysts, builders and the KPI owner say how releases are called."
)
register_rule(
    "target.confirm",
    lambda user, target: confirms(user, target.created_by_id),
    "Another person confirms a target: an executive, an analyst or a KPI owner.",
)


def set_target(
    workflow: Workflow, content: Mapping[str, Any], *, actor: User, reason: str
) -> EvalTarget:
    """Put a new version of the target into use.

    Raises:
        InvalidInputError: the content is no target, or no reason is given; the sentence says why.
        StateConflictError: nothing would change.
        NotAllowedError: a person who does not edit evals.
    """
    require(actor, "target.set", workflow)
    return add_version(
        EvalTarget, workflow, canonical(clean(content)), actor=actor, reason=reason,
        verb="target.set",
    )  # fmt: skip


def confirm_target(target: EvalTarget, *, actor: User) -> EvalTarget:
    """Say yes to somebody else's target; `confirm_version` says what it raises."""
    return confirm_version(target, actor=actor, rule="target.confirm", verb="target.confirmed")
