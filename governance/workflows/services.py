"""Putting a business process under change control."""

from __future__ import annotations

from typing import Any

from governance import audit
from governance.audit import Actor
from governance.common.time import now
from governance.people.models import User
from governance.people.permissions import register_rule, require
from governance.workflows.models import Workflow

register_rule(
    "workflow.create",
    lambda user, _: user.role == User.Role.ADMIN,
    "Only an administrator creates a workflow.",
)


@audit.atomic()
def create_workflow(
    slug: str, name: str, *, owner: User, actor: Actor | User, **fields: Any
) -> Workflow:
    """Create a workflow with the person who answers for its KPIs."""
    if isinstance(actor, User):
        require(actor, "workflow.create")
    workflow = Workflow(slug=slug, name=name, owner=owner, created_at=now(), **fields)
    workflow.full_clean()
    workflow.save()
    audit.record(
        "workflow.created", workflow, actor=actor, workflow=slug, owner=owner.username,
        authority=workflow.authority, mode=workflow.mode,
    )  # fmt: skip
    return workflow
